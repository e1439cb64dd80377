"""GET .../recover, and the list of a user's streams."""

from __future__ import annotations

import re
from datetime import datetime

import pytest

from suite.api import JSON, PREFIX, TEXT, Api, fresh_id, path_of
from suite.checks import assert_error, assert_sentence
from suite.wire import Connection

MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
COMPLETION = {"terminalEventType", "terminalEventData", "completedAt"}


def assert_moment(text: str) -> datetime:
    assert MOMENT.fullmatch(text), text
    return datetime.fromisoformat(text.replace("Z", "+00:00"))  # for CPython < 3.11


class TestRecover:
    def test_an_active_stream(self, api: Api) -> None:
        stream = api.new_stream(streamType="chat", userId="u1")
        ids = [
            api.append(stream, "a\nb"),
            api.append_json(stream, '{"data":{"n" : 1.0}}'),
        ]
        response = api.recover(stream)
        assert response.status == 200
        assert response.get("content-type") == "application/json"
        body = response.json()
        assert body["status"] == "active"
        assert body["streamId"] == stream
        assert (body["streamType"], body["userId"]) == ("chat", "u1")
        assert_moment(body["startedAt"])
        assert body["lastEventId"] == ids[-1]
        assert body["events"] == [
            {"id": ids[0], "type": "message", "data": "a\nb"},
            {"id": ids[1], "type": "message", "data": '{"n" : 1.0}'},
        ]
        assert all(body.get(field) is None for field in COMPLETION)

    def test_a_completed_stream(self, api: Api) -> None:
        stream = api.new_stream(userId="u1", streamType="chat")
        first = api.append(stream, "x", "token")
        api.end(stream, "complete", [JSON], b'{"type":"done","data":{"n" : 1.0}}')
        response = api.recover(stream)
        body = response.json()
        assert body["status"] == "completed"
        assert body["terminalEventType"] == "done"
        assert b'"terminalEventData":{"n" : 1.0}' in response.body
        started = assert_moment(body["startedAt"])
        assert assert_moment(body["completedAt"]) >= started
        last = body["lastEventId"]
        assert body["events"] == [
            {"id": first, "type": "token", "data": "x"},
            {"id": last, "type": "done", "data": '{"n" : 1.0}'},
        ]
        assert [event.id for event in api.events(stream)] == [first, last]

    @pytest.mark.parametrize(
        "data, shown",
        [
            ("bye", '"bye"'),
            ("", '""'),
            ("1e400", "1e400"),
            ("0012", '"0012"'),
            ('"quoted"', '"quoted"'),
            ('{"a":[1.0]}', '{"a":[1.0]}'),
            ("{broken", '"{broken"'),
            ("null", "null"),
            ("caf\u00e9 \0", None),
        ],
    )
    def test_the_terminal_data(self, api: Api, data: str, shown: str | None) -> None:
        """The JSON value where it is one, otherwise a string."""
        stream = api.new_stream()
        api.end(stream, "fail", [TEXT], data.encode())
        response = api.recover(stream)
        if shown is None:
            assert response.json()["terminalEventData"] == data
        else:
            field = b'"terminalEventData":' + shown.encode()
            assert field + b"," in response.body or field + b"}" in response.body
        assert response.json()["events"][0]["data"] == data

    @pytest.mark.parametrize(
        "text", ["a\nb\rc\r\n", "\0\x01\x1f\x7f", '"\\/', "caf\u00e9\u2028\U0001f600"]
    )
    def test_data_is_escaped(self, api: Api, text: str) -> None:
        stream = api.new_stream()
        api.append(stream, text)
        shown = api.recover(stream).json()["events"][0]["data"]
        assert shown.splitlines() == text.splitlines()
        assert ("\0" in shown) == ("\0" in text)

    @pytest.mark.parametrize("after", range(4))
    @pytest.mark.parametrize("tagged", [True, False])
    def test_after(self, api: Api, after: int, tagged: bool) -> None:
        stream = api.new_stream()
        ids = api.append_many(stream, ["a", "b", "c"])
        cursor = ids[after - 1] if tagged and after else str(after)
        body = api.recover(stream, f"?after={cursor}").json()
        assert [event["id"] for event in body["events"]] == ids[after:]
        assert body["lastEventId"] == ids[-1]

    @pytest.mark.parametrize("cursor", ["x", "-1", "1-", "1-9f3a1c2bz", "9" * 30])
    def test_bad_cursor(self, api: Api, cursor: str) -> None:
        stream = api.new_stream()
        assert_error(api.recover(stream, f"?after={cursor}"), 400, "bad_cursor")

    def test_unknown_stream(self, api: Api) -> None:
        response = api.recover("no-such-stream")
        assert response.status == 404
        body = response.json()
        assert body["status"] == "not_found"
        assert body["error"] == "not_found"
        assert_sentence(body["message"])

    def test_it_changes_nothing(self, api: Api) -> None:
        stream = api.new_stream()
        api.append(stream, "x")
        assert len({api.recover(stream).body for _ in range(3)}) == 1


