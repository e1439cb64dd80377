"""Rows 23 and 24, the Python binding's: one producer in a FastAPI application,
to one reader and to a thousand."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from rows import Line, at_least, at_most
from servers import CannotStart, Printed, pin

HERE = Path(__file__).resolve().parent
BINDING = HERE.parent / "bindings" / "python"
SOURCES = [
    BINDING / "src",
    BINDING / "pyproject.toml",
    BINDING / "CMakeLists.txt",
    BINDING / "build_backend",
    HERE.parent / "libsse",
]
REQUIREMENTS = HERE / "python_requirements.txt"
NAMED = ("fastapi", "sse-starlette", "uvicorn", "uvloop")

ROWS = {23, 24}
PEERS = ("sse-starlette", "fastapi")


@dataclass
class Load:
    """What bench/stream_load is told, and the lines that it fills."""

    row: int
    readers: int
    events: int
    pause_us: int
    lines: list


def deliveries_k_per_second(run):
    return run["deliveries"] / run["seconds"] / 1000


def cpu_us_per_delivery(run):
    return run["cpu"] / run["deliveries"] * 1e6


def for_each_peer(limit, bound):
    return [limit(bound, peer) for peer in PEERS]


def loads(quick):
    share = 4 if quick else 1
    as_cheap = for_each_peer(at_most, 1)
    faster = for_each_peer(at_least, 1.5)
    much_faster = for_each_peer(at_least, 3)
    cheaper = for_each_peer(at_most, round(1 / 1.5, 2))
    much_cheaper = for_each_peer(at_most, round(1 / 3, 2))
    return [
        Load(
            23,
            1,
            20_000 // share,
            0,
            [
                Line(
                    "23",
                    "1000 events/s, 1 → 1, at full speed",
                    deliveries_k_per_second,
                    for_each_peer(at_least, 1),
                    digits=1,
                ),
                Line("23", "CPU µs per event", cpu_us_per_delivery, as_cheap, digits=1),
            ],
        ),
        Load(
            23,
            1,
            400 // share,
            5000,
            [
                Line(
                    "23",
                    "CPU µs per event, 200 a second",
                    cpu_us_per_delivery,
                    as_cheap,
                    digits=0,
                )
            ],
        ),
        Load(
            24,
            1000,
            100 // share,
            0,
            [
                Line(
                    "24",
                    "1000 deliveries/s, 1 → 1000, at full speed",
                    deliveries_k_per_second,
                    faster,
                    much_faster,
                    digits=1,
                ),
                Line(
                    "24",
                    "CPU µs per delivery",
                    cpu_us_per_delivery,
                    cheaper,
                    much_cheaper,
                    digits=1,
                ),
            ],
        ),
        Load(
            24,
            1000,
            20 // share,
            100_000,
            [
                Line(
                    "24",
                    "CPU µs per delivery, 10 events a second",
                    cpu_us_per_delivery,
                    cheaper,
                    much_cheaper,
                    digits=1,
                )
            ],
        ),
    ]


class Venv:
    """DIR/bench/python: the peers, and libsse as a user builds it."""

    def __init__(self, build):
        self.dir = build / "bench" / "python"
        self.python = self.dir / "bin" / "python"

    def make(self):
        """Quick when nothing has changed. Raises CannotStart."""
        mark = self.dir / "made"
        if mark.exists() and mark.stat().st_mtime > newest([REQUIREMENTS, *SOURCES]):
            return
        run([sys.executable, "-m", "venv", self.dir])
        self.pip("-r", REQUIREMENTS)
        self.pip("--force-reinstall", "--no-deps", BINDING)
        mark.touch()

    def pip(self, *what):
        run(
            [
                self.python,
                "-m",
                "pip",
                "install",
                "-q",
                "--disable-pip-version-check",
                *what,
            ]
        )

    def versions(self):
        code = (
            "import platform; from importlib.metadata import version; "
            'print("Python", platform.python_version(), end="")\n'
            f'for n in {NAMED}: print(",", n, version(n), end="")'
        )
        return run([self.python, "-c", code])


def newest(paths):
    files = [
        file
        for path in paths
        for file in ([path] if path.is_file() else path.rglob("*"))
        if file.is_file() and file.suffix != ".pyc"
    ]
    return max(file.stat().st_mtime for file in files)


def run(command):
    """What the program printed."""
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True
    )
    if done.returncode != 0:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise CannotStart(f"{command[0]}: {''.join(last)}")
    return done.stdout


class PythonRows:
    """Measures what `bench` was asked for. `bench` is told what is wrong."""

    def __init__(self, bench, args):
        self.bench = bench
        self.args = args
        self.stream_load = args.build / "bench" / "stream_load"
        self.venv = Venv(args.build)

    def lines(self):
        """(line, values by server) of every row that was asked for."""
        asked = [load for load in loads(self.args.quick) if load.row in self.args.rows]
        if not asked:
            return []
        self.bench.progress("rows 23, 24: pip install")
        try:
            self.venv.make()
            versions = self.venv.versions()
        except CannotStart as reason:
            self.bench.notes.append(f"rows 23, 24: no Python: {reason}")
            return []
        self.bench.notes.append(f"rows 23, 24: {versions}")
        found = [lines for load in asked for lines in self.measure(load)]
        self.bench.progress("")
        return found

    def measure(self, load):
        """All rounds."""
        values = [{name: [] for name in ("ours", *PEERS)} for _ in load.lines]
        for n in range(self.args.rounds):
            self.bench.progress(
                f"row {load.row}, Python", f": round {n + 1} of {self.args.rounds}"
            )
            for name in (*PEERS, "ours"):
                run = self.run(load, name)
                for line, by_server in zip(load.lines, values):
                    by_server[name].append(run and line.value(run))
        return list(zip(load.lines, values))

    def run(self, load, name):
        """What stream_load printed, or None."""
        try:
            server = Printed(
                [self.venv.python, HERE / "python_server.py", name, load.readers],
                self.bench.servers.cpu,
            )
        except CannotStart as reason:
            self.bench.wrong(name, {load.row}, f"did not start: {reason}")
            return None
        told = (server.port, server.pid, load.readers, load.events, load.pause_us)
        try:
            done = subprocess.run(
                [self.stream_load, *map(str, told)],
                capture_output=True,
                text=True,
                preexec_fn=pin(self.bench.load_cpu),
            )
            died = server.died()
        finally:
            server.stop()
        if done.returncode != 0 or died:
            self.bench.wrong(
                name, {load.row}, done.stderr + (f"the server {died}" if died else "")
            )
            return None
        return json.loads(done.stdout)
