"""The scripts that libsse runs in Redis: every reply of each of them. Those of
guardians and of stops are in test_redis_guardian.py."""

import json
import threading

import pytest

from redis_calls import NOW, Calls, Listener, row_of, rows, tag_of
from redis_fixtures import calls, redis_server  # noqa: F401

OWNER = "n1.r1"
OTHER = "n2.r2"
DONE = ("completed", "completed", '{"n":1}')


class TestAppend:
    def test_numbers_a_stream_that_nobody_knew(self, calls: Calls) -> None:
        calls.register("s")
        first, second = rows(2)
        reply = calls.append("s", first)
        assert (reply.word, reply.first, reply.base, reply.top) == ("ok", 1, 0, 1)
        reply = calls.append("s", second)
        assert (reply.first, reply.top, reply.tag) == (2, 2, tag_of(second))
        assert calls.client.lrange(calls.key("events", "s"), 0, -1) == [first, second]

    def test_a_batch_keeps_its_order(self, calls: Calls) -> None:
        calls.register("s")
        batch = rows(2500)  # more than one RPUSH takes at once
        reply = calls.append("s", *batch, cap=10_000)
        assert (reply.first, reply.top) == (1, 2500)
        assert calls.client.lrange(calls.key("events", "s"), 0, -1) == batch

    def test_keeps_so_many(self, calls: Calls) -> None:
        calls.register("s")
        reply = calls.append("s", *rows(7), cap=5)
        assert (reply.word, reply.base, reply.top) == ("ok", 2, 7)
        reply = calls.append("s", *rows(9, 8), cap=5)  # more at once than are kept
        assert (reply.first, reply.base, reply.top) == (8, 11, 16)
        kept = calls.client.lrange(calls.key("events", "s"), 0, -1)
        assert kept == rows(5, 12)

    def test_sets_times_to_live(self, calls: Calls) -> None:
        calls.register("s", ttl=100)
        calls.append("s", *rows(1), ttls=(300, 7200, 3600), beat=NOW)
        stream, events, meta = calls.keys("s")[:3]
        for key, ttl in (events, 300), (meta, 7200), (stream, 3600):
            assert ttl - 60 < calls.client.ttl(key) <= ttl
        calls.append("s", *rows(1), final=DONE)
        assert 240 < calls.client.ttl(calls.key("completion", "s")) <= 300

    def test_zero_leaves_the_registration_its_time(self, calls: Calls) -> None:
        calls.register("s", ttl=100)
        calls.append("s", *rows(1), ttls=(300, 7200, 0), beat=NOW)
        assert 0 < calls.client.ttl(calls.key("stream", "s")) <= 100

    def test_dup_after_a_retry(self, calls: Calls) -> None:
        calls.register("s")
        calls.append("s", *rows(3), batch=7)
        again = calls.append("s", *rows(3), batch=7)
        assert (again.word, again.first, again.top) == ("dup", 1, 3)
        older = calls.append("s", *rows(1), batch=6)
        assert (older.word, older.first, older.top) == ("dup", 0, 3)

    def test_dup_for_each_of_four_writers(self, calls: Calls) -> None:
        calls.register("s")
        for n in range(1, 5):
            assert calls.append("s", *rows(1), writer=f"w{n}", batch=1).first == n
        for n in range(1, 5):
            again = calls.append("s", *rows(1), writer=f"w{n}", batch=1)
            assert (again.word, again.first) == ("dup", n)
        calls.append("s", *rows(1), writer="w5", batch=1)
        assert calls.append("s", *rows(1), writer="w2", batch=1).word == "dup"
        assert calls.append("s", *rows(1), writer="w1", batch=1).word == "ok"

    def test_dup_of_the_end_comes_before_closed(self, calls: Calls) -> None:
        calls.register("s")
        calls.append("s", *rows(2), batch=1, final=DONE)
        assert calls.append("s", *rows(2), batch=1, final=DONE).word == "dup"

    @pytest.mark.parametrize("state", ["completed", "failed", "cancelled"])
    def test_an_end_is_one_step(self, calls: Calls, state: str) -> None:
        calls.register("s")
        reply = calls.append("s", *rows(2), final=(state, "the-end", '{"a":[1]}'))
        assert (reply.word, reply.top, reply.state) == ("ok", 2, state)
        assert calls.client.hgetall(calls.key("completion", "s")) == {
            "streamId": "s",
            "terminalEventType": "the-end",
            "terminalEventData": '{"a":[1]}',
            "completedAt": NOW,
        }
        assert calls.state_of("s") == state
        assert calls.score_of("s") is None

    def test_closed_after_the_end(self, calls: Calls) -> None:
        calls.register("s", OWNER)
        calls.append("s", *rows(2), owner=OWNER, expect=0, final=DONE)
        for more in {"owner": OWNER, "expect": 2}, {}, {"final": DONE}:
            reply = calls.append("s", *rows(1), **more)
            assert (reply.word, reply.first, reply.top) == ("closed", 2, 2)
            assert reply.state == "completed"

    def test_moved(self, calls: Calls) -> None:
        calls.register("s", OWNER)
        calls.append("s", *rows(2), owner=OWNER, expect=0)
        reply = calls.append("s", *rows(1), owner=OWNER, expect=5)
        assert (reply.word, reply.top, reply.owner) == ("moved", 2, OWNER)
        assert calls.append("s", *rows(1), owner=OWNER, expect=2).word == "ok"

    def test_stolen(self, calls: Calls) -> None:
        calls.register("s", OTHER)
        reply = calls.append("s", *rows(1), owner=OWNER, expect=0)
        assert (reply.word, reply.owner, reply.top) == ("stolen", OTHER, 0)

    def test_owned(self, calls: Calls) -> None:
        calls.register("s", OWNER)
        reply = calls.append("s", *rows(1))
        assert (reply.word, reply.owner, reply.top) == ("owned", OWNER, 0)

    def test_gone(self, calls: Calls) -> None:
        assert calls.append("s", *rows(1), owner=OWNER, expect=0).word == "gone"
        assert calls.append("s", *rows(1)).word == "gone"
        assert calls.everything() == {}

    def test_a_shared_stream_has_many_writers(self, calls: Calls) -> None:
        calls.register("s")
        assert calls.append("s", *rows(1), writer="w1").word == "ok"
        assert calls.append("s", *rows(1), writer="w2").top == 2

    def test_revived(self, calls: Calls) -> None:
        calls.register("s", OWNER)
        (_, _, [_, claim, *_]) = calls.claim()
        calls.beat(("s", OWNER, ""))
        reply = calls.append("s", *rows(1), claim=claim, final=DONE)
        assert (reply.word, reply.top) == ("revived", 0)
        assert calls.state_of("s") == "active"

    def test_a_claim_stands_above_the_owner(self, calls: Calls) -> None:
        calls.register("s", OWNER)
        (_, _, [_, claim, *_]) = calls.claim()
        reply = calls.append("s", *rows(1), claim=claim, final=DONE)
        assert (reply.word, reply.state) == ("ok", "completed")
        assert calls.append("s", *rows(1), owner=OWNER, expect=0).word == "closed"

    def test_a_life_sign_revives_an_orphan(self, calls: Calls) -> None:
        calls.register("s", OWNER)
        (_, _, [_, claim, *_]) = calls.claim()
        calls.settle("s", claim, "orphaned")
        later = "2026-01-31T09:31:00.000Z"
        calls.append("s", *rows(1), owner=OWNER, expect=0, beat=later)
        assert calls.state_of("s") == "active"
        beat = calls.client.hget(calls.key("stream", "s"), "lastHeartbeat")
        assert beat == later

    def test_tells_readers(self, calls: Calls, redis_server) -> None:
        calls.register("s")
        one, two, three = rows(3)
        with Listener(redis_server.client(), calls.channel("s")) as listener:
            assert calls.append("s", one).readers == 1
            calls.append("s", two, three, final=DONE)
            assert listener.next() == f"1 -\n{tag_of(one)} {one}"
            assert listener.next() == (
                f"2 {tag_of(one)} completed\n"
                f"{tag_of(two)} {two}\n{tag_of(three)} {three}"
            )
        assert calls.append("s", one, writer="w2").word == "closed"

    def test_without_a_channel_it_tells_nobody(
        self, calls: Calls, redis_server
    ) -> None:
        calls.register("s")
        with Listener(redis_server.client(), calls.channel("s")) as listener:
            assert calls.append("s", *rows(1), channel=False).readers == 0
            assert listener.is_quiet(calls.client, calls.channel("s"))

    def test_any_text_is_data(self, calls: Calls) -> None:
        id = "x]] .. error() -- \u2028'\""
        calls.register(id, user="u{}*")
        row = row_of({"text": "]] end os.exit() --\n\x00%d$1\\", "e": "é\U0001f600"})
        calls.append(id, row, final=("failed", "a b'c", '"\\u0000"'))
        page = calls.read(id)
        assert page.rows == [row]
        assert page.final[:2] == ["a b'c", '"\\u0000"']


