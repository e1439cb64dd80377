"""Two servers on one Redis: each reads, writes and ends the other's streams."""

import json
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from nodes import Nodes, wait_for_health
from redis_fixtures import redis_server  # noqa: F401
from redis_server import RedisServer
from suite.api import JSON, PREFIX, TEXT, Api, fresh_id, path_of
from suite.checks import assert_error, assert_gap, gap_of
from suite.ports import free_port
from suite.sse_reader import Event
from suite.waiting import wait_until
from suite.wire import Connection, Response

HEARTBEAT_MS = 200
TRICKY = ["a\nb\r\nc\rd", "", " x ", "caf\u00e9 \U0001f600 \u2028", "\0", '"\\']

Entry = tuple[str | None, str, str]


@dataclass(frozen=True)
class Pair:
    a: Api
    b: Api

    def both_read(self, stream: str) -> list[Event]:
        """An ended stream, which is the same on both."""
        events = self.a.events(stream)
        assert self.b.events(stream) == events
        return events


@pytest.fixture(scope="module")
def nodes(
    command: list[str],
    redis_server: RedisServer,  # noqa: F811
) -> Iterator[Nodes]:
    with Nodes(command, redis_server.url) as nodes:
        yield nodes


@pytest.fixture(scope="module")
def pair(nodes: Nodes) -> Pair:
    return Pair(nodes.start(), nodes.start(heartbeat_ms=HEARTBEAT_MS))


@pytest.fixture(scope="module")
def forgetful_pair(nodes: Nodes) -> Pair:
    """They keep ten events of a stream."""
    return Pair(nodes.start(log_events=10), nodes.start(log_events=10))


def ids_of(events: list[Event]) -> list[str | None]:
    return [event.id for event in events]


def entries_of(events: list[Event]) -> list[Entry]:
    return [(event.id, event.type, event.data) for event in events]


