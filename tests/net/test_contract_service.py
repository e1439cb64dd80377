"""The contract service, as a test harness uses it."""

from collections.abc import Callable
from typing import Any

import pytest

from client_fixtures import ProgramPath
from contract_service import Callbacks, Service
from script_server import Exchange, ScriptServer
from suite.server import Server
from suite.wire import Connection

pytestmark = pytest.mark.asan

MIB = 1 << 20
BOM = b"\xef\xbb\xbf"

ABOUT = {
    "name": "libsse",
    "capabilities": [
        "bom",
        "comments",
        "headers",
        "post",
        "report",
        "last-event-id",
        "read-timeout",
        "restart",
        "server-directed-shutdown-request",
    ],
}


def event(data: str, type: str = "message", id: str = "") -> dict[str, str]:
    return {"type": type, "data": data, "id": id}


@pytest.fixture
def service(shared_service: Service) -> Service:
    return shared_service


class TestInterface:
    def test_it_says_what_it_can(self, service: Service) -> None:
        answer = service.ask("GET", "/")
        assert answer.status == 200
        assert answer.json() == ABOUT

    def test_one_connection_serves_many_requests(self, service: Service) -> None:
        with Connection(service.server.base_url) as connection:
            for _ in range(3):
                assert connection.ask("GET", "/").json() == ABOUT
                assert connection.ask("DELETE", "/streams/999").status == 404

    def test_streams_have_numbers(self, service: Service, script: ScriptServer) -> None:
        with service.open(script.url()) as first, service.open(script.url()) as second:
            folder, _, number = first.path.rpartition("/")
            assert folder == "/streams"
            assert second.path == f"/streams/{int(number) + 1}"

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"{",
            b"[]",
            b'"x"',
            b"{}",
            b'{"streamUrl":"http://127.0.0.1:1/"}',
            b'{"callbackUrl":"http://127.0.0.1:1/"}',
            b'{"streamUrl":1,"callbackUrl":"http://127.0.0.1:1/"}',
            b'{"streamUrl":"http://this is invalid/","callbackUrl":"http://h/"}',
            b'{"streamUrl":"http://h/","callbackUrl":"http://h/","readTimeoutMs":"1"}',
            b'{"streamUrl":"http://h/","callbackUrl":"http://h/","initialDelayMs":-1}',
            b'{"streamUrl":"http://h/","callbackUrl":"http://h/","headers":[]}',
            b'{"streamUrl":"http://h/","callbackUrl":"http://h/","headers":{"a":1}}',
            b'{"streamUrl":"http://h/","callbackUrl":"http://h/","headers":{"a b":"x"}}',
            b'{"streamUrl":"http://h/","callbackUrl":"http://h/","lastEventId":"a\\nb"}',
            b"\x00" * 1000,
            b"[" * 100_000,
        ],
    )
    def test_what_cannot_be_used_is_refused(
        self, service: Service, body: bytes
    ) -> None:
        with Connection(service.server.base_url) as connection:
            assert connection.ask("POST", "/", (), body).status == 400
            assert connection.ask("GET", "/").status == 200

    def test_commands(self, service: Service, script: ScriptServer) -> None:
        with service.open(script.url()) as stream:
            script.next().stream()
            wrong: list[Any] = [{"command": "jump"}, {"command": 1}, {}, []]
            for command in wrong:
                assert service.ask("POST", stream.path, command).status == 400
            assert service.ask("POST", stream.path + "0", {}).status == 404
        assert service.ask("DELETE", stream.path).status == 404
        assert service.ask("POST", stream.path, {"command": "restart"}).status == 404
        for path in ("/streams/", "/streams/x", "/streams/-1", "/other"):
            assert service.ask("DELETE", path).status == 404

    def test_null_is_as_good_as_nothing(
        self, service: Service, script: ScriptServer
    ) -> None:
        names = ["initialDelayMs", "readTimeoutMs", "lastEventId", "method"]
        names += ["body", "headers", "tag"]
        with service.open(script.url(), **dict.fromkeys(names)):
            assert script.next().request.method == "GET"

    def test_a_closed_stream_is_closed(
        self, service: Service, script: ScriptServer
    ) -> None:
        with service.open(script.url()):
            exchange = script.next()
            exchange.stream(b"data: x\n\n")
        exchange.wait_closed()
        assert script.waiting() == 0

    def test_it_ends_when_it_is_told(
        self, program_path: ProgramPath, callbacks: Callbacks, script: ScriptServer
    ) -> None:
        server = Server([program_path("sse-contract-service")])
        service = Service(server, callbacks)
        stream = service.open(script.url())
        exchange = script.next()
        exchange.stream(b"data: x\n\n")
        assert stream.event() == event("x")
        assert service.ask("DELETE", "/").status == 204
        assert server.wait() == 0
        exchange.wait_closed()


