"""Requests that are too large, too slow, or not HTTP at all.

The limits are the defaults of docs/http.md; the test that another value of
each is obeyed is in C.
"""

import contextlib
import socket
import time
from collections.abc import Iterator

import pytest

from suite.api import JSON, NDJSON, PREFIX, TEXT, Api, fresh_id, path_of
from suite.checks import assert_error, assert_sequence, unchanged
from suite.fixtures import Serve
from suite.server import Server
from suite.waiting import wait_until
from suite.wire import TIMEOUT_S, Connection, Response, build_request, parse_head

pytestmark = pytest.mark.asan

EVENT_BYTES = 1 << 20
BODY_BYTES = 16 << 20
HEAD_BYTES = 16 << 10

TCP_REPAIR = 19  # of Linux; the socket module does not name it


def assert_refused(api: Api, raw: bytes, status: int, code: str) -> None:
    """One response comes to raw bytes, and behind it the connection ends."""
    with Connection(api.base_url) as connection:
        connection.send(raw)
        assert_error(connection.read_response(), status, code)
        connection.assert_closed()


class TestHead:
    @pytest.mark.parametrize(
        "target, headers",
        [
            ("/health", [("X-Large", "x" * 20_000)]),
            ("/health", [(f"X-{n}", "x" * 80) for n in range(400)]),
            ("/health", [("X" * 20_000, "x")]),
            ("/" + "x" * 20_000, []),
            (PREFIX + "?userId=" + "x" * 20_000, []),
        ],
        ids=["value", "many", "name", "path", "query"],
    )
    def test_too_large(
        self, api: Api, target: str, headers: list[tuple[str, str]]
    ) -> None:
        request = build_request("GET", target, headers)
        assert_refused(api, request, 431, "head_too_large")

    def test_too_large_and_never_ending(self, api: Api) -> None:
        """It is refused when the limit is passed, not at its end."""
        with Connection(api.base_url) as connection:
            connection.send(b"GET /health HTTP/1.1\r\n" + b"X: y\r\n" * 6000)
            assert_error(connection.read_response(), 431, "head_too_large")
            connection.assert_closed()

    def test_just_small_enough(self, api: Api) -> None:
        request = build_request("GET", "/health", [("X", "")])
        padding = "x" * (HEAD_BYTES - len(request))
        request = build_request("GET", "/health", [("X", padding)])
        assert len(request) == HEAD_BYTES
        with Connection(api.base_url) as connection:
            for _ in range(3):
                connection.send(request)
                assert connection.read_response().status == 200

    def test_too_slow(self, api: Api) -> None:
        """Whether nothing comes any more, or a byte now and then."""
        head = b"GET /health HTTP/1.1\r\nX: "
        with Connection(api.base_url) as stuck, Connection(api.base_url) as slow:
            stuck.send(head)
            slow.send(head)
            assert_timeout(slow, drip=True)
            assert_timeout(stuck)


def assert_timeout(connection: Connection, drip: bool = False) -> None:
    """408 or a bare end, as long as there is an end."""
    end = time.monotonic() + TIMEOUT_S
    while drip and not connection.readable(0.25):
        assert time.monotonic() < end, "a slow head is never cut off"
        with contextlib.suppress(ConnectionError):  # cut off in this moment
            connection.send(b"x")
    raw = connection.read_to_end()
    if raw:
        head, _, body = raw.partition(b"\r\n\r\n")
        parsed = parse_head(head)
        response = Response(parsed.version, parsed.status, parsed.headers, body)
        assert_error(response, 408, "timeout")


