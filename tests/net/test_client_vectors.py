"""Every format vector of tests/data, through a client and over sockets."""

import base64
import json
import time
from pathlib import Path
from typing import Any

import pytest

from client_driver import Driver
from contract_service import Message, Service
from contract_service import Stream as ServiceStream
from script_server import STREAM, Exchange, ScriptServer

pytestmark = pytest.mark.asan

Vector = dict[str, Any]

DATA = Path(__file__).resolve().parents[1] / "data"
VECTORS: list[Vector] = json.loads((DATA / "wpt_format_vectors.json").read_text())
PIECES = [1 << 20, 1, 2, 3, 7]  # bytes; the first is all at once
USUAL_RETRY_MS = 1000
each_vector = pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v["name"])


def body_of(vector: Vector) -> bytes:
    return base64.b64decode(vector["input_b64"])


def content_type(vector: Vector) -> tuple[str, str]:
    return ("Content-Type", vector.get("content_type", STREAM[1]))


def header_of(id: str) -> bytes | None:
    return id.encode() or None


def expected_events(vector: Vector) -> list[Message]:
    return [
        {"type": e["type"], "data": e["data"], "id": e["lastEventId"]}
        for e in vector["expected"]
    ]


def assert_told(stream: ServiceStream, vector: Vector) -> None:
    """Its events and comments, and one error when it has ended."""
    events, comments = [], []
    while (message := stream.next())["kind"] != "error":
        if message["kind"] == "event":
            events.append(message["event"])
        else:
            comments.append(message["comment"])
    assert events == expected_events(vector)
    assert comments == vector.get("comments", [])


def open_first(
    service: Service, script: ScriptServer, vector: Vector
) -> tuple[ServiceStream, Exchange]:
    """A stream that has been asked for as the vector says."""
    initial = vector.get("initial_last_event_id", "")
    stream = service.open(script.url(), lastEventId=initial or None, initialDelayMs=0)
    exchange = script.next()
    assert exchange.request.last_event_id == header_of(initial)
    exchange.stream(b"", content_type(vector))
    return stream, exchange


@each_vector
@pytest.mark.parametrize("piece", PIECES)
def test_what_it_tells_and_asks_for_next(
    shared_service: Service, script: ScriptServer, vector: Vector, piece: int
) -> None:
    stream, exchange = open_first(shared_service, script, vector)
    with stream:
        exchange.send_pieces(body_of(vector), piece)
        exchange.close()
        assert_told(stream, vector)
        stream.restart()  # some vectors ask for seconds of patience
        request = script.next().request
        assert request.last_event_id == header_of(vector["final_last_event_id"])


@pytest.mark.parametrize(
    "vector", [v for v in VECTORS if "chunks" in v], ids=lambda v: v["name"]
)
def test_the_pieces_it_came_in(
    shared_service: Service, script: ScriptServer, vector: Vector
) -> None:
    stream, exchange = open_first(shared_service, script, vector)
    with stream:
        for piece in vector["chunks"]:
            exchange.send(piece.encode())
        exchange.close()
        assert_told(stream, vector)


@each_vector
@pytest.mark.parametrize("piece", [1 << 20, 1])
def test_when_it_comes_back(
    driver: Driver, script: ScriptServer, vector: Vector, piece: int
) -> None:
    """After exactly the time that the server set."""
    client = driver.start(script.url(), profile="strict", retry_floor_ms=1)
    exchange = script.next()
    exchange.stream(b"", content_type(vector))
    exchange.send_pieces(body_of(vector), piece)
    begin = time.monotonic()
    exchange.close()
    told = client.wait("retry")["delay_ms"]
    passed = (time.monotonic() - begin) * 1000  # it tells what is left
    exact = vector.get("retry", USUAL_RETRY_MS)
    assert exact - passed - 2 <= told <= exact