class TestList:
    def test_newest_first(self, api: Api) -> None:
        user = fresh_id()
        streams = [api.new_stream(userId=user) for _ in range(8)]
        listed = api.streams_of(user).json()["streams"]
        assert [entry["streamId"] for entry in listed] == streams[::-1]
        started = [assert_moment(entry["startedAt"]) for entry in listed]
        assert started == sorted(started, reverse=True)

    def test_fields(self, api: Api) -> None:
        user = fresh_id()
        stream = api.new_stream(userId=user, streamType="chat", metadata={"a": [1]})
        response = api.streams_of(user)
        assert response.status == 200
        assert response.get("content-type") == "application/json"
        assert response.json().keys() == {"streams"}
        (entry,) = response.json()["streams"]
        moments = [assert_moment(entry.pop(f)) for f in ("startedAt", "lastHeartbeat")]
        assert moments[1] >= moments[0]
        assert entry == {
            "streamId": stream,
            "streamType": "chat",
            "userId": user,
            "state": "active",
            "metadata": {"a": [1]},
        }

    def test_the_state(self, api: Api) -> None:
        user = fresh_id()
        for verb in ("complete", "fail"):
            api.end(api.new_stream(userId=user), verb)
        listed = api.streams_of(user).json()["streams"]
        assert [entry["state"] for entry in listed] == ["failed", "completed"]

    def test_only_ones_own(self, api: Api) -> None:
        one, two = fresh_id(), fresh_id()
        mine = api.new_stream(userId=one)
        api.new_stream(userId=two)
        api.new_stream(userId=one + "x")
        api.new_stream()
        listed = api.streams_of(one).json()["streams"]
        assert [entry["streamId"] for entry in listed] == [mine]

    def test_nobodys(self, api: Api) -> None:
        assert api.streams_of(fresh_id()).json() == {"streams": []}

    @pytest.mark.parametrize("tail", [" b", "+b", "&b=c", "caf\u00e9", '"\\', "%41"])
    def test_any_user_name(self, api: Api, tail: str) -> None:
        user = fresh_id() + tail
        stream = api.new_stream(userId=user)
        (entry,) = api.streams_of(user).json()["streams"]
        assert (entry["streamId"], entry["userId"]) == (stream, user)

    def test_plus_is_a_space_in_a_query(self, api: Api) -> None:
        user = fresh_id()
        stream = api.new_stream(userId=user + " b")
        response = api.ask("GET", f"{PREFIX}?userId={user}+b")
        assert [entry["streamId"] for entry in response.json()["streams"]] == [stream]


class TestPoll:
    def test_what_is_there_comes_at_once(self, api: Api) -> None:
        stream = api.new_stream()
        ids = [api.append(stream, "a\nb", "token"), api.append(stream, "c")]
        response = api.poll(stream)
        assert response.status == 200
        assert response.get("content-type") == "application/json"
        assert response.json() == {
            "events": [
                {"id": ids[0], "type": "token", "data": "a\nb"},
                {"id": ids[1], "type": "message", "data": "c"},
            ],
            "lastEventId": ids[1],
            "state": "active",
        }
        assert response.words("cache-control") & {"no-cache", "no-store"}

    def test_after_a_cursor(self, api: Api) -> None:
        stream = api.new_stream()
        ids = api.append_many(stream, ["a", "b", "c"])
        body = api.poll(stream, ids[0]).json()
        assert [event["id"] for event in body["events"]] == ids[1:]

    def test_the_header_too(self, api: Api) -> None:
        stream = api.new_stream()
        ids = api.append_many(stream, ["a", "b", "c"])
        target = path_of(stream) + "?transport=poll&last_event_id=0"
        body = api.ask("GET", target, [("Last-Event-ID", ids[1])]).json()
        assert [event["id"] for event in body["events"]] == ids[2:]

    @pytest.mark.parametrize("old", [0, 2])
    def test_it_waits_for_the_first(self, api: Api, old: int) -> None:
        stream = api.new_stream()
        cursor = [api.append(stream, "old") for _ in range(old)][-1:] or ["0"]
        target = path_of(stream) + f"?transport=poll&last_event_id={cursor[0]}"
        with Connection(api.base_url) as connection:
            connection.request("GET", target)
            event_id = api.append(stream, "new")
            response = connection.read_response()
        assert response.status == 200
        assert response.json() == {
            "events": [{"id": event_id, "type": "message", "data": "new"}],
            "lastEventId": event_id,
            "state": "active",
        }

    def test_the_end_wakes_it(self, api: Api) -> None:
        stream = api.new_stream()
        with Connection(api.base_url) as connection:
            connection.request("GET", path_of(stream) + "?transport=poll")
            last = api.complete(stream)
            body = connection.read_response().json()
        assert [event["id"] for event in body["events"]] == [last]
        assert body["state"] == "completed"

    def test_the_whole_stream_request_by_request(self, api: Api) -> None:
        stream = api.new_stream()
        got: list[str] = []
        cursor = ""
        for n in range(5):
            expected = api.append_many(stream, ["x"] * (n + 1))
            body = api.poll(stream, cursor).json()
            assert [event["id"] for event in body["events"]] == expected
            cursor = body["lastEventId"]
            got += expected
        got.append(api.complete(stream))
        body = api.poll(stream, cursor).json()
        assert (body["lastEventId"], body["state"]) == (got[-1], "completed")
        assert api.poll(stream, got[-1]).status == 204
        assert [event.id for event in api.events(stream)] == got

    def test_unknown_stream(self, api: Api) -> None:
        assert_error(api.poll("no-such-stream"), 404, "not_found")

    def test_diverged(self, api: Api) -> None:
        stream = api.new_stream()
        event_id = api.append(stream, "x")
        gap, event = api.poll(stream, "7-9f3a1c2b").json()["events"]
        assert (gap["id"], gap["type"]) == (None, "gap")
        assert '"reason":"diverged"' in gap["data"]
        assert event["id"] == event_id
