"""A TypeScript program that knows only the plain layout, and libsse's scripts,
on the same streams: each reads what the other writes."""

import json
from collections.abc import Iterator

import pytest

from interop_program import Program, interop_built  # noqa: F401
from redis_calls import NOW, Calls, Listener, row_of, tag_of
from redis_fixtures import calls, redis_server  # noqa: F401

OWNER = "n1.r1"
TRICKY = {
    "text": 'a "quoted" \\ back\nline\u2028 é \U0001f600 \x00 </script>',
    "numbers": [0.1, -0.5, 1e21, 9007199254740991],
    "nested": {"": [None, True, {}], "__proto__x": 1},
}


@pytest.fixture
def program(interop_built, redis_server, calls: Calls) -> Iterator[Program]:
    running = Program(redis_server.url, calls.prefix)
    yield running
    running.close()


class TestItReadsOurs:
    def test_registration(self, calls: Calls, program: Program) -> None:
        calls.register("s", OWNER, "u", "export", '{"jobId":"7","deep":{"a":[1]}}')
        expected = {
            "streamId": "s", "streamType": "export", "userId": "u", "startedAt": NOW,
            "lastHeartbeat": NOW, "state": "active",
            "metadata": {"jobId": "7", "deep": {"a": [1]}},
        }  # fmt: skip
        assert program.get("s") == expected
        assert program.ofUser("u") == [expected]
        assert program.countActive() == 1
        assert program.open("s", "v", {}) is False

    def test_events_to_the_byte(self, calls: Calls, program: Program) -> None:
        calls.register("s", OWNER)
        row = json.dumps(
            {"type": "message", "data": TRICKY, "ts": 1}, separators=(",", ":")
        )
        calls.append("s", row, row_of("just text"), owner=OWNER)
        assert program.events("s") == [
            {"type": "message", "data": TRICKY, "ts": 1},
            {"type": "message", "data": "just text", "ts": 1_700_000_000_000},
        ]
        assert program.recover("s")["status"] == "active"

    def test_the_end(self, calls: Calls, program: Program) -> None:
        calls.register("s", OWNER)
        data = json.dumps(TRICKY)
        calls.append("s", row_of({}), owner=OWNER, final=("completed", "done", data))
        assert program.recover("s") == {
            "status": "completed", "streamId": "s", "terminalEventType": "done",
            "terminalEventData": TRICKY, "completedAt": NOW,
        }  # fmt: skip
        assert program.get("s")["state"] == "completed"
        assert program.countActive() == 0

    def test_its_heartbeat_is_one(self, calls: Calls, program: Program) -> None:
        calls.register("s", OWNER)
        calls.client.zadd(calls.key("active"), {"s": 1})
        assert program.stale(30)[0]["streamId"] == "s"
        (_, _, [_, claim, *_]) = calls.claim(silent=30_000)
        assert program.stale(1000) == []
        assert program.heartbeat("s") is True
        assert calls.settle("s", claim, "expired")[0] == "revived"

    def test_its_guardian_leaves_our_orphans(
        self, calls: Calls, program: Program
    ) -> None:
        calls.register("s", OWNER)
        (_, _, [_, claim, *_]) = calls.claim()
        calls.settle("s", claim, "orphaned", 0)
        calls.client.zadd(calls.key("active"), {"s": 1})
        assert program.sweep(30, {}) == []

    def test_it_ends_ours(self, calls: Calls, program: Program) -> None:
        calls.register("s", OWNER)
        calls.append("s", row_of("a"), owner=OWNER, expect=0)
        program.send("s", "completed", {"n": 1}, True)
        page = calls.read("s", 1)
        assert (page.state, page.top, len(page.rows)) == ("completed", 2, 2)
        assert page.final[:2] == ["completed", '{"n":1}']
        assert calls.append("s", row_of("b"), owner=OWNER, expect=2).word == "closed"

    def test_it_unregisters_ours(self, calls: Calls, program: Program) -> None:
        """As its disconnects do: the owner gets the registration back."""
        calls.register("s", OWNER, "u")
        calls.append("s", row_of("a"), owner=OWNER, expect=0)
        assert program.unregister("s") is True
        assert calls.beat(("s", OWNER, "u")) == ["ok", "gone"]
        assert calls.register("s", OWNER, "u")[:4] == ["ok", "kept", 0, 1]
        assert calls.append("s", row_of("b"), owner=OWNER, expect=1).first == 2
        assert [event["data"] for event in program.events("s")] == ["a", "b"]

    def test_it_deletes_what_ended(self, calls: Calls, program: Program) -> None:
        calls.register("s", OWNER)
        calls.append("s", row_of("a"), owner=OWNER, final=("failed", "failed", "{}"))
        program.deleteCompletion("s")
        page = calls.read("s", 1)
        assert (page.word, page.closed, page.rows, page.final) == (
            "none",
            1,
            [],
            [""] * 3,
        )


