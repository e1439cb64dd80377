"""A TypeScript program that knows only the plain layout, and sse-server, on
the same streams: each serves what the other writes."""

import json
from collections.abc import Iterator

import pytest

from interop_program import Program, interop_built  # noqa: F401
from nodes import Nodes
from redis_fixtures import redis_server  # noqa: F401
from redis_server import RedisServer
from suite.api import JSON, TEXT, Api, fresh_id
from suite.checks import assert_error, assert_sequence, gap_of
from suite.waiting import wait_until

TRICKY = {
    "text": 'a "quoted" \\ back\nline\u2028 é \U0001f600 \x00 </script>',
    "numbers": [0.1, -0.5, 1e21, 9007199254740991],
    "nested": {"": [None, True, {}], "__proto__x": 1},
}
AS_IT_WRITES = json.dumps(TRICKY, ensure_ascii=False, separators=(",", ":"))


@pytest.fixture
def prefix() -> str:
    return fresh_id() + ":"


@pytest.fixture
def program(
    interop_built: None,  # noqa: F811
    redis_server: RedisServer,  # noqa: F811
    prefix: str,
) -> Iterator[Program]:
    running = Program(redis_server.url, prefix)
    yield running
    running.close()


@pytest.fixture
def nodes(
    command: list[str],
    redis_server: RedisServer,  # noqa: F811
    prefix: str,
) -> Iterator[Nodes]:
    with Nodes(command, f"{redis_server.url}?prefix={prefix}") as nodes:
        yield nodes


@pytest.fixture
def api(nodes: Nodes) -> Api:
    return nodes.start()


class TestWeServeIts:
    def test_from_the_start_to_the_end(self, api: Api, program: Program) -> None:
        assert program.open("s", "u", {"jobId": "7"})
        program.send("s", "message", TRICKY)
        with api.subscribe("s") as reader:
            assert reader.event().data == AS_IT_WRITES
            program.send("s", "token", {"n": 2})
            program.announce("s")
            event = reader.event()
            assert (event.type, event.data) == ("token", '{"n":2}')
            program.send("s", "completed", TRICKY, True)
            program.announce("s")
            (last,) = reader.rest()
        assert (last.type, last.data) == ("completed", AS_IT_WRITES)
        events = api.events("s")
        assert_sequence([event.id or "" for event in events])
        assert [e.id for e in api.events("s", cursor=events[0].id)] == [
            e.id for e in events[1:]
        ]

    def test_it_does_not_announce(self, api: Api, program: Program) -> None:
        """Its events come when the server looks."""
        program.open("s", "u", {})
        with api.subscribe("s") as reader:
            reader.retry()
            for n in range(3):
                program.send("s", "message", {"n": n})
            assert [e.data for e in reader.take(3)] == [
                f'{{"n":{n}}}' for n in range(3)
            ]
            program.send("s", "failed", {}, True)
            assert reader.rest()[-1].type == "failed"

    def test_recover(self, api: Api, program: Program) -> None:
        program.open("s", "u", {"jobId": "7"})
        program.send("s", "message", TRICKY)
        body = api.recover("s").json()
        assert (body["status"], body["userId"]) == ("active", "u")
        assert (body["streamType"], body["metadata"]) == ("generation", {"jobId": "7"})
        assert [event["data"] for event in body["events"]] == [AS_IT_WRITES]
        assert body["startedAt"] == program.get("s")["startedAt"]
        program.send("s", "completed", TRICKY, True)
        program.announce("s")

        def ended() -> object:
            body = api.recover("s").json()
            return body["status"] == "completed" and body

        body = wait_until(ended)
        assert body["terminalEventType"] == "completed"
        assert body["terminalEventData"] == TRICKY
        assert len(body["events"]) == 2

    def test_list(self, api: Api, program: Program) -> None:
        for stream in ("one", "two"):
            program.open(stream, "u", {"id": stream})
        listed = api.streams_of("u").json()["streams"]
        assert {entry["streamId"] for entry in listed} == {"one", "two"}
        assert all(e["metadata"] == {"id": e["streamId"]} for e in listed)
        assert {entry["state"] for entry in listed} == {"active"}

    def test_we_write_too(self, api: Api, program: Program) -> None:
        program.open("s", "u", {})
        program.send("s", "message", {"n": 1})
        ids = [api.append("s", "two")]
        program.send("s", "message", {"n": 3})
        ids += [api.append_json("s", '{"data":{"n":4}}'), api.complete("s")]
        assert [event_id.split("-")[0] for event_id in ids] == ["2", "4", "5"]
        assert [event["data"] for event in program.events("s")] == [
            {"n": 1}, "two", {"n": 3}, {"n": 4}, {},
        ]  # fmt: skip
        assert program.recover("s")["status"] == "completed"
        assert len(api.events("s")) == 5

    def test_stop_and_removal(self, api: Api, program: Program) -> None:
        program.open("s", "u", {})
        with api.subscribe("s") as reader:
            assert api.stop("s").status == 202
            assert reader.rest()[-1].type == "cancelled"
        assert program.recover("s")["terminalEventType"] == "cancelled"
        program.open("t", "u", {})
        assert api.delete("t").status == 204
        assert program.recover("t") == {"status": "not_found"}

    def test_its_active_id_is_taken(self, api: Api, program: Program) -> None:
        program.open("s", "u", {})
        assert_error(api.create(streamId="s"), 409, "exists")

    def test_what_cannot_be_read(
        self,
        api: Api,
        program: Program,
        redis_server: RedisServer,  # noqa: F811
        prefix: str,
    ) -> None:
        """A row that is no event: readers are told, and go on behind it."""
        program.open("s", "u", {})
        program.send("s", "message", {"n": 1})
        with redis_server.client() as client:
            client.rpush(f"{prefix}events:s", "no JSON")
        program.send("s", "message", {"n": 3})
        program.send("s", "completed", {}, True)
        one, gap, three, last = api.events("s")
        assert gap_of(gap) == {"from": 2, "to": 2, "missed": 1, "reason": "unreadable"}
        assert (one.data, three.data) == ('{"n":1}', '{"n":3}')
        assert last.id and last.id.startswith("4-")


