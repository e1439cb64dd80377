"""HTTP itself: methods, bodies, connections, and other pages' requests."""

import json

import pytest

from suite.api import JSON, NDJSON, PREFIX, TEXT, Api, path_of
from suite.checks import assert_error, assert_sequence
from suite.fixtures import ORIGIN
from suite.wire import Connection, build_request

# Target ({} is a stream's id), and the methods of docs/http.md.
PATHS = [
    (PREFIX, {"POST", "GET", "HEAD", "OPTIONS"}),
    (PREFIX + "/{}", {"GET", "HEAD", "DELETE", "OPTIONS"}),
    (PREFIX + "/{}/events", {"POST", "OPTIONS"}),
    (PREFIX + "/{}/complete", {"POST", "OPTIONS"}),
    (PREFIX + "/{}/fail", {"POST", "OPTIONS"}),
    (PREFIX + "/{}/stop", {"POST", "OPTIONS"}),
    (PREFIX + "/{}/recover", {"GET", "HEAD", "OPTIONS"}),
    ("/metrics", {"GET", "HEAD", "OPTIONS"}),
    ("/health", {"GET", "HEAD", "OPTIONS"}),
]
METHODS = {"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"}

REFUSED = [
    (path, allowed, method)
    for path, allowed in PATHS
    for method in sorted(METHODS - allowed)
]

UNKNOWN = [
    PREFIX + "x",
    PREFIX + "/{}/nonsense",
    PREFIX + "/{}/events/more",
    PREFIX + "/{}/recover/",
    "/api",
    "/healthy",
    "/metrics/x",
    "/../etc/passwd",
    "/nonsense?transport=poll",
]


def chunked(body: bytes, size: int, extension: bytes = b"") -> bytes:
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    lines = [b"%x%b\r\n%b\r\n" % (len(p), extension, p) for p in pieces]
    return b"".join(lines) + b"0\r\n"


class TestMethods:
    @pytest.mark.parametrize("path, allowed", PATHS)
    def test_options(self, api: Api, path: str, allowed: set[str]) -> None:
        stream = api.new_stream()
        response = api.ask("OPTIONS", path.format(stream))
        assert (response.status, response.body) == (204, b"")
        assert response.words("allow") == allowed
        assert response.get("access-control-allow-origin") is None

    @pytest.mark.parametrize("path, allowed, method", REFUSED)
    def test_another_method(
        self, api: Api, path: str, allowed: set[str], method: str
    ) -> None:
        stream = api.new_stream()
        response = api.ask(method, path.format(stream), [JSON], b'{"data":1}')
        assert response.words("allow") == allowed
        if method == "HEAD":
            assert response.status == 405
        else:
            assert_error(response, 405, "method_not_allowed")
        assert_sequence([api.append(stream, "as it was")])

    @pytest.mark.parametrize("path", UNKNOWN)
    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_unknown_path(self, api: Api, path: str, method: str) -> None:
        stream = api.new_stream()
        response = api.ask(method, path.format(stream), [JSON], b"{}")
        assert_error(response, 404, "not_found")

    @pytest.mark.parametrize(
        "target",
        [
            "/health",
            PREFIX + "?userId=nobody",
            PREFIX + "/{}/recover",
            PREFIX + "/{}/recover?after=x",
            PREFIX + "/no-such-stream",
            PREFIX + "/no-such-stream/recover",
            "/nonsense",
            PREFIX + "/{}?transport=poll",
        ],
    )
    def test_head_is_get_without_the_body(self, api: Api, target: str) -> None:
        stream = api.new_stream()
        api.append(stream, "hello")
        with Connection(api.base_url) as connection:
            head = connection.ask("HEAD", target.format(stream))
            get = connection.ask("GET", target.format(stream))
        assert head.body == b""
        assert head.status == get.status
        assert without_date(head.headers) == without_date(get.headers)

    def test_head_of_the_metrics(self, api: Api) -> None:
        with Connection(api.base_url) as connection:
            head = connection.ask("HEAD", "/metrics")
            get = connection.ask("GET", "/metrics")
        assert (head.status, head.body) == (200, b"")
        assert head.get("content-type") == get.get("content-type")

    def test_head_of_a_stream(self, api: Api) -> None:
        stream = api.new_stream()
        api.append(stream, "hello")
        with Connection(api.base_url) as connection:
            head = connection.ask("HEAD", path_of(stream))
            connection.request("GET", path_of(stream))
            get = connection.read_head()
        assert (head.status, head.body) == (200, b"")
        assert without_date(head.headers) == without_date(get.headers)

    def test_head_after_the_end(self, api: Api) -> None:
        stream = api.new_stream()
        last = api.complete(stream)
        with Connection(api.base_url) as connection:
            for cursor, status in ((last, 204), ("nonsense", 400), ("0", 200)):
                headers = [("Last-Event-ID", cursor)]
                head = connection.ask("HEAD", path_of(stream), headers)
                assert (head.status, head.body) == (status, b"")


