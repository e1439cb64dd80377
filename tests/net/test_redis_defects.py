"""What goes wrong in programs that keep the plain layout with single commands,
one by one, and does not with the scripts. Where it is cheap to show, the
program in tests/interop makes the damage first."""

from collections.abc import Iterator

import pytest

from interop_program import Program, interop_built  # noqa: F401
from redis_calls import NOW, Calls, row_of, tag_of
from redis_fixtures import calls, redis_server  # noqa: F401

OWNER = "n1.r1"
DONE = ("completed", "completed", '{"n":1}')


@pytest.fixture
def program(interop_built, redis_server, calls: Calls) -> Iterator[Program]:
    running = Program(redis_server.url, calls.prefix)
    yield running
    running.close()


def late_heartbeat(calls: Calls, id: str) -> None:
    """What a heartbeat writes when the stream goes between its two commands."""
    calls.client.hset(calls.key("stream", id), "lastHeartbeat", NOW)
    calls.client.zadd(calls.key("active"), {id: 1})


# 1, two registrations that both win: test_ten_at_once_have_one_winner.


def test_2_a_late_heartbeat_blocks_the_id(calls: Calls, program: Program) -> None:
    program.open("s", "u", {})
    program.unregister("s")
    late_heartbeat(calls, "s")
    assert program.open("s", "u", {}) is False
    assert program.get("s") is None
    assert calls.beat(("s", OWNER, "")) == ["ok", "gone"]
    assert calls.register("s", OWNER)[:2] == ["ok", "new"]
    assert calls.client.ttl(calls.key("stream", "s")) > 0


def test_3_a_late_state_makes_a_ghost(calls: Calls) -> None:
    calls.append("s", row_of("a"), owner=OWNER, final=DONE)  # not registered
    assert calls.everything() == {}
    calls.client.rpush(calls.key("events", "s"), "a")
    calls.append("s", row_of("b"), final=DONE)
    assert calls.client.exists(calls.key("stream", "s")) == 0


def test_4_expired_ids_stay_listed(calls: Calls) -> None:
    for n in range(50):
        calls.register(f"s{n}", "", "u")
        calls.client.delete(calls.key("stream", f"s{n}"))
    assert calls.list_page("u")[2] == 50
    assert calls.claim() == ["ok", 50]
    assert calls.count(0) == ["ok", 0, 0]
    assert calls.client.exists(calls.user_set("u")) == 0


def test_5_the_ended_stay_active(calls: Calls, program: Program) -> None:
    program.open("its", "u", {})
    program.send("its", "completed", {}, True)
    assert program.countActive() == 1
    calls.register("ours")
    calls.append("ours", row_of("a"), final=DONE)
    assert program.countActive() == 1
    assert calls.claim() == ["ok", 1]
    assert program.countActive() == 0


def test_5b_a_heartbeat_renews_what_has_ended(calls: Calls) -> None:
    calls.register("s", OWNER)
    calls.append("s", row_of("a"), owner=OWNER, final=DONE)
    before = calls.everything()
    assert calls.beat(("s", OWNER, ""), time="later") == ["ok", "closed"]
    assert calls.everything() == before


def test_5c_an_end_after_the_end(calls: Calls) -> None:
    calls.register("s")
    calls.append("s", row_of("a"), final=DONE)
    failed = ("failed", "failed", "{}")
    assert calls.append("s", row_of("b"), final=failed).word == "closed"
    assert (calls.state_of("s"), calls.read("s").final[0]) == ("completed", "completed")


# 6, each guardian handles each orphan: test_four_guardians_take_each_once.


def test_6_a_result_ends_as_an_orphan(calls: Calls, program: Program) -> None:
    program.open("s", "u", {})
    calls.client.zadd(calls.key("active"), {"s": 1})
    assert program.sweep(30, {"s": {"n": 1}}) == ["s"]
    assert program.get("s")["state"] == "orphaned"
    (_, _, stream) = calls.claim(silent=30_000)
    assert (stream[2], stream[9]) == ("orphaned", "completed")
    assert calls.settle("s", stream[1], "completed") == ["ok", "completed"]
    assert program.get("s")["state"] == "completed"


def test_7_a_life_sign_is_overruled(calls: Calls) -> None:
    calls.register("s", OWNER)
    (_, _, [_, claim, *_]) = calls.claim()
    calls.beat(("s", OWNER, ""))
    assert calls.settle("s", claim, "orphaned") == ["revived", "active"]
    (_, _, [_, claim, *_]) = calls.claim()
    calls.settle("s", claim, "orphaned")
    calls.beat(("s", OWNER, ""))
    assert calls.state_of("s") == "active"


def test_8_keys_without_an_end(calls: Calls) -> None:
    calls.client.rpush(calls.key("events", "s"), *["x"] * 5000)
    calls.register("s", OWNER, "u")
    calls.append("s", row_of("a"), owner=OWNER, cap=100, beat=NOW)
    calls.append("s", row_of("b"), owner=OWNER, cap=100, final=DONE)
    assert calls.client.llen(calls.key("events", "s")) == 100
    for key in calls.everything():
        assert calls.client.ttl(key) > 0 or key == calls.key("active")


# 9, a retry doubles the event: test_dup_after_a_retry, test_a_lost_reply.


