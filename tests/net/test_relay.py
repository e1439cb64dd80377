"""sse-server --upstream: answers of a model server that survive their caller."""

import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fault_proxy import hold_port
from model_server import (
    DONE,
    ERROR,
    FINISH,
    ROLE,
    USAGE,
    Completion,
    ModelServer,
    say,
)
from suite.api import JSON, Api, Reader
from suite.fixtures import Serve
from suite.server import Server
from suite.sse_reader import Event
from suite.wire import Connection, Headers, Response

PATH = "/v1/chat/completions"
BODY = b'{"model": "m", "stream": true, "messages": []}'
RELAYS_MAX = 256

pytestmark = pytest.mark.asan


@pytest.fixture
def model() -> Iterator[ModelServer]:
    with ModelServer() as model:
        yield model


Relay = Callable[..., "Relayed"]


class Relayed:
    """A relay, and what its callers do."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.api = Api(server.base_url)

    def post(self, body: bytes = BODY, headers: Headers = ()) -> Connection:
        """A request that nobody has answered yet."""
        connection = Connection(self.server.base_url)
        connection.request("POST", PATH, [JSON, *headers], body)
        return connection

    def ask(self, body: bytes = BODY, headers: Headers = ()) -> Response:
        """A request whose answer does not stream."""
        with self.post(body, headers) as connection:
            return connection.read_response()


class Caller(Reader):
    """Reads the stream that answers a POST."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.head = connection.read_head()
        assert self.head.status == 200, self.head
        self.stream = self.head.get("x-stream-id") or ""
        self._items = self._read_items()


@pytest.fixture
def relay(own_server: Serve, model: ModelServer) -> Relay:
    def start(path: str = "/v1", **options: Any) -> Relayed:
        return Relayed(own_server(upstream=model.url(path), **options))

    return start


def begin(relayed: Relayed, model: ModelServer) -> tuple[Caller, Completion]:
    """An answer under way, whose caller reads it."""
    connection = relayed.post()
    completion = model.completion()
    completion.open()
    return Caller(connection), completion


def data_of(events: list[Event]) -> list[str]:
    return [event.data for event in events]


def assert_refused(response: Response, status: int, code: str) -> None:
    """With an error as OpenAI writes them."""
    assert response.status == status
    assert response.get("content-type") == "application/json"
    error = response.json()["error"]
    assert error["code"] == code
    assert error["type"] == "upstream_error"
    assert error["message"]


def assert_failed(event: Event, code: str) -> None:
    assert event.type == "failed"
    error = json.loads(event.data)["error"]
    assert error["code"] == code
    assert error["type"] == "upstream_error"
    assert error["message"]


def state_of(relayed: Relayed, stream: str) -> str:
    return relayed.api.recover(stream).json()["status"]