@pytest.mark.asan
class TestReading:
    def test_from_the_start_and_live(self, pair: Pair) -> None:
        stream = pair.a.new_stream()
        ids = pair.a.append_many(stream, ["a", "b", "c"])
        with pair.b.subscribe(stream) as reader:
            assert ids_of(reader.take(3)) == ids
            for n in range(20):
                event_id = pair.a.append(stream, f"live {n}", "token")
                (event,) = reader.take(1)
                assert (event.id, event.type) == (event_id, "token")
                assert event.data == f"live {n}"
            last = pair.a.complete(stream)
            assert ids_of(reader.rest()) == [last]
        assert len(pair.both_read(stream)) == 24

    def test_a_reader_who_was_there_first(self, pair: Pair) -> None:
        stream = pair.a.new_stream()
        with pair.b.subscribe(stream) as reader:
            reader.retry()
            ids = [pair.a.append(stream, "x"), pair.a.complete(stream)]
            assert ids_of(reader.rest()) == ids

    @pytest.mark.parametrize("after", range(6))
    def test_after_an_event(self, pair: Pair, after: int) -> None:
        stream = pair.a.new_stream()
        ids = pair.a.append_many(stream, list("abcde"))
        cursor = ids[after - 1] if after else "0"
        with pair.b.subscribe(stream, cursor=cursor) as reader:
            assert ids_of(reader.take(5 - after)) == ids[after:]
            last = pair.a.complete(stream)
            assert ids_of(reader.rest()) == [last]

    def test_only_what_is_new(self, pair: Pair) -> None:
        stream = pair.a.new_stream()
        pair.a.append_many(stream, ["old", "older"])
        with pair.b.subscribe(stream, cursor="$") as reader:
            reader.retry()
            event_id = pair.a.append(stream, "new")
            assert reader.event().id == event_id

    def test_what_was_said_before_anybody_read(self, pair: Pair) -> None:
        """Readers further and further back, on a node that begins at the end."""
        stream = pair.a.new_stream()
        ids = pair.a.append_many(stream, [f"{n}" for n in range(2000)])
        for after in (1999, 1500, 700, 0):
            cursor = ids[after - 1] if after else None
            with pair.b.subscribe(stream, cursor=cursor) as reader:
                assert ids_of(reader.take(2000 - after)) == ids[after:]

    def test_after_the_end(self, pair: Pair) -> None:
        stream = pair.a.new_stream()
        ids = [pair.a.append(stream, "x"), pair.a.complete(stream)]
        assert ids_of(pair.b.events(stream)) == ids
        assert ids_of(pair.b.events(stream, cursor=ids[0])) == ids[1:]
        for cursor in (ids[1], "$"):
            response = pair.b.ask("GET", path_of(stream), [("Last-Event-ID", cursor)])
            assert response.status == 204

    def test_every_kind_of_data(self, pair: Pair) -> None:
        stream = pair.a.new_stream()
        for n, data in enumerate(TRICKY):
            pair.a.append(stream, data, "" if n % 2 else "step \u03b1")
        pair.a.append_json(stream, '{"data":{"n" : 1.0, "big":12345678901234567890}}')
        pair.a.end(stream, "fail", [JSON], b'{"type":"oops","data":[1.0 , 2]}')
        events = pair.both_read(stream)
        assert [event.data for event in events[-2:]] == [
            '{"n" : 1.0, "big":12345678901234567890}',
            "[1.0 , 2]",
        ]
        assert pair.a.recover(stream).body == pair.b.recover(stream).body

    def test_the_next_life_begins_on_the_other(self, pair: Pair) -> None:
        """Though the message of the end is on its way to there."""
        stream, here, there = fresh_id(), pair.a, pair.b
        for _ in range(100):
            here.new_stream(streamId=stream)
            with there.subscribe(stream) as reader:
                reader.retry()
                here.complete(stream)
            here, there = there, here
        here.new_stream(streamId=stream)
        assert there.create(streamId=stream).status == 409

    def test_two_on_each_node(self, pair: Pair) -> None:
        stream = pair.a.new_stream()
        readers = [api.subscribe(stream) for api in (pair.a, pair.a, pair.b, pair.b)]
        for reader in readers:
            reader.retry()
        ids = pair.b.append_many(stream, ["x"] * 500)
        ids.append(pair.a.complete(stream))
        for reader in readers:
            assert ids_of(reader.rest()) == ids
            reader.connection.close()

    def test_heartbeat(self, pair: Pair) -> None:
        stream = pair.a.new_stream()
        event_id = pair.a.append(stream, "x")
        with pair.b.subscribe(stream) as reader:
            assert reader.event().id == event_id
            assert [reader.comment().text for _ in range(3)] == [" heartbeat"] * 3
            event_id = pair.a.append(stream, "y")
            assert reader.event().id == event_id

    def test_unknown(self, pair: Pair) -> None:
        for api in (pair.a, pair.b):
            assert_error(api.ask("GET", path_of(fresh_id())), 404, "not_found")