def test_10_a_round_trip_for_each_stream(calls: Calls) -> None:
    for n in range(100):
        calls.register(f"s{n}", "", "u")
    calls.client.config_resetstat()
    assert len(calls.list_all("u", 1000)) == 100
    assert calls.client.info("commandstats")["cmdstat_evalsha"]["calls"] == 1


def test_11_an_old_connection_unregisters_the_new(calls: Calls) -> None:
    calls.register("s", "n1.new")
    assert calls.remove("s", owner="n1.old")[0] == "stolen"
    assert calls.state_of("s") == "active"


def test_12_not_found_although_there_are_events(calls: Calls, program: Program) -> None:
    program.open("s", "u", {})
    program.send("s", "message", {"n": 1})
    program.unregister("s")  # a reader went away
    assert program.recover("s") == {"status": "not_found"}
    page = calls.read("s")
    assert (page.known, page.top, len(page.rows)) == (1, 1, 1)


# 13, one bad row hides all: test_rows_that_are_no_json.
# 14, no numbers, no replay after one, nothing live: TestRead, test_tells_readers.


def test_15_a_silent_stream_loses_its_events(calls: Calls) -> None:
    calls.register("s", OWNER, ttl=50)
    calls.append("s", row_of("a"), owner=OWNER, ttls=(50, 50, 0))
    calls.beat(("s", OWNER, ""))
    for key in calls.keys("s")[:3]:
        assert calls.client.ttl(key) > 200


def test_16_one_registration_shortens_what_others_need(calls: Calls) -> None:
    calls.register("long", "", "u", ttl=9000)
    calls.register("short", "", "u", ttl=10)
    assert calls.client.ttl(calls.user_set("u")) > 8000
    calls.register("longer", "", "u", ttl=20_000)
    assert calls.client.ttl(calls.user_set("u")) > 19_000
    calls.client.persist(calls.user_set("u"))
    calls.beat(("short", "", "u"))
    assert calls.client.ttl(calls.user_set("u")) > 0


def test_17_clocks_that_differ(calls: Calls) -> None:
    """What a node says the time is shows, and decides nothing."""
    calls.register("s", OWNER)
    calls.beat(("s", OWNER, ""), time="1999-01-01T00:00:00.000Z")
    seconds, micros = calls.client.time()
    assert abs(calls.score_of("s") - (seconds * 1000 + micros / 1000)) < 60_000
    assert calls.claim(silent=60_000) == ["ok", 0]


def test_18_an_end_of_many_steps(calls: Calls) -> None:
    calls.register("s")
    calls.client.config_resetstat()
    calls.append("s", row_of("a"), final=DONE)
    assert calls.client.info("commandstats")["cmdstat_evalsha"]["calls"] == 1
    assert calls.read("s").final[0] == "completed"


def test_19_events_after_the_end(calls: Calls) -> None:
    calls.register("s")
    calls.append("s", row_of("a"), final=DONE)
    assert calls.append("s", row_of("b")).word == "closed"
    assert calls.read("s").top == 1


def test_20_one_bad_stream_stops_the_round(calls: Calls) -> None:
    calls.client.set(calls.key("stream", "a-bad"), "odd")
    calls.client.zadd(calls.key("active"), {"a-bad": 1})
    calls.register("good")
    calls.client.zadd(calls.key("active"), {"good": 2})
    (word, dropped, stream) = calls.claim()
    assert (word, dropped, stream[0]) == ("ok", 1, "good")


def test_21_nothing_ever_expires(calls: Calls) -> None:
    calls.register("s", OWNER)
    (_, _, [_, claim, *_]) = calls.claim()
    assert calls.settle("s", claim, "expired") == ["ok", "expired"]
    assert calls.append("s", row_of("a"), owner=OWNER).word == "closed"


# 22, Redis Cluster: not supported, by the layout (docs/redis.md).


def test_23_an_id_that_is_used_again(calls: Calls, program: Program) -> None:
    program.open("s", "u", {})
    program.send("s", "message", {"run": 1})
    program.send("s", "completed", {"run": 1}, True)
    assert calls.register("s", OWNER, "v")[:4] == ["ok", "reopened", 2, 2]
    calls.append("s", row_of({"run": 2}), owner=OWNER, expect=2)
    assert program.recover("s")["status"] == "active"
    (event,) = program.events("s")
    assert event["data"] == {"run": 2}
    assert calls.read("s", 1).word == "gap"
    # The first user's set still names it; the listing knows better.
    assert program.ofUser("u")[0]["userId"] == "v"
    assert calls.list_all("u") == {}
    assert program.ofUser("u") == []


def test_a_registration_by_others_after_our_end(calls: Calls, program: Program) -> None:
    """A program that knows no meta uses the id again: its run counts."""
    calls.register("s", OWNER, "u")
    calls.append("s", row_of("a"), owner=OWNER, final=DONE)
    program.unregister("s")
    program.deleteCompletion("s")
    assert program.open("s", "u", {}) is True
    program.send("s", "message", {"run": 2})
    # The number comes again, on another row: its tag tells.
    page = calls.read("s", 1)
    assert (page.word, page.closed, page.state) == ("anchor", -1, "active")
    assert tag_of(page.rows[0]) != tag_of(row_of("a"))
    assert calls.append("s", row_of("b")).first == 2
