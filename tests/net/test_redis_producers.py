"""Programs that produce, die, hang and come back; guardians that settle what
they leave behind; readers on servers that see it all."""

import itertools
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from nodes import Nodes
from producers import Producer
from redis_server import RedisServer
from suite.api import PREFIX, TEXT, Api, Reader, fresh_id
from suite.checks import assert_error
from suite.sse_reader import Event
from suite.waiting import wait_until

LEASE_MS = 3000  # programs that live may be slow
SWEEP_MS = 200
STOP_REQUESTED, REMOVED, ENDED = 4, 3, -7
NOT_FOUND = -5

Start = Callable[..., Producer]


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def store(redis: RedisServer) -> str:
    """No other test's orphans are seen there."""
    return f"{redis.url}?prefix={fresh_id()}:"


@pytest.fixture
def nodes(command: list[str], store: str) -> Iterator[Nodes]:
    with Nodes(command, store) as nodes:
        yield nodes


@pytest.fixture
def start(build_dir: Path, store: str) -> Iterator[Start]:
    """Starts producers, each with a name of its own."""
    names = itertools.count()
    with ExitStack() as stack:

        def one(**options: Any) -> Producer:
            options = {
                "name": f"p{next(names)}",
                "lease_ms": LEASE_MS,
                "sweep_ms": SWEEP_MS,
                **options,
            }
            return stack.enter_context(Producer(build_dir, store, **options))

        yield one


def told_of(events: list[Event]) -> list[tuple[str | None, str]]:
    return [(event.id, event.data) for event in events]


def written(producer: Producer, stream: str) -> list[tuple[str, str]]:
    """To its end, which readers may have heard of before it was told."""
    producer.wait_for(lambda: producer.all("end", stream), "the end")
    return [
        (told["id"], told["data"])
        for told in producer.told
        if told["stream"] == stream and told["what"] in ("event", "end")
    ]


@pytest.mark.asan
def test_servers_serve_what_it_produces(nodes: Nodes, start: Start) -> None:
    api = nodes.start()
    producer = start(streams=20, events=50, rate=100, user="u")
    producer.wait_for_count("created", 20)
    streams = [f"p0-{n}" for n in range(20)]
    readers = [api.subscribe(stream) for stream in streams]
    listed = api.streams_of("u").json()["streams"]
    assert {entry["streamId"] for entry in listed} == set(streams)
    for stream, reader in zip(streams, readers):
        events = reader.rest()
        assert len(events) == 51
        assert told_of(events) == written(producer, stream)
        reader.connection.close()


class TestStop:
    @pytest.mark.asan
    def test_it_hears_of_it(self, nodes: Nodes, start: Start) -> None:
        api = nodes.start()
        producer = start(streams=3)
        producer.wait_for_count("event", 6)
        with api.subscribe("p0-1") as reader:
            assert_error(api.post_event("p0-1", [TEXT], b"x"), 409, "exists")
            assert api.stop("p0-1").status == 202
            events = reader.rest()
        (stop,) = producer.wait_for_count("stop", 1)
        assert (stop["stream"], stop["reason"]) == ("p0-1", STOP_REQUESTED)
        assert events[-1].type == "cancelled"
        assert events[-1].data == '{"by":"producer"}'
        assert told_of(events) == written(producer, "p0-1")
        producer.wait_for(lambda: len(producer.all("event", "p0-2")) > 5)
        assert api.recover("p0-2").json()["status"] == "active"

    def test_it_does_not_listen(self, nodes: Nodes, start: Start) -> None:
        """Its hub ends the stream in its place."""
        api = nodes.start()
        producer = start(ignore_stops=1, grace_ms=300)
        producer.wait_for_count("event", 2)
        with api.subscribe("p0-0") as reader:
            assert api.stop("p0-0").status == 202
            last = reader.rest()[-1]
        assert (last.type, last.data) == ("cancelled", '{"reason":"stop"}')
        (error,) = producer.wait_for_count("error", 1)
        assert error["rc"] == ENDED

    def test_it_is_removed(self, nodes: Nodes, start: Start) -> None:
        api = nodes.start()
        producer = start()
        producer.wait_for_count("event", 2)
        with api.subscribe("p0-0") as reader:
            reader.take(2)
            assert api.delete("p0-0").status == 204
            reader.rest()
        (stop,) = producer.wait_for_count("stop", 1)
        assert stop["reason"] == REMOVED
        (error,) = producer.wait_for_count("error", 1)
        assert error["rc"] == NOT_FOUND
        assert api.recover("p0-0").status == 404


