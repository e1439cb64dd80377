"""The client's HTTP: bodies as servers send them, redirects, long poll, what a
stored completion is worth, and limits."""

import json
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from client_driver import NEVER, Client, Driver
from script_server import STREAM, Exchange, ScriptServer
from suite.api import Api, path_of
from suite.fixtures import Serve

pytestmark = pytest.mark.asan

QUICK: dict[str, Any] = {
    "retry_floor_ms": 1,
    "retry_cap_ms": 100,
    "max_attempts": NEVER,
}
EVENTS = b"id: 1\ndata: one\n\nid: 2\ndata: two\n\n"


def start(driver: Driver, script: ScriptServer, **options: Any) -> Client:
    return driver.start(script.url(), **{**QUICK, **options})


def raw_head(*lines: str) -> bytes:
    return "\r\n".join(["HTTP/1.1 200 OK", *lines, "", ""]).encode()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def end_of_stream(exchange: Exchange, client: Client) -> None:
    exchange.stream(b"event: done\ndata:\n\n")
    client.wait("end", cause="terminal")


class TestBodies:
    CHUNKED = raw_head("Content-Type: text/event-stream", "Transfer-Encoding: chunked")

    @pytest.mark.parametrize("piece", [1, 2, 7, 1000])
    @pytest.mark.parametrize("size", [1, 5, 1000])
    def test_chunks(
        self, driver: Driver, script: ScriptServer, piece: int, size: int
    ) -> None:
        """Of any size, cut into segments of any size."""
        chunks = [EVENTS[at : at + size] for at in range(0, len(EVENTS), size)]
        client = start(driver, script)
        exchange = script.next()
        whole = self.CHUNKED + b"".join(map(chunk, chunks)) + b"0\r\n\r\n"
        exchange.send_pieces(whole, piece)
        client.wait("error", cause="body_end")
        assert client.datas() == ["one", "two"]

    def test_the_end_of_a_chunked_body_is_not_taken_for_granted(
        self, driver: Driver, script: ScriptServer
    ) -> None:
        client = start(driver, script)
        exchange = script.next()
        exchange.send(self.CHUNKED + chunk(EVENTS))
        client.wait("event", data="two")
        exchange.close()
        client.wait("error", cause="network")

    @pytest.mark.parametrize(
        "name, bits", [("gzip", 31), ("deflate", 15)], ids=["gzip", "deflate"]
    )
    def test_compressed_events_come_at_once(
        self, driver: Driver, script: ScriptServer, name: str, bits: int
    ) -> None:
        """Not when the body ends, or the window is full."""
        packer = zlib.compressobj(wbits=bits)

        def pack(data: bytes) -> bytes:
            return packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH)

        client = start(driver, script)
        exchange = script.next()
        accepted = exchange.request.get("accept-encoding") or b""
        assert name.encode() in accepted
        exchange.stream(b"", STREAM, ("Content-Encoding", name))
        for n in range(20):
            exchange.send_pieces(pack(b"data: %d\n\n" % n), 3)
            client.wait("event", data=str(n))

    def test_hints_before_the_answer(
        self, driver: Driver, script: ScriptServer
    ) -> None:
        client = start(driver, script)
        exchange = script.next()
        exchange.send(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
        exchange.stream(b"data: x\n\n")
        assert client.wait("open")["status"] == 200
        client.wait("event", data="x")

    def test_an_old_server(self, driver: Driver, script: ScriptServer) -> None:
        client = start(driver, script)
        exchange = script.next()
        exchange.send(b"HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        exchange.send(EVENTS)
        exchange.close()
        client.wait("error", cause="body_end")
        assert client.datas() == ["one", "two"]

    @pytest.mark.parametrize(
        "answer",
        [
            b"hello\r\n\r\n",
            b"HTTP/1.1 \xff\xff\r\n\r\n",
            b"SSH-2.0-OpenSSH\r\n",
            b"",
        ],
    )
    def test_no_http_at_all(
        self, driver: Driver, script: ScriptServer, answer: bytes
    ) -> None:
        client = start(driver, script)
        exchange = script.next()
        exchange.send(answer)
        exchange.close()
        client.wait("error", cause="network")
        script.next().stream(b"data: x\n\n")
        client.wait("event", data="x")
        assert client.datas() == ["x"]

    def test_an_endless_head(self, driver: Driver, script: ScriptServer) -> None:
        client = start(driver, script)
        exchange = script.next()
        exchange.send(b"HTTP/1.1 200 OK\r\n")
        try:
            while True:
                exchange.send(b"X: " + b"x" * 60_000 + b"\r\n")
        except OSError:
            pass
        client.wait("error", cause="network")


class TestRedirects:
    @pytest.mark.parametrize(
        "status, method, body",
        [
            (301, "GET", b""),
            (302, "GET", b""),
            (303, "GET", b""),
            (307, "POST", b"question"),
            (308, "POST", b"question"),
        ],
    )
    def test_what_becomes_of_a_post(
        self,
        driver: Driver,
        script: ScriptServer,
        status: int,
        method: str,
        body: bytes,
    ) -> None:
        client = start(driver, script, set={"body": "question"})
        for n in range(2):
            exchange = script.next()
            assert exchange.request.target == "/stream"
            assert exchange.request.method == "POST"
            assert exchange.request.body == b"question"
            exchange.answer(status, b"", ("Location", "/answer"))
            exchange = script.next()
            assert exchange.request.target == "/answer"
            assert (exchange.request.method, exchange.request.body) == (method, body)
            exchange.stream(b"id: %d\ndata: %d\n\n" % (n, n))
            client.wait("event", data=str(n))
            exchange.close()

    @pytest.mark.parametrize(
        "where", ["ftp://127.0.0.1/", "file:///etc/passwd", "http://", "http://a b/"]
    )
    def test_where_nobody_should_go(
        self, driver: Driver, script: ScriptServer, where: str
    ) -> None:
        client = start(driver, script)
        script.next().answer(302, b"", ("Location", where))
        client.wait("end", cause="redirect")
        assert client.causes() == ["redirect"]

    def test_the_limit_counts_redirects_in_a_row(
        self, driver: Driver, script: ScriptServer
    ) -> None:
        client = start(driver, script, max_redirects=2)
        for n in range(3):
            for _ in range(2):
                script.next().answer(307, b"", ("Location", "/stream"))
            exchange = script.next()
            exchange.stream(b"data: %d\n\n" % n)
            client.wait("event", data=str(n))
            exchange.close()


class TestFinite:
    """What a program gets that wants an answer, not a feed."""

    def test_a_clean_end_is_the_end(self, driver: Driver, script: ScriptServer) -> None:
        client = start(driver, script, profile="finite", set={"body": "question"})
        exchange = script.next()
        exchange.send(TestBodies.CHUNKED + chunk(b"data: word\n\n") + b"0\r\n\r\n")
        client.wait("end", cause="body_end")
        assert client.datas() == ["word"]
        assert client.of("error") == []

    def test_nothing_is_asked_for_twice(
        self, driver: Driver, script: ScriptServer
    ) -> None:
        client = start(driver, script, profile="finite", set={"body": "question"})
        exchange = script.next()
        exchange.send(TestBodies.CHUNKED + chunk(b"data: word\n\n"))
        client.wait("event", data="word")
        exchange.close()
        client.wait("end", cause="no_cursor")
        assert script.waiting() == 0

    def test_but_gone_on_with(self, driver: Driver, script: ScriptServer) -> None:
        client = start(driver, script, profile="finite", set={"body": "question"})
        exchange = script.next()
        exchange.send(TestBodies.CHUNKED + chunk(EVENTS))
        client.wait("event", data="two")
        exchange.reset()
        exchange = script.next()
        assert exchange.request.last_event_id == b"2"
        assert exchange.request.body == b"question"
        exchange.stream(b"data: [DONE]\n\n")
        client.wait("end", cause="terminal")

    def test_what_failed_before_it_began(
        self, driver: Driver, script: ScriptServer
    ) -> None:
        client = start(driver, script, profile="finite", set={"body": "question"})
        script.next().reset()
        script.next().answer(503)
        end_of_stream(script.next(), client)


class TestPoll:
    """A network that lets no stream through."""

    def poll_after_silence(self, script: ScriptServer) -> Exchange:
        for _ in range(2):
            exchange = script.next()
            assert "poll" not in exchange.request.target
            exchange.wait_closed()
        exchange = script.next()
        assert "transport=poll" in exchange.request.target
        assert exchange.request.get("accept") == b"application/json"
        return exchange

    def answer(self, exchange: Exchange, *events: dict[str, Any]) -> None:
        last = events[-1]["id"] if events else ""
        body = {"events": events, "lastEventId": last, "state": "active"}
        kind = ("Content-Type", "application/json")
        exchange.answer(200, json.dumps(body).encode(), kind)

    def test_it_asks_again_and_again(
        self, driver: Driver, script: ScriptServer
    ) -> None:
        client = start(driver, script, flags=["poll"], first_byte_ms=200)
        exchange = self.poll_after_silence(script)
        for n in range(1, 4):
            event = {"id": f"{n}-0000000{n}", "type": "message", "data": f"é{n}"}
            self.answer(exchange, event)
            client.wait("event", data=f"é{n}", id=event["id"])
            exchange = script.next()
            assert exchange.request.last_event_id == event["id"].encode()
        self.answer(exchange, {"id": "4-00000004", "type": "completed", "data": "{}"})
        client.wait("end", cause="terminal")

    def test_without_the_flag_it_does_not(
        self, driver: Driver, script: ScriptServer
    ) -> None:
        start(driver, script, first_byte_ms=100)
        for _ in range(4):
            assert script.next().request.target == "/stream"

    def test_an_answer_that_is_none(self, driver: Driver, script: ScriptServer) -> None:
        client = start(driver, script, flags=["poll"], first_byte_ms=200)
        exchange = self.poll_after_silence(script)
        kind = ("Content-Type", "application/json")
        exchange.answer(200, b'{"events":[{"id":1', kind)
        client.wait("error", cause="bad_answer")
        assert client.of("event") == []

    def test_with_the_real_server(
        self, driver: Driver, script: ScriptServer, own_server: Serve
    ) -> None:
        """Two requests meet a wall, the others the server."""
        api = Api(own_server().base_url)
        stream = api.new_stream()
        ids = api.append_many(stream, [f"{n}" for n in range(50)])
        client = start(driver, script, flags=["poll"], first_byte_ms=200)
        exchange = self.poll_after_silence(script)
        api.complete(stream)
        while True:
            cursor = (exchange.request.last_event_id or b"").decode()
            answer = api.poll(stream, cursor)
            kind = ("Content-Type", answer.get("content-type") or "")
            exchange.answer(answer.status, answer.body, kind)
            client.until(lambda: client.of("end") or script.waiting(), "next step")
            if client.of("end"):
                break
            exchange = script.next()
        assert [e["id"] for e in client.of("event")][:50] == ids
        assert client.datas()[-1] == "{}"


class TestRecovery:
    def test_a_completion_is_enough(
        self, driver: Driver, script: ScriptServer, own_server: Serve
    ) -> None:
        """No stream is opened when the end is known already."""
        api = Api(own_server().base_url)
        stream = api.new_stream()
        api.append(stream, "word")
        api.end(stream, "complete", [("Content-Type", "text/plain")], b"all of it")
        url = api.base_url + path_of(stream, "recover")
        client = start(driver, script, set={"recovery_url": url})
        client.wait("end", cause="terminal")
        assert client.of("event")[-1]["type"] == "completed"
        assert client.datas() == ["all of it"]
        assert script.waiting() == 0

    @pytest.mark.parametrize("status", [404, 500, 200])
    def test_without_one_it_streams(
        self, driver: Driver, script: ScriptServer, status: int
    ) -> None:
        client = start(driver, script, set={"recovery_url": script.url("/recover")})
        exchange = script.next()
        assert exchange.request.target == "/recover"
        exchange.answer(status, b"{}", ("Content-Type", "application/json"))
        exchange = script.next()
        assert exchange.request.target == "/stream"
        exchange.stream(b"data: x\n\n")
        client.wait("event", data="x")


class TestLimits:
    @pytest.mark.parametrize("line", [b"data: " + b"x" * 999, b"data: x" + b"x" * 9999])
    def test_an_event_that_is_too_big(
        self, driver: Driver, script: ScriptServer, line: bytes
    ) -> None:
        """It would come again: that is the end."""
        client = start(driver, script, max_event_bytes=1000)
        exchange = script.next()
        exchange.stream(b"data: " + b"y" * 1000 + b"\n\n")
        exchange.send((line + b"\n") * 2 + b"\n")
        client.wait("end", cause="too_big")
        assert client.datas() == ["y" * 1000]
        exchange.wait_closed()

    def test_a_refusal_without_end(self, driver: Driver, script: ScriptServer) -> None:
        client = start(driver, script, max_error_bytes=1000)
        exchange = script.next()
        kind = ("Content-Type", "text/plain")
        exchange.head(404, kind, body=b"no " * 1000)
        try:
            for _ in range(10_000):
                exchange.send(b"no " * 1000)
        except OSError:
            pass
        error = client.wait("error", cause="status", status=404)
        assert error["data"] == ("no " * 1000)[:1000]
        client.wait("end", cause="status")

    def test_a_refusal_that_never_ends(
        self, driver: Driver, script: ScriptServer
    ) -> None:
        """It is told all the same."""
        client = start(driver, script)
        script.next().head(404, ("Content-Length", "1000"))
        client.wait("end", cause="status", status=404)

    @pytest.mark.parametrize("end", [Exchange.close, Exchange.reset])
    def test_many_connections_leave_nothing_behind(
        self, driver: Driver, script: ScriptServer, end: Callable[[Exchange], None]
    ) -> None:
        client = start(driver, script)
        folder = Path(f"/proc/{driver.process.pid}/fd")
        counts = []
        for n in range(100):
            exchange = script.next()
            exchange.stream(b"data: %d\n\n" % n)
            client.wait("event", data=str(n))
            counts.append(len(os.listdir(folder)))
            end(exchange)
        assert max(counts[50:]) <= max(counts[:50])