class TestCallbacks:
    def test_a_receiver_that_is_not_there(
        self, service: Service, script: ScriptServer
    ) -> None:
        """Its stream is dropped; the others go on."""
        params = {"streamUrl": script.url(), "callbackUrl": "http://127.0.0.1:1/x"}
        created = service.ask("POST", "/", params)
        assert created.status == 201
        exchange = script.next()
        exchange.stream(b"data: x\n\n")
        exchange.wait_closed()
        assert service.ask("DELETE", created.get("location") or "").status == 204
        assert service.ask("GET", "/").status == 200

    def test_a_receiver_that_falters(
        self, service: Service, script: ScriptServer
    ) -> None:
        with service.open(script.url()) as stream:
            service.callbacks.fail_next(2)
            script.next().stream(b"data: 1\n\ndata: 2\n\n")
            assert stream.event() == event("1")
            assert stream.event() == event("2")

    def test_a_receiver_that_does_not_answer(
        self, service: Service, script: ScriptServer
    ) -> None:
        """It holds up its own stream and no other, nor its end."""
        with ScriptServer() as receiver:
            params = {"streamUrl": script.url(), "callbackUrl": receiver.url("/r/")}
            created = service.ask("POST", "/", params)
            script.next().stream(b"data: 1\n\ndata: 2\n\n")
            request = receiver.next().request
            assert (request.method, request.target) == ("POST", "/r/1")
            assert request.get("content-type") == b"application/json"
            with service.open(script.url()) as other:
                script.next().stream(b"data: 3\n\n")
                assert other.event() == event("3")
            assert service.ask("DELETE", created.get("location") or "").status == 204
            assert receiver.waiting() == 0

    @pytest.mark.parametrize("size", [1, 4096, 65536, MIB, 16 * MIB])
    def test_large_events(
        self, service: Service, script: ScriptServer, size: int
    ) -> None:
        data = ('é"\\\t' * size)[: size // 2] if size > 1 else "x"
        with service.open(script.url()) as stream:
            script.next().stream(b"data:" + data.encode() + b"\n\n")
            assert stream.event() == event(data)

    def test_sixteen_mebibytes_exactly(
        self, service: Service, script: ScriptServer
    ) -> None:
        with service.open(script.url()) as stream:
            script.next().stream(b"data:" + b"x" * (16 * MIB) + b"\n\ndata:end\n\n")
            assert len(stream.event()["data"]) == 16 * MIB
            assert stream.event() == event("end")

    def test_many_streams(self, service: Service, script: ScriptServer) -> None:
        streams = [service.open(script.url(f"/{n}")) for n in range(100)]
        exchanges = [script.next() for _ in streams]
        for exchange in exchanges:
            name = exchange.request.target[1:].encode()
            exchange.stream(b"".join(b"data:%s %d\n\n" % (name, i) for i in range(20)))
        for n, stream in enumerate(streams):
            got = [stream.event()["data"] for _ in range(20)]
            assert got == [f"{n} {i}" for i in range(20)]
        for stream in streams:
            assert service.ask("DELETE", stream.path).status == 204


class TestRequests:
    """What sse-contract-tests calls "HTTP behavior"."""

    def test_the_default_request(self, service: Service, script: ScriptServer) -> None:
        with service.open(script.url("/a/b?c=d")):
            request = script.next().request
        assert (request.method, request.target) == ("GET", "/a/b?c=d")
        assert request.body == b""
        headers = dict(request.headers)
        assert headers.pop("host") == f"127.0.0.1:{script.port}".encode()
        assert headers == {"accept": b"text/event-stream", "cache-control": b"no-cache"}

    def test_headers(self, service: Service, script: ScriptServer) -> None:
        headers = {"header-name-1": "value-1", "header-name-2": "value-2"}
        with service.open(script.url(), headers=headers):
            request = script.next().request
        assert request.get("header-name-1") == b"value-1"
        assert request.get("header-name-2") == b"value-2"

    @pytest.mark.parametrize("method", ["POST", "REPORT"])
    def test_a_body(self, service: Service, script: ScriptServer, method: str) -> None:
        """It is sent again with each attempt."""
        body = '{"hello": "world"}'
        kind = "application/json; charset=utf-8"
        with service.open(
            script.url(),
            method=method,
            body=body,
            headers={"content-type": kind},
            initialDelayMs=0,
        ) as stream:
            for _ in range(2):
                exchange = script.next()
                assert exchange.request.method == method
                assert exchange.request.body == body.encode()
                assert exchange.request.get("content-type") == kind.encode()
                exchange.stream()
                exchange.reset()
                stream.error()

    def test_the_last_event_id(self, service: Service, script: ScriptServer) -> None:
        with service.open(script.url(), lastEventId="abc", initialDelayMs=0) as stream:
            exchange = script.next()
            assert exchange.request.last_event_id == b"abc"
            exchange.stream(b"data: x\n\n")
            assert stream.event() == event("x", id="abc")
            exchange.close()
            assert script.next().request.last_event_id == b"abc"

    @pytest.mark.parametrize("status", [301, 302, 307, 308])
    def test_redirects(
        self, service: Service, script: ScriptServer, status: int
    ) -> None:
        with service.open(script.url("/old")) as stream:
            script.next().answer(status, b"", ("Location", script.url("/new")))
            exchange = script.next()
            assert exchange.request.target == "/new"
            exchange.stream(b"data: hello\n\n")
            assert stream.event() == event("hello")

    @pytest.mark.parametrize("status", [301, 307])
    @pytest.mark.parametrize("headers", [[], [("Location", "")]])
    def test_a_redirect_to_nowhere_is_an_error(
        self,
        service: Service,
        script: ScriptServer,
        status: int,
        headers: list[tuple[str, str]],
    ) -> None:
        with service.open(script.url(), initialDelayMs=0) as stream:
            script.next().answer(status, b"", *headers)
            stream.error()
            assert_over(service, script)
            assert stream.silent()

    def test_204_is_the_end(self, service: Service, script: ScriptServer) -> None:
        with service.open(script.url(), initialDelayMs=0) as stream:
            script.next().answer(204)
            assert_over(service, script)
            assert stream.silent()


def assert_over(service: Service, script: ScriptServer) -> None:
    """Another stream comes back to the same server, and the first does not."""
    with service.open(script.url("/other"), initialDelayMs=0) as other:
        for _ in range(3):
            exchange = script.next()
            assert exchange.request.target == "/other"
            exchange.stream()
            exchange.close()
            other.error()


class TestReconnecting:
    """What sse-contract-tests calls "reconnection"."""

    def test_restart(self, service: Service, script: ScriptServer) -> None:
        """It is no error."""
        with service.open(script.url(), initialDelayMs=0) as stream:
            first = script.next()
            first.stream(b"id: 1\ndata: Hello\n\n")
            assert stream.event() == event("Hello", id="1")
            stream.restart()
            first.wait_closed()
            second = script.next()
            assert second.request.last_event_id == b"1"
            second.stream(b"data: Thanks\n\n")
            assert stream.event() == event("Thanks", id="1")
            assert stream.silent()

    @pytest.mark.parametrize("end", [Exchange.close, Exchange.reset])
    def test_one_error_and_the_last_id(
        self, service: Service, script: ScriptServer, end: Callable[[Exchange], Any]
    ) -> None:
        with service.open(script.url(), initialDelayMs=0) as stream:
            first = script.next()
            assert first.request.last_event_id is None
            first.stream(b"id: abc\ndata: Hello\n\ndata: World\n\n")
            assert stream.event() == event("Hello", id="abc")
            assert stream.event() == event("World", id="abc")
            end(first)
            second = script.next()
            assert second.request.last_event_id == b"abc"
            stream.error()
            second.stream(b"id: def\ndata: again\n\n")
            assert stream.event() == event("again", id="def")

    def test_an_empty_id_takes_it_back(
        self, service: Service, script: ScriptServer
    ) -> None:
        with service.open(script.url(), initialDelayMs=0) as stream:
            exchange = script.next()
            exchange.stream(b"id: abc\ndata: Hello\n\nid: \ndata: World\n\n")
            assert stream.event() == event("Hello", id="abc")
            assert stream.event() == event("World")
            exchange.close()
            assert script.next().request.last_event_id is None

    def test_half_an_event_is_none(
        self, service: Service, script: ScriptServer
    ) -> None:
        with service.open(script.url(), initialDelayMs=0) as stream:
            first = script.next()
            first.stream(b"id: abc\ndata: Hello\n\nid: def\ndata: Goodbye")
            assert stream.event() == event("Hello", id="abc")
            first.close()
            second = script.next()
            assert second.request.last_event_id == b"abc"
            stream.error()
            second.stream(b"data: We meet again\n\n")
            assert stream.event() == event("We meet again", id="abc")

    def test_the_read_timeout(self, service: Service, script: ScriptServer) -> None:
        """Above what a machine may need for the next step of the test."""
        with service.open(script.url(), initialDelayMs=0, readTimeoutMs=4000) as stream:
            first = script.next()
            first.stream(b"data: Hello\n\n")
            assert stream.event() == event("Hello")
            stream.error()
            first.wait_closed()
            second = script.next()  # and does not even send a head
            stream.error()
            second.wait_closed()
            third = script.next()
            third.stream(b"data: World\n\n")
            assert stream.event() == event("World")

    def test_equal_and_falling_ids_are_no_reason_to_drop(
        self, service: Service, script: ScriptServer
    ) -> None:
        ids = ["1", "1", "3-0000000a", "2-0000000b", "2-0000000b", "1"]
        body = "".join(f"id:{id}\ndata:{n}\n\n" for n, id in enumerate(ids)).encode()
        with service.open(script.url(), initialDelayMs=0) as stream:
            for _ in range(2):
                exchange = script.next()
                exchange.stream(body)
                for n, id in enumerate(ids):
                    assert stream.event() == event(str(n), id=id)
                exchange.close()
                stream.error()

    def test_no_type_and_no_data_mean_anything(
        self, service: Service, script: ScriptServer
    ) -> None:
        types = ["gap", "heartbeat", "completed", "done", "error", "open"]
        body = b"".join(b"event:%s\ndata:{}\n\n" % type.encode() for type in types)
        with service.open(script.url()) as stream:
            script.next().stream(body + b"data:[DONE]\n\n")
            for type in types:
                assert stream.event() == event("{}", type)
            assert stream.event() == event("[DONE]")


class TestParsing:
    """What test_client_vectors.py does not show: comments among events."""

    def test_comments_and_events_in_order(
        self, service: Service, script: ScriptServer
    ) -> None:
        with service.open(script.url()) as stream:
            exchange = script.next()
            exchange.stream(BOM + b":Hello\n")
            assert stream.comment() == "Hello"
            exchange.send(b': World \n:\ndata: x\n:\0"\xff\n\n:end\n')
            assert stream.comment() == " World "
            assert stream.comment() == ""
            assert stream.comment() == '\0"\ufffd'
            assert stream.event() == event("x")
            assert stream.comment() == "end"

    def test_a_byte_order_mark_in_pieces(
        self, service: Service, script: ScriptServer
    ) -> None:
        with service.open(script.url()) as stream:
            exchange = script.next()
            exchange.stream()
            exchange.send_pieces(BOM + b"data: " + BOM + b"Hello\n\n", 1)
            assert stream.event() == event("\ufeffHello")

    def test_many_messages_in_rapid_succession(
        self, service: Service, script: ScriptServer
    ) -> None:
        with service.open(script.url()) as stream:
            body = b"".join(b"data: message %d\n\n" % n for n in range(1000))
            script.next().stream(body)
            for n in range(1000):
                assert stream.event() == event(f"message {n}")