class TestOrphans:
    def kill(
        self, start: Start, api: Api, streams: int, killed: int, **options: Any
    ) -> tuple[list[Producer], list[str], dict[str, Reader]]:
        """Eight programs, of which some are killed: those that live, the
        streams of the dead, and a reader of each stream."""
        producers = [
            start(streams=streams // 8, rate=5, name=f"p{n}", **options)
            for n in range(8)
        ]
        for producer in producers:
            producer.wait_for_count("event", streams // 8 * 2)
        names = [f"p{p}-{n}" for p in range(8) for n in range(streams // 8)]
        readers = {name: api.subscribe(name) for name in names}
        for reader in readers.values():
            reader.take(2)
        dead = killed * 8 // streams
        for producer in producers[:dead]:
            producer.kill()
        return producers[dead:], names[:killed], readers

    def test_each_is_settled_once(self, nodes: Nodes, start: Start) -> None:
        """50 of 200, by three hubs at once. Nobody is asked: they have failed."""
        api = nodes.start()
        living, orphans, readers = self.kill(start, api, 200, 50)
        guardians = [start(streams=0) for _ in range(3)]
        for stream in orphans:
            last = readers[stream].rest()[-1]
            assert (last.type, last.data) == ("failed", '{"reason":"producer lost"}')
            assert api.recover(stream).json()["status"] == "failed"
        self.assert_alive(api, living, readers, orphans)
        for program in [*living, *guardians]:
            program.finish()
        settled = [
            program.metric("sse_guardian_settled_total")
            for program in [*living, *guardians]
        ]
        assert sum(settled) == 50, settled

    def assert_alive(
        self,
        api: Api,
        living: list[Producer],
        readers: dict[str, Reader],
        orphans: list[str],
    ) -> None:
        """The others' streams go on."""
        for producer in living:
            assert not producer.all("error") and not producer.all("stop")
        for stream in set(readers) - set(orphans):
            assert api.recover(stream).json()["status"] == "active"
            assert readers[stream].event().type == "message"

    def wait_for_guardian(self, store: str, redis: RedisServer) -> None:
        """Until all hubs can see that there is one who wants to be asked."""
        key = store.partition("?prefix=")[2] + "guardian"
        with redis.client() as client:
            wait_until(lambda: client.exists(key), "there is no guardian")

    def test_an_application_knows_better(
        self, nodes: Nodes, start: Start, store: str, redis: RedisServer
    ) -> None:
        """Three guardians ask theirs: the jobs were done."""
        api = nodes.start()
        guardians = [
            start(streams=0, judge="completed", name=f"g{n}") for n in range(3)
        ]
        self.wait_for_guardian(store, redis)
        _, orphans, readers = self.kill(start, api, 40, 10)
        by: Counter[str] = Counter()
        for stream in orphans:
            last = readers[stream].rest()[-1]
            assert last.type == "completed"
            by[last.data] += 1
            body = api.recover(stream).json()
            assert body["status"] == "completed"
            assert body["terminalEventData"]["by"] in ("g0", "g1", "g2")
        for guardian in guardians:
            guardian.finish()
        told = [told for guardian in guardians for told in guardian.all("orphan")]
        assert Counter(t["stream"] for t in told if t["rc"] == 0) == Counter(orphans)
        for guardian, name in zip(guardians, ("g0", "g1", "g2")):
            done = [told for told in guardian.all("orphan") if told["rc"] == 0]
            assert len(done) == by[f'{{"by":"{name}"}}']

    def test_a_job_that_still_runs(
        self, nodes: Nodes, start: Start, store: str, redis: RedisServer
    ) -> None:
        """It is asked about again, and nobody else settles it."""
        api = nodes.start(heartbeat_ms=600_000)
        quick = {"lease_ms": LEASE_MS // 2}
        guardian = start(streams=0, judge="active", name="g", **quick)
        self.wait_for_guardian(store, redis)
        _, (orphan,), readers = self.kill(start, api, 8, 1, **quick)
        guardian.wait_for_count("orphan", 2)
        assert {told["stream"] for told in guardian.all("orphan")} == {orphan}
        listed = nodes.start().ask("GET", PREFIX).json()["streams"]
        states = {entry["streamId"]: entry["state"] for entry in listed}
        assert [name for name in states if states[name] == "orphaned"] == [orphan]
        assert not readers[orphan].connection.readable(0)
        guardian.finish()
        start(streams=0, judge="failed", name="h", **quick)
        assert readers[orphan].rest()[-1].data == '{"by":"h"}'

    def test_a_new_producer_takes_over(self, nodes: Nodes, start: Start) -> None:
        """Not while the old one's end is open, but at once behind it."""
        api = nodes.start()
        old = start(name="job", rate=20)
        old.wait_for_count("event", 5)
        refused = start(name="job")
        (error,) = refused.wait_for_count("error", 1)
        assert error["rc"] == -6  # it is active
        with api.subscribe("job-0") as reader:
            reader.take(5)
            old.kill()
            start(streams=0)
            last = reader.rest()[-1]
        assert last.type == "failed"
        new = start(name="job", events=5)
        new.wait_for_count("end", 1)
        new.finish()
        events = api.events("job-0", cursor=last.id)
        assert told_of(events) == written(new, "job-0")


class TestFence:
    def test_it_wakes_up_too_late(self, nodes: Nodes, start: Start) -> None:
        """Nothing that it writes then reaches anybody, and it is told."""
        api = nodes.start()
        sleeper = start(rate=50, name="s")
        sleeper.wait_for_count("event", 10)
        with api.subscribe("s-0") as reader:
            reader.take(10)
            sleeper.signal(signal.SIGSTOP)
            start(streams=0)
            events = reader.rest()
        assert events[-1].type == "failed"
        sleeper.signal(signal.SIGCONT)
        (error,) = sleeper.wait_for_count("error", 1)
        assert error["rc"] in (ENDED, NOT_FOUND)
        assert api.events("s-0")[10:] == events

    def test_it_wakes_up_in_time(self, nodes: Nodes, start: Start) -> None:
        """Nobody looked for orphans: it goes on, and nothing is missing."""
        api = nodes.start()
        sleeper = start(rate=50, events=100, name="s")
        sleeper.wait_for_count("event", 10)
        with api.subscribe("s-0") as reader:
            reader.take(10)
            sleeper.signal(signal.SIGSTOP)
            while reader.connection.readable(0.2):
                reader.take(1)
            sleeper.signal(signal.SIGCONT)
            reader.rest()
        sleeper.wait_for_count("end", 1)
        assert told_of(api.events("s-0")) == written(sleeper, "s-0")
