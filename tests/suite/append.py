"""POST /api/stream/{id}/events."""

import json

import pytest

from suite.api import JSON, NDJSON, TEXT, Api, path_of
from suite.checks import assert_error, assert_sequence, text_of, unchanged
from suite.sse_reader import Event

# JSON values that are no strings: sent byte for byte.
VALUES = [
    "1",
    "1.0",
    "-0",
    "-0.0",
    "1e400",
    "1E+2",
    "0.1000",
    "12345678901234567890123",
    "9007199254740993",
    "true",
    "false",
    "null",
    "[]",
    "{}",
    '{"a" : [1, 2.50 ] }',
    '{"b":"\\u00e9\\/\\u0000"}',
    '{"b":"\\ud800"}',
    '{"z":1,"a":2,"z":3}',
    '{"data":"inner","type":"inner"}',
    "[\t1 ,\t2]",
    '{\n  "a": 1,\r\n  "b": 2\r}',
    '["caf\u00e9 \U0001f600 \u2028"]',
    '["}", "\\"", "\\\\"]',
]

# JSON strings: sent as the text that they mean.
STRINGS = [
    '""',
    '" "',
    '" lead and trail "',
    '":colon"',
    '"plain"',
    '"1.0"',
    '"\\u00e9\\ud83d\\ude00"',
    '"caf\u00e9 \U0001f600"',
    '"\\/ \\" \\\\ \\b\\f\\t"',
    '"\\u0000"',
    '"a\\u0000b"',
    '"a\\nb"',
    '"a\\rb"',
    '"a\\r\\nb"',
    '"a\\n\\rb"',
    '"\\n"',
    '"\\n\\n"',
    '"\\r\\n\\r\\n"',
    '"end\\n"',
    '"\\nstart"',
    '"x\\u0085\\u2028\\u2029\\u000b\\u000cy"',
    '"\\ufeffbom"',
    '"\\ufffe\\uffff"',
    '"\\u007f\\u0001"',
]

TEXTS = [
    "",
    " ",
    "hello",
    '{"not":"read"}',
    '"quoted"',
    "line\n",
    "a\rb\r\nc\n\nd",
    "nul \0 in it",
    "caf\u00e9 \U0001f600 \ufeff",
    "x" * 100_000,
    "\n" * 5000,
    "\r\n" * 5000,
]

# Each would add a field, or end the event, if it went out as it is.
INJECTIONS = [
    "x\nid: 99-00000000\nevent: evil\n\ndata: fake",
    "x\r\rdata: fake\r\r",
    "x\r\n\r\nretry: 1\r\n\r\n",
    "\n\n: comment\n\n",
]

BAD_UTF8 = [
    b"\xff",
    b"\xc3(",
    b"caf\xc3",  # cut short
    b"\xc0\x80",  # an overlong NUL
    b"\xed\xa0\x80",  # half a surrogate pair
    b"\xf4\x90\x80\x80",  # past U+10FFFF
    b"\x80",
]

BAD_JSON = [
    "",
    "{",
    "nul",
    "[]",
    '"x"',
    "5",
    '{"data":}',
    '{"data":01}',
    '{"data":1.}',
    '{"data":+1}',
    '{"data":.5}',
    '{"data":NaN}',
    '{"data":"x"',
    '{"data":"x"} y',
    '{"data":"x",}',
    '{"data":"\\x41"}',
    '{"data":"\\u12"}',
    '{"data":"a\tb"}',
    '{"data":"a\nb"}',
    '{"data":[1,]}',
    '{"data":{"a"}}',
    "{'data':'x'}",
    '{"data":tru}',
]

BAD_EVENTS = [
    "{}",
    '{"type":"x"}',
    '{"type":"a\\nb","data":"x"}',
    '{"type":"a\\rb","data":"x"}',
    '{"type":"a\\u0000b","data":"x"}',
    '{"type":5,"data":"x"}',
    '{"type":["a"],"data":"x"}',
]


