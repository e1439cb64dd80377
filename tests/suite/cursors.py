"""Where a reader goes on: Last-Event-ID and last_event_id."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

import pytest

from suite.api import TEXT, Api, path_of
from suite.checks import assert_diverged, assert_error, assert_gap, unchanged
from suite.fixtures import LOG_EVENTS
from suite.sse_reader import Event

BAD_CURSORS = [
    "abc",
    "-1",
    "+1",
    "1.5",
    "0x1",
    "1e3",
    "1 2",
    "1,2",
    "1-",
    "-",
    "1-xyz",
    "1-9f3a1c2",
    "1-9f3a1c2b0",
    "1-9f3a1c2b ,",
    "1-9f3a1c2bz",
    "1-9f3a1c2b-1",
    "1-9f3a1c2g",
    "1--9f3a1c2",
    "1-0x3a1c2b",
    "99999999999999999999999",
    "99999999999999999999999-9f3a1c2b",
    "$$",
    "$1",
    "1$",
    "null",
    "undefined",
    "\u0661",
    "1" * 3000,
]

# Such a text does not come as a header.
BAD_IN_QUERY = ["1\n2", "1\r\nX: y", "1\0", "\0", " 1", "1 ", "\t"]


@dataclass(frozen=True)
class Told:
    """A stream of five events and its end."""

    stream: str
    ids: list[str]


@pytest.fixture
def told(api: Api) -> Told:
    stream = api.new_stream()
    ids = api.append_many(stream, [f"event {n}" for n in range(1, 6)])
    return Told(stream, [*ids, api.complete(stream)])


def ids_of(events: list[Event]) -> list[str | None]:
    return [event.id for event in events]


def in_query(cursor: str) -> str:
    return "?last_event_id=" + quote(cursor, safe="")


class TestCursor:
    @pytest.mark.parametrize("cursor", ["", "0"])
    @pytest.mark.parametrize("place", ["header", "query"])
    def test_from_the_start(
        self, api: Api, told: Told, cursor: str, place: str
    ) -> None:
        where = {"cursor": cursor} if place == "header" else {"query": in_query(cursor)}
        assert ids_of(api.events(told.stream, **where)) == told.ids

    @pytest.mark.parametrize("after", range(1, 6))
    @pytest.mark.parametrize("tagged", [True, False])
    @pytest.mark.parametrize("place", ["header", "query"])
    def test_after_an_event(
        self, api: Api, told: Told, after: int, tagged: bool, place: str
    ) -> None:
        cursor = told.ids[after - 1] if tagged else str(after)
        where = {"cursor": cursor} if place == "header" else {"query": in_query(cursor)}
        assert ids_of(api.events(told.stream, **where)) == told.ids[after:]

    def test_the_header_wins(self, api: Api, told: Told) -> None:
        events = api.events(told.stream, cursor=told.ids[3], query=in_query("1"))
        assert ids_of(events) == told.ids[4:]
        events = api.events(told.stream, cursor=told.ids[3], query=in_query("nonsense"))
        assert ids_of(events) == told.ids[4:]

    @pytest.mark.parametrize(
        "query",
        ["?x=1&last_event_id={}", "?last_event_id={}&x=1", "?a&b=&last_event_id={}&"],
    )
    def test_among_other_parameters(self, api: Api, told: Told, query: str) -> None:
        events = api.events(told.stream, query=query.format(told.ids[2]))
        assert ids_of(events) == told.ids[3:]

    @pytest.mark.parametrize("query", ["?xlast_event_id=1", "?x=last_event_id=1"])
    def test_other_parameters_are_no_cursor(
        self, api: Api, told: Told, query: str
    ) -> None:
        assert ids_of(api.events(told.stream, query=query)) == told.ids

    @pytest.mark.parametrize("place", ["header", "query"])
    def test_only_what_is_new(self, api: Api, place: str) -> None:
        stream = api.new_stream()
        api.append_many(stream, ["old", "older"])
        where = {"cursor": "$"} if place == "header" else {"query": in_query("$")}
        with api.subscribe(stream, **where) as reader:
            reader.retry()
            event_id = api.append(stream, "new")
            assert reader.event().id == event_id

    def test_a_cursor_at_the_end_of_an_active_stream(self, api: Api) -> None:
        stream = api.new_stream()
        last = api.append_many(stream, ["a", "b"])[-1]
        with api.subscribe(stream, cursor=last) as reader:
            reader.retry()
            event_id = api.append(stream, "c")
            assert reader.event().id == event_id

    @pytest.mark.parametrize("tagged", [True, False])
    @pytest.mark.parametrize("place", ["header", "query"])
    def test_after_the_terminal_event(
        self, api: Api, told: Told, tagged: bool, place: str
    ) -> None:
        cursor = told.ids[-1] if tagged else str(len(told.ids))
        headers = [("Last-Event-ID", cursor)] if place == "header" else []
        query = in_query(cursor) if place == "query" else ""
        response = api.ask("GET", path_of(told.stream) + query, headers)
        assert response.status == 204
        assert response.body == b""
        assert response.get("transfer-encoding") is None

    def test_only_what_is_new_after_the_end(self, api: Api, told: Told) -> None:
        response = api.ask("GET", path_of(told.stream), [("Last-Event-ID", "$")])
        assert response.status == 204

    @pytest.mark.parametrize("cursor", BAD_CURSORS)
    def test_bad_in_the_header(self, api: Api, told: Told, cursor: str) -> None:
        with unchanged(api, told.stream):
            response = api.ask("GET", path_of(told.stream), [("Last-Event-ID", cursor)])
            assert_error(response, 400, "bad_cursor")

    @pytest.mark.parametrize("cursor", BAD_CURSORS + BAD_IN_QUERY)
    @pytest.mark.parametrize("also", ["", "&transport=poll"])
    def test_bad_in_the_query(
        self, api: Api, told: Told, cursor: str, also: str
    ) -> None:
        target = path_of(told.stream) + in_query(cursor) + also
        assert_error(api.ask("GET", target), 400, "bad_cursor")

    def test_a_bad_cursor_for_an_unknown_stream(self, api: Api) -> None:
        response = api.ask("GET", path_of("no-such-stream"), [("Last-Event-ID", "x")])
        assert response.status in (400, 404)
        assert_error(response, response.status, "bad_cursor", "not_found")


class TestDiverged:
    def test_a_tag_of_another_log(self, api: Api, told: Told) -> None:
        for seq in (1, 3, 6):
            wrong = f"{seq}-{int(told.ids[seq - 1][-8:], 16) ^ 1:08x}"
            gap, *events = api.events(told.stream, cursor=wrong)
            assert_diverged(gap)
            assert ids_of(events) == told.ids

    @pytest.mark.parametrize("cursor", ["7-9f3a1c2b", "1000-00000000", "1000"])
    def test_a_position_that_never_was(self, api: Api, told: Told, cursor: str) -> None:
        gap, *events = api.events(told.stream, cursor=cursor)
        assert_diverged(gap)
        assert ids_of(events) == told.ids

    def test_a_stream_that_was_created_again(self, api: Api) -> None:
        stream = api.new_stream()
        old = api.append_many(stream, ["old"] * 5)
        api.complete(stream)
        api.new_stream(streamId=stream)
        new = api.append_many(stream, ["new"] * 3)
        for cursor in old:
            with api.subscribe(stream, cursor=cursor) as reader:
                assert_diverged(reader.event())
                assert ids_of(reader.take(3)) == new

    def test_a_stream_that_was_created_again_and_has_no_events(self, api: Api) -> None:
        stream = api.new_stream()
        old = api.append(stream, "old")
        api.complete(stream)
        api.new_stream(streamId=stream)
        with api.subscribe(stream, cursor=old) as reader:
            reader.retry()
            new = api.append(stream, "new")
            assert_diverged(reader.event())
            assert reader.event().id == new

    def test_the_gap_does_not_move_the_cursor(self, api: Api, told: Told) -> None:
        gap = api.events(told.stream, cursor="9-9f3a1c2b")[0]
        assert gap.last_id == ""


class TestGap:
    """On a server that keeps the last ten events of a stream."""

    COUNT = 25
    FIRST_KEPT = COUNT - LOG_EVENTS + 1

    @pytest.fixture
    def long(self, forgetful: Api) -> Told:
        stream = forgetful.new_stream()
        ids = [forgetful.append(stream, f"event {n}") for n in range(1, self.COUNT)]
        return Told(stream, [*ids, forgetful.complete(stream)])

    @pytest.mark.parametrize("cursor", [None, "", "0"])
    def test_from_the_start(
        self, forgetful: Api, long: Told, cursor: str | None
    ) -> None:
        gap, *events = forgetful.events(long.stream, cursor=cursor)
        assert_gap(gap, 1, self.FIRST_KEPT - 1, "trimmed")
        assert ids_of(events) == long.ids[self.FIRST_KEPT - 1 :]

    @pytest.mark.parametrize("tagged", [True, False])
    @pytest.mark.parametrize("after", range(1, FIRST_KEPT - 1))
    def test_after_an_event_that_is_gone(
        self, forgetful: Api, long: Told, after: int, tagged: bool
    ) -> None:
        cursor = long.ids[after - 1] if tagged else str(after)
        gap, *events = forgetful.events(long.stream, cursor=cursor)
        assert_gap(gap, after + 1, self.FIRST_KEPT - 1, "trimmed")
        assert ids_of(events) == long.ids[self.FIRST_KEPT - 1 :]

    @pytest.mark.parametrize("tagged", [True, False])
    @pytest.mark.parametrize("after", range(FIRST_KEPT - 1, COUNT))
    def test_no_gap_where_nothing_was_missed(
        self, forgetful: Api, long: Told, after: int, tagged: bool
    ) -> None:
        cursor = long.ids[after - 1] if tagged else str(after)
        events = forgetful.events(long.stream, cursor=cursor)
        assert ids_of(events) == long.ids[after:]

    def test_only_what_is_new_has_no_gap(self, forgetful: Api) -> None:
        stream = forgetful.new_stream()
        forgetful.append_many(stream, ["old"] * 25)
        with forgetful.subscribe(stream, cursor="$") as reader:
            reader.retry()
            event_id = forgetful.append(stream, "new")
            assert reader.event().id == event_id

    def test_the_gap_has_no_id(self, forgetful: Api, long: Told) -> None:
        gap, event, *_ = forgetful.events(long.stream)
        assert gap.id is None
        assert gap.last_id == ""
        assert event.last_id == event.id

    def test_in_a_poll(self, forgetful: Api, long: Told) -> None:
        answer = forgetful.poll(long.stream, long.ids[2]).json()
        gap, *events = answer["events"]
        assert gap.keys() == {"id", "type", "data"}
        assert (gap["id"], gap["type"]) == (None, "gap")
        assert_gap(
            Event(None, "gap", gap["data"], ""), 4, self.FIRST_KEPT - 1, "trimmed"
        )
        assert [event["id"] for event in events] == long.ids[self.FIRST_KEPT - 1 :]
        assert answer["lastEventId"] == long.ids[-1]

    def test_a_reader_that_keeps_up_has_no_gap(self, forgetful: Api) -> None:
        stream = forgetful.new_stream()
        with forgetful.subscribe(stream) as reader:
            for n in range(5 * LOG_EVENTS):
                event_id = forgetful.append(stream, f"event {n}")
                assert reader.event().id == event_id

    def test_a_log_bounded_by_bytes(self, narrow: Api) -> None:
        stream = narrow.new_stream()
        ids = [narrow.append(stream, "x" * 300) for _ in range(50)]
        ids.append(narrow.complete(stream))
        gap, *events = narrow.events(stream)
        kept = len(events)
        assert 1 < kept <= 20
        assert_gap(gap, 1, len(ids) - kept, "trimmed")
        assert ids_of(events) == ids[-kept:]

    def test_an_event_larger_than_the_log(self, narrow: Api) -> None:
        """It could reach nobody who comes later, so it is refused."""
        stream = narrow.new_stream()
        ids = [narrow.append(stream, "small")]
        with unchanged(narrow, stream):
            response = narrow.post_event(stream, [TEXT], b"x" * 50_000)
            assert_error(response, 413, "too_large")
        ids.append(narrow.complete(stream))
        assert ids_of(narrow.events(stream)) == ids