class TestBody:
    def test_too_large_by_its_length(self, api: Api) -> None:
        stream = api.new_stream()
        for size in (BODY_BYTES + 1, 1 << 40, (1 << 63) - 1):
            headers = [TEXT, ("Content-Length", str(size))]
            request = build_request("POST", path_of(stream, "events"), headers)
            with unchanged(api, stream):
                assert_refused(api, request, 413, "too_large")

    def test_too_large_with_expect(self, api: Api) -> None:
        """The answer saves the client the sending."""
        stream = api.new_stream()
        headers = [
            TEXT,
            ("Content-Length", str(BODY_BYTES + 1)),
            ("Expect", "100-continue"),
        ]
        request = build_request("POST", path_of(stream, "events"), headers)
        assert_refused(api, request, 413, "too_large")

    def test_too_large_in_chunks(self, api: Api) -> None:
        stream = api.new_stream()
        headers = [TEXT, ("Transfer-Encoding", "chunked")]
        chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
        with unchanged(api, stream), Connection(api.base_url) as connection:
            connection.request("POST", path_of(stream, "events"), headers)
            for _ in range(BODY_BYTES // 0x10000):
                connection.send(chunk)
            with contextlib.suppress(ConnectionError):
                connection.send(chunk)
            assert_error(connection.read_response(), 413, "too_large")

    def test_too_large_and_sent_all_the_same(self, api: Api) -> None:
        """A client that does not look before it has sent gets the answer too."""
        stream = api.new_stream()
        body = b"x" * (BODY_BYTES + 100_000)
        with unchanged(api, stream), Connection(api.base_url) as connection:
            with contextlib.suppress(ConnectionError):  # if that takes too long
                connection.request("POST", path_of(stream, "events"), [TEXT], body)
            assert_error(connection.read_response(), 413, "too_large")

    @pytest.mark.parametrize("verb", ["events", "complete", "fail"])
    def test_largest_event(self, api: Api, verb: str) -> None:
        stream = api.new_stream()
        target = path_of(stream, verb)
        with unchanged(api, stream):
            response = api.ask("POST", target, [TEXT], b"x" * (EVENT_BYTES + 1))
            assert_error(response, 413, "too_large")
        response = api.ask("POST", target, [TEXT], b"x" * EVENT_BYTES)
        assert response.status in (200, 202)
        with api.subscribe(stream) as reader:
            event = reader.event()
        assert event.seq == 1
        assert event.data == "x" * EVENT_BYTES

    @pytest.mark.parametrize(
        "content_type, body",
        [
            (JSON, b'{"data":"%b"}' % (b"x" * (EVENT_BYTES + 1))),
            (JSON, b'{"data":[%b]}' % (b"1," * (EVENT_BYTES // 2) + b"1")),
            (NDJSON, b'{"data":1}\n{"data":"%b"}' % (b"x" * (EVENT_BYTES + 1))),
        ],
        ids=["string", "value", "batch"],
    )
    def test_too_large_in_json(
        self, api: Api, content_type: tuple[str, str], body: bytes
    ) -> None:
        stream = api.new_stream()
        with unchanged(api, stream):
            response = api.post_event(stream, [content_type], body)
            assert_error(response, 413, "too_large")
        assert_sequence([api.append(stream, "next")])

    def test_the_limit_is_on_data_and_not_on_its_escapes(self, api: Api) -> None:
        stream = api.new_stream()
        body = b'{"data":"%b"}' % (b"\\u0041" * EVENT_BYTES)
        assert api.post_event(stream, [JSON], body).status == 202
        with api.subscribe(stream) as reader:
            assert reader.event().data == "A" * EVENT_BYTES


GARBAGE = [
    b"nonsense\r\n\r\n",
    b"GET\r\n\r\n",
    b"GET /health\r\n\r\n",
    b"GET /health HTTP/9.9\r\nHost: x\r\n\r\n",
    b"GET /health FTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /he alth HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /he\0alth HTTP/1.1\r\nHost: x\r\n\r\n",
    b"get /health HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /health HTTP/1.1\r\nno colon\r\n\r\n",
    b"GET /health HTTP/1.1\r\nX : y\r\n\r\n",
    b"GET /health HTTP/1.1\r\n: y\r\n\r\n",
    b"GET /health HTTP/1.1\r\nX: a\0b\r\n\r\n",
    b"GET /health HTTP/1.1\r\nX: a\rb\r\n\r\n",
    b"GET /health HTTP/1.1\r\nX\xff: y\r\n\r\n",
    b"GET health HTTP/1.1\r\nHost: x\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 600 + b"\r\n\r\n",
    b"\xff" * 3000 + b"\r\n\r\n",
    b"\0\0\0\0\r\n\r\n",
    b"{}\r\n\r\n",
]

# Heads on which two servers in a row might disagree about where the request
# ends. Each is followed by a request that must not be seen as one.
SMUGGLING = {
    "two lengths": b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nbody",
    "the same length twice": b"Content-Length: 4\r\nContent-Length: 4\r\n\r\nbody",
    "a list of lengths": b"Content-Length: 4, 4\r\n\r\nbody",
    "length and chunked": (
        b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    "chunked and length": (
        b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n"
    ),
    "negative length": b"Content-Length: -1\r\n\r\n",
    "signed length": b"Content-Length: +4\r\n\r\nbody",
    "hexadecimal length": b"Content-Length: 0x4\r\n\r\nbody",
    "length with a tail": b"Content-Length: 4 4\r\n\r\nbody",
    "length that wraps": b"Content-Length: 18446744073709551620\r\n\r\nbody",
    "empty length": b"Content-Length:\r\n\r\n",
    "other encoding": b"Transfer-Encoding: gzip\r\n\r\n",
    "chunked, then other": b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "like chunked": b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked twice": (
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    "vertical tab": b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "space before the colon": b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "folded line": b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "chunk size with a sign": (
        b"Transfer-Encoding: chunked\r\n\r\n+4\r\nbody\r\n0\r\n\r\n"
    ),
    "chunk size with 0x": (
        b"Transfer-Encoding: chunked\r\n\r\n0x4\r\nbody\r\n0\r\n\r\n"
    ),
    "chunk size that wraps": (
        b"Transfer-Encoding: chunked\r\n\r\n10000000000000004\r\nbody\r\n0\r\n\r\n"
    ),
    "chunk that is longer than its size": (
        b"Transfer-Encoding: chunked\r\n\r\n3\r\nbody\r\n0\r\n\r\n"
    ),
    "chunk without a size": b"Transfer-Encoding: chunked\r\n\r\n\r\nbody\r\n0\r\n\r\n",
}


class TestGarbage:
    @pytest.mark.parametrize("raw", GARBAGE, ids=lambda raw: repr(raw[:40]))
    def test_it_is_refused(self, api: Api, raw: bytes) -> None:
        assert_refused(api, raw, 400, "bad_request")

    @pytest.mark.parametrize("head", [b"", b"Host: a\r\nHost: b\r\n"])
    def test_not_one_host(self, api: Api, head: bytes) -> None:
        raw = b"GET /health HTTP/1.1\r\n" + head + b"\r\n"
        assert_refused(api, raw, 400, "bad_request")

    @pytest.mark.parametrize("shape", SMUGGLING)
    def test_no_request_within_a_request(self, api: Api, shape: str) -> None:
        victim, stream = api.new_stream(), api.new_stream()
        head = f"POST {path_of(stream, 'events')} HTTP/1.1\r\nHost: x\r\n"
        outer = head.encode() + b"Content-Type: text/plain\r\n" + SMUGGLING[shape]
        inner = build_request("DELETE", path_of(victim))
        with unchanged(api, stream):
            assert_refused(api, outer + inner, 400, "bad_request")
        assert api.recover(victim).status == 200

    def test_chunked_in_http_1_0(self, api: Api) -> None:
        """Encoded bodies came with 1.1: it is refused, or is the last request."""
        victim, stream = api.new_stream(), api.new_stream()
        headers = [TEXT, ("Transfer-Encoding", "chunked")]
        target = path_of(stream, "events")
        outer = build_request("POST", target, headers, b"0\r\n\r\n", version="1.0")
        with Connection(api.base_url) as connection:
            connection.send(outer + build_request("DELETE", path_of(victim)))
            assert connection.read_response().status in (202, 400)
            connection.assert_closed()
        assert api.recover(victim).status == 200


class TestCrowdOfHalves:
    COUNT = 3000
    HALVES = [
        b"G",
        b"GET /health HTTP/1.1\r\nHost: x\r\nX-Half: ",
        b"POST /api/stream HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{",
        b"POST /api/stream HTTP/1.1\r\nHost: x\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n5\r\n{",
    ]

    @pytest.fixture
    def server(self, own_server: Serve) -> Iterator[Server]:
        server = own_server()
        yield server
        server.stop()

    @pytest.mark.parametrize("abrupt", [False, True])
    def test_half_requests(self, server: Server, abrupt: bool) -> None:
        """Others are served beside them, and nothing of them stays."""
        api = Api(server.base_url)
        sockets = server.open_sockets()
        connections = [Connection(server.base_url) for _ in range(self.COUNT)]
        for n, connection in enumerate(connections):
            connection.send(self.HALVES[n % len(self.HALVES)])
        stream = api.new_stream()
        with api.subscribe(stream) as reader:
            event_id = api.append(stream, "served")
            assert reader.event().id == event_id
        for connection in connections:
            connection.reset() if abrupt else connection.close()
        wait_until(lambda: server.open_sockets() <= sockets)
        assert len(api.streams_of(fresh_id()).json()["streams"]) == 0


class TestLostReader:
    def test_one_that_vanishes(self, own_server: Serve) -> None:
        """Without a FIN, as a phone does. The next heartbeat finds out."""
        server = own_server(heartbeat_ms=200)
        sockets = server.open_sockets()
        api = Api(server.base_url)
        reader = api.subscribe(api.new_stream())
        reader.retry()
        wait_until(lambda: server.open_sockets() == sockets + 1)
        vanish(reader.connection)
        wait_until(lambda: server.open_sockets() == sockets)
        server.stop()

    def test_one_that_takes_no_byte(self, own_server: Serve) -> None:
        """Its connection stands, but it reads nothing: it is given up."""
        server = own_server()
        sockets = server.open_sockets()
        api = Api(server.base_url)
        stream = api.new_stream()
        with api.subscribe(stream, receive_buffer=4096):
            for _ in range(16):
                api.append(stream, "x" * EVENT_BYTES)
            wait_until(lambda: server.open_sockets() == sockets, timeout_s=120)
        server.stop()


def vanish(connection: Connection) -> None:
    """Ends a connection without a word; with RST where that cannot be."""
    try:
        connection.socket.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
        connection.close()
    except OSError:
        connection.reset()
