"""Streams that are written and read while their store, or a server, fails.

Writers and readers are processes of their own; some streams are written over
HTTP, some by `sse pub`, some by producers with a hub of their own. A trouble
is a function that is called again and again with the run while they are at
work. What comes of it is a Verdict for each kind of stream.
"""

import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nodes import Nodes, wait_for_health
from processes import Script
from producers import Producer
from redis_family import Family, Sentinel, Switch
from redis_server import RedisServer
from store_verdict import Record, Verdict, judge, judge_log
from suite.api import Api
from suite.ports import free_port
from suite.waiting import wait_until
from suite.wire import TIMEOUT_S
from transcripts import Entry, halves, is_gap

Trouble = Callable[["Run"], bool | None]  # False: no more of it

PATIENCE_S = 90  # beyond what writing takes
LATE_S = 7  # what a process may be late


@dataclass(frozen=True)
class Size:
    streams: int = 40  # over HTTP
    pub_streams: int = 2
    producers: int = 2  # each of them with ...
    producer_streams: int = 10
    events: int = 100  # in each stream
    readers: int = 2  # of each stream
    write_s: float = 3  # about
    every_s: float = 0.5  # one trouble


class Run:
    keeps = True  # the store has whatever it has acknowledged

    def __init__(
        self, build_dir: Path, redis: RedisServer, seed: str, size: Size
    ) -> None:
        self.build_dir = build_dir
        self.redis = redis
        self.seed = seed
        self.size = size
        self.random = random.Random(seed)
        self.store_url = redis.url
        self.nodes: Nodes
        self.writes: list[Api] = []
        self.reads: list[Api] = []
        self.actions = 0
        self.producers: list[Producer] = []

    def go(self, trouble: Trouble | None = None) -> dict[str, Verdict]:
        """By what the streams were written."""
        command = [str(self.build_dir / "bin" / "sse-server")]
        with ExitStack() as stack:
            self.nodes = stack.enter_context(Nodes(command, self.store_url))
            self.writes = self.nodes.start_many(1)
            self.reads = [self.nodes.start(port=free_port()) for _ in range(2)]
            writers = stack.enter_context(self.writers())
            self.start_producers(stack)
            readers = stack.enter_context(self.readers())
            stack.enter_context(self.patience([*writers, *readers]))
            self.make_trouble(trouble)
            written = merged(writer.result() for writer in writers)
            results = [reader.result() for reader in readers]
            self.finish_producers()
            written |= self.produced()
            assert sum(result["cuts"] for result in results) > 0
            read = merged(result["events"] for result in results)
            return self.judge(written, read)

    @contextmanager
    def writers(self) -> Iterator[list[Script]]:
        task = {
            "seed": self.seed,
            "writes": [api.base_url for api in self.writes],
            "events": self.size.events,
            "batch": 10,
            "write_s": self.size.write_s,
            "pub": [str(self.build_dir / "bin" / "sse"), "pub"],
        }
        pubs = [f"pub-{n}" for n in range(self.size.pub_streams)]
        https = [f"http-{n}" for n in range(self.size.streams)]
        parts = zip(halves(https), halves(pubs))
        with ExitStack() as stack:
            yield [
                stack.enter_context(
                    Script(
                        "store_writer.py",
                        {**task, "streams": streams, "pub_streams": pub_streams},
                    )
                )
                for streams, pub_streams in parts
            ]

    def start_producers(self, stack: ExitStack) -> None:
        rate = self.size.events / max(self.size.write_s, 0.1)
        for n in range(self.size.producers):
            producer = Producer(
                self.build_dir,
                self.store_url,
                name=f"own-{n}",
                streams=self.size.producer_streams,
                events=self.size.events,
                rate=max(int(rate), 1),
            )
            self.producers.append(stack.enter_context(producer))

    def own_streams(self, number: int) -> list[str]:
        return [f"own-{number}-{n}" for n in range(self.size.producer_streams)]

    @contextmanager
    def readers(self) -> Iterator[list[Script]]:
        task = {
            "seed": self.seed,
            "reads": [api.base_url for api in self.reads],
            "readers": self.size.readers,
            "late_s": self.size.write_s,
            "mean_bytes": 6000,
            "pause_s": 0,
        }
        streams = [f"http-{n}" for n in range(self.size.streams)]
        streams += [f"pub-{n}" for n in range(self.size.pub_streams)]
        for n in range(self.size.producers):
            streams += self.own_streams(n)
        with ExitStack() as stack:
            yield [
                stack.enter_context(
                    Script("store_reader.py", {**task, "streams": part})
                )
                for part in halves(streams)
            ]

    @contextmanager
    def patience(self, scripts: list[Script]) -> Iterator[None]:
        """What takes for ever is ended, and has failed."""

        def end() -> None:
            for script in scripts:
                script.process.kill()

        timer = threading.Timer(self.size.write_s + PATIENCE_S, end)
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def make_trouble(self, trouble: Trouble | None) -> None:
        """Once, and for as long as is written. A store that forgets does so while
        all streams run: nobody could give back the end of one that was over. So
        it forgets early, and there is time left for who is late."""
        if not trouble:
            return
        write_s = self.size.write_s
        until = time.monotonic() + (
            write_s if self.keeps else min(0.6 * write_s, write_s - LATE_S)
        )
        time.sleep(self.size.every_s)
        while True:
            more = trouble(self)
            self.actions += 1
            if more is False or time.monotonic() > until:
                return
            time.sleep(self.size.every_s * self.random.uniform(0.5, 1.5))

    def finish_producers(self) -> None:
        """Not before all has been read: one that goes waits for a store that is
        away, but not for long."""
        for producer in self.producers:
            producer.wait_for_count("end", self.size.producer_streams)
            producer.finish()

    def produced(self) -> dict[str, list[Record]]:
        return {
            stream: producer.records(stream)
            for n, producer in enumerate(self.producers)
            for stream in self.own_streams(n)
        }

    def judge(
        self, written: dict[str, list[Record]], read: dict[str, list[list[Entry]]]
    ) -> dict[str, Verdict]:
        verdicts: dict[str, Verdict] = {}
        for server in self.alive():
            wait_for_health(Api(server.base_url), 200)
        for stream, records in written.items():
            log = self.log_of(stream)
            judge_log(records, log).assert_honest()
            left = [entry for entry in log if not is_gap(entry)]
            verdict = verdicts.setdefault(stream.partition("-")[0], Verdict())
            for transcript in read[stream]:
                verdict.add(judge(records, left, transcript))
        return verdicts

    def log_of(self, stream: str) -> list[Entry]:
        """What is left, on any of the servers."""
        api = Api(self.random.choice([s.base_url for s in self.alive()]))
        return [[e.id, e.type, e.data] for e in api.events(stream)]

    def alive(self) -> list[Any]:
        return [server for server in self.nodes.servers if server.alive()]


