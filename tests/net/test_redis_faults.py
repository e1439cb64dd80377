"""The scripts when Redis is full, read-only, cut off, or holds what it should
not: a script has happened whole, or not at all, and says which."""

import re
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from redis_calls import NAMES, NOW, Calls, Listener, row_of, tag_of
from redis_fixtures import calls, redis_server  # noqa: F401
from redis_server import RedisServer
from suite.waiting import wait_until

OWNER = "n1.r1"
DONE = ("completed", "completed", "{}")
ROW = row_of({"n": 1})
DOCS = Path(__file__).resolve().parents[2] / "docs" / "redis.md"


class Own(Calls):
    """Calls to a server of one test alone."""

    server: RedisServer
    held: str  # the claim of stream `s`


Act = Callable[[Own], Any]

# What writes, on a stream `s` that OWNER has, with one row and a claim.
WRITERS: dict[str, Act] = {
    "append": lambda c: c.append("s", ROW, owner=OWNER, expect=1, beat=NOW, cap=1),
    "append-end": lambda c: c.append("s", ROW, owner=OWNER, final=DONE),
    "restore": lambda c: c.restore("s", ROW, ROW, owner=OWNER, seen=1),
    "register": lambda c: c.register("new", OWNER, "u"),
    "register-again": lambda c: c.register("ended", OWNER, "u"),
    "describe": lambda c: c.describe("s", OWNER, "v"),
    "beat": lambda c: c.beat(("s", OWNER, "u"), ("never", "", ""), time="later"),
    "claim": lambda c: c.claim(),
    "settle": lambda c: c.settle("s", c.held, "expired"),
}
# What may go on when Redis is full, as it takes nothing more.
REMOVERS: dict[str, Act] = {"remove": lambda c: c.remove("s", keep=0)}
READERS: dict[str, Act] = {
    "read": lambda c: c.read("s", described=True),
    "list": lambda c: c.list_page("u"),
    "count": lambda c: c.count(0),
    "stop": lambda c: c.stop("s"),
}


def prepare(calls: Own) -> None:
    calls.register("s", OWNER, "u")
    calls.append("s", ROW, owner=OWNER)
    calls.register("ended", "n1.r0", "u")
    calls.append("ended", ROW, owner="n1.r0", final=DONE)
    calls.held = calls.claim(most=1)[2][1]
    calls.client.zadd(calls.key("active"), {"never": 1, "silent": 2})
    calls.client.hset(
        calls.key("stream", "silent"), mapping={"streamId": "silent", "state": "active"}
    )


def refused(act: Act, calls: Own, code: str) -> None:
    with pytest.raises(redis.RedisError) as caught:
        act(calls)
    said = f"{type(caught.value).__name__} {caught.value}"
    assert code.lower() in said.lower()


@pytest.fixture
def own() -> Iterator[Own]:
    with RedisServer() as server, server.client() as client:
        calls = Own(client, "t:")
        calls.server = server
        prepare(calls)
        yield calls