@pytest.mark.asan
class TestWriting:
    def test_append_on_the_other(self, pair: Pair) -> None:
        stream = pair.a.new_stream()
        with pair.a.subscribe(stream) as here, pair.b.subscribe(stream) as there:
            ids = [
                api.append(stream, f"{n}")
                for n in range(20)
                for api in (pair.b, pair.a)
            ]
            assert ids_of(here.take(40)) == ids
            assert ids_of(there.take(40)) == ids
        assert [int(text.split("-")[0]) for text in ids] == list(range(1, 41))

    @pytest.mark.parametrize("verb", ["complete", "fail"])
    def test_end_on_the_other(self, pair: Pair, verb: str) -> None:
        stream = pair.a.new_stream()
        ids = [pair.a.append(stream, "x")]
        with pair.a.subscribe(stream) as reader:
            reader.take(1)
            answer = pair.b.end(stream, verb, [TEXT], b"bye").json()
            assert answer["state"] == verb.rstrip("e") + "ed"
            (last,) = reader.rest()
        assert (last.id, last.data) == (answer["id"], "bye")
        assert ids_of(pair.both_read(stream)) == [*ids, last.id]
        for api in (pair.a, pair.b):
            assert_error(api.post_event(stream, [TEXT], b"late"), 409, "ended")
            assert_error(api.end(stream), 409, "ended")

    def test_an_active_id_is_taken(self, pair: Pair) -> None:
        stream = pair.a.new_stream()
        for api in (pair.b, pair.a):
            assert_error(api.create(streamId=stream), 409, "exists")
        pair.a.complete(stream)
        assert pair.b.create(streamId=stream).status == 201

    def test_an_id_again(self, pair: Pair) -> None:
        """Readers of before learn that it is another run of it."""
        stream = pair.a.new_stream()
        old = [*pair.a.append_many(stream, ["1", "2", "3"]), pair.a.complete(stream)]
        assert ids_of(pair.both_read(stream)) == old
        pair.b.new_stream(streamId=stream)
        new = [pair.b.append(stream, "new"), pair.b.complete(stream)]
        assert not set(new) & set(old)
        for api in (pair.a, pair.b):
            assert ids_of(api.events(stream))[-2:] == new
            gap, *events = api.events(stream, cursor=old[1])
            assert gap_of(gap)
            assert ids_of(events) == new

    def test_stop_on_the_other(self, pair: Pair) -> None:
        stream = pair.a.new_stream()
        pair.a.append(stream, "x")
        with pair.a.subscribe(stream) as reader:
            reader.take(1)
            assert pair.b.stop(stream).status == 202
            (last,) = reader.rest()
        assert (last.type, last.data) == ("cancelled", '{"reason":"stop"}')
        assert_error(pair.a.post_event(stream, [TEXT], b"late"), 409, "ended")
        for api in (pair.a, pair.b):
            assert api.recover(stream).json()["status"] == "cancelled"

    def test_stop_reaches_a_producer(self, pair: Pair) -> None:
        """One that runs within the other server."""
        response = pair.a.ask("POST", "/demo/start", [JSON], b'{"rate":200}')
        stream = response.json()["streamId"]
        with pair.a.subscribe(stream) as here, pair.b.subscribe(stream) as there:
            assert entries_of(here.take(50)) == entries_of(there.take(50))
            assert_error(pair.b.post_event(stream, [TEXT], b"x"), 409, "exists")
            assert pair.b.stop(stream).status == 202
            rest = entries_of(here.rest())
            assert entries_of(there.rest()) == rest
        assert rest[-1][1:] == ("cancelled", '{"reason":"stop"}')
        pair.both_read(stream)

    def test_delete_on_the_other(self, pair: Pair) -> None:
        stream = pair.a.new_stream(userId=fresh_id())
        pair.a.append(stream, "x")
        with pair.a.subscribe(stream) as reader:
            reader.take(1)
            assert pair.b.delete(stream).status == 204
            assert reader.rest() == []
        for api in (pair.a, pair.b):
            assert api.recover(stream).status == 404
            assert api.post_event(stream, [TEXT], b"x").status == 404
            assert api.delete(stream).status == 404

    def test_the_creator_dies(self, nodes: Nodes, pair: Pair) -> None:
        api = nodes.start()
        stream = api.new_stream()
        ids = [api.append(stream, "a"), pair.b.append(stream, "b")]
        nodes.servers[-1].kill()
        ids += [pair.b.append(stream, "c"), pair.a.complete(stream)]
        assert ids_of(pair.both_read(stream)) == ids