def only_event(api: Api, stream: str) -> Event:
    """Ends the stream, which has one event, and gives it."""
    terminal = api.complete(stream)
    events = api.events(stream)
    assert [event.id for event in events[1:]] == [terminal]
    return events[0]


class TestAppendData:
    @pytest.mark.parametrize("value", VALUES)
    def test_a_value_is_sent_as_its_own_text(self, api: Api, value: str) -> None:
        stream = api.new_stream()
        event_id = api.append_json(stream, f'{{"data" :  {value} \n}}')
        assert only_event(api, stream) == Event(
            event_id, "message", text_of(value), event_id
        )

    @pytest.mark.parametrize("string", STRINGS)
    def test_a_string_is_sent_as_its_text(self, api: Api, string: str) -> None:
        stream = api.new_stream()
        event_id = api.append_json(stream, f'{{"data":{string}}}')
        expected = text_of(json.loads(string))
        assert only_event(api, stream) == Event(event_id, "message", expected, event_id)

    @pytest.mark.parametrize("text", TEXTS, ids=lambda text: repr(text[:20]))
    def test_text_is_sent_as_it_is(self, api: Api, text: str) -> None:
        stream = api.new_stream()
        event_id = api.append(stream, text)
        expected = Event(event_id, "message", text_of(text), event_id)
        assert only_event(api, stream) == expected

    @pytest.mark.parametrize("data", INJECTIONS)
    def test_no_data_can_inject_a_field(self, api: Api, data: str) -> None:
        stream = api.new_stream()
        with api.subscribe(stream) as live:
            event_id = api.append(stream, data)
            expected = Event(event_id, "message", text_of(data), event_id)
            assert live.event() == expected
        assert only_event(api, stream) == expected

    @pytest.mark.parametrize("data", BAD_UTF8)
    @pytest.mark.parametrize("kind", ["text", "json", "ndjson", "nested"])
    def test_bad_utf8(self, api: Api, data: bytes, kind: str) -> None:
        forms = {
            "text": (TEXT, data),
            "json": (JSON, b'{"data":"%b"}' % data),
            "ndjson": (NDJSON, b'{"data":"ok"}\n{"data":"%b"}\n' % data),
            "nested": (JSON, b'{"data":{"a":["%b"]}}' % data),
        }
        content_type, body = forms[kind]
        stream = api.new_stream()
        with unchanged(api, stream):
            response = api.post_event(stream, [content_type], body)
            assert_error(response, 400, "bad_utf8")
        assert_sequence([api.append(stream, "next")])

    @pytest.mark.parametrize(
        "escape", ["\\ud800", "\\udc00", "\\ud800x", "\\ud800\\u0041"]
    )
    def test_half_a_surrogate_pair(self, api: Api, escape: str) -> None:
        stream = api.new_stream()
        with unchanged(api, stream):
            response = api.post_event(stream, [JSON], f'{{"data":"{escape}"}}'.encode())
            assert_error(response, 400, "bad_json", "bad_utf8")

    def test_deep_json_does_no_harm(self, api: Api) -> None:
        value = "[" * 50_000 + "]" * 50_000
        stream = api.new_stream()
        response = api.post_event(stream, [JSON], f'{{"data":{value}}}'.encode())
        assert response.status in (202, 400)
        if response.status == 202:
            assert only_event(api, stream).data == value
        assert api.recover(stream).status == 200