class TestRefused:
    def check(self, calls: Own, code: str, refuse: Callable[[bool], Any]) -> None:
        before = calls.everything()
        refuse(True)
        for act in WRITERS.values():
            refused(act, calls, code)
        assert calls.everything() == before
        for act in READERS.values():
            act(calls)
        assert calls.everything() == before
        refuse(False)
        assert WRITERS["append"](calls).word == "ok"

    def test_oom(self, own: Own) -> None:
        self.check(
            own, "OutOfMemoryError",
            lambda on: own.client.config_set("maxmemory", 1 if on else 0),
        )  # fmt: skip

    def test_oom_does_not_keep_what_is_removed(self, own: Own) -> None:
        own.client.config_set("maxmemory", 1)
        assert own.remove("s")[0] == "ok"
        assert own.append("s", ROW, owner=OWNER).word == "closed"

    def test_noreplicas(self, own: Own) -> None:
        self.check(
            own, "NOREPLICAS",
            lambda on: own.client.config_set("min-replicas-to-write", int(on)),
        )  # fmt: skip

    def test_misconf(self, own: Own) -> None:
        """Redis could not save, and takes no more until it can."""
        directory = own.server.directory

        def refuse(on: bool) -> None:
            if not on:
                own.client.config_set("save", "")
                return
            own.client.config_set("save", "3600 1000000")
            shutil.rmtree(directory)
            own.client.bgsave()
            wanted = {"rdb_bgsave_in_progress": 0, "rdb_last_bgsave_status": "err"}
            wait_until(lambda: wanted.items() <= own.client.info("persistence").items())

        self.check(own, "MISCONF", refuse)

    def test_readonly(self, own: Own) -> None:
        """A replica: what reads runs there."""
        master = own.server
        options = ("--replicaof", "127.0.0.1", str(master.port))
        with RedisServer(*options) as server, server.client() as client:
            wait_until(lambda: client.info("replication")["master_link_status"] == "up")
            replica = Own(client, "t:")
            replica.held = own.held
            before = replica.everything()
            assert before == own.everything()
            for act in {**WRITERS, **REMOVERS}.values():
                refused(act, replica, "ReadOnlyError")
            assert replica.read("s").rows == [ROW]
            assert replica.list_page()[:1] == ["ok"]  # with a dead id in it
            assert replica.count(0)[0] == "ok"
            assert replica.everything() == before

    def test_the_code_comes_first(self, own: Own) -> None:
        own.client.config_set("maxmemory", 1)
        words = ["EVALSHA", own.shas["claim"], "1", own.key("active"), "t:stream:",
                 "t:completion:", "0", "1000", "10"]  # fmt: skip
        port = own.server.port
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall((" ".join(words) + "\r\n").encode())
            assert connection.recv(1000).startswith(b"-OOM ")


class TestArguments:
    @pytest.mark.parametrize("wrong", ["", "x", "-1", "1.5", "nan", "inf", "1e15"])
    def test_nothing_happens(self, own: Own, wrong: str) -> None:
        before = own.everything()
        keys, none, five = own.keys("s"), [""] * 8, [""] * 3
        tail = [tag_of(ROW), ROW]
        attempts: list[tuple[str, list[str], list[Any]]] = [
            ("append", keys, ["s", OWNER, "", "", "w", wrong, 9, 9, 9, 9, *none, *tail]),
            ("append", keys, ["s", OWNER, "", "", "w", 9999, 9, wrong, 9, 9, *none, *tail]),
            ("append", keys, ["s", OWNER, "", "", "w", 9999, 9, 9, 9, wrong, *none, *tail]),
            ("append", keys, ["s", OWNER, "", "", "w", 9999, 9, 9, 9, 9, *five, "failed", "", "", "", wrong, *tail]),
            ("append", keys, ["s", OWNER, "", "", "w", 9999, 9, 9, 9, 9, *none]),
            ("append", keys, ["s", OWNER, "", "", "w", 9999, 9, 9, 9, 9, *none, ROW]),
            ("append", keys, ["s", OWNER, "1", "", "w", 9999, 9, 9, 9, 9, *none, *tail]),
            ("restore", keys, [OWNER, wrong, 0, "", "w:1:1", 9, 9, "", "PUBLISH", ROW]),
            ("restore", keys, [OWNER, 1, 0, "", "w:1:1", 9, wrong, "", "PUBLISH", ROW]),
            ("register", own.keys("x"), ["x", "", "", NOW, NOW, "{}", "", wrong, 9, "", "PUBLISH"]),
            ("beat", [own.key("active"), *keys[:3], keys[0]], [NOW, 9, wrong, 9, "s", OWNER]),
            ("remove", keys, ["s", "", "t:user:", ":streams", wrong, "", "PUBLISH", ""]),
            ("claim", [own.key("active")], ["t:stream:", "t:completion:", wrong, 9, 9]),
            ("settle", keys, ["s", own.held, "expired", 9, 9, wrong, "", "PUBLISH"]),
            ("count", [own.key("active")], [wrong]),
        ]  # fmt: skip
        for name, script_keys, args in attempts:
            with pytest.raises(redis.ResponseError, match="argument|malformed"):
                own.run(name, script_keys, *args)
        assert own.everything() == before


