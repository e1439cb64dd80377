"""The suite's own parser, which judges all others, against known vectors."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from suite.sse_reader import Comment, Event, Item, Parser, Retry

DATA = Path(__file__).resolve().parents[1] / "data" / "wpt_format_vectors.json"
VECTORS = [
    vector
    for vector in json.loads(DATA.read_text())
    if not vector.get("initial_last_event_id")
]


def parse(raw: bytes, size: int) -> list[Item]:
    parser = Parser()
    items: list[Item] = []
    for start in range(0, len(raw), size):
        items += parser.feed(raw[start : start + size])
    return items


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 1 << 20])
def test_vector(vector: dict[str, Any], size: int) -> None:
    items = parse(base64.b64decode(vector["input_b64"]), size)
    events = [
        {"type": item.type, "data": item.data, "lastEventId": item.last_id}
        for item in items
        if isinstance(item, Event)
    ]
    assert events == vector["expected"]
    if "comments" in vector:
        comments = [item.text for item in items if isinstance(item, Comment)]
        assert comments == vector["comments"]
    if vector.get("retry") is not None:
        retries = [item.ms for item in items if isinstance(item, Retry)]
        assert retries[-1] == vector["retry"]
