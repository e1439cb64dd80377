"""complete, fail, stop, and DELETE."""

from __future__ import annotations

import pytest

from suite.api import JSON, NDJSON, TEXT, Api, path_of
from suite.checks import assert_error, assert_sequence, unchanged
from suite.sse_reader import Event
from suite.wire import Headers

STATES = {"complete": "completed", "fail": "failed"}


@pytest.mark.parametrize("verb", STATES)
class TestEnd:
    @pytest.mark.parametrize(
        "headers, body, type, data",
        [
            ([], None, None, "{}"),
            ([JSON], b'{"type":"done","data":"bye"}', "done", "bye"),
            ([JSON], b'{"data":{"n" : 1.0}}', None, '{"n" : 1.0}'),
            ([TEXT], b"all\nover", None, "all\nover"),
            ([], b'{"data":null}', None, "null"),
        ],
    )
    def test_it_is_the_last_event(
        self,
        api: Api,
        verb: str,
        headers: Headers,
        body: bytes | None,
        type: str | None,
        data: str,
    ) -> None:
        stream = api.new_stream()
        first = api.append(stream, "one")
        with api.subscribe(stream) as live:
            response = api.end(stream, verb, headers, body)
            assert response.status == 200
            last = response.json()["id"]
            assert response.json() == {"id": last, "state": STATES[verb]}
            assert_sequence([first, last])
            expected = Event(last, type or STATES[verb], data, last)
            assert live.rest() == [Event(first, "message", "one", first), expected]
        assert api.events(stream)[1:] == [expected]
        assert api.recover(stream).json()["status"] == STATES[verb]

    def test_the_type_of_a_text(self, api: Api, verb: str) -> None:
        stream = api.new_stream()
        target = path_of(stream, verb) + "?type=bye"
        assert api.ask("POST", target, [TEXT], b"x").status == 200
        assert api.events(stream)[0].type == "bye"

    @pytest.mark.parametrize(
        "headers, body, status, code",
        [
            ([JSON], b"{", 400, "bad_json"),
            ([JSON], b'{"type":"a\\nb","data":1}', 400, "bad_event"),
            ([TEXT], b"\xff", 400, "bad_utf8"),
            ([("Content-Type", "text/html")], b"x", 415, "unsupported_type"),
            ([NDJSON], b'{"data":1}\n{"data":2}', 415, "unsupported_type"),
        ],
    )
    def test_bad_bodies(
        self, api: Api, verb: str, headers: Headers, body: bytes, status: int, code: str
    ) -> None:
        stream = api.new_stream()
        with unchanged(api, stream):
            assert_error(api.end(stream, verb, headers, body), status, code)
        assert_sequence([api.append(stream, "still active")])


class TestStop:
    def test_a_stream_without_a_producer(self, api: Api) -> None:
        stream = api.new_stream()
        api.append(stream, "one")
        with api.subscribe(stream) as live:
            response = api.stop(stream)
            assert response.status == 202
            body = response.json()
            assert body.keys() == {"streamId", "state"}
            assert body["streamId"] == stream
            assert body["state"] in ("active", "cancelled")
            one, last = live.rest()
        assert one.data == "one"
        assert (last.seq, last.type, last.data) == (2, "cancelled", '{"reason":"stop"}')
        assert api.recover(stream).json()["status"] == "cancelled"
        response = api.ask("GET", path_of(stream), [("Last-Event-ID", last.id or "")])
        assert response.status == 204

    def test_twice(self, api: Api) -> None:
        stream = api.new_stream()
        with api.subscribe(stream) as live:
            assert api.stop(stream).status == 202
            assert len(live.rest()) == 1
        with unchanged(api, stream):
            response = api.stop(stream)
            assert response.status == 202
            assert response.json() == {"streamId": stream, "state": "cancelled"}

    def test_of_an_ended_stream_does_nothing(self, api: Api) -> None:
        stream = api.new_stream()
        api.complete(stream)
        with unchanged(api, stream):
            response = api.stop(stream)
            assert response.status == 202
            assert response.json() == {"streamId": stream, "state": "completed"}

    def test_unknown_stream(self, api: Api) -> None:
        assert_error(api.stop("no-such-stream"), 404, "not_found")


class TestDelete:
    def test_it_is_forgotten(self, api: Api) -> None:
        stream = api.new_stream(userId="remover")
        api.append(stream, "x")
        response = api.delete(stream)
        assert (response.status, response.body) == (204, b"")
        assert api.recover(stream).status == 404
        assert_error(api.ask("GET", path_of(stream)), 404, "not_found")
        assert_error(api.delete(stream), 404, "not_found")
        assert api.ask("POST", path_of(stream, "events"), [TEXT], b"x").status == 404
        listed = [
            entry["streamId"] for entry in api.streams_of("remover").json()["streams"]
        ]
        assert stream not in listed

    def test_after_the_end(self, api: Api) -> None:
        stream = api.new_stream()
        api.complete(stream)
        assert api.delete(stream).status == 204
        assert api.recover(stream).status == 404

    def test_others_stay(self, api: Api) -> None:
        one, two = api.new_stream(), api.new_stream()
        event_id = api.append(two, "x")
        assert api.delete(one).status == 204
        with api.subscribe(two) as reader:
            assert reader.event().id == event_id