@pytest.mark.asan
class TestAsking:
    def test_recover(self, pair: Pair) -> None:
        stream = pair.a.new_stream(
            userId="u", streamType="chat", metadata={"a": [1.0, None]}
        )
        ids = pair.a.append_many(stream, ["a", "b", "c"])
        here, there = pair.a.recover(stream), pair.b.recover(stream)
        assert there.body == here.body
        assert [event["id"] for event in there.json()["events"]] == ids
        assert (there.json()["streamType"], there.json()["userId"]) == ("chat", "u")
        body = pair.b.recover(stream, f"?after={ids[1]}").json()
        assert [event["id"] for event in body["events"]] == ids[2:]
        pair.a.end(stream, "complete", [JSON], b'{"data":{"n" : 1.0}}')
        there = pair.b.recover(stream)
        assert pair.a.recover(stream).body == there.body
        assert b'"terminalEventData":{"n" : 1.0}' in there.body
        assert there.json()["status"] == "completed"

    def test_list(self, pair: Pair) -> None:
        user = fresh_id() + " \u03b1"
        streams = [
            api.new_stream(userId=user, streamType="chat", metadata={"a": [1]})
            for api in (pair.a, pair.b, pair.a, pair.b)
        ]
        pair.b.complete(streams[0])
        for api in (pair.a, pair.b):
            listed = api.streams_of(user).json()["streams"]
            started = [entry["startedAt"] for entry in listed]
            assert started == sorted(started, reverse=True)
            states = {entry["streamId"]: entry["state"] for entry in listed}
            assert states == dict(zip(streams, ["completed"] + ["active"] * 3))
            assert {entry["streamType"] for entry in listed} == {"chat"}
            assert all(entry["metadata"] == {"a": [1]} for entry in listed)
        everything = pair.b.ask("GET", PREFIX).json()["streams"]
        known = {entry["streamId"] for entry in everything}
        assert set(streams[1:]) <= known

    def test_poll(self, pair: Pair) -> None:
        stream = pair.a.new_stream()
        ids = pair.a.append_many(stream, ["a", "b"])
        body = pair.b.poll(stream).json()
        assert [event["id"] for event in body["events"]] == ids
        with Connection(pair.b.base_url) as connection:
            target = path_of(stream) + f"?transport=poll&last_event_id={ids[1]}"
            connection.request("GET", target)
            ids.append(pair.a.append(stream, "c"))
            body = connection.read_response().json()
            assert [event["id"] for event in body["events"]] == ids[2:]
            connection.request("GET", target.replace(ids[1], ids[2]))
            ids.append(pair.a.complete(stream))
            body = connection.read_response().json()
        assert (body["lastEventId"], body["state"]) == (ids[3], "completed")
        assert pair.b.poll(stream, ids[3]).status == 204

    def test_cursors_of_other_logs(self, pair: Pair) -> None:
        stream = pair.a.new_stream()
        ids = [*pair.a.append_many(stream, ["a", "b"]), pair.a.complete(stream)]
        for cursor in ("2-9f3a1c2b", "7-9f3a1c2b", "7"):
            gap, *events = pair.b.events(stream, cursor=cursor)
            assert gap_of(gap)["reason"] == "diverged"
            assert ids_of(events) == ids


@pytest.mark.asan
class TestGaps:
    def test_a_late_reader_elsewhere(self, forgetful_pair: Pair) -> None:
        one, other = forgetful_pair.a, forgetful_pair.b
        stream = one.new_stream()
        ids = one.append_many(stream, [f"{n}" for n in range(100)])
        ids.append(one.complete(stream))
        for cursor, first in ((None, 1), (ids[49], 51)):
            gap, *events = other.events(stream, cursor=cursor)
            assert_gap(gap, first, 91, "trimmed")
            assert ids_of(events) == ids[91:]
        assert ids_of(other.events(stream, cursor=ids[95])) == ids[96:]

    def test_a_live_reader_elsewhere(self, forgetful_pair: Pair) -> None:
        one, other = forgetful_pair.a, forgetful_pair.b
        stream = one.new_stream()
        with other.subscribe(stream) as reader:
            for n in range(50):
                event_id = one.append(stream, f"{n}")
                assert reader.event().id == event_id


