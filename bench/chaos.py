#!/usr/bin/env python3
"""Streams through three servers and a Redis that fails, for as long as you
like: prints for each trouble what every reader got of what was written.

    make chaos
    SECONDS_EACH=60 ONLY=SIGKILL make chaos

It fails when a reader lacks anything, or has anything twice, that it was not
told of. What is written, read and broken, and what counts as what, is in
tests/net/chaos.py and tests/net/store_verdict.py.
"""

import argparse
import os
import secrets
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "net")]

import chaos  # noqa: E402
from store_verdict import Verdict  # noqa: E402

EVENTS_A_SECOND = 25  # of each stream
COLUMNS = (
    "trouble",
    "times",
    "streams",
    "delivered / expected",
    "announced",
    "lost",
    "missing",
    "repeated",
)
WIDTHS = (38, 5, 9, 21, 9, 6, 7, 8)


def parse_args():
    env = os.environ
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--seconds",
        type=float,
        default=float(env.get("SECONDS_EACH", 20)),
        help="of writing, for each trouble (20)",
    )
    parser.add_argument(
        "--only", default=env.get("ONLY", ""), help="troubles whose name holds this"
    )
    parser.add_argument("--seed", default=env.get("SSE_TEST_SEED"))
    parser.add_argument(
        "--streams",
        type=int,
        default=40,
        help="over HTTP; half as many by producers (40)",
    )
    parser.add_argument("--readers", type=int, default=2, help="of each stream (2)")
    parser.add_argument("--build", type=Path, default=ROOT / "build")
    return parser.parse_args()


def print_row(cells):
    padded = [f"{cell:<{width}}" for cell, width in zip(cells, WIDTHS)]
    print("  ".join(padded).rstrip(), flush=True)


def is_good(verdict, keeps):
    """`keeps`: the store has all that it acknowledged."""
    try:
        verdict.assert_whole() if keeps else verdict.assert_honest()
    except AssertionError:
        return False
    return True


def print_verdict(name, actions, kind, verdict, keeps):
    good = is_good(verdict, keeps)
    share = f"{verdict.delivered}/{verdict.expected}"
    print_row(
        (
            name,
            actions,
            kind,
            share,
            verdict.announced,
            verdict.lost,
            verdict.missing,
            verdict.repeated,
        )
    )
    if not good:
        print("  FAILED", *verdict.wrong[:3], sep="\n    ")
    return good


def play(args, name, seed):
    scenario, keeps = chaos.SCENARIOS[name]
    size = chaos.Size(
        streams=args.streams,
        pub_streams=2 if keeps else 0,  # sse pub ends when lines are lost
        producer_streams=args.streams // 4,
        events=int(args.seconds * EVENTS_A_SECOND),
        readers=args.readers,
        write_s=args.seconds,
        every_s=1,
    )
    try:
        actions, verdicts = scenario(args.build, seed, size)
    except AssertionError as error:
        print_row((name, "-", "-", f"FAILED: {error}"))
        return False
    # What one program writes alone, it gives back to a store that lost it.
    return all(
        [
            print_verdict(
                name,
                actions,
                kind,
                verdicts.get(kind, Verdict()),
                keeps or kind == "own",
            )
            for kind in ("own", "http", "pub")
            if kind in verdicts
        ]
    )


def main():
    args = parse_args()
    seed = args.seed or secrets.token_hex(4)
    start = time.monotonic()
    print(f"SSE_TEST_SEED={seed}, {args.seconds:g} s each\n")
    print_row(COLUMNS)
    names = [name for name in chaos.SCENARIOS if args.only.lower() in name.lower()]
    good = [play(args, name, seed) for name in names]
    print(
        f"\n{len(names)} troubles in {time.monotonic() - start:.0f} s:",
        "all is well" if names and all(good) else "it is not well",
    )
    sys.exit(0 if names and all(good) else 1)


if __name__ == "__main__":
    main()