def merged(parts: Any) -> dict[str, Any]:
    return {key: value for part in parts for key, value in part.items()}


# ---- Troubles ----------------------------------------------------------------


def cut_subscriptions(run: Run) -> None:
    run.redis.cut("pubsub")


def cut_all(run: Run) -> None:
    run.redis.cut("pubsub")
    run.redis.cut("normal")


def flush_scripts(run: Run) -> None:
    with run.redis.client() as client:
        client.script_flush()


def hang(run: Run) -> None:
    """Longer than a link waits for a reply (2 s): it is cut with commands under
    way, which Redis runs when it goes on."""
    run.redis.pause()
    time.sleep(2.5)
    run.redis.resume()


def sleep(run: Run) -> None:
    with run.redis.client() as client:
        client.execute_command("DEBUG", "SLEEP", "0.5")


def everything(run: Run) -> None:
    """Any of those that lose no data."""
    kinds = [cut_subscriptions, cut_all, flush_scripts, sleep]
    run.random.choice(kinds)(run)


def restart(run: Run) -> None:
    """In order: it keeps all that it has acknowledged."""
    with run.redis.client() as client:
        client.shutdown(save=True)
    run.redis.wait()
    run.redis.start()


def restart_older(run: Run) -> None:
    """A crash: what came since it was saved is gone."""
    with run.redis.client() as client:
        client.save()
    time.sleep(0.3)
    run.redis.kill()
    run.redis.start()


