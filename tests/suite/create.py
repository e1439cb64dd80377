"""POST /api/stream."""

import re

import pytest

from suite.api import JSON, PREFIX, Api, fresh_id, path_of
from suite.checks import assert_error, assert_sequence, unchanged
from suite.sse_reader import ID_PATTERN

STREAM_ID = re.compile(r"[A-Za-z0-9._~:@+-]{1,255}")

# Each must come back as it was sent, not as a JSON library would write it.
METADATA = [
    '{"a" :  1.0, "b": [1e400, 12345678901234567890123]}',
    '{"text":"\\u00e9\\/\\ud83d\\ude00"}',
    '{"z":1,"a":2,"z":3}',
    '"caf\u00e9"',
    "-0.0",
    "null",
    "[]",
]

TOO_MUCH = 16 * 1024


class TestCreate:
    def test_without_a_body_an_id_is_made_up(self, api: Api) -> None:
        response = api.ask("POST", PREFIX)
        assert response.status == 201
        body = response.json()
        assert body.keys() == {"streamId", "state"}
        assert body["state"] == "active"
        assert STREAM_ID.fullmatch(body["streamId"])
        assert response.get("location") == f"{PREFIX}/{body['streamId']}"
        assert response.get("content-type") == "application/json"

    def test_made_up_ids_cannot_be_guessed(self, api: Api) -> None:
        ids = {api.create().json()["streamId"] for _ in range(20)}
        assert len(ids) == 20
        assert all(len(stream) >= 16 for stream in ids)
        assert len({stream[:8] for stream in ids}) > 1

    def test_named(self, api: Api) -> None:
        stream = fresh_id()
        response = api.create(streamId=stream)
        assert response.status == 201
        assert response.json() == {"streamId": stream, "state": "active"}
        assert response.get("location") == f"{PREFIX}/{stream}"

    @pytest.mark.parametrize("tail", ["a.b_c~d:e@f+g-h", "X" * 200])
    def test_every_character_that_is_allowed(self, api: Api, tail: str) -> None:
        stream = (fresh_id() + tail)[:255]
        api.new_stream(streamId=stream)
        event_id = api.append(stream, "hello")
        api.complete(stream)
        assert api.events(stream)[0].id == event_id
        assert api.recover(stream).json()["streamId"] == stream

    def test_an_id_in_a_path_may_be_escaped_or_not(self, api: Api) -> None:
        stream = api.new_stream(streamId=fresh_id() + ":@+")
        for target in (f"{PREFIX}/{stream}/recover", path_of(stream, "recover")):
            assert api.ask("GET", target).json()["streamId"] == stream

    def test_longest_id(self, api: Api) -> None:
        stream = fresh_id().ljust(255, "x")
        assert api.create(streamId=stream).status == 201
        assert api.recover(stream).status == 200

    @pytest.mark.parametrize(
        "stream",
        ["", "x" * 256, "a b", "a/b", "a?b", "a#b", "a%b", "a\nb", "a\0b", "caf\u00e9"],
    )
    def test_bad_id(self, api: Api, stream: str) -> None:
        assert_error(api.create(streamId=stream), 400, "bad_id")

    @pytest.mark.parametrize(
        "body",
        [
            "{",
            "nul",
            "[]",
            '"x"',
            "{} {}",
            '{"streamId":"x",}',
            "{'streamId':'x'}",
            '{"userId":5}',
            '{"streamType":[]}',
            '{"metadata":01}',
            '{"metadata":NaN}',
            '{"metadata":{"a":1,}}',
            '{"metadata":"\t"}',
        ],
    )
    def test_bad_json(self, api: Api, body: str) -> None:
        assert_error(api.ask("POST", PREFIX, [JSON], body.encode()), 400, "bad_json")

    @pytest.mark.parametrize("value", ["5", "[]", "{}", "true"])
    def test_id_that_is_no_text(self, api: Api, value: str) -> None:
        response = api.ask("POST", PREFIX, [JSON], b'{"streamId":%b}' % value.encode())
        assert_error(response, 400, "bad_id", "bad_json")

    @pytest.mark.parametrize("field", ["userId", "streamType", "metadata"])
    def test_bad_utf8(self, api: Api, field: str) -> None:
        body = b'{"%b":"\xc3("}' % field.encode()
        assert_error(api.ask("POST", PREFIX, [JSON], body), 400, "bad_utf8")

    @pytest.mark.parametrize("metadata", METADATA)
    def test_metadata_is_kept_as_it_came(self, api: Api, metadata: str) -> None:
        user = fresh_id()
        body = f'{{"userId":"{user}" , "metadata" : {metadata} }}'
        assert api.ask("POST", PREFIX, [JSON], body.encode()).status == 201
        assert f'"metadata":{metadata}}}'.encode() in api.streams_of(user).body

    def test_largest_metadata(self, api: Api) -> None:
        for extra, status in ((0, 201), (1, 413)):
            metadata = '"%s"' % ("m" * (TOO_MUCH - 2 + extra))
            response = api.ask(
                "POST", PREFIX, [JSON], f'{{"metadata":{metadata}}}'.encode()
            )
            assert response.status == status
        assert_error(response, 413, "too_large")

    @pytest.mark.parametrize("field", ["userId", "streamType"])
    def test_longest_words(self, api: Api, field: str) -> None:
        assert api.create(**{field: "u" * 255}).status == 201
        assert_error(api.create(**{field: "u" * 256}), 413, "too_large")

    def test_deep_json_does_no_harm(self, api: Api) -> None:
        depth = 7000
        body = b'{"metadata":' + b"[" * depth + b"]" * depth + b"}"
        response = api.ask("POST", PREFIX, [JSON], body)
        assert response.status in (201, 400)
        assert api.ask("POST", PREFIX).status == 201

    def test_active_id(self, api: Api) -> None:
        stream = api.new_stream(userId="one", streamType="chat")
        api.append(stream, "hello")
        with unchanged(api, stream):
            assert_error(api.create(streamId=stream, userId="two"), 409, "exists")
        assert ID_PATTERN.fullmatch(api.append(stream, "more"))[1] == "2"  # type: ignore[index]

    @pytest.mark.parametrize("verb", ["complete", "fail", "stop"])
    def test_the_id_of_an_ended_stream_starts_anew(self, api: Api, verb: str) -> None:
        stream = api.new_stream()
        api.append_many(stream, ["old one", "old two"])
        api.end(stream, verb)
        api.events(stream)  # until it has ended
        assert api.create(streamId=stream).status == 201
        new = [api.append(stream, "new"), api.complete(stream)]
        assert_sequence(new)
        assert [event.id for event in api.events(stream)] == new

    def test_the_id_of_a_deleted_stream_starts_anew(self, api: Api) -> None:
        stream = api.new_stream()
        api.append(stream, "old")
        assert api.delete(stream).status == 204
        assert api.create(streamId=stream).status == 201
        assert_sequence([api.append(stream, "new")])

    def test_a_new_life_has_other_tags(self, api: Api) -> None:
        """Even with the same events, so that no cursor is mistaken."""
        stream = fresh_id()
        seen = set()
        for _ in range(20):
            api.new_stream(streamId=stream)
            seen.add(api.append(stream, "the same"))
            api.complete(stream)
        assert len(seen) == 20