class TestAnswers:
    def test_come_chunk_by_chunk(self, relay: Relay, model: ModelServer) -> None:
        relayed = relay()
        caller, completion = begin(relayed, model)
        chunks = [ROLE, say("Grüße"), say(" \n\r\n"), say("\u2028🎉"), FINISH, USAGE]
        for chunk in chunks:
            completion.send(chunk)
            event = caller.event()  # before there is another one
            assert (event.type, event.data) == ("message", chunk)
        completion.send(DONE)
        completion.end_body()
        last = caller.event()
        assert (last.type, last.data) == ("completed", DONE)
        assert caller.rest() == []
        assert state_of(relayed, caller.stream) == "completed"

    def test_are_streams_like_others(self, relay: Relay, model: ModelServer) -> None:
        relayed = relay()
        caller, completion = begin(relayed, model)
        assert caller.head.get("content-type") == "text/event-stream"
        assert len(caller.stream) >= 20  # nobody guesses it
        completion.send(ROLE, say("a"))
        completion.finish()
        events = caller.rest()
        assert relayed.api.events(caller.stream) == events
        assert [event.seq for event in events] == [1, 2, 3, 4, 5]

    def test_hold_nothing_that_their_clients_stumble_over(
        self, relay: Relay, model: ModelServer
    ) -> None:
        """To OpenAI's, each blank line is the end of an event with data."""
        connection = relay(heartbeat_ms=100).post()
        completion = model.completion()
        completion.open()
        pieces = connection.read_body(connection.read_head())
        raw = b""
        while raw.count(b": heartbeat\n") < 2:
            raw += next(pieces)
        completion.send(ROLE)
        while raw.count(b": heartbeat\n") < 4 or ROLE.encode() not in raw:
            raw += next(pieces)
        completion.finish()
        raw += b"".join(pieces)
        *blocks, rest = raw.split(b"\n\n")
        assert rest == b""
        assert [block for block in blocks if b"\ndata: " not in block] == []

    def test_do_not_mix(self, relay: Relay, model: ModelServer) -> None:
        relayed = relay()
        one, to_one = begin(relayed, model)
        two, to_two = begin(relayed, model)
        assert one.stream != two.stream
        for number in range(20):
            to_one.send(say(f"one {number}"))
            to_two.send(say(f"two {number}"))
        to_two.finish()
        to_one.finish()
        ends = [FINISH, USAGE, DONE]
        assert data_of(one.rest()) == [say(f"one {n}") for n in range(20)] + ends
        assert data_of(two.rest()) == [say(f"two {n}") for n in range(20)] + ends

    def test_follow_each_other_on_a_connection(
        self, relay: Relay, model: ModelServer
    ) -> None:
        relayed = relay()
        connection = relayed.post()
        for _ in range(3):
            completion = model.completion()
            completion.open()
            caller = Caller(connection)
            completion.send(say("a"))
            completion.finish()
            assert data_of(caller.rest()) == [say("a"), FINISH, USAGE, DONE]
            connection.request("POST", PATH, [JSON], BODY)
        connection.close()

    def test_that_do_not_stream_are_passed_on(
        self, relay: Relay, model: ModelServer
    ) -> None:
        answer = json.dumps({"id": "x", "text": "ü" * 500_000}).encode()
        with relay().post(b'{"stream": false}') as connection:
            model.completion().refuse(200, answer, ("X-Request-Id", "req-1"))
            response = connection.read_response()
        assert response.status == 200
        assert response.get("content-type") == "application/json"
        assert response.get("x-request-id") == "req-1"
        assert response.body == answer

    def test_that_are_too_large_are_refused(
        self, relay: Relay, model: ModelServer
    ) -> None:
        with relay().post(b"{}") as connection:
            completion = model.completion()
            try:
                completion.refuse(200, b"x" * (17 << 20))
            except ConnectionError:
                pass  # it has read enough
            assert_refused(connection.read_response(), 502, "upstream_too_large")


class TestRequests:
    @pytest.mark.parametrize("path", ["", "/", "/v1", "/v1/", "//"])
    def test_go_to_the_same_place(
        self, path: str, relay: Relay, model: ModelServer
    ) -> None:
        with relay(path).post():
            request = model.completion().request
        assert (request.method, request.target) == ("POST", PATH)

    def test_go_below_the_urls_path(self, relay: Relay, model: ModelServer) -> None:
        with relay("/proxy/v1").post():
            assert model.completion().request.target == "/proxy" + PATH

    @pytest.mark.parametrize(
        "body",
        [
            '{ "stream" :true,\n\t"messages":[{"content":"\\u00fcü🎉"}] }\r\n'.encode(),
            b'{"stream":true,"x":"' + b"y" * (3 << 20) + b'"}',
            b"no JSON \x00\xff at all",
        ],
        ids=["spaces", "large", "bytes"],
    )
    def test_go_byte_for_byte(
        self, body: bytes, relay: Relay, model: ModelServer
    ) -> None:
        with relay().post(body):
            request = model.completion().request
        assert request.body == body
        assert request.get("content-type") == b"application/json"

    def test_carry_the_callers_key(self, relay: Relay, model: ModelServer) -> None:
        relayed = relay()
        for key in ("Bearer sk-1", "Bearer sk-2", None):
            with relayed.post(headers=[("Authorization", key)] if key else []):
                sent = model.completion().request.get("authorization")
            assert sent == (key.encode() if key else None)

    def test_leave_the_key_nowhere(self, relay: Relay, model: ModelServer) -> None:
        relayed = relay()
        with relayed.post(headers=[("Authorization", "Bearer sk-secret")]) as one:
            completion = model.completion()
            completion.open()
            caller = Caller(one)
            completion.send(ROLE)
            completion.exchange.reset()
            assert_failed(caller.rest()[-1], "upstream_lost")
        with relayed.post(headers=[("Authorization", "Bearer sk-secret")]) as two:
            model.completion().refuse(401, b'{"error":{}}')
            assert b"sk-secret" not in two.read_response().body
        places = [
            relayed.api.ask("GET", "/api/stream").body,
            relayed.api.ask("GET", "/metrics").body,
            relayed.api.recover(caller.stream).body,
            relayed.server.errors().encode(),
        ]
        assert not [place for place in places if b"sk-secret" in place]

    def test_of_other_kinds_are_not_taken(
        self, relay: Relay, model: ModelServer
    ) -> None:
        relayed = relay()
        assert relayed.api.ask("GET", PATH).status == 404
        assert relayed.api.ask("POST", "/v1/completions", [], b"{}").status == 404
        assert model.waiting() == 0

    def test_of_pages_are_let_in(self, relay: Relay, model: ModelServer) -> None:
        origin = "https://app.example"
        relayed = relay(allow_origin=origin)
        wanted = "authorization,content-type,x-stainless-os"
        answer = relayed.api.ask(
            "OPTIONS",
            PATH,
            [
                ("Origin", origin),
                ("Access-Control-Request-Method", "POST"),
                ("Access-Control-Request-Headers", wanted),
            ],
        )
        assert answer.status == 200
        assert answer.get("access-control-allow-origin") == origin
        assert answer.get("access-control-allow-headers") == wanted
        with relayed.post(headers=[("Origin", origin)]) as connection:
            model.completion().open()
            head = connection.read_head()
        assert head.get("access-control-allow-origin") == origin
        assert "X-Stream-Id" in head.words("access-control-expose-headers")