class TestOddData:
    @pytest.mark.parametrize(
        "kind", ["stream", "events", "meta", "completion", "active"]
    )
    @pytest.mark.parametrize("name", [*WRITERS, *READERS])
    def test_a_key_of_another_type(self, own: Own, kind: str, name: str) -> None:
        for id in "s", "ended", "new":
            key = own.key(kind) if kind == "active" else own.key(kind, id)
            own.client.delete(key)
            odd = own.client.rpush if kind in ("meta", "stream") else own.client.set
            odd(key, "odd")
        before = own.everything()
        reply = {**WRITERS, **READERS}[name](own)
        word = reply[0] if isinstance(reply, list) else reply.word
        if word == "wrongtype":
            assert own.everything() == before
        elif name not in READERS:
            # It had nothing to do with that key, or only with others' streams.
            assert kind != "active" or name in ("restore", "describe")
        else:
            assert kind not in ("stream", "events", "meta") or name in (
                "list",
                "count",
                "stop",
            )

    def test_a_users_set_of_another_type(self, own: Own) -> None:
        own.client.delete(own.user_set("u"))
        own.client.set(own.user_set("u"), "odd")
        before = own.everything()
        assert own.register("new", OWNER, "u") == ["wrongtype"]
        assert own.beat(("s", OWNER, "u")) == ["ok", "wrongtype"]
        assert own.list_page("u") == ["wrongtype"]
        assert own.everything() == before

    @pytest.mark.parametrize("kind", ["stream", "events", "meta", "completion"])
    def test_remove_takes_it_away(self, own: Own, kind: str) -> None:
        own.client.delete(own.key(kind, "s"))
        odd = own.client.rpush if kind in ("meta", "stream") else own.client.set
        odd(own.key(kind, "s"), "odd")
        assert own.remove("s", keep=0)[0] == "ok"
        left = {key for key in own.everything() if key.endswith(":s")}
        assert left == set()

    @pytest.mark.parametrize(
        "meta",
        ["", "nonsense", "7", "5 3  ", "-1 2  ", "1 1e9  ", "0 999999999999999  "],
    )
    def test_a_meta_that_is_none(self, calls: Calls, meta: str) -> None:
        calls.client.set(calls.key("meta", "s"), meta)
        calls.client.rpush(calls.key("events", "s"), ROW, ROW)
        assert calls.read("s").rows == [ROW, ROW]
        assert calls.register("s")[:4] == ["ok", "kept", 0, 2]
        assert calls.append("s", ROW).first == 3
        assert calls.read("s", 2).rows == [ROW, ROW]

    def test_a_meta_that_was_evicted(self, calls: Calls) -> None:
        calls.register("s")
        calls.append("s", *[row_of(n) for n in range(5)], cap=3)
        calls.client.delete(calls.key("meta", "s"))
        # The numbers start again, and no tag of before fits: that tells.
        page = calls.read("s", 3)
        assert (page.word, page.rows) == ("anchor", [row_of(4)])
        assert calls.append("s", ROW).first == 4

    def test_a_list_that_was_refilled_by_others(self, calls: Calls) -> None:
        calls.register("s")
        calls.append("s", *[ROW] * 5)
        calls.client.delete(calls.key("events", "s"))
        calls.client.rpush(calls.key("events", "s"), "a", "b")
        page = calls.read("s", 5)
        assert (page.word, page.start, page.rows) == ("edge", 6, ["a", "b"])
        assert calls.append("s", ROW).first == 8

    def test_rows_that_are_no_json(self, calls: Calls) -> None:
        calls.client.rpush(calls.key("events", "s"), "no json", "", "\x00\n")
        calls.append("s", ROW)
        assert calls.read("s").rows == ["no json", "", "\x00\n", ROW]
        assert calls.read("s", 3).rows == ["\x00\n", ROW]

    def test_a_hash_that_is_half_written(self, calls: Calls) -> None:
        stream = calls.key("stream", "s")
        for fields in {"lastHeartbeat": NOW}, {"streamId": "s"}, {"state": "active"}:
            calls.client.delete(stream)
            calls.client.hset(stream, mapping=fields)
            assert calls.append("s", ROW, owner=OWNER).word == "gone"
            assert calls.beat(("s", OWNER, "")) == ["ok", "gone"]
            assert calls.stop("s")[0] == "gone"
            assert calls.read("s").known == 0
        assert calls.register("s", OWNER)[:2] == ["ok", "new"]
        assert set(calls.client.hkeys(stream)) >= {"streamId", "state", "owner"}