class TestRead:
    def test_unknown(self, calls: Calls) -> None:
        page = calls.read("s", described=True)
        assert (page.word, page.start, page.top, page.closed) == ("all", 1, 0, -1)
        assert (page.known, page.state, page.rows, page.described) == (0, "", [], [])

    def test_all(self, calls: Calls) -> None:
        calls.register("s", OWNER, user="u")
        calls.append("s", *rows(3), owner=OWNER)
        for after in "", 0:
            page = calls.read("s", after)
            assert (page.word, page.start, page.rows) == ("all", 1, rows(3))
            assert (page.state, page.owner, page.user) == ("active", OWNER, "u")
            assert (page.known, page.tag) == (1, tag_of(rows(3)[-1]))

    def test_anchor(self, calls: Calls) -> None:
        calls.register("s")
        calls.append("s", *rows(5))
        page = calls.read("s", 3)
        assert (page.word, page.start, page.rows) == ("anchor", 3, rows(3, 3))

    def test_none(self, calls: Calls) -> None:
        calls.register("s")
        calls.append("s", *rows(5))
        page = calls.read("s", "$")
        assert (page.word, page.start, page.top, page.rows) == ("none", 6, 5, [])
        calls.client.delete(calls.key("events", "s"))  # as its time to live does
        page = calls.read("s", 5)
        assert (page.word, page.start, page.rows) == ("none", 6, [])
        assert page.tag == tag_of(rows(5)[-1])

    def test_edge(self, calls: Calls) -> None:
        calls.register("s")
        calls.append("s", *rows(5), cap=3)
        page = calls.read("s", 2)
        assert (page.word, page.start, page.rows) == ("edge", 3, rows(3, 3))

    def test_gap(self, calls: Calls) -> None:
        calls.register("s")
        calls.append("s", *rows(5), cap=3)
        for after in 1, 0, "":
            page = calls.read("s", after)
            assert (page.word, page.start, page.rows) == ("gap", 3, rows(3, 3))

    def test_ahead(self, calls: Calls) -> None:
        calls.register("s")
        calls.append("s", *rows(2))
        page = calls.read("s", 3)
        assert (page.word, page.start, page.rows) == ("ahead", 1, rows(2))

    def test_pages(self, calls: Calls) -> None:
        calls.register("s")
        calls.append("s", *rows(100))
        assert calls.read("s", "", most=40).rows == rows(40)
        page = calls.read("s", 40, most=41)
        assert page.rows == rows(41, 40)
        assert calls.read("s", 80, most=41).rows == rows(21, 80)

    def test_a_page_goes_on_whatever_the_limits(self, calls: Calls) -> None:
        calls.register("s")
        calls.append("s", *rows(5))
        assert calls.read("s", 2, most=0).rows == rows(2, 2)
        assert len(calls.read("s", 2, most_bytes=1).rows) >= 2

    def test_a_page_ends_at_so_many_bytes(self, calls: Calls) -> None:
        calls.register("s")
        big = [row_of("x" * 10_000) for _ in range(100)]
        calls.append("s", *big)
        size = sum(map(len, calls.read("s", most_bytes=200_000).rows))
        assert 200_000 <= size < 400_000

    def test_what_has_ended(self, calls: Calls) -> None:
        calls.register("s")
        calls.append("s", *rows(2), final=DONE)
        page = calls.read("s", 2)
        assert (page.word, page.closed, page.state) == ("anchor", 2, "completed")
        assert page.final == ["completed", '{"n":1}', NOW]

    def test_described(self, calls: Calls) -> None:
        calls.register("s", user="u", kind="export", metadata='{"a":1}')
        page = calls.read("s", "$", described=True)
        assert page.described == ["export", NOW, NOW, '{"a":1}']

    def test_costs_what_was_missed(self, calls: Calls, redis_server) -> None:
        """Redis looks at the rows from the cursor on, and at no others."""
        calls.register("s")
        for start in range(1, 20_001, 2000):
            calls.append("s", *rows(2000, start), cap=20_000)
        with redis_server.client().monitor() as monitor:
            page = calls.read("s", 19_990)
            calls.client.echo("over")
            ranges = []
            while "over" not in (command := monitor.next_command()["command"]):
                if command.lower().startswith("lrange"):
                    ranges.append(command.split()[2:])
        assert len(page.rows) == 11
        assert ranges == [["19989", "20004"]]

    def test_writes_nothing(self, calls: Calls) -> None:
        calls.register("s", OWNER, user="u")
        calls.append("s", *rows(5), owner=OWNER, cap=2)
        before = calls.everything()
        sha = calls.shas["read"]
        for after in "", "$", 0, 3, 5, 9:
            args = (5, *calls.keys("s"), after, 10, 0, 1)
            calls.client.execute_command("EVALSHA_RO", sha, *args)
        assert calls.everything() == before


