"""The store's rows: what it costs to keep events in Redis, by libsse and by
plain commands. 17 to 20 are appends, 21 is the way to another node, 22 the way
back to where the others are."""

import json
import shutil
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass

from rows import Line, at_least, at_most
from servers import START_SECONDS, CannotStart, answers, free_port, pin

ROWS = {17, 18, 19, 20, 21, 22}
PEERS = ("rpush", "plain", "evalsha")
AS_CHEAP = 1.3  # as a bare EVALSHA, at most


@dataclass
class Store:
    """A load of bench/store_load.h, and the lines that it fills."""

    row: int
    load: str
    seconds: float
    lines: list
    peers: tuple = PEERS


def thousands_per_second(run):
    return run["events"] / run["seconds"] / 1000


def cpu_us_per_event(run):
    return run["cpu"] / run["events"] * 1e6


def ms_for_10000(run):
    return run["seconds"] / run["events"] * 10000 * 1000


def microseconds(name):
    return lambda run: run[f"{name}_us"]


def stores(quick):
    t = 0.15 if quick else 0.25
    as_fast = at_least(round(1 / AS_CHEAP, 2), "evalsha")
    return [
        Store(
            17,
            "single",
            t,
            [
                Line(
                    "17",
                    "1000 appends/s, one at a time",
                    thousands_per_second,
                    [at_least(1, "plain")],
                    [as_fast],
                ),
                Line("17", "p50 µs", microseconds("p50"), digits=0),
                Line("17", "p99 µs", microseconds("p99"), digits=0),
                Line(
                    "17",
                    "CPU µs per append, Redis' included",
                    cpu_us_per_event,
                    goal=[at_most(AS_CHEAP, "evalsha")],
                    digits=1,
                ),
            ],
        ),
        Store(
            18,
            "many",
            t,
            [
                Line(
                    "18",
                    "1000 appends/s, 64 streams, one waiting on each",
                    thousands_per_second,
                    goal=[as_fast],
                    digits=1,
                ),
                Line("18", "p99 µs", microseconds("p99"), digits=0),
            ],
        ),
        Store(
            19,
            "waiting",
            t,
            [
                Line(
                    "19",
                    "1000 appends/s, 32 waiting on one stream",
                    thousands_per_second,
                    [at_least(8, "plain")],
                    digits=1,
                ),
                Line("19", "p99 µs", microseconds("p99"), digits=0),
            ],
        ),
        Store(
            20,
            "batch",
            t,
            [
                Line(
                    "20",
                    "1000 appends/s, 32 in one call",
                    thousands_per_second,
                    [at_least(8, "plain")],
                    [as_fast],
                    digits=1,
                ),
                Line("20", "p99 µs", microseconds("p99"), digits=0),
            ],
        ),
        Store(
            21,
            "delay",
            2 * t,
            [
                Line(
                    "21",
                    "µs to another node, 500 events/s: p50",
                    microseconds("p50"),
                    digits=0,
                ),
                Line("21", "p99", microseconds("p99"), digits=0),
            ],
            peers=("rpush", "evalsha"),
        ),
        Store(
            22,
            "catchup",
            0,
            [
                Line(
                    "22",
                    "ms to read 10 000 events from the start",
                    ms_for_10000,
                    digits=1,
                ),
                Line("22", "1000 events/s", thousands_per_second, digits=0),
            ],
            peers=("plain",),
        ),
    ]


class Redis:
    """A redis-server on a port of its own, that keeps nothing on disk."""

    def __init__(self, program, cpu):
        self.dir = tempfile.TemporaryDirectory(prefix="bench-redis-")
        self.port = free_port()
        self.process = subprocess.Popen(
            [
                program,
                "--port",
                str(self.port),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "no",
                "--dir",
                self.dir.name,
                "--loglevel",
                "warning",
            ],
            stdout=subprocess.DEVNULL,
            preexec_fn=pin(cpu),
        )
        self.pid = self.process.pid
        deadline = time.monotonic() + START_SECONDS
        while not answers(self.port):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise CannotStart("redis-server")
            time.sleep(0.01)

    def clear(self):
        with socket.create_connection(("127.0.0.1", self.port)) as s:
            s.sendall(b"FLUSHALL SYNC\r\n")
            return s.recv(64) == b"+OK\r\n"

    def died(self):
        return self.process.poll() is not None

    def stop(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.dir.cleanup()


class StoreRows:
    """Measures what `bench` was asked for. `bench` is told what is wrong."""

    def __init__(self, bench, args):
        self.bench = bench
        self.args = args
        self.programs = args.build / "bench"
        self.redis_server = shutil.which("redis-server")

    def lines(self):
        """(line, values by way) of every row that was asked for."""
        asked = [
            store for store in stores(self.args.quick) if store.row in self.args.rows
        ]
        if asked and not self.redis_server:
            self.bench.notes.append("redis: apt-get install redis-server")
        if not asked or not self.redis_server:
            return []
        try:
            redis = Redis(self.redis_server, self.bench.servers.cpu)
        except CannotStart as reason:
            self.bench.wrong(
                "ours", {store.row for store in asked}, f"did not start: {reason}"
            )
            return []
        try:
            found = [lines for store in asked for lines in self.measure(redis, store)]
        finally:
            redis.stop()
        self.bench.progress("")
        return found

    def measure(self, redis, store):
        """All rounds."""
        values = [{name: [] for name in ("ours", *store.peers)} for _ in store.lines]
        for n in range(self.args.rounds):
            self.bench.progress(
                f"row {store.row}, {store.load}",
                f": round {n + 1} of {self.args.rounds}",
            )
            for name in (*store.peers, "ours"):
                run = self.run(redis, store, name)
                for line, by_way in zip(store.lines, values):
                    by_way[name].append(run and line.value(run))
        return list(zip(store.lines, values))

    def run(self, redis, store, name):
        """What the program printed, or None."""
        if redis.died() or not redis.clear():
            self.bench.wrong("ours", {store.row}, "Redis is not there")
            return None
        program = ["store_bench"] if name == "ours" else ["store_peer", name]
        done = subprocess.run(
            [
                self.programs / program[0],
                *program[1:],
                store.load,
                str(redis.port),
                str(redis.pid),
                str(store.seconds),
            ],
            capture_output=True,
            text=True,
            preexec_fn=pin(self.bench.load_cpu),
        )
        if done.returncode != 0:
            self.bench.wrong(name, {store.row}, done.stderr)
            return None
        return json.loads(done.stdout)


def version():
    """`, Redis 7.0.15`, or nothing."""
    program = shutil.which("redis-server")
    if not program:
        return ""
    said = subprocess.run([program, "--version"], capture_output=True, text=True).stdout
    number = [word[2:] for word in said.split() if word.startswith("v=")]
    return f", Redis {number[0]}" if number else ""