class TestCut:
    def test_a_lost_reply(self, own: Own) -> None:
        """The same batch again, whatever became of the first try."""
        server, events = own.server, own.key("events", "s")
        with server.client(single_connection_client=True) as client:
            client.ping()
            client.connection._sock.settimeout(0.2)
            impatient = own.through(client)
            server.pause()
            with pytest.raises(redis.TimeoutError):
                impatient.append("s", ROW, owner=OWNER, expect=1, batch=5000)
        server.resume()
        wait_until(lambda: own.client.llen(events) == 2)
        reply = own.append("s", ROW, owner=OWNER, expect=1, batch=5000)
        assert reply.word == "dup"
        assert own.client.llen(events) == 2
        assert own.read("s").top == 2

    def test_cut_while_many_write(self, own: Own) -> None:
        """Four writers whose connections are cut all the time: each row once,
        each writer's in order."""
        server = own.server
        own.register("many")
        writing = 4
        lock = threading.Lock()
        cut: set[str] = set()

        def write(name: str) -> None:
            nonlocal writing
            with server.client() as client:
                mine = own.through(client)
                for batch in range(1, 201):
                    pair = [row_of([name, batch, part]) for part in (1, 2)]
                    while True:
                        try:
                            mine.append(
                                "many", *pair, writer=name, batch=batch, cap=9000
                            )
                        except redis.ConnectionError:
                            cut.add(name)
                        else:  # the last one again until it has been cut off
                            if batch < 200 or name in cut:
                                break
            with lock:
                writing -= 1

        threads = [threading.Thread(target=write, args=(f"w{n}",)) for n in range(4)]
        for thread in threads:
            thread.start()
        while writing:
            server.cut()
        for thread in threads:
            thread.join()
        kept = own.client.lrange(own.key("events", "many"), 0, -1)
        assert len(cut) == 4
        assert len(kept) == own.read("many", "$").top == 1600
        for n in range(4):
            expected = [row_of([f"w{n}", b, p]) for b in range(1, 201) for p in (1, 2)]
            assert [row for row in kept if f'"w{n}"' in row] == expected

    def test_killed_and_back(self, own: Own) -> None:
        server = own.server
        before = own.everything()
        server.restart(with_data=True)
        assert own.everything() == before
        refused(READERS["read"], own, "NoScriptError")
        assert Calls(own.client, "t:").read("s").rows == [ROW]
        server.restart(with_data=False)
        assert own.everything() == {}

    def test_no_script_is_left_after_a_flush(self, own: Own) -> None:
        own.client.script_flush()
        for act in {**WRITERS, **READERS}.values():
            refused(act, own, "NoScriptError")


class TestRights:
    def rights(self) -> list[str]:
        """The rules for ACL SETUSER that the documentation gives."""
        text = DOCS.read_text().replace("\\\n", "")
        line = re.search(r"^ +ACL SETUSER libsse (.*)$", text, re.MULTILINE)
        assert line
        return line[1].split()

    def test_as_documented_is_enough(self, own: Own) -> None:
        rights = [r.replace("sse:", "t:") for r in self.rights()]
        own.client.execute_command("ACL", "SETUSER", "libsse", *rights)
        server = own.server
        password = next(r[1:] for r in rights if r[0] == ">")
        with server.client(username="libsse", password=password) as client:
            calls = Own(client, "t:")
            with Listener(
                server.client(username="libsse", password=password), "t:ch:s"
            ):
                assert calls.append("s", ROW, owner=OWNER, beat=NOW).readers == 1
            calls.held = own.held
            for act in {**WRITERS, **READERS, **REMOVERS}.values():
                act(calls)

    def test_who_may_not_publish_is_told(self, own: Own) -> None:
        rights = [r for r in self.rights() if "publish" not in r]
        rights = [r.replace("sse:", "t:") for r in rights]
        own.client.execute_command("ACL", "SETUSER", "mute", *rights)
        server = own.server
        password = next(r[1:] for r in rights if r[0] == ">")
        with server.client(username="mute", password=password) as client:
            reply = Calls(client, "t:").append("s", ROW, owner=OWNER)
            assert (reply.word, reply.readers) == ("ok", -1)


def test_every_script_is_known() -> None:
    tested = {name.partition("-")[0] for name in {**WRITERS, **READERS, **REMOVERS}}
    assert tested == set(NAMES)
