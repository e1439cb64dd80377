"""What each reader has is what was written, whatever happens to the store.

Three servers on one Redis. Writers use the first, readers the other two, and
their connections are cut at random. Streams are written over HTTP, by
`sse pub`, and by programs with a hub of their own. The seed of a failure is in
its output: SSE_TEST_SEED=... runs it again.
"""

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

import chaos
from chaos import Run, Size
from nodes import wait_until
from redis_family import Family, Sentinel, Switch
from redis_server import RedisServer
from store_verdict import Verdict


@pytest.fixture
def seed() -> str:
    seed = os.environ.get("SSE_TEST_SEED") or secrets.token_hex(4)
    print(f"SSE_TEST_SEED={seed}")
    return seed


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with RedisServer("--enable-debug-command", "local") as server:
        yield server


@pytest.fixture
def run(build_dir: Path, redis: RedisServer, seed: str) -> Run:
    return Run(build_dir, redis, seed, Size())


def assert_whole(verdicts: dict[str, Verdict]) -> None:
    assert {"http", "own"} <= set(verdicts)
    for verdict in verdicts.values():
        verdict.assert_whole()


def test_without_trouble(build_dir: Path, redis: RedisServer, seed: str) -> None:
    size = Size(streams=150, pub_streams=4, producers=2, producer_streams=23,
                readers=3, events=120, write_s=2)  # fmt: skip
    assert_whole(Run(build_dir, redis, seed, size).go())


@pytest.mark.asan
def test_a_small_one(build_dir: Path, redis: RedisServer, seed: str) -> None:
    size = Size(streams=10, pub_streams=1, producers=1, events=50, write_s=1)
    assert_whole(Run(build_dir, redis, seed, size).go(chaos.cut_all))


@pytest.mark.parametrize(
    "trouble",
    [
        chaos.cut_all,
        chaos.everything,
        chaos.hang,
        chaos.restart,
        chaos.fill,
        chaos.kill_reader_node,
    ],
    ids=lambda trouble: trouble.__name__,
)
def test_nothing_is_lost(run: Run, trouble: chaos.Trouble) -> None:
    verdicts = run.go(trouble)
    assert run.actions > 0
    assert_whole(verdicts)


@pytest.mark.parametrize(
    "trouble",
    [chaos.restart_older, chaos.restart_empty],
    ids=lambda trouble: trouble.__name__,
)
def test_what_is_lost_is_told(run: Run, trouble: chaos.Trouble) -> None:
    """Producers give back what the store has lost. What many may write, nobody
    can: a reader who had it is told that the log is another one."""
    verdicts = run.go(trouble)
    assert run.actions > 0
    verdicts["own"].assert_whole()
    for verdict in verdicts.values():
        print(verdict)
        verdict.assert_honest()


def test_the_master_hands_over(build_dir: Path, seed: str) -> None:
    with Family() as family, Switch(family.master.port) as switch:
        run = Run(build_dir, family.master, seed, Size(every_s=1))
        run.store_url = f"redis://127.0.0.1:{switch.port}"

        def hand_over(_: Run) -> None:
            family.hand_over()
            switch.turn(family.master)
            wait_until(family.in_step)

        verdicts = run.go(hand_over)
        assert run.actions > 0
        assert_whole(verdicts)


def test_the_master_dies(build_dir: Path, seed: str) -> None:
    """Its replica may lack what was written last."""
    with Family() as family, Sentinel(family) as sentinel:
        run = Run(build_dir, family.master, seed, Size(write_s=6, every_s=1))
        run.store_url = sentinel.url

        def kill(_: Run) -> None:
            if run.actions == 0:
                family.master.kill()
                family.master, family.replica = family.replica, family.master
                wait_until(family.is_promoted)

        verdicts = run.go(kill)
        assert run.actions > 0
        verdicts["own"].assert_whole()
        verdicts["http"].assert_honest()