class TestRedisAway:
    @pytest.fixture
    def redis(self) -> Iterator[RedisServer]:
        with RedisServer() as server:
            yield server

    @pytest.fixture
    def own_nodes(self, command: list[str], redis: RedisServer) -> Iterator[Nodes]:
        with Nodes(command, redis.url) as nodes:
            yield nodes

    @pytest.mark.asan
    def test_health(self, redis: RedisServer, own_nodes: Nodes) -> None:
        apis = own_nodes.start_many(2)
        for api in apis:
            assert wait_for_health(api, 200).json() == {"status": "ok"}
        redis.kill()
        for api in apis:
            body = wait_for_health(api, 503).json()
            assert body["status"] == "degraded"
            assert body["message"].startswith(f"127.0.0.1:{redis.port}: ")
        redis.start()
        for api in apis:
            assert wait_for_health(api, 200).json() == {"status": "ok"}

    @pytest.mark.asan
    def test_away_at_the_start(self, redis: RedisServer, own_nodes: Nodes) -> None:
        redis.kill()
        a, b = own_nodes.start_many(2)
        assert a.ask("GET", "/health").status == 503
        redis.start()
        wait_for_health(a, 200)
        wait_for_health(b, 200)
        stream = a.new_stream()
        ids = [b.append(stream, "x"), b.complete(stream)]
        assert ids_of(a.events(stream)) == ids

    def test_what_needs_it_is_refused(
        self, redis: RedisServer, own_nodes: Nodes
    ) -> None:
        a, b = own_nodes.start_many(2)
        stream = a.new_stream()
        a.append(stream, "x")
        redis.kill()
        wait_for_health(a, 503)
        wait_for_health(b, 503)
        requests: list[Callable[[], Response]] = [
            lambda: a.create(),
            lambda: a.post_event(stream, [TEXT], b"y"),
            lambda: a.end(stream),
            lambda: b.ask("GET", path_of(stream)),
            lambda: b.recover(stream),
            lambda: b.stop(stream),
            lambda: b.delete(stream),
            lambda: b.streams_of("u"),
        ]
        with ThreadPoolExecutor(len(requests)) as threads:
            answers = [threads.submit(request) for request in requests]
        for answer in answers:
            assert_error(answer.result(), 503, "store_unavailable")
            assert int(answer.result().get("retry-after") or "") > 0

    @pytest.mark.asan
    def test_readers_outlast_it(self, redis: RedisServer, own_nodes: Nodes) -> None:
        a, b = own_nodes.start_many(2, heartbeat_ms=HEARTBEAT_MS)
        stream = a.new_stream()
        ids = [a.append(stream, "before")]
        with a.subscribe(stream) as here, b.subscribe(stream) as there:
            assert ids_of(here.take(1)) == ids_of(there.take(1)) == ids
            redis.restart(with_data=True)
            here.comment()
            there.comment()
            wait_for_health(a, 200)
            ids += [a.append(stream, "after"), a.complete(stream)]
            assert ids_of(here.rest()) == ids_of(there.rest()) == ids[1:]

    @pytest.mark.asan
    def test_a_producer_goes_on(self, redis: RedisServer, own_nodes: Nodes) -> None:
        """Its readers beside it have every event at once; the others later."""
        a, b = own_nodes.start_many(2)
        response = a.ask("POST", "/demo/start", [JSON], b'{"rate":100}')
        stream = response.json()["streamId"]
        with a.subscribe(stream) as here, b.subscribe(stream) as there:
            told = entries_of(here.take(20))
            redis.restart(with_data=True)
            redis.kill()
            wait_for_health(b, 503)
            told += entries_of(here.take(50))
            redis.start()
            assert entries_of(there.take(70)) == told
            a.stop(stream)
            rest = entries_of(here.rest())
            assert entries_of(there.rest()) == rest
        assert entries_of(b.events(stream)) == told + rest

    def test_what_it_lost_a_producer_gives_back(
        self, redis: RedisServer, own_nodes: Nodes
    ) -> None:
        a, b = own_nodes.start_many(2)
        response = a.ask("POST", "/demo/start", [JSON], b'{"rate":100}')
        stream = response.json()["streamId"]
        with a.subscribe(stream) as here, b.subscribe(stream) as there:
            told = entries_of(here.take(50))
            assert entries_of(there.take(20)) == told[:20]
            redis.restart(with_data=False)
            told += entries_of(here.take(50))
            assert entries_of(there.take(80)) == told[20:]
            a.stop(stream)
            told += entries_of(here.rest())
            assert entries_of(there.rest()) == told[100:]
        assert entries_of(b.events(stream)) == told