def without_date(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return sorted(header for header in headers if header[0] != "date")


class TestConnection:
    def test_many_requests_on_one(self, api: Api) -> None:
        with Connection(api.base_url) as connection:
            created = connection.ask("POST", PREFIX)
            stream = created.json()["streamId"]
            ids = []
            for n in range(50):
                response = connection.ask(
                    "POST", path_of(stream, "events"), [TEXT], b"%d" % n
                )
                ids.append(response.json()["id"])
                assert connection.ask("GET", "/nonsense").status == 404
        assert_sequence(ids)

    def test_pipelined_requests_are_answered_in_order(self, api: Api) -> None:
        stream = api.new_stream()
        target = path_of(stream, "events")
        requests = [
            build_request("POST", target, [TEXT], b"event %d" % n) for n in range(100)
        ]
        requests.insert(50, build_request("GET", "/nonsense"))
        requests.append(build_request("GET", path_of(stream, "recover")))
        with Connection(api.base_url) as connection:
            connection.send(b"".join(requests))
            answers = [connection.read_response() for _ in requests]
        assert [answer.status for answer in answers] == (
            [202] * 50 + [404] + [202] * 50 + [200]
        )
        events = answers[-1].json()["events"]
        assert [event["data"] for event in events] == [f"event {n}" for n in range(100)]

    def test_a_request_behind_a_subscription(self, api: Api) -> None:
        """It disturbs nothing: its answer, if any, comes after the stream."""
        stream = api.new_stream()
        with Connection(api.base_url) as connection:
            connection.request("GET", path_of(stream))
            connection.request("GET", "/health", [("Connection", "close")])
            head = connection.read_head()
            api.complete(stream)
            body = b"".join(connection.read_body(head))
            assert b"\nevent: completed\n" in body
            assert b"HTTP/1.1" not in body
            rest = connection.read_to_end()
        assert rest == b"" or rest.startswith(b"HTTP/1.1 200 ")

    def test_connection_close(self, api: Api) -> None:
        with Connection(api.base_url) as connection:
            response = connection.ask("GET", "/health", [("Connection", "close")])
            assert (response.get("connection") or "").lower() == "close"
            connection.assert_closed()

    def test_http_1_0_closes(self, api: Api) -> None:
        with Connection(api.base_url) as connection:
            response = connection.ask("GET", "/health", version="1.0")
            assert response.json() == {"status": "ok"}
            assert response.get("transfer-encoding") is None
            connection.assert_closed()

    def test_a_client_that_sends_no_more(self, api: Api) -> None:
        """FIN behind the request is no reason not to answer."""
        with Connection(api.base_url) as connection:
            connection.request("GET", "/health")
            connection.send_end()
            assert connection.read_response().json() == {"status": "ok"}
            connection.assert_closed()

    def test_a_request_byte_by_byte(self, api: Api) -> None:
        stream = api.new_stream()
        body = json.dumps({"data": "caf\u00e9"}, ensure_ascii=False).encode()
        request = build_request("POST", path_of(stream, "events"), [JSON], body)
        with Connection(api.base_url) as connection:
            for n in range(len(request)):
                connection.send(request[n : n + 1])
            assert connection.read_response().status == 202
        assert api.recover(stream).json()["events"][0]["data"] == "caf\u00e9"

    @pytest.mark.parametrize(
        "form", ["GET http://test/health HTTP/1.1", "GET /health? HTTP/1.1"]
    )
    def test_forms_of_a_target(self, api: Api, form: str) -> None:
        with Connection(api.base_url) as connection:
            connection.send(form.encode() + b"\r\nHost: test\r\n\r\n")
            assert connection.read_response().json() == {"status": "ok"}

    def test_header_names_in_any_case(self, api: Api) -> None:
        stream = api.new_stream()
        ids = api.append_many(stream, ["a", "b"])
        ids.append(api.complete(stream))
        for name in ("last-event-id", "LAST-EVENT-ID", "Last-Event-ID"):
            with Connection(api.base_url) as connection:
                answer = connection.ask("GET", path_of(stream), [(name, ids[0])])
            assert b"id: " + ids[0].encode() not in answer.body
            assert b"id: " + ids[1].encode() in answer.body


class TestRequestBody:
    @pytest.mark.parametrize("size", [1, 7, 100_000])
    @pytest.mark.parametrize("end", [b"\r\n", b"X-Checksum: x\r\n\r\n"])
    def test_chunked(self, api: Api, size: int, end: bytes) -> None:
        stream = api.new_stream()
        body = b"\n".join(b'{"data":"event %d"}' % n for n in range(50))
        head = build_request(
            "POST",
            path_of(stream, "events"),
            [NDJSON, ("Transfer-Encoding", "chunked")],
        )
        with Connection(api.base_url) as connection:
            connection.send(head + chunked(body, size, b";a=b") + end)
            answer = connection.read_response()
            assert_sequence(answer.json()["ids"])
            assert len(answer.json()["ids"]) == 50
            assert connection.ask("GET", "/health").status == 200

    def test_expect_continue(self, api: Api) -> None:
        stream = api.new_stream()
        headers = [TEXT, ("Expect", "100-continue"), ("Content-Length", "5")]
        with Connection(api.base_url) as connection:
            connection.request("POST", path_of(stream, "events"), headers)
            assert connection.read_head().status == 100
            connection.send(b"hello")
            assert connection.read_response().status == 202
        assert api.recover(stream).json()["events"][0]["data"] == "hello"

    def test_expect_continue_with_the_body_at_once(self, api: Api) -> None:
        stream = api.new_stream()
        headers = [TEXT, ("Expect", "100-Continue"), ("Content-Length", "5")]
        with Connection(api.base_url) as connection:
            connection.request("POST", path_of(stream, "events"), headers, b"hello")
            answer = connection.read_response()
            if answer.status == 100:
                answer = connection.read_response()
            assert answer.status == 202

    def test_a_body_where_none_is_wanted(self, api: Api) -> None:
        with Connection(api.base_url) as connection:
            assert connection.ask("GET", "/health", [TEXT], b"ignored").status == 200
            assert connection.ask("GET", "/health").status == 200

    def test_the_body_of_a_refused_request_is_not_the_next_request(
        self, api: Api
    ) -> None:
        stream = api.new_stream()
        inner = build_request("DELETE", path_of(stream))
        with Connection(api.base_url) as connection:
            connection.request("POST", "/nonsense", [TEXT], inner)
            assert connection.read_response().status == 404
        assert api.recover(stream).status == 200

    def test_a_client_that_leaves_within_a_body(self, api: Api) -> None:
        stream = api.new_stream()
        headers = [TEXT, ("Content-Length", "10")]
        with Connection(api.base_url) as connection:
            connection.request("POST", path_of(stream, "events"), headers, b"half")
            connection.send_end()
            connection.read_to_end()
        assert api.recover(stream).json()["events"] == []


class TestCors:
    def test_an_allowed_origin(self, shared: Api) -> None:
        stream = shared.new_stream()
        shared.complete(stream)
        for method, target in (
            ("GET", path_of(stream)),
            ("GET", path_of(stream) + "?transport=poll"),
            ("GET", path_of(stream, "recover")),
            ("POST", PREFIX),
            ("GET", PREFIX + "/no-such-stream"),
            ("PUT", PREFIX),
            ("GET", "/health"),
        ):
            answer = shared.ask(method, target, [("Origin", ORIGIN)])
            assert answer.get("access-control-allow-origin") == ORIGIN
            assert "origin" in {word.lower() for word in answer.words("vary")}

    @pytest.mark.parametrize(
        "origin",
        [
            "https://evil.example",
            "http://app.example",
            ORIGIN + ".evil",
            ORIGIN + ":8443",
            "null",
        ],
    )
    def test_another_origin(self, shared: Api, origin: str) -> None:
        stream = shared.new_stream()
        shared.complete(stream)
        for method in ("GET", "OPTIONS"):
            answer = shared.ask(method, path_of(stream), [("Origin", origin)])
            assert not [n for n, _ in answer.headers if n.startswith("access-control")]

    def test_preflight(self, shared: Api) -> None:
        stream = shared.new_stream()
        for target, method in (
            (PREFIX, "POST"),
            (path_of(stream), "GET"),
            (path_of(stream), "DELETE"),
            (path_of(stream, "events"), "POST"),
            (path_of(stream, "stop"), "POST"),
        ):
            answer = shared.ask(
                "OPTIONS",
                target,
                [
                    ("Origin", ORIGIN),
                    ("Access-Control-Request-Method", method),
                    ("Access-Control-Request-Headers", "content-type, last-event-id"),
                ],
            )
            assert answer.status == 204
            assert answer.get("access-control-allow-origin") == ORIGIN
            assert method in answer.words("access-control-allow-methods")
            allowed = {w.lower() for w in answer.words("access-control-allow-headers")}
            assert {"content-type", "last-event-id"} <= allowed

    def test_all_origins(self, open_to_all: Api) -> None:
        stream = open_to_all.new_stream()
        open_to_all.complete(stream)
        answer = open_to_all.ask("GET", path_of(stream), [("Origin", ORIGIN)])
        assert answer.get("access-control-allow-origin") in ("*", ORIGIN)

    def test_none_by_default(self, api: Api) -> None:
        answer = api.ask("GET", "/health", [("Origin", ORIGIN)])
        assert not [n for n, _ in answer.headers if n.startswith("access-control")]
