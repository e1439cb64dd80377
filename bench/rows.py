"""What is measured: each experiment, and the lines of the table it fills."""

from dataclasses import dataclass, field

STALLED_LOG_BYTES = 256 << 10
STALLED_SLACK_KIB = 1024


@dataclass
class Limit:
    """A bound on a ratio to a peer, or on our own value where `to` is ''."""

    bound: float
    to: str = ""
    least: bool = False  # the value must reach it, not stay below it

    def __str__(self):
        sign = "≥" if self.least else "≤"
        unit = f"x {self.to}" if self.to else ""
        return f"{sign} {self.bound:g}{unit}"


@dataclass
class Line:
    """One line of the table. `value` turns what bench/load printed (a list,
    one dictionary for each of the experiment's runs) into a number."""

    row: str
    what: str
    value: callable
    must: list = field(default_factory=list)
    goal: list = field(default_factory=list)
    digits: int = 2


@dataclass
class Experiment:
    rows: set
    runs: list  # options of bench/load; one server for each
    lines: list
    servers: tuple = ("raw", "nchan", "ours")
    server_options: dict = field(default_factory=dict)


def at_most(bound, to=""):
    return Limit(bound, to)


def at_least(bound, to=""):
    return Limit(bound, to, least=True)


def cpu_us_per_delivery(runs):
    return runs[0]["cpu"] / runs[0]["deliveries"] * 1e6


def cpu_us_per_connection(name):
    return lambda runs: runs[0][name] / runs[0]["opened"] * 1e6


def deliveries_k_per_second(runs):
    return runs[0]["deliveries"] / runs[0]["seconds"] / 1000


def idle_kib_per_reader(runs):
    return (runs[0]["pss_idle_kib"] - runs[0]["pss_before_kib"]) / 10000


def stalled_share(runs):
    """Deliveries a second beside stalled readers, in parts of the rate with
    none: 1 when what the stalled ones do not take goes to the others."""
    return deliveries_k_per_second(runs[1:]) / deliveries_k_per_second(runs)


def stalled_growth_mib(runs):
    return (runs[1]["pss_after_kib"] - runs[1]["pss_idle_kib"]) / 1024


def experiments(quick):
    """The whole list; `quick` measures for less time."""
    t = 0.4 if quick else 1.0
    cuts_seconds = 2.5 if quick else 3
    stalled = {"publishers": 8, "prefill": 512, "seconds": t}
    return [
        Experiment(
            {1},
            [{"seconds": t}],
            [
                Line(
                    "1",
                    "CPU µs per delivery, 1 → 1000, W=1",
                    cpu_us_per_delivery,
                    [at_most(1.35, "raw"), at_most(0.80, "nchan")],
                    [at_most(1.10, "raw")],
                )
            ],
        ),
        Experiment(
            {2},
            [{"publishers": 8, "seconds": t}],
            [
                Line(
                    "2",
                    "1000 deliveries/s, 1 → 1000, W=8",
                    deliveries_k_per_second,
                    [at_least(1.25, "nchan")],
                    [at_least(1.5, "nchan")],
                    digits=0,
                )
            ],
        ),
        Experiment(
            {3},
            [{"mode": "burst", "publishers": 16, "seconds": t}],
            [
                Line(
                    "3",
                    "1000 deliveries/s, burst of 16 publishers",
                    deliveries_k_per_second,
                    [at_least(3, "nchan")],
                    [at_least(10, "nchan")],
                    digits=0,
                )
            ],
            server_options={"join": True},
        ),
        Experiment(
            {4},
            [{"mode": "paced", "rate": 20, "seconds": 3 * t}],
            [
                Line(
                    "4",
                    "p50 ms at 20 events/s, 1 → 1000",
                    lambda runs: runs[0]["p50_ms"],
                    [at_most(1.3, "raw")],
                    [at_most(1.15, "raw")],
                ),
                Line(
                    "4",
                    "p99 ms",
                    lambda runs: runs[0]["p99_ms"],
                    [at_most(1.4, "raw")],
                    [at_most(1.15, "raw")],
                ),
            ],
        ),
        Experiment(
            {5, 6},
            [{"readers": 10000, "publishers": 4, "seconds": t}],
            [
                Line(
                    "5",
                    "1000 deliveries/s, 1 → 10 000, W=4",
                    deliveries_k_per_second,
                    [at_least(1.1, "nchan")],
                    [at_least(1.3, "nchan")],
                    digits=0,
                ),
                Line(
                    "5",
                    "CPU µs per delivery",
                    cpu_us_per_delivery,
                    [at_most(1.4, "raw")],
                    [at_most(1.2, "raw")],
                ),
                Line(
                    "6",
                    "KiB (Pss) per idle connection, of 10 000",
                    idle_kib_per_reader,
                    [at_most(1.5)],
                    [at_most(0.6)],
                ),
            ],
        ),
        Experiment(
            {7},
            [{"mode": "connect", "readers": 4000}],
            [
                Line(
                    "7",
                    "CPU µs from GET to 200",
                    cpu_us_per_connection("cpu"),
                    [at_most(1.0, "nchan")],
                    [at_most(0.6, "nchan")],
                ),
                Line(
                    "7",
                    "CPU µs to accept, before that",
                    cpu_us_per_connection("open_cpu"),
                ),
            ],
        ),
        Experiment(
            {8},
            [stalled, {**stalled, "stalled": 10}],
            [
                Line(
                    "8",
                    "10 % stalled: share of the even rate, W=8",
                    stalled_share,
                    [at_least(0.92)],
                    [at_least(0.97)],
                    digits=3,
                ),
                Line(
                    "8",
                    "MiB it grows, log of 0.25 MiB",
                    stalled_growth_mib,
                    [at_most((STALLED_LOG_BYTES / 1024 + STALLED_SLACK_KIB) / 1024)],
                ),
            ],
            servers=("nchan", "ours"),
            server_options={"log_bytes": STALLED_LOG_BYTES},
        ),
        Experiment(
            {9},
            [{"mode": "reconnect", "cuts": 11000, "rate": 20, "seconds": cuts_seconds}],
            [
                Line(
                    "9",
                    "CPU s, 1000 readers, 11 000 reconnects",
                    lambda runs: runs[0]["cpu"],
                    [at_most(1.0, "nchan")],
                    [at_most(0.8, "nchan")],
                )
            ],
        ),
        Experiment(
            {10},
            [{"mode": "burst", "streams": 1000, "publishers": 16, "seconds": t}],
            [
                Line(
                    "10",
                    "1000 deliveries/s, 1000 streams of 1 reader",
                    deliveries_k_per_second,
                    [at_least(1.25, "nchan")],
                    [at_least(3, "nchan")],
                    digits=1,
                )
            ],
        ),
    ]
