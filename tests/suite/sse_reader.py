"""A parser for text/event-stream, written from the HTML standard (9.2.6).

It shares no code with the library, so that the library does not test itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Union

_LINE_END = re.compile(rb"\r\n|\r|\n")

ID_PATTERN = re.compile(r"([1-9][0-9]*)-([0-9a-f]{8})")


@dataclass(frozen=True)
class Event:
    id: str | None  # None where the block had no id field
    type: str
    data: str
    last_id: str  # what EventSource would show as lastEventId

    @property
    def seq(self) -> int:
        return seq_of(self.id or "")


@dataclass(frozen=True)
class Comment:
    text: str


@dataclass(frozen=True)
class Retry:
    ms: int


Item = Union[Event, Comment, Retry]


def seq_of(event_id: str) -> int:
    match = ID_PATTERN.fullmatch(event_id)
    assert match, f"not an event id: {event_id!r}"
    return int(match[1])


class Parser:
    """Feed it bytes in any pieces; it gives what they complete."""

    def __init__(self) -> None:
        self._buffer = b""
        self._skip_lf = False
        self._first_line = True
        self._last_id = ""
        self._forget_block()

    def _forget_block(self) -> None:
        self._data: list[str] = []
        self._type = ""
        self._id: str | None = None

    @property
    def unfinished(self) -> bool:
        """Whether bytes came that no blank line has ended."""
        return bool(self._buffer or self._data or self._type or self._id)

    def feed(self, chunk: bytes) -> list[Item]:
        searched = len(self._buffer)
        self._buffer += chunk
        items: list[Item] = []
        start = 0
        for match in _LINE_END.finditer(self._buffer, searched):
            if self._skip_lf and match.start() == 0 and match[0] == b"\n":
                start = 1  # the second half of a CRLF that came in two pieces
                continue
            items += self._line(self._buffer[start : match.start()])
            start = match.end()
        if self._buffer:
            self._skip_lf = start == len(self._buffer) and self._buffer.endswith(b"\r")
        self._buffer = self._buffer[start:]
        return items

    def _line(self, raw: bytes) -> list[Item]:
        line = raw.decode("utf-8", "strict")
        if self._first_line:
            line = line.removeprefix("\ufeff")
            self._first_line = False
        if line == "":
            return self._dispatch()
        if line.startswith(":"):
            return [Comment(line[1:])]
        name, _, value = line.partition(":")
        return self._field(name, value.removeprefix(" "))

    def _field(self, name: str, value: str) -> list[Item]:
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._type = value
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and re.fullmatch("[0-9]+", value):
            return [Retry(int(value))]
        return []

    def _dispatch(self) -> list[Item]:
        if self._id is not None:
            self._last_id = self._id
        event = Event(
            self._id, self._type or "message", "\n".join(self._data), self._last_id
        )
        has_data = bool(self._data)
        self._forget_block()
        return [event] if has_data else []
