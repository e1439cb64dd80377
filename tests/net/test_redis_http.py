"""The suite that all servers share, run against sse-server on a Redis.

What it holds otherwise there:

* the numbers of an id that is used again go on, so that no two events of it
  ever have the same;
* a list in Redis is bounded by the count of events, not by their bytes;
* streams of one millisecond are listed in any order, as several servers make
  them.
"""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from redis_fixtures import redis_server  # noqa: F401
from redis_server import RedisServer
from servers import own_servers, shared_servers
from suite.api import Api, fresh_id
from suite.append import (  # noqa: F401
    TestAppendBody,
    TestAppendData,
    TestAppendNumbers,
    TestAppendType,
)
from suite.checks import assert_gap
from suite.create import TestCreate as CreateInMemory
from suite.cursors import TestCursor, told  # noqa: F401
from suite.cursors import TestDiverged as DivergedInMemory
from suite.cursors import TestGap as GapInMemory
from suite.ending import TestDelete, TestEnd, TestStop  # noqa: F401
from suite.fixtures import Serve
from suite.http_rules import (  # noqa: F401
    TestConnection,
    TestCors,
    TestMethods,
    TestRequestBody,
)
from suite.observe import TestHealth, TestMetrics  # noqa: F401
from suite.recover import TestList as ListInMemory
from suite.recover import TestPoll, TestRecover  # noqa: F401
from suite.sse_reader import seq_of
from suite.subscribe import TestHeartbeat, TestSubscribe  # noqa: F401
from suite.waiting import wait_until

pytestmark = pytest.mark.asan


@pytest.fixture(scope="module")
def on_redis(command: list[str], redis_server: RedisServer) -> list[str]:  # noqa: F811
    return [*command, "--store", redis_server.url]


@pytest.fixture(scope="module")
def serve(on_redis: list[str]) -> Iterator[Serve]:
    yield from shared_servers(on_redis)


@pytest.fixture
def own_server(on_redis: list[str]) -> Iterator[Serve]:
    yield from own_servers(on_redis)


def numbers(ids: list[str | None]) -> list[int]:
    return [seq_of(event_id or "") for event_id in ids]


class TestCreate(CreateInMemory):
    @pytest.mark.parametrize("verb", ["complete", "fail", "stop"])
    def test_the_id_of_an_ended_stream_starts_anew(self, api: Api, verb: str) -> None:
        stream = api.new_stream()
        api.append_many(stream, ["old one", "old two"])
        api.end(stream, verb)
        assert numbers([event.id for event in api.events(stream)]) == [1, 2, 3]
        assert api.create(streamId=stream).status == 201
        new = [api.append(stream, "new"), api.complete(stream)]
        assert numbers(new) == [4, 5]
        gap, *events = api.events(stream)
        assert_gap(gap, 1, 3, "trimmed")
        assert [event.id for event in events] == new

    def test_the_id_of_a_deleted_stream_starts_anew(self, api: Api) -> None:
        stream = api.new_stream()
        api.append(stream, "old")
        assert api.delete(stream).status == 204
        assert api.create(streamId=stream).status == 201
        assert numbers([api.append(stream, "new")]) == [2]


class TestDiverged(DivergedInMemory):
    """Numbers go on, so that what is gone is known exactly."""

    def test_a_stream_that_was_created_again(self, api: Api) -> None:
        stream = api.new_stream()
        old = [*api.append_many(stream, ["old"] * 5), api.complete(stream)]
        api.new_stream(streamId=stream)
        new = api.append_many(stream, ["new"] * 3)
        for seq, cursor in enumerate(old, 1):
            with api.subscribe(stream, cursor=cursor) as reader:
                if seq < len(old):
                    assert_gap(reader.event(), seq + 1, len(old), "trimmed")
                assert [event.id for event in reader.take(3)] == new

    def test_a_stream_that_was_created_again_and_has_no_events(self, api: Api) -> None:
        stream = api.new_stream()
        old = api.append(stream, "old")
        api.complete(stream)
        api.new_stream(streamId=stream)
        with api.subscribe(stream, cursor=old) as reader:
            reader.retry()
            new = api.append(stream, "new")
            assert_gap(reader.event(), 2, 2, "trimmed")
            assert reader.event().id == new


class TestNextLife:
    def test_an_id_is_free_for_who_has_ended_its_stream(self, api: Api) -> None:
        """At once, however much there is to do."""

        def live(stream: str) -> None:
            for _ in range(20):
                api.new_stream(streamId=stream)
                api.append(stream, "x")
                api.complete(stream)

        with ThreadPoolExecutor(6) as threads:
            list(threads.map(live, [fresh_id() for _ in range(60)]))


class TestAnswers:
    @pytest.mark.parametrize("_", range(8))
    def test_one_that_comes_while_the_readers_are_served(
        self, api: Api, _: int
    ) -> None:
        """Redis is as fast as a server that ends so many responses."""
        stream = api.new_stream()
        with ExitStack() as stack:
            readers = [stack.enter_context(api.subscribe(stream)) for _ in range(200)]
            for reader in readers:
                reader.retry()
            assert api.delete(stream).status == 204
            assert [reader.rest() for reader in readers] == [[]] * len(readers)


class TestGap(GapInMemory):
    def test_a_log_bounded_by_bytes(self, narrow: Api) -> None:
        """Not in Redis."""
        stream = narrow.new_stream()
        ids = [narrow.append(stream, "x" * 300) for _ in range(50)]
        ids.append(narrow.complete(stream))
        assert [event.id for event in narrow.events(stream)] == ids


class TestList(ListInMemory):
    def test_the_state(self, api: Api) -> None:
        user = fresh_id()
        states = {}
        for verb, state in (("complete", "completed"), ("fail", "failed")):
            stream = api.new_stream(userId=user)
            api.end(stream, verb)
            states[stream] = state
        listed = api.streams_of(user).json()["streams"]
        assert {entry["streamId"]: entry["state"] for entry in listed} == states

    def test_newest_first(self, api: Api) -> None:
        user = fresh_id()
        streams = []
        for _ in range(8):
            streams.append(api.new_stream(userId=user))
            made_ms = time.time_ns() // 1_000_000  # or before
            wait_until(lambda: time.time_ns() // 1_000_000 > made_ms)
        listed = api.streams_of(user).json()["streams"]
        assert [entry["streamId"] for entry in listed] == streams[::-1]
