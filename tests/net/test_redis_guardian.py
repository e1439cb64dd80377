"""The scripts of guardians and of stops: every reply of each of them."""

import threading

import pytest

from redis_calls import NOW, Calls, Listener, rows
from redis_fixtures import calls, redis_server  # noqa: F401

OWNER = "n1.r1"
OTHER = "n2.r2"
DONE = ("completed", "completed", '{"n":1}')


class TestClaim:
    def test_what_is_silent(self, calls: Calls) -> None:
        calls.register("s", OWNER, "u", "chat", '{"job":7}')
        assert calls.claim(silent=60_000) == ["ok", 0]
        word, dropped, stream = calls.claim()
        assert (word, dropped) == ("ok", 0)
        assert stream[0] == "s"
        assert stream[1].endswith(".5")  # no life sign ever has this score
        assert stream[2:] == ["active", OWNER, "u", "chat", NOW, NOW, '{"job":7}', ""]
        assert calls.claim() == ["ok", 0]  # it is under the lease

    def test_again_after_the_lease(self, calls: Calls) -> None:
        calls.register("s")
        (_, _, [_, first, *_]) = calls.claim(lease=0)
        while not (taken := calls.claim()[2:]):
            pass
        assert taken[0][1] != first
        assert calls.settle("s", first, "orphaned")[0] == "revived"

    def test_takes_no_more_than_asked(self, calls: Calls) -> None:
        for n in range(10):
            calls.register(f"s{n}")
        assert len(calls.claim(most=4)) == 2 + 4
        assert len(calls.claim(most=40)) == 2 + 6

    def test_drops_what_is_dead(self, calls: Calls) -> None:
        calls.register("ended")
        calls.client.hset(calls.key("stream", "ended"), "state", "failed")
        calls.client.hset(calls.key("stream", "zombie"), "lastHeartbeat", NOW)
        calls.client.set(calls.key("stream", "odd"), "no hash")
        dead = ["ended", "zombie", "odd", "expired"]
        calls.client.zadd(calls.key("active"), dict.fromkeys(dead, 1))
        assert calls.claim() == ["ok", 4]
        assert calls.client.zcard(calls.key("active")) == 0
        left = {key.rpartition(":")[2] for key in calls.everything()}
        assert left == {"ended", "odd"}

    def test_knows_of_a_stored_completion(self, calls: Calls) -> None:
        calls.register("s")
        calls.client.hset(calls.key("completion", "s"), "terminalEventType", "done")
        assert calls.claim()[2][9] == "done"

    def test_four_guardians_take_each_once(self, calls: Calls, redis_server) -> None:
        with calls.client.pipeline(transaction=False) as pipeline:
            for n in range(1200):
                alive = n >= 1000
                if n < 800 or alive:
                    fields = {"streamId": f"s{n}", "state": "active"}
                    pipeline.hset(calls.key("stream", f"s{n}"), mapping=fields)
                pipeline.zadd(calls.key("active"), {f"s{n}": 9e12 if alive else n})
            pipeline.execute()
        taken, dropped = [], []

        def sweep() -> None:
            with redis_server.client() as client:
                mine = Calls(client, calls.prefix)
                while (reply := mine.claim(silent=1000)) != ["ok", 0]:
                    dropped.append(reply[1])
                    taken.extend(stream[0] for stream in reply[2:])

        threads = [threading.Thread(target=sweep) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(taken) == sorted(f"s{n}" for n in range(800))
        assert sum(dropped) == 200


class TestSettle:
    def claimed(self, calls: Calls, id: str = "s") -> str:
        calls.register(id, OWNER)
        calls.append(id, *rows(2), owner=OWNER)
        return calls.claim()[2][1]

    def test_orphaned(self, calls: Calls, redis_server) -> None:
        claim = self.claimed(calls)
        with Listener(redis_server.client(), calls.channel("s")) as listener:
            assert calls.settle("s", claim, "orphaned", 5000) == ["ok", "orphaned"]
            assert listener.next() == ""
        assert calls.state_of("s") == "orphaned"
        assert calls.score_of("s") == float(claim) + 5000

    @pytest.mark.parametrize("state", ["expired", "completed"])
    def test_an_end_without_an_event(self, calls: Calls, state: str) -> None:
        claim = self.claimed(calls)
        assert calls.settle("s", claim, state) == ["ok", state]
        assert calls.score_of("s") is None
        assert 0 < calls.client.ttl(calls.key("stream", "s")) <= 60
        assert (calls.read("s").state, calls.read("s").closed) == (state, 2)
        assert calls.append("s", *rows(1), owner=OWNER, expect=2).word == "closed"
        # Not even when the registration has been forgotten.
        calls.client.delete(calls.key("stream", "s"))
        assert calls.append("s", *rows(1), owner=OWNER, expect=2).word == "closed"
        assert calls.register("s", OTHER)[:2] == ["ok", "reopened"]

    def test_revived(self, calls: Calls) -> None:
        claim = self.claimed(calls)
        calls.beat(("s", OWNER, ""))
        assert calls.settle("s", claim, "expired") == ["revived", "active"]

    def test_only_once(self, calls: Calls) -> None:
        claim = self.claimed(calls)
        assert calls.settle("s", claim, "expired")[0] == "ok"
        assert calls.settle("s", claim, "expired") == ["revived", "expired"]

    def test_gone(self, calls: Calls) -> None:
        claim = self.claimed(calls)
        calls.client.delete(calls.key("stream", "s"))
        assert calls.settle("s", claim, "orphaned") == ["gone", ""]
        assert calls.score_of("s") is None


class TestStop:
    def test_told(self, calls: Calls, redis_server) -> None:
        calls.register("s", OWNER)
        with Listener(redis_server.client(), calls.key("ctl", "n1")) as listener:
            assert calls.stop("s") == ["told", 1, "active", OWNER]
            assert listener.next() == f"stop {OWNER} s"

    def test_nobody(self, calls: Calls) -> None:
        calls.register("s", OWNER)
        calls.append("s", *rows(1), owner=OWNER)
        assert calls.stop("s") == ["nobody", 0, "active", OWNER]
        # So the caller ends it, with the token it saw.
        cancelled = ("cancelled", "cancelled", '{"reason":"stop"}')
        reply = calls.append("s", *rows(1), owner=OWNER, writer="w9", final=cancelled)
        assert (reply.word, reply.state) == ("ok", "cancelled")
        assert calls.append("s", *rows(1), owner=OWNER, expect=1).word == "closed"
        assert calls.stop("s")[0] == "ended"

    def test_nobody_owns_it(self, calls: Calls) -> None:
        calls.register("s")
        assert calls.stop("s") == ["nobody", 0, "active", ""]

    def test_stale(self, calls: Calls, redis_server) -> None:
        calls.register("s", OWNER)
        with Listener(redis_server.client(), calls.key("ctl", "n1")) as listener:
            assert calls.stop("s", "n1.r0") == ["stale", 0, "active", OWNER]
            assert listener.is_quiet(calls.client, calls.key("ctl", "n1"))
        # Nor can what it saw end the new run.
        assert calls.append("s", *rows(1), owner="n1.r0", final=DONE).word == "stolen"

    def test_ended(self, calls: Calls) -> None:
        calls.register("s", OWNER)
        calls.append("s", *rows(1), owner=OWNER, final=DONE)
        assert calls.stop("s") == ["ended", 0, "completed", OWNER]

    def test_gone(self, calls: Calls) -> None:
        assert calls.stop("s") == ["gone", 0, "", ""]


def test_count(calls: Calls) -> None:
    assert calls.count(0) == ["ok", 0, 0]
    for n in range(5):
        calls.register(f"s{n}")
    calls.client.zadd(calls.key("active"), {"s1": 1, "s2": 2})
    assert calls.count(60_000) == ["ok", 5, 2]