def restart_empty(run: Run) -> None:
    run.redis.restart(with_data=False)


def fill(run: Run) -> None:
    """For two seconds it takes no writes."""
    with run.redis.client() as client:
        client.config_set("maxmemory", "1")
        time.sleep(2)
        client.config_set("maxmemory", "0")


def kill_reader_node(run: Run) -> None:
    """And another takes its place; readers go to the one that is left first."""
    servers = run.nodes.servers
    victim = run.random.randrange(1, len(servers))
    port = servers[victim].port  # a free_port()
    servers[victim].signal(signal.SIGKILL)
    servers[victim].process.wait(TIMEOUT_S)
    run.nodes.start(port=port)
    servers[victim] = servers.pop()


def flush_all(run: Run) -> None:
    with run.redis.client() as client:
        client.flushall()


# ---- Scenarios ---------------------------------------------------------------

Outcome = tuple[int, dict[str, Verdict]]  # how often there was trouble
Scenario = Callable[[Path, str, Size], Outcome]


def with_trouble(trouble: Trouble | None, keeps: bool = True) -> Scenario:
    def play(build_dir: Path, seed: str, size: Size) -> Outcome:
        with RedisServer("--enable-debug-command", "local") as redis:
            run = Run(build_dir, redis, seed, size)
            run.keeps = keeps
            verdicts = run.go(trouble)
        return run.actions, verdicts

    return play


def hand_over(build_dir: Path, seed: str, size: Size) -> Outcome:
    """Master and replica change places, and a switch turns."""
    with Family() as family, Switch(family.master.port) as switch:
        run = Run(build_dir, family.master, seed, size)
        run.store_url = f"redis://127.0.0.1:{switch.port}"

        def trouble(_: Run) -> None:
            family.hand_over()
            switch.turn(family.master)
            wait_until(family.follows)

        verdicts = run.go(trouble)
        return run.actions, verdicts


def lose_master(build_dir: Path, seed: str, size: Size) -> Outcome:
    """A Sentinel promotes the replica, which may lack what came last."""
    with Family() as family, Sentinel(family) as sentinel:
        run = Run(build_dir, family.master, seed, size)
        run.store_url = sentinel.url
        run.keeps = False  # the replica may lack what came last

        def trouble(_: Run) -> bool:
            family.lose_master()
            return False  # there is no second replica

        verdicts = run.go(trouble)
        return run.actions, verdicts


# With each: whether the store keeps what it has acknowledged.
SCENARIOS: dict[str, tuple[Scenario, bool]] = {
    "none": (with_trouble(None), True),
    "CLIENT KILL pubsub": (with_trouble(cut_subscriptions), True),
    "CLIENT KILL pubsub and normal": (with_trouble(cut_all), True),
    "links cut, SCRIPT FLUSH, DEBUG SLEEP": (with_trouble(everything), True),
    "SIGSTOP for 2.5 s": (with_trouble(hang), True),
    "OOM for 2 s": (with_trouble(fill), True),
    "restart in order": (with_trouble(restart), True),
    "kill -9 of a server": (with_trouble(kill_reader_node), True),
    "master hands over to its replica": (hand_over, True),
    "Sentinel, SIGKILL of the master": (lose_master, False),
    "SIGKILL, older data": (with_trouble(restart_older, False), False),
    "SIGKILL, no data": (with_trouble(restart_empty, False), False),
    "FLUSHALL": (with_trouble(flush_all, False), False),
}
