"""Members of a JSON object with their values as they came, byte for byte. Python's
own reader finds where each value ends; it would not keep `1.0` or `{"n" : 1}`."""

from __future__ import annotations

import json
import json.decoder
import re
from typing import Any, Callable, Iterator, NoReturn, Tuple

# Reads a string from behind its opening quote; gives where it ends, too. It stands
# in json.decoder, without a word in the documentation.
_scan: Callable[[str, int, bool], Tuple[str, int]] = json.decoder.__dict__["scanstring"]

_SPACE = re.compile(r"[ \t\n\r]*")


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON")


def _zero(_: str) -> int:
    return 0


_decoder = json.JSONDecoder(parse_int=_zero, parse_float=_zero, parse_constant=_refuse)


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _expect(text: str, at: int, wanted: str) -> str:
    if at >= len(text) or text[at] not in wanted:
        raise ValueError(f"expected one of {wanted} at {at}")
    return text[at]


def value_end(text: str, at: int) -> int:
    """Where the value that begins here ends. ValueError when there is none."""
    try:
        return _decoder.raw_decode(text, at)[1]
    except RecursionError:
        raise ValueError("nested too deeply") from None


def members(text: str) -> Iterator[Tuple[str, str]]:
    """Key, and raw value, of each member of the object that `text` is."""
    at = _skip(text, 0)
    _expect(text, at, "{")
    at = _skip(text, at + 1)
    if text[at : at + 1] == "}":
        _check_end(text, at + 1)
        return
    while True:
        _expect(text, at, '"')
        key, at = _scan(text, at + 1, True)
        at = _skip(text, at)
        _expect(text, at, ":")
        start = _skip(text, at + 1)
        end = value_end(text, start)
        yield key, text[start:end]
        at = _skip(text, end)
        if _expect(text, at, ",}") == "}":
            break
        at = _skip(text, at + 1)
    _check_end(text, at + 1)


def _check_end(text: str, at: int) -> None:
    if _skip(text, at) != len(text):
        raise ValueError("something stands behind the object")


def string(raw: str) -> str:
    """The text that a raw JSON string means. It may hold half a surrogate pair."""
    return _scan(raw, 1, True)[0]


def is_json(text: str) -> bool:
    """Whether it is one JSON value and nothing else."""
    try:
        start = _skip(text, 0)
        return start == 0 and value_end(text, 0) == len(text)
    except (ValueError, IndexError):
        return False


def quote(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