def refusal(command: list[str], store: str) -> str:
    """What it says when it does not start."""
    done = subprocess.run(
        [*command, "--port", "0", "--store", store],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (1, "")
    prefix, _, reason = done.stderr.rstrip("\n").partition("cannot start: ")
    assert prefix == "sse-server: "
    assert " " in reason and reason.isprintable(), reason
    return reason


class TestRefused:
    def test_a_wrong_password(self, command: list[str]) -> None:
        with RedisServer("--requirepass", "right") as redis:
            reason = refusal(command, redis.url)
            assert "Authentication required" in reason
            reason = refusal(command, redis.url.replace("//", "//:wrong@"))
            assert "password" in reason and "wrong@" not in reason
            with Nodes(command, redis.url.replace("//", "//:right@")) as nodes:
                a, b = nodes.start_many(2)
                stream = a.new_stream()
                ids = [b.append(stream, "x"), a.complete(stream)]
                assert ids_of(b.events(stream)) == ids

    @pytest.mark.parametrize(
        "url",
        [
            "redis",
            "http://127.0.0.1:6379",
            "redis://",
            "redis://127.0.0.1:99999",
            "redis://127.0.0.1/x",
            "redis://127.0.0.1?prefixx=a",
        ],
    )
    def test_a_wrong_url(self, command: list[str], url: str) -> None:
        refusal(command, url)

    def test_rights(self, command: list[str]) -> None:
        """A user who may not do what libsse needs."""
        with RedisServer() as redis:
            with redis.client() as client:
                client.execute_command(
                    *"ACL SETUSER few on >word ~sse:* &sse:* +@connection".split()
                )
            reason = refusal(command, redis.url.replace("//", "//few:word@"))
            assert "permissions" in reason


def test_nobody_is_there(command: list[str]) -> None:
    """That is no reason not to start."""
    with Nodes(command, f"redis://127.0.0.1:{free_port()}") as nodes:
        api = nodes.start()
        assert api.ask("GET", "/health").json()["status"] == "degraded"


def test_prefixes_keep_apart(
    command: list[str],
    redis_server: RedisServer,  # noqa: F811
) -> None:
    stream = fresh_id()
    with Nodes(command, redis_server.url + "?prefix=one:") as ones:
        with Nodes(command, redis_server.url + "/3?prefix=one:") as others:
            one, other = ones.start(), others.start()
            for api in (one, other):
                api.new_stream(streamId=stream)
            assert one.append(stream, "x") != other.append(stream, "other")
            one.complete(stream)
            assert other.recover(stream).json()["status"] == "active"


def test_a_stored_stream_outlives_its_servers(
    command: list[str],
    redis_server: RedisServer,  # noqa: F811
) -> None:
    with Nodes(command, redis_server.url) as nodes:
        a = nodes.start()
        stream = a.new_stream(metadata={"n": 1})
        ids = [a.append(stream, "x"), a.complete(stream)]
        before = a.recover(stream).json()
        nodes.servers[0].stop()
        b = nodes.start()
        assert ids_of(b.events(stream)) == ids
        assert b.recover(stream).json() == before
        wait_until(lambda: b.delete(stream).status == 204)
        assert json.loads(b.recover(stream).body)["status"] == "not_found"
