"""What several tests demand in the same words."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from suite.api import Api
from suite.sse_reader import ID_PATTERN, Event
from suite.wire import Response


def assert_error(response: Response, status: int, *codes: str) -> None:
    """The status, one of the codes, and a message that is one sentence."""
    assert response.status == status, response
    assert (response.get("content-type") or "").startswith("application/json")
    body = response.json()
    assert {"error", "message"} <= body.keys(), body
    assert body["error"] in codes, body
    assert_sentence(body["message"])


def assert_sentence(text: Any) -> None:
    assert isinstance(text, str)
    assert " " in text and text == text.strip(), text
    assert len(text) <= 200 and text.isprintable(), text
    assert text[0].isupper(), text
    assert not re.search(r"[a-z]\. [A-Z]", text), text


@contextmanager
def unchanged(api: Api, stream: str) -> Iterator[None]:
    """What is done within leaves the stream as it was."""
    before = api.recover(stream)
    assert before.status == 200
    yield
    assert api.recover(stream).body == before.body


def text_of(data: str) -> str:
    """`data` as a reader gets it: every kind of line end has become LF."""
    return data.replace("\r\n", "\n").replace("\r", "\n")


def gap_of(event: Event) -> dict[str, Any]:
    """The fields of a gap event, which has no id."""
    assert event.type == "gap", event
    assert event.id is None, event
    gap = json.loads(event.data)
    assert {"from", "to", "missed", "reason"} == gap.keys(), gap
    return gap


def assert_gap(event: Event, first: int, last: int, reason: str) -> None:
    expected = {
        "from": first,
        "to": last,
        "missed": last - first + 1,
        "reason": reason,
    }
    assert gap_of(event) == expected


def assert_diverged(event: Event) -> None:
    gap = gap_of(event)
    assert gap["reason"] == "diverged"
    assert gap["missed"] is None


def assert_sequence(ids: list[str], first: int = 1) -> None:
    """Tagged ids, without a hole."""
    for seq, event_id in enumerate(ids, first):
        match = ID_PATTERN.fullmatch(event_id)
        assert match and int(match[1]) == seq, (seq, event_id)
