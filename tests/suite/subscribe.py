"""GET /api/stream/{id}: what a reader gets."""

from collections import Counter

import pytest

from suite.api import PREFIX, Api, path_of
from suite.checks import assert_error, assert_sequence
from suite.sse_reader import Comment, Event, Retry


class TestSubscribe:
    def test_headers(self, api: Api) -> None:
        stream = api.new_stream()
        with api.subscribe(stream) as reader:
            head = reader.head
        assert head.version == "1.1"
        assert head.get("content-type") == "text/event-stream"
        assert head.get("cache-control") == "no-cache, no-transform"
        assert head.get("x-accel-buffering") == "no"
        assert (head.get("connection") or "").lower() == "keep-alive"
        assert head.get("transfer-encoding") == "chunked"
        assert head.get("content-length") is None
        assert head.get("content-encoding") is None
        assert set(Counter(name for name, _ in head.headers).values()) == {1}

    def test_http_1_0(self, api: Api) -> None:
        stream = api.new_stream()
        event_id = api.append(stream, "hello")
        with api.subscribe(stream, version="1.0") as reader:
            assert reader.head.get("content-type") == "text/event-stream"
            assert reader.head.get("transfer-encoding") is None
            assert reader.head.get("connection") in (None, "close")
            assert reader.event().id == event_id
            last = api.complete(stream)
            assert [event.id for event in reader.rest()] == [last]

    def test_retry_is_sent_once_and_first(self, api: Api) -> None:
        stream = api.new_stream()
        with api.subscribe(stream) as reader:
            api.append(stream, "one")
            api.append(stream, "two")
            api.complete(stream)
            items = list(reader.items())
        assert isinstance(items[0], Retry)
        assert items[0].ms > 0
        assert [type(item) for item in items[1:]] == [Event] * 3

    def test_the_head_comes_before_the_first_event(self, api: Api) -> None:
        stream = api.new_stream()
        with api.subscribe(stream) as reader:
            assert reader.retry().ms > 0

    def test_events_arrive_while_the_stream_goes_on(self, api: Api) -> None:
        stream = api.new_stream()
        with api.subscribe(stream) as reader:
            for n in range(20):
                event_id = api.append(stream, f"token {n}", "token")
                expected = Event(event_id, "token", f"token {n}", event_id)
                assert reader.event() == expected

    def test_replay_and_live_are_one(self, api: Api) -> None:
        stream = api.new_stream()
        ids = api.append_many(stream, [str(n) for n in range(100)])
        with api.subscribe(stream) as reader:
            ids += api.append_many(stream, [str(n) for n in range(100, 200)])
            ids.append(api.complete(stream))
            events = reader.rest()
        assert [event.id for event in events] == ids
        assert [event.data for event in events[:-1]] == [str(n) for n in range(200)]

    def test_all_readers_get_the_same(self, api: Api) -> None:
        stream = api.new_stream()
        readers = []
        for n in range(10):  # each comes when another event is there
            readers.append(api.subscribe(stream))
            api.append(stream, f"event {n}")
        api.complete(stream)
        transcripts = [reader.rest() for reader in readers]
        for reader in readers:
            reader.connection.close()
        assert_sequence([event.id or "" for event in transcripts[0]])
        assert len(transcripts[0]) == 11
        assert all(events == transcripts[0] for events in transcripts)
        assert api.events(stream) == transcripts[0]

    def test_a_late_reader_gets_it_all(self, api: Api) -> None:
        stream = api.new_stream()
        ids = api.append_many(stream, ["a", "b"])
        ids.append(api.complete(stream))
        for _ in range(2):
            assert [event.id for event in api.events(stream)] == ids

    def test_streams_do_not_mix(self, api: Api) -> None:
        one, two = api.new_stream(), api.new_stream()
        with api.subscribe(one) as first, api.subscribe(two) as second:
            for n in range(10):
                api.append(one, f"one {n}")
                api.append(two, f"two {n}")
            assert [event.data for event in first.take(10)] == [
                f"one {n}" for n in range(10)
            ]
            assert [event.data for event in second.take(10)] == [
                f"two {n}" for n in range(10)
            ]

    def test_the_connection_serves_on_after_the_end(self, api: Api) -> None:
        stream = api.new_stream()
        api.complete(stream)
        with api.subscribe(stream) as reader:
            assert len(reader.rest()) == 1
            assert reader.connection.ask("GET", "/health").status == 200

    def test_a_reader_that_goes_away_stops_nothing(self, api: Api) -> None:
        stream = api.new_stream()
        with api.subscribe(stream) as reader:
            reader.retry()
        with api.subscribe(stream) as reader:
            reader.retry()
            reader.connection.reset()
        event_id = api.append(stream, "still here")
        with api.subscribe(stream) as reader:
            assert reader.event().id == event_id

    def test_delete_ends_the_response(self, api: Api) -> None:
        stream = api.new_stream()
        api.append(stream, "one")
        with api.subscribe(stream) as reader:
            assert reader.event().data == "one"
            assert api.delete(stream).status == 204
            assert reader.rest() == []

    def test_unknown_stream(self, api: Api) -> None:
        assert_error(api.ask("GET", path_of("no-such-stream")), 404, "not_found")

    @pytest.mark.parametrize(
        "segment", ["a%20b", "a%2Fb", "%00", "x" * 256, "%", "%zz", "%ff"]
    )
    def test_what_is_no_id(self, api: Api, segment: str) -> None:
        response = api.ask("GET", f"{PREFIX}/{segment}")
        codes = {400: ["bad_id", "bad_request"], 404: ["not_found"]}
        assert response.status in codes
        assert_error(response, response.status, *codes[response.status])


class TestHeartbeat:
    def test_an_idle_reader_gets_heartbeats(self, lively: Api) -> None:
        stream = lively.new_stream()
        with lively.subscribe(stream) as reader:
            assert [reader.comment() for _ in range(3)] == [Comment(" heartbeat")] * 3

    def test_a_heartbeat_is_no_event(self, lively: Api) -> None:
        stream = lively.new_stream()
        with lively.subscribe(stream) as reader:
            expected = []
            for n in range(3):
                reader.comment()
                event_id = lively.append(stream, f"after a heartbeat {n}")
                expected.append((event_id, event_id, f"after a heartbeat {n}"))
                event = reader.event()
                assert (event.id, event.last_id, event.data) == expected[-1]
            lively.complete(stream)
            assert len(reader.rest()) == 1
        got = [(event.id, event.last_id, event.data) for event in lively.events(stream)]
        assert got[:-1] == expected

    def test_every_idle_reader_gets_them(self, lively: Api) -> None:
        stream = lively.new_stream()
        readers = [lively.subscribe(stream) for _ in range(20)]
        for reader in readers:
            assert reader.comment() == Comment(" heartbeat")
            reader.connection.close()