class TestAppendBody:
    @pytest.mark.parametrize(
        "headers",
        [
            [JSON],
            [],
            [("Content-Type", "application/json; charset=utf-8")],
            [("Content-Type", "Application/JSON;charset=UTF-8")],
        ],
    )
    def test_json(self, api: Api, headers: list[tuple[str, str]]) -> None:
        stream = api.new_stream()
        response = api.post_event(stream, headers, b'{"type":"token","data":"hi"}')
        assert response.status == 202
        assert response.json().keys() == {"id"}
        event_id = response.json()["id"]
        assert_sequence([event_id])
        assert only_event(api, stream) == Event(event_id, "token", "hi", event_id)

    def test_order_of_the_keys_and_escapes_in_them(self, api: Api) -> None:
        stream = api.new_stream()
        api.append_json(stream, '{"data":{"type":"no","data":"no"},"type":"yes"}')
        api.append_json(stream, '{"\\u0064ata":"a","t\\u0079pe":"b"}')
        api.complete(stream)
        got = [(event.type, event.data) for event in api.events(stream)][:2]
        assert got == [("yes", '{"type":"no","data":"no"}'), ("b", "a")]

    @pytest.mark.parametrize(
        "content_type", ["text/plain", "Text/Plain; charset=utf-8"]
    )
    def test_text_with_a_type(self, api: Api, content_type: str) -> None:
        stream = api.new_stream()
        headers = [("Content-Type", content_type)]
        response = api.post_event(stream, headers, b"hi", "?type=a%20b%C3%A9")
        assert response.status == 202
        assert only_event(api, stream).type == "a b\u00e9"

    @pytest.mark.parametrize("end", ["\n", "\r\n"])
    @pytest.mark.parametrize("last", [True, False])
    def test_ndjson(self, api: Api, end: str, last: bool) -> None:
        stream = api.new_stream()
        lines = ['{"type":"t","data":"a\\nb"}', '{"data":{"n" : 1.0}}', '{"data":""}']
        body = end.join(lines) + (end if last else "")
        response = api.post_event(stream, [NDJSON], body.encode())
        assert response.status == 202
        assert response.json().keys() == {"ids"}
        ids = response.json()["ids"]
        assert_sequence(ids)
        api.complete(stream)
        assert api.events(stream)[:3] == [
            Event(ids[0], "t", "a\nb", ids[0]),
            Event(ids[1], "message", '{"n" : 1.0}', ids[1]),
            Event(ids[2], "message", "", ids[2]),
        ]

    def test_a_long_batch(self, api: Api) -> None:
        stream = api.new_stream()
        texts = [f"event {n}" for n in range(3000)]
        with api.subscribe(stream) as live:
            ids = api.append_many(stream, texts)
            assert_sequence(ids)
            api.complete(stream)
            events = live.rest()[:-1]
        assert [event.id for event in events] == ids
        assert [event.data for event in events] == texts

    @pytest.mark.parametrize(
        "bad, codes",
        [
            ("{", ["bad_json"]),
            ("[]", ["bad_json"]),
            ("{}", ["bad_event"]),
            ('{"type":"a\\nb","data":1}', ["bad_event"]),
            ('{"data":1} {"data":2}', ["bad_json"]),
            ('{"data":\n1}', ["bad_json"]),
        ],
    )
    @pytest.mark.parametrize("place", [0, 1, 2])
    def test_ndjson_is_all_or_nothing(
        self, api: Api, bad: str, codes: list[str], place: int
    ) -> None:
        lines = ['{"data":"good"}', '{"data":"good"}']
        lines.insert(place, bad)
        stream = api.new_stream()
        with api.subscribe(stream) as live, unchanged(api, stream):
            response = api.post_event(stream, [NDJSON], "\n".join(lines).encode())
            assert_error(response, 400, *codes)
            assert live.retry()
        assert_sequence([api.append(stream, "next")])

    @pytest.mark.parametrize("body", BAD_JSON)
    def test_bad_json(self, api: Api, body: str) -> None:
        stream = api.new_stream()
        with unchanged(api, stream):
            assert_error(api.post_event(stream, [JSON], body.encode()), 400, "bad_json")
        assert_sequence([api.append(stream, "next")])

    @pytest.mark.parametrize("body", BAD_EVENTS)
    def test_bad_event(self, api: Api, body: str) -> None:
        stream = api.new_stream()
        with unchanged(api, stream):
            response = api.post_event(stream, [JSON], body.encode())
            assert_error(response, 400, "bad_event")
        assert_sequence([api.append(stream, "next")])

    @pytest.mark.parametrize("escape", ["%0A", "%0D", "%00"])
    def test_bad_type_in_the_query(self, api: Api, escape: str) -> None:
        stream = api.new_stream()
        with unchanged(api, stream):
            response = api.post_event(stream, [TEXT], b"x", f"?type=a{escape}b")
            assert_error(response, 400, "bad_event")

    def test_type_in_the_query_is_no_utf8(self, api: Api) -> None:
        stream = api.new_stream()
        with unchanged(api, stream):
            response = api.post_event(stream, [TEXT], b"x", "?type=%FF")
            assert_error(response, 400, "bad_utf8", "bad_event")

    @pytest.mark.parametrize(
        "content_type",
        [
            "application/xml",
            "application/jsonx",
            "text/html",
            "text/plainer",
            "nonsense",
        ],
    )
    def test_other_content_types(self, api: Api, content_type: str) -> None:
        stream = api.new_stream()
        with unchanged(api, stream):
            response = api.post_event(
                stream, [("Content-Type", content_type)], b'{"data":1}'
            )
            assert_error(response, 415, "unsupported_type")