class TestReaders:
    def test_lost_ones_go_on_where_they_were(
        self, relay: Relay, model: ModelServer
    ) -> None:
        relayed = relay()
        caller, completion = begin(relayed, model)
        texts = [say(f"word {number}") for number in range(50)]
        with relayed.api.subscribe(caller.stream) as watcher:
            completion.send(*texts[:20])
            got = caller.take(7)
            caller.connection.reset()
            with relayed.api.subscribe(caller.stream, cursor=got[-1].id) as second:
                completion.send(*texts[20:30])
                got += second.take(20)
                second.connection.reset()
            completion.send(*texts[30:])
            completion.finish()
            with relayed.api.subscribe(caller.stream, cursor=got[-1].id) as third:
                got += third.rest()
            assert got == watcher.rest()
        assert data_of(got) == [*texts, FINISH, USAGE, DONE]

    def test_that_leave_stop_nothing(self, relay: Relay, model: ModelServer) -> None:
        relayed = relay()
        caller, completion = begin(relayed, model)
        completion.send(say("a"))
        caller.event()
        caller.connection.close()
        metrics = b"sse_subscribers 0"
        while metrics not in relayed.api.ask("GET", "/metrics").body:
            pass
        assert state_of(relayed, caller.stream) == "active"
        completion.send(say("b"))
        completion.finish()
        events = relayed.api.events(caller.stream)
        assert data_of(events) == [say("a"), say("b"), FINISH, USAGE, DONE]

    def test_that_leave_before_the_answer_take_it_along(
        self, relay: Relay, model: ModelServer
    ) -> None:
        """It would be an answer that nobody knows of."""
        relayed = relay()
        connection = relayed.post()
        completion = model.completion()
        connection.close()
        completion.exchange.wait_closed()
        assert relayed.api.ask("GET", "/health").status == 200


class TestStops:
    def test_close_the_connection_to_the_model(
        self, relay: Relay, model: ModelServer
    ) -> None:
        relayed = relay()
        caller, completion = begin(relayed, model)
        other, to_other = begin(relayed, model)
        completion.send(ROLE, say("a"))
        caller.take(2)
        assert relayed.api.stop(caller.stream).status == 202
        completion.exchange.wait_closed()
        last = caller.event()
        assert (last.type, last.data) == ("cancelled", DONE)
        assert caller.rest() == []
        assert state_of(relayed, caller.stream) == "cancelled"
        to_other.finish()
        assert data_of(other.rest()) == [FINISH, USAGE, DONE]

    def test_of_one_that_has_ended_hit_no_other(
        self, relay: Relay, model: ModelServer
    ) -> None:
        relayed = relay()
        for _ in range(20):
            caller, completion = begin(relayed, model)
            completion.finish()
            assert len(caller.rest()) == 3
            next_one, to_next = begin(relayed, model)
            relayed.api.stop(caller.stream)
            to_next.finish()
            assert data_of(next_one.rest()) == [FINISH, USAGE, DONE]

    def test_by_removal(self, relay: Relay, model: ModelServer) -> None:
        relayed = relay()
        caller, completion = begin(relayed, model)
        completion.send(ROLE)
        caller.event()
        assert relayed.api.delete(caller.stream).status == 204
        try:
            while completion.exchange.still_open():
                completion.send(say("a"))
        except ConnectionError:
            pass

    def test_of_the_server_end_what_is_under_way(
        self, relay: Relay, model: ModelServer
    ) -> None:
        relayed = relay()
        caller, completion = begin(relayed, model)
        completion.send(ROLE)
        caller.event()
        held = relayed.post()
        unanswered = model.completion()
        relayed.server.signal(signal.SIGTERM)
        completion.exchange.wait_closed()
        unanswered.exchange.wait_closed()
        events = caller.rest()
        assert not [event for event in events if event.data == DONE]
        assert_refused(held.read_response(), 503, "relay_closing")
        assert relayed.server.wait() == 0

    def test_of_the_server_that_are_repeated(
        self, relay: Relay, model: ModelServer
    ) -> None:
        relayed = relay()
        caller, completion = begin(relayed, model)
        held = relayed.post()
        model.completion()
        relayed.server.signal(signal.SIGTERM)
        relayed.server.signal(signal.SIGTERM)
        completion.exchange.wait_closed()
        assert relayed.server.wait() == 0
        caller.connection.close()
        held.close()


