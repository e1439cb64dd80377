"""The client's rows: what is measured, and how. 14 is the cost of reading, for
libsse and for Node; 15 and 16 are what the client makes of a bad network."""

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from rows import Line, at_least, at_most
from servers import CannotStart, Printed, pin

HERE = Path(__file__).resolve().parent
ROWS = {14, 15, 16}
READERS = ("ours", "node", "fetch")
HEARTBEAT_MS = 200  # below the limits of silence in the mix


@dataclass
class Reading:
    """One stream of bench/flood, read by each of the readers."""

    what: str
    shape: str
    framing: str
    count: int
    bounded: bool = True


@dataclass
class Trouble:
    """A run of bench/trouble_bench, and the lines that it fills."""

    row: int
    mode: str
    count: int
    lines: list
    seeded: bool = False


def readings(quick):
    count = 200_000 if quick else 500_000
    seconds = 1 if quick else 2
    return [
        Reading("tok, at full speed", "tok", "large", count),
        Reading("oai, at full speed", "oai", "large", count),
        Reading("tok, a chunk for each", "tok", "each", count),
        Reading("oai, a chunk for each", "oai", "each", count),
        Reading(
            "tok, 10 000 a second", "tok", "10000", 10_000 * seconds, bounded=False
        ),
    ]


def reading_line(reading):
    line = Line("14", f"CPU µs per event, {reading.what}", None, digits=3)
    if reading.bounded:
        line.must = [at_most(0.7, "node")]
        line.goal = [at_most(0.4, "node")]
    return line


def milliseconds(name):
    return lambda run: run[f"{name}_ms"]


def completed_percent(run):
    return 100 * run["completed"] / run["streams"]


def troubles(quick):
    clients = 50 if quick else 200
    return [
        Trouble(
            15,
            "told",
            200,
            [
                Line(
                    "15",
                    "ms to the first event, back and told so: p50",
                    milliseconds("p50"),
                    [at_most(2500)],
                    [at_most(50)],
                ),
                Line("15", "p99", milliseconds("p99")),
            ],
        ),
        Trouble(
            15,
            "cut",
            clients,
            [
                Line(
                    "15",
                    "ms to the first event, cut, nobody tells: p50",
                    milliseconds("p50"),
                    [at_most(2500)],
                    [at_most(1000)],
                    digits=0,
                ),
                Line("15", "mean", milliseconds("mean"), digits=0),
            ],
        ),
        Trouble(
            15,
            "outage",
            clients,
            [
                Line(
                    "15",
                    "ms to the first event, away 3 s, nobody tells: p50",
                    milliseconds("p50"),
                    [at_most(2500)],
                    digits=0,
                ),
                Line("15", "mean", milliseconds("mean"), digits=0),
            ],
        ),
        Trouble(
            16,
            "mix",
            100 if quick else 1000,
            [
                Line(
                    "16",
                    "% of streams completed, mix of faults",
                    completed_percent,
                    [at_least(99.6)],
                    [at_least(100)],
                    digits=1,
                ),
                Line(
                    "16",
                    "failed connections per stream",
                    lambda run: run["failures"] / run["streams"],
                ),
            ],
            seeded=True,
        ),
    ]


class Relay(Printed):
    """bench/relay; the second line it prints is the port of its control."""

    def __init__(self, program, server_port, seed, cpu):
        super().__init__([program, server_port] + [seed] * (seed > 0), cpu)
        self.control = int(self.process.stdout.readline())


class ClientRows:
    """Measures what `bench` was asked for. `bench` is told what is wrong."""

    def __init__(self, bench, args):
        self.bench = bench
        self.args = args
        self.programs = args.build / "bench"
        self.node = shutil.which("node")
        self.readers = READERS if self.has_peer() else READERS[:1]

    def has_peer(self):
        parser = HERE / "node_modules" / "eventsource-parser"
        if self.node and parser.exists():
            return True
        if 14 in self.args.rows:
            self.bench.notes.append("node: install it, and npm install --prefix bench")
        return False

    def lines(self):
        """(line, values by reader) of every row that was asked for."""
        found = []
        if 14 in self.args.rows:
            for reading in readings(self.args.quick):
                found.append((reading_line(reading), self.read(reading)))
        for trouble in troubles(self.args.quick):
            if trouble.row in self.args.rows:
                found += self.endure(trouble)
        self.bench.progress("")
        return found

    # ---- Row 14

    def read(self, reading):
        values = {reader: [] for reader in self.readers}
        for n in range(self.args.rounds):
            self.bench.progress(
                f"row 14, {reading.what}", f": round {n + 1} of {self.args.rounds}"
            )
            for reader in self.readers:
                values[reader].append(self.read_once(reader, reading))
        return values

    def read_once(self, reader, reading):
        flood = Printed([self.programs / "flood"], self.bench.servers.cpu)
        words = [flood.port, reading.shape, reading.framing, reading.count]
        if reader == "ours":
            command = [self.programs / "client_bench", *words]
        else:
            way = "http" if reader == "node" else reader
            command = [self.node, HERE / "client_peer.mjs", *words, way]
        try:
            run = self.run(reader, 14, command)
        finally:
            flood.stop()
        return run and run["cpu"] / run["events"] * 1e6

    def run(self, name, row, command):
        """What it printed, or None."""
        done = subprocess.run(
            [str(part) for part in command],
            capture_output=True,
            text=True,
            preexec_fn=pin(self.bench.load_cpu),
        )
        if done.returncode != 0:
            self.bench.wrong(name, {row}, done.stderr)
            return None
        if done.stderr:
            self.bench.notes.append(f"row {row}: {done.stderr.strip()}")
        return json.loads(done.stdout)

    # ---- Rows 15 and 16

    def endure(self, trouble):
        self.bench.progress(f"row {trouble.row}, {trouble.mode}")
        run = self.endure_once(trouble)
        return [(line, {"ours": [run and line.value(run)]}) for line in trouble.lines]

    def endure_once(self, trouble):
        seed = self.args.seed if trouble.seeded else 0
        try:
            server = self.bench.servers.start("ours", heartbeat_ms=HEARTBEAT_MS)
        except CannotStart as reason:
            self.bench.wrong("ours", {trouble.row}, str(reason))
            return None
        relay = Relay(
            self.programs / "relay", server.port, seed, self.bench.servers.cpu
        )
        try:
            return self.run(
                "ours",
                trouble.row,
                [
                    self.programs / "trouble_bench",
                    trouble.mode,
                    server.port,
                    relay.port,
                    relay.control,
                    trouble.count,
                ],
            )
        finally:
            relay.stop()
            server.stop()