class TestAppendType:
    @pytest.mark.parametrize(
        "type", ["token", "a b", "a:b", ": x", " lead", "caf\u00e9"]
    )
    def test_type(self, api: Api, type: str) -> None:
        stream = api.new_stream()
        api.append_json(stream, json.dumps({"type": type, "data": "x"}))
        assert only_event(api, stream).type == type

    @pytest.mark.parametrize("type", ["", "message"])
    def test_the_default_type_is_left_out(self, api: Api, type: str) -> None:
        stream = api.new_stream()
        api.append_json(stream, json.dumps({"type": type, "data": "x"}))
        api.end(stream, "complete", [JSON], b'{"type":"message","data":"end"}')
        response = api.ask("GET", path_of(stream))
        assert b"\nevent" not in response.body
        assert response.body.count(b"\ndata") == 2


class TestAppendNumbers:
    def test_ids_have_no_holes(self, api: Api) -> None:
        stream = api.new_stream()
        ids = []
        for n in range(5):
            ids.append(api.append(stream, f"text {n}"))
            api.post_event(stream, [JSON], b'{"data":')  # refused
            ids += api.append_many(stream, ["a", "b"])
            ids.append(api.append_json(stream, '{"data":null}'))
        ids.append(api.complete(stream))
        assert_sequence(ids)
        assert [event.id for event in api.events(stream)] == ids

    def test_streams_are_numbered_each_for_itself(self, api: Api) -> None:
        one, two = api.new_stream(), api.new_stream()
        for seq in range(1, 4):
            assert_sequence([api.append(one, "x")], seq)
            assert_sequence([api.append(two, "x")], seq)

    @pytest.mark.parametrize("verb", ["events", "complete", "fail"])
    def test_unknown_stream(self, api: Api, verb: str) -> None:
        target = path_of("no-such-stream", verb)
        assert_error(api.ask("POST", target, [TEXT], b"x"), 404, "not_found")
        assert api.recover("no-such-stream").status == 404

    @pytest.mark.parametrize("end", ["complete", "fail", "stop"])
    @pytest.mark.parametrize("verb", ["events", "complete", "fail"])
    def test_after_the_end(self, api: Api, end: str, verb: str) -> None:
        stream = api.new_stream()
        api.append(stream, "x")
        api.end(stream, end)
        api.events(stream)  # until it has ended
        with unchanged(api, stream):
            response = api.ask("POST", path_of(stream, verb), [TEXT], b"late")
            assert_error(response, 409, "ended")