class TestRestore:
    def lose(self, calls: Calls) -> None:
        """As a flush does, after which the owner registers again."""
        calls.client.delete(*calls.keys("s"))
        assert calls.register("s", OWNER) == ["ok", "new", 0, 0, ""]

    def test_ok(self, calls: Calls, redis_server) -> None:
        calls.register("s", OWNER)
        calls.append("s", *rows(6), owner=OWNER, expect=0, batch=1)
        self.lose(calls)
        with Listener(redis_server.client(), calls.channel("s")) as listener:
            given = rows(4, 3)
            reply = calls.restore("s", *given, owner=OWNER, seen=0, base=2)
            assert reply == ["ok", 2, 6, tag_of(given[-1]), OWNER]
            assert listener.next() == ""
        assert calls.read("s", 4).rows == rows(3, 4)
        assert 240 < calls.client.ttl(calls.key("events", "s")) <= 300
        assert 7000 < calls.client.ttl(calls.key("meta", "s")) <= 7200
        # The batch that it was given back with is known again.
        assert calls.append("s", *rows(6), owner=OWNER, batch=1).word == "dup"
        more = calls.append("s", *rows(1, 7), owner=OWNER, expect=6, batch=2)
        assert more.first == 7

    def test_more_rows_than_one_push_takes(self, calls: Calls) -> None:
        self.lose(calls)
        reply = calls.restore("s", *rows(9000), owner=OWNER, seen=0)
        assert reply[:3] == ["ok", 0, 9000]
        assert calls.client.llen(calls.key("events", "s")) == 9000

    def test_the_numbers_alone(self, calls: Calls) -> None:
        self.lose(calls)
        assert calls.restore("s", owner=OWNER, seen=0, base=50)[:3] == ["ok", 50, 50]
        assert calls.read("s", 40).word == "gap"
        assert calls.append("s", *rows(1), owner=OWNER, expect=50, batch=9).first == 51

    def test_moved(self, calls: Calls) -> None:
        calls.register("s", OWNER)
        calls.append("s", *rows(3), owner=OWNER)
        before = calls.everything()
        assert calls.restore("s", *rows(5), owner=OWNER, seen=2)[0] == "moved"
        # It would take numbers back.
        assert calls.restore("s", *rows(2), owner=OWNER, seen=3)[0] == "moved"
        assert calls.everything() == before

    def test_gone(self, calls: Calls) -> None:
        assert calls.restore("s", *rows(1), owner=OWNER, seen=0)[0] == "gone"
        assert calls.everything() == {}

    def test_stolen(self, calls: Calls) -> None:
        calls.register("s", OTHER)
        reply = calls.restore("s", *rows(1), owner=OWNER, seen=0)
        assert reply == ["stolen", 0, 0, "", OTHER]

    def test_closed(self, calls: Calls) -> None:
        calls.register("s", OWNER)
        calls.append("s", *rows(1), owner=OWNER, final=DONE)
        assert calls.restore("s", *rows(2), owner=OWNER, seen=1)[0] == "closed"