class TestItReadsOurs:
    def test_all_of_it(self, api: Api, program: Program) -> None:
        raw = json.dumps(TRICKY, separators=(",", ":"))
        api.create(streamId="s", userId="u", streamType="chat", metadata={"a": [1]})
        api.append("s", "just text", "token")
        api.append_json("s", f'{{"data":{raw}}}')
        api.append_many("s", ["a\nb", "\0"])
        stream = program.get("s")
        assert (stream["state"], stream["metadata"]) == ("active", {"a": [1]})
        assert [s["streamId"] for s in program.ofUser("u")] == ["s"]
        assert [(e["type"], e["data"]) for e in program.events("s")] == [
            ("token", "just text"), ("message", TRICKY),
            ("message", "a\nb"), ("message", "\0"),
        ]  # fmt: skip
        assert program.recover("s")["status"] == "active"
        api.end("s", "complete", [JSON], f'{{"type":"done","data":{raw}}}'.encode())
        recovered = program.recover("s")
        assert recovered["terminalEventType"] == "done"
        assert recovered["terminalEventData"] == TRICKY
        assert program.get("s")["state"] == "completed"
        assert program.countActive() == 0

    @pytest.mark.parametrize("spaces", ["", " "])
    def test_the_same_bytes(
        self,
        api: Api,
        program: Program,
        redis_server: RedisServer,  # noqa: F811
        prefix: str,
        spaces: str,
    ) -> None:
        """An object or array stands in its row as it came. What its reader could
        not write as it was, for the spaces in it, stands there as a text."""
        raw = '{"n":1.0,"big":12345678901234567890,"s":"\\u00e9\\/ ","":[]}'
        raw = raw.replace(":", ":" + spaces)
        api.new_stream(streamId="s")
        api.append_json("s", f'{{"data" : {raw}}}')
        with redis_server.client() as client:
            (row,) = client.lrange(f"{prefix}events:s", 0, -1)
        stored = json.dumps(raw) if spaces else raw
        start, end = '{"type":"message","data":' + stored + ',"ts":', "}"
        assert row.startswith(start) and row.endswith(end)
        assert row[len(start) : -1].isdigit()
        with api.subscribe("s") as reader:
            assert reader.event().data == raw
        (event,) = program.events("s")
        assert (event["data"] if spaces else event["data"]["s"]) == (
            raw if spaces else "\u00e9/ "
        )

    def test_its_guardian_ends_one_of_ours(self, api: Api, program: Program) -> None:
        api.new_stream(streamId="s")
        api.append("s", "x")
        with api.subscribe("s") as reader:
            reader.take(1)
            program.send("s", "completed", {"n": 1}, True)
            program.announce("s")
            (last,) = reader.rest()
        assert (last.type, last.data) == ("completed", '{"n":1}')
        assert_error(api.post_event("s", [TEXT], b"late"), 409, "ended")

    def test_it_sends_a_heartbeat(self, api: Api, program: Program) -> None:
        api.new_stream(streamId="s")
        before = program.get("s")["lastHeartbeat"]

        def later() -> bool:
            assert program.heartbeat("s")
            return program.get("s")["lastHeartbeat"] > before

        wait_until(later)
        assert api.append("s", "x")