class TestWeReadIts:
    def test_registration(self, calls: Calls, program: Program) -> None:
        assert program.open("s", "u", {"jobId": "7"}) is True
        id, kind, user, started, beat, state, metadata, owner = calls.list_all("u")["s"]
        assert (id, kind, user, state, owner) == ("s", "generation", "u", "active", "")
        assert started == beat and started.endswith("Z")
        assert metadata == '{"jobId":"7"}'
        assert set(calls.list_all()) == {"s"}
        assert calls.count(60_000) == ["ok", 1, 0]
        page = calls.read("s", "$", described=True)
        assert page.described == [kind, started, beat, metadata]
        assert calls.register("s", OWNER)[0] == "exists"

    def test_events_to_the_byte(self, calls: Calls, program: Program) -> None:
        program.open("s", "u", {})
        for _ in range(3):
            program.send("s", "message", TRICKY)
        stored = calls.client.lrange(calls.key("events", "s"), 0, -1)
        page = calls.read("s")
        assert (page.word, page.top, page.rows) == ("all", 3, stored)
        assert calls.read("s", 2).rows == stored[1:]
        row = json.loads(page.rows[0])
        assert list(row) == ["type", "data", "ts"]
        assert row["data"] == TRICKY

    def test_we_append_between(self, calls: Calls, program: Program) -> None:
        program.open("s", "u", {})
        program.send("s", "message", {"from": "it", "n": 1})
        assert calls.append("s", row_of({"from": "us", "n": 2})).first == 2
        program.send("s", "message", {"from": "it", "n": 3})
        reply = calls.append("s", row_of({"from": "us", "n": 4}), cap=3)
        assert (reply.first, reply.base, reply.top) == (4, 1, 4)
        assert [event["data"]["n"] for event in program.events("s")] == [2, 3, 4]

    def test_the_row_before_ours_is_named_only_when_known(
        self, calls: Calls, program: Program, redis_server
    ) -> None:
        program.open("s", "u", {})
        program.send("s", "message", {})
        ours = row_of("a")
        with Listener(redis_server.client(), calls.channel("s")) as listener:
            calls.append("s", ours)
            assert listener.next().split("\n")[0] == "2 -"
            calls.append("s", ours)
            assert listener.next().split("\n")[0] == f"3 {tag_of(ours)}"
            program.send("s", "message", {})
            assert (calls.read("s", "$").top, calls.read("s", "$").tag) == (4, "")
            calls.append("s", ours)
            assert listener.next().split("\n")[0] == "5 -"

    def test_its_announcement(
        self, calls: Calls, program: Program, redis_server
    ) -> None:
        program.open("s", "u", {})
        with Listener(redis_server.client(), calls.channel("s")) as listener:
            program.send("s", "message", {})
            assert program.announce("s") == 1
            assert listener.next() == ""

    @pytest.mark.parametrize("state", ["completed", "failed"])
    def test_the_end(self, calls: Calls, program: Program, state: str) -> None:
        program.open("s", "u", {})
        program.send("s", state, TRICKY, True)
        page = calls.read("s")
        assert (page.state, page.closed, page.final[0]) == (state, -1, state)
        assert json.loads(page.final[1]) == TRICKY
        assert calls.append("s", row_of("late")).word == "closed"
        assert calls.beat(("s", "", "")) == ["ok", "closed"]
        assert calls.claim() == ["ok", 1]
        assert program.countActive() == 0

    def test_its_result_without_a_registration(
        self, calls: Calls, program: Program
    ) -> None:
        program.send("s", "completed", {"n": 1}, True)
        page = calls.read("s")
        assert (page.known, page.state, page.final[0]) == (1, "", "completed")
        assert calls.append("s", row_of("late")).word == "closed"
        assert calls.register("s", OWNER)[:4] == ["ok", "reopened", 1, 1]
        assert program.recover("s") == {"status": "active", "events": []}

    def test_we_claim_its_orphans(self, calls: Calls, program: Program) -> None:
        program.open("s", "u", {"jobId": "7"})
        calls.client.zadd(calls.key("active"), {"s": 1})
        (_, _, stream) = calls.claim(silent=30_000)
        assert stream[8] == '{"jobId":"7"}'
        done = ("completed", "completed", '{"n":1}')
        assert (
            calls.append("s", row_of({"n": 1}), claim=stream[1], final=done).word
            == "ok"
        )
        assert program.recover("s")["terminalEventData"] == {"n": 1}
        assert program.get("s")["state"] == "completed"

    def test_we_beat_and_remove_its(self, calls: Calls, program: Program) -> None:
        program.open("s", "u", {})
        program.send("s", "message", {})
        assert calls.beat(("s", "", "u"), time="2027-01-01T00:00:00.000Z") == [
            "ok",
            "active",
        ]
        assert program.get("s")["lastHeartbeat"] == "2027-01-01T00:00:00.000Z"
        assert calls.remove("s", keep=0) == ["ok", "active", "", "u"]
        assert program.recover("s") == {"status": "not_found"}
        assert program.ofUser("u") == []