class TestRegister:
    def test_new(self, calls: Calls) -> None:
        reply = calls.register("s", OWNER, "u", "export", '{"a":1}')
        assert reply == ["ok", "new", 0, 0, ""]
        assert calls.client.hgetall(calls.key("stream", "s")) == {
            "streamId": "s", "streamType": "export", "userId": "u",
            "startedAt": NOW, "lastHeartbeat": NOW, "state": "active",
            "metadata": '{"a":1}', "owner": OWNER,
        }  # fmt: skip
        assert calls.client.smembers(calls.user_set("u")) == {"s"}
        assert calls.score_of("s") > 1.7e12

    def test_exists(self, calls: Calls) -> None:
        calls.register("s", OWNER, "u")
        assert calls.register("s", OTHER, "v") == ["exists", "active", OWNER, "u"]
        assert calls.client.exists(calls.user_set("v")) == 0

    def test_exists_without_an_owner(self, calls: Calls) -> None:
        calls.register("s")
        assert calls.register("s") == ["exists", "active", "", ""]

    def test_again(self, calls: Calls) -> None:
        calls.register("s", OWNER)
        calls.append("s", *rows(2), owner=OWNER)
        reply = calls.register("s", OWNER)
        assert reply == ["ok", "again", 0, 2, tag_of(rows(2)[-1])]

    def test_kept(self, calls: Calls) -> None:
        calls.register("s", OWNER)
        calls.append("s", *rows(2), owner=OWNER)
        calls.client.delete(calls.key("stream", "s"))
        reply = calls.register("s", OWNER)
        assert reply == ["ok", "kept", 0, 2, tag_of(rows(2)[-1])]
        assert calls.read("s").rows == rows(2)

    def test_reopened(self, calls: Calls, redis_server) -> None:
        calls.register("s", OWNER)
        calls.append("s", *rows(2), owner=OWNER, batch=1, final=DONE)
        with Listener(redis_server.client(), calls.channel("s")) as listener:
            reply = calls.register("s", OTHER)
            assert reply == ["ok", "reopened", 2, 2, tag_of(rows(2)[-1])]
            assert listener.next() == ""
        page = calls.read("s", 1)
        assert (page.word, page.start, page.rows) == ("gap", 3, [])
        assert (page.closed, page.final, page.state) == (-1, ["", "", ""], "active")
        assert (
            calls.append("s", *rows(1), owner=OTHER, expect=2, writer="w2").first == 3
        )
        # The old run's retry is still known for what it is.
        assert calls.append("s", *rows(2), owner=OWNER, batch=1).word == "dup"
        assert calls.append("s", *rows(1), owner=OWNER, batch=2).word == "stolen"

    def test_no_user_has_no_set(self, calls: Calls) -> None:
        calls.register("s")
        assert set(calls.everything()) == {
            calls.key("stream", "s"),
            calls.key("active"),
        }

    def test_ten_at_once_have_one_winner(self, calls: Calls, redis_server) -> None:
        for round_number in range(20):
            id, replies = f"s{round_number}", []
            barrier = threading.Barrier(10)

            def claim(n: int) -> None:
                with redis_server.client() as client:
                    mine = Calls(client, calls.prefix)
                    barrier.wait()
                    replies.append(mine.register(id, f"n{n}.r"))

            threads = [threading.Thread(target=claim, args=(n,)) for n in range(10)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert sorted(reply[0] for reply in replies) == ["exists"] * 9 + ["ok"]


class TestDescribe:
    def test_ok(self, calls: Calls, redis_server) -> None:
        calls.register("s", OWNER, "u")
        with Listener(redis_server.client(), calls.channel("s")) as listener:
            reply = calls.describe("s", OWNER, "v", "export", '{"a":1}')
            assert reply == ["ok", "active", OWNER, "u"]
            assert listener.next() == ""
        assert calls.list_all("u") == {}
        assert calls.list_all("v")["s"][1:3] == ["export", "v"]
        assert calls.read("s", described=True).described[3] == '{"a":1}'

    def test_a_user_keeps_it(self, calls: Calls) -> None:
        calls.register("s", OWNER, "u")
        calls.describe("s", OWNER, "u", "export")
        assert calls.list_all("u")["s"][1] == "export"

    def test_gone(self, calls: Calls) -> None:
        assert calls.describe("s", OWNER, "u") == ["gone", "", "", ""]
        assert calls.everything() == {}

    def test_stolen(self, calls: Calls) -> None:
        calls.register("s", OTHER, "u")
        before = calls.everything()
        assert calls.describe("s", OWNER, "v") == ["stolen", "active", OTHER, "u"]
        assert calls.everything() == before

    def test_closed(self, calls: Calls) -> None:
        calls.register("s", OWNER, "u")
        calls.append("s", *rows(1), owner=OWNER, final=DONE)
        before = calls.everything()
        assert calls.describe("s", OWNER, "v")[:2] == ["closed", "completed"]
        assert calls.everything() == before


class TestBeat:
    def test_each_has_its_word(self, calls: Calls) -> None:
        calls.register("mine", OWNER)
        calls.register("theirs", OTHER)
        calls.register("ended", OWNER)
        calls.append("ended", *rows(1), owner=OWNER, final=DONE)
        calls.client.set(calls.key("stream", "odd"), "no hash")
        calls.register("anybody")
        ids = ["mine", "theirs", "ended", "never", "odd", "anybody"]
        reply = calls.beat(*((id, OWNER, "") for id in ids))
        assert reply == [
            "ok",
            "active",
            "stolen",
            "closed",
            "gone",
            "wrongtype",
            "active",
        ]

    def test_none_at_all(self, calls: Calls) -> None:
        assert calls.beat() == ["ok"]

    def test_renews(self, calls: Calls) -> None:
        calls.register("s", OWNER, "u", ttl=10)
        calls.append("s", *rows(1), owner=OWNER, ttls=(10, 10, 0))
        calls.client.zadd(calls.key("active"), {"s": 5})
        calls.client.srem(calls.user_set("u"), "s")
        calls.beat(("s", OWNER, "u"), time="later", ttl=3600)
        stream, events, meta = calls.keys("s")[:3]
        for key, ttl in (stream, 3600), (events, 300), (meta, 7200), (
            calls.user_set("u"), 3600):  # fmt: skip
            assert ttl - 60 < calls.client.ttl(key) <= ttl
        assert calls.client.hget(stream, "lastHeartbeat") == "later"
        assert calls.score_of("s") > 1.7e12
        assert calls.client.smembers(calls.user_set("u")) == {"s"}

    def test_a_fixed_lifetime(self, calls: Calls) -> None:
        calls.register("s", OWNER, "u", ttl=100)
        assert calls.beat(("s", OWNER, "u"), ttl=0) == ["ok", "active"]
        assert 0 < calls.client.ttl(calls.key("stream", "s")) <= 100
        assert calls.client.smembers(calls.user_set("u")) == {"s"}

    def test_revives_an_orphan(self, calls: Calls) -> None:
        calls.register("s", OWNER)
        (_, _, [_, claim, *_]) = calls.claim()
        calls.settle("s", claim, "orphaned")
        assert calls.beat(("s", OWNER, "")) == ["ok", "active"]
        assert calls.state_of("s") == "active"

    def test_closed_where_it_was_removed(self, calls: Calls) -> None:
        calls.register("s", OWNER)
        calls.remove("s")
        assert calls.beat(("s", OWNER, "")) == ["ok", "closed"]

    def test_a_thousand_in_one_call(self, calls: Calls) -> None:
        streams = [(f"s{n}", OWNER, "u") for n in range(1000)]
        for id, owner, user in streams:
            calls.register(id, owner, user)
        assert calls.beat(*streams) == ["ok"] + ["active"] * 1000


class TestRemove:
    def test_ok(self, calls: Calls, redis_server) -> None:
        calls.register("s", OWNER, "u")
        calls.append("s", *rows(3), owner=OWNER)
        channels = calls.channel("s"), calls.key("ctl", "n1")
        with Listener(redis_server.client(), *channels) as listener:
            assert calls.remove("s", keep=0) == ["ok", "active", OWNER, "u"]
            heard = {listener.next(), listener.next()}
        assert heard == {"removed", f"removed {OWNER} s"}
        assert calls.everything() == {}

    def test_what_is_left_of_it(self, calls: Calls) -> None:
        calls.client.rpush(calls.key("events", "s"), "x")
        assert calls.remove("s", keep=0)[0] == "ok"
        assert calls.everything() == {}

    def test_its_numbering_alone(self, calls: Calls) -> None:
        calls.register("s")
        calls.append("s", *rows(3))
        calls.client.delete(*calls.keys("s")[:2], calls.key("active"))
        assert calls.remove("s")[0] == "ok"
        assert calls.read("s").closed == 3

    def test_late_writers_are_told(self, calls: Calls) -> None:
        calls.register("s", OWNER)
        calls.append("s", *rows(3), owner=OWNER)
        calls.remove("s", keep=60)
        assert set(calls.everything()) == {calls.key("meta", "s")}
        assert 0 < calls.client.ttl(calls.key("meta", "s")) <= 60
        assert calls.append("s", *rows(1), owner=OWNER, expect=3).word == "closed"
        assert calls.restore("s", *rows(3), owner=OWNER, seen=3)[0] == "closed"
        assert calls.read("s").known == 0
        assert calls.register("s", OTHER) == [
            "ok",
            "reopened",
            3,
            3,
            tag_of(rows(3)[-1]),
        ]

    def test_late_writers_of_an_empty_stream_too(self, calls: Calls) -> None:
        calls.register("s", OWNER)
        calls.remove("s", keep=60)
        assert calls.append("s", *rows(1), owner=OWNER, expect=0).word == "closed"
        assert calls.register("s", OTHER) == ["ok", "new", 0, 0, ""]
        assert calls.append("s", *rows(1), owner=OTHER, expect=0).first == 1

    def test_gone(self, calls: Calls) -> None:
        assert calls.remove("s") == ["gone", "", "", ""]
        assert calls.everything() == {}
        calls.register("s")
        calls.remove("s", keep=60)
        assert calls.remove("s", keep=60)[0] == "gone"

    def test_stolen(self, calls: Calls) -> None:
        calls.register("s", OTHER, "u")
        assert calls.remove("s", owner=OWNER) == ["stolen", "active", OTHER, "u"]
        assert calls.state_of("s") == "active"
        assert calls.remove("s", owner=OTHER)[0] == "ok"


class TestList:
    def test_of_a_user(self, calls: Calls) -> None:
        calls.register("a", OWNER, "u", "chat", '{"x":1}')
        calls.register("b", "", "u")
        calls.append("b", *rows(1), final=DONE)
        calls.register("c", "", "v")
        found = calls.list_all("u")
        assert set(found) == {"a", "b"}
        assert found["a"] == ["a", "chat", "u", NOW, NOW, "active", '{"x":1}', OWNER]
        assert found["b"][5] == "completed"
        assert calls.list_page("nobody") == ["ok", "0", 0]

    def test_of_all_that_run(self, calls: Calls) -> None:
        for n in range(1000):
            calls.register(f"s{n}")
        calls.append("s7", *rows(1), final=DONE)
        assert len(calls.list_all(count=50)) == 999

    def test_in_pages(self, calls: Calls) -> None:
        for n in range(1000):
            calls.register(f"s{n}", "", "u")
        assert len(calls.list_page("u", 20)) < 3 + 40
        assert len(calls.list_all("u", 20)) == 1000

    def test_takes_the_dead_off(self, calls: Calls) -> None:
        for id in "abc":
            calls.register(id, "", "u")
        calls.client.delete(calls.key("stream", "a"))
        calls.client.hset(calls.key("stream", "b"), "userId", "v")
        assert calls.list_page("u")[2] == 2
        assert calls.client.smembers(calls.user_set("u")) == {"c"}
        assert calls.list_page()[2] == 1
        assert calls.score_of("a") is None


def test_a_batch_is_one_call(calls: Calls) -> None:
    calls.register("s")
    calls.client.config_resetstat()
    calls.append("s", *rows(64), beat=NOW)
    stats = calls.client.info("commandstats")
    for command in "evalsha", "rpush", "set", "publish":
        assert stats[f"cmdstat_{command}"]["calls"] == 1


def test_rows_are_what_the_layout_says(calls: Calls) -> None:
    calls.register("s")
    calls.append("s", row_of({"text": "hé"}))
    (row,) = calls.client.lrange(calls.key("events", "s"), 0, -1)
    assert list(json.loads(row)) == ["type", "data", "ts"]