class TestFailures:
    @pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 503])
    def test_refusals_are_passed_on(
        self, status: int, relay: Relay, model: ModelServer
    ) -> None:
        relayed = relay()
        refusal = b'{"error": {"message": "no \xc3\xbc", "code": null}}\n'
        with relayed.post() as connection:
            model.completion().refuse(status, refusal, ("Retry-After", "17"))
            answer = connection.read_response()
        assert (answer.status, answer.body) == (status, refusal)
        assert answer.get("content-type") == "application/json"
        assert answer.get("retry-after") == "17"
        assert answer.get("x-stream-id") is None
        relayed.api.ask("GET", "/health")
        assert model.waiting() == 0, "it must not be asked twice"

    @pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid"])
    def test_nobody_there(self, host: str, own_server: Serve) -> None:
        with hold_port() as place:
            port = place.getsockname()[1]
            relayed = Relayed(own_server(upstream=f"http://{host}:{port}/v1"))
            assert_refused(relayed.ask(), 502, "upstream_unreachable")
            assert_refused(relayed.ask(b"{}"), 502, "upstream_unreachable")

    def test_death_before_the_answer(self, relay: Relay, model: ModelServer) -> None:
        with relay().post() as connection:
            model.completion().exchange.reset()
            assert_refused(connection.read_response(), 502, "upstream_unreachable")
        assert model.waiting() == 0, "it must not be asked twice"

    @pytest.mark.parametrize("how", ["reset", "close", "end_body"])
    def test_death_in_the_middle(
        self, how: str, relay: Relay, model: ModelServer
    ) -> None:
        """An answer without [DONE] is not whole, however it ends."""
        relayed = relay()
        caller, completion = begin(relayed, model)
        completion.send(ROLE, say("a"))
        assert data_of(caller.take(2)) == [ROLE, say("a")]
        if how == "end_body":
            completion.end_body()
        else:
            getattr(completion.exchange, how)()
        assert_failed(caller.event(), "upstream_lost")
        assert caller.rest() == []
        assert state_of(relayed, caller.stream) == "failed"
        assert model.waiting() == 0, "it must not be asked twice"

    def test_errors_in_the_middle(self, relay: Relay, model: ModelServer) -> None:
        relayed = relay()
        caller, completion = begin(relayed, model)
        completion.send(ROLE, ERROR)
        completion.exchange.close()
        events = caller.rest()
        assert data_of(events)[:2] == [ROLE, ERROR]
        assert_failed(events[2], "upstream_lost")

    def test_answers_that_make_no_sense(self, relay: Relay, model: ModelServer) -> None:
        with relay().post() as connection:
            model.completion().exchange.answer(204)
            assert_refused(connection.read_response(), 502, "upstream_error")

    def test_more_than_it_takes(self, relay: Relay, model: ModelServer) -> None:
        relayed = relay()
        callers = [relayed.post(b"%d" % n) for n in range(RELAYS_MAX)]
        completions = [model.completion() for _ in callers]
        refused = relayed.ask()
        assert_refused(refused, 429, "relay_full")
        assert int(refused.get("retry-after") or "") > 0
        completions[0].refuse(400, b"{}")
        caller = callers[int(completions[0].request.body)]
        assert caller.read_response().status == 400  # there is room again
        with relayed.post() as another:
            model.completion().refuse(402, b"{}")
            assert another.read_response().status == 402
        for connection in callers:
            connection.close()
        for completion in completions[1:]:
            completion.exchange.wait_closed()

    @pytest.mark.parametrize("url", ["nonsense", "ftp://host/v1", ""])
    def test_no_url(self, url: str, command: list[str]) -> None:
        done = subprocess.run(
            [*command, "--port", "0", "--upstream", url],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 1
        assert "--upstream takes a URL" in done.stderr


def test_without_an_upstream_there_is_no_relay(own_server: Serve) -> None:
    api = Api(own_server().base_url)
    assert api.ask("POST", PATH, [JSON], BODY).status == 404
    assert api.ask("OPTIONS", PATH).status == 404
