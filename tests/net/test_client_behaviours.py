"""What a client does around bodies: tests/data/wpt_behaviours.json, in the
strict profile. Each test names the behaviours that it shows."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from client_driver import Client, Driver
from fault_proxy import FaultProxy
from script_server import STREAM, Exchange, ScriptServer

pytestmark = pytest.mark.asan

F = TypeVar("F", bound=Callable[..., None])

DATA = Path(__file__).resolve().parents[1] / "data"
NAMES = [b["name"] for b in json.loads((DATA / "wpt_behaviours.json").read_text())]
INVALID = -2  # SSE_ERR_INVAL

# Those that have no test, and why.
LEFT_OUT = {
    "redirect origin": "news has no origin: nothing of a page depends on it",
    "not applicable (browser only)": "as it says",
}
shown = set(LEFT_OUT)


def behaviour(*names: str) -> Callable[[F], F]:
    shown.update(names)
    return lambda test: test


def strict(driver: Driver, url: str, **options: object) -> Client:
    options = {"retry_ms": 1, "retry_floor_ms": 1, **options}
    return driver.start(url, profile="strict", **options)


def assert_no_more(driver: Driver, script: ScriptServer, client: Client) -> None:
    """Its end is the last of its news. Others get to the same server, and
    back to it, while it asks for nothing."""
    assert client.news[-1]["kind"] == "end"
    count = len(client.news)
    other = strict(driver, script.url("/other"))
    for _ in range(3):
        exchange = script.next()
        assert exchange.request.target == "/other"
        exchange.stream()
        exchange.close()
        other.wait("error", cause="body_end")
    assert len(client.news) == count


def test_every_behaviour_has_a_test_or_a_reason() -> None:
    assert shown == set(NAMES)


@behaviour("request-accept", "request-cache-control")
def test_headers_of_every_request(driver: Driver, script: ScriptServer) -> None:
    strict(driver, script.url())
    for _ in range(3):
        exchange = script.next()
        assert exchange.request.get("accept") == b"text/event-stream"
        assert exchange.request.get("cache-control") == b"no-cache"
        exchange.stream()
        exchange.close()


@behaviour("status 200 + text/event-stream")
def test_open_is_told_before_there_is_a_body(
    driver: Driver, script: ScriptServer
) -> None:
    client = strict(driver, script.url())
    exchange = script.next()
    exchange.stream()
    assert client.wait("open")["status"] == 200
    assert client.of("event") == []
    exchange.send(b"data: x\n\n")
    client.wait("event", data="x")


@behaviour("status-error")
@pytest.mark.parametrize("status", [205, 210, 299, 404, 410, 500, 503])
def test_a_status_that_is_no_200(
    driver: Driver, script: ScriptServer, status: int
) -> None:
    client = strict(driver, script.url())
    body = b"" if status == 205 else b"data: data\n\n"
    script.next().answer(status, body, STREAM)
    error = client.wait("error", cause="status", status=status)
    assert error["data"] == body.decode()
    client.wait("end", cause="status", status=status)
    assert client.of("event") == client.of("retry") == []
    assert_no_more(driver, script, client)


@behaviour("mime bogus", "mime other valid")
@pytest.mark.parametrize(
    "headers", [[], [("Content-Type", "x bogus")], [("Content-Type", "text/x-bogus")]]
)
def test_another_content_type(
    driver: Driver, script: ScriptServer, headers: list[tuple[str, str]]
) -> None:
    client = strict(driver, script.url())
    script.next().answer(200, b"data: data\n\n", *headers)
    client.wait("error", cause="content_type")
    client.wait("end", cause="content_type")
    assert client.of("event") == client.of("open") == []
    assert_no_more(driver, script, client)


@behaviour("mime trailing semicolon", "mime with charset")
@pytest.mark.parametrize(
    "type",
    [
        "text/event-stream;",
        "text/event-stream;charset=windows-1252",
        "Text/Event-Stream ; charset=utf-8",
    ],
)
def test_a_content_type_that_is_right(
    driver: Driver, script: ScriptServer, type: str
) -> None:
    client = strict(driver, script.url())
    script.next().stream("data: ok…\n\n".encode(), ("Content-Type", type))
    client.wait("event", data="ok…")


@behaviour("redirect", "url unchanged by redirect")
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects(driver: Driver, script: ScriptServer, status: int) -> None:
    client = strict(driver, script.url("/a/old"))
    for _ in range(2):
        first = script.next()
        assert first.request.target == "/a/old"
        first.answer(status, b"data: no\n\n", ("Location", "new?x=1"))
        exchange = script.next()
        assert exchange.request.target == "/a/new?x=1"
        assert exchange.request.get("accept") == b"text/event-stream"
        assert client.causes() == ["body_end"] * len(client.of("open"))
        exchange.stream(b"data: there\n\n")
        client.wait("event", data="there")
        exchange.close()
        client.wait("error", cause="body_end")


@behaviour("reconnect after EOF", "retry is applied per line")
def test_a_retry_alone_brings_it_back(driver: Driver, script: ScriptServer) -> None:
    client = strict(driver, script.url(), retry_ms=60_000, retry_cap_ms=60_000)
    exchange = script.next()
    exchange.stream(b"retry: 2\n")
    exchange.close()
    assert client.wait("retry")["delay_ms"] <= 2
    script.next().stream(b"data: data\n\n")
    client.wait("event", data="data")


@behaviour("reconnect events")
def test_the_order_of_news(driver: Driver, script: ScriptServer) -> None:
    client = strict(driver, script.url())
    exchange = script.next()
    exchange.stream(b"retry: 3600000\ndata: ok\n\n")
    exchange.close()
    client.wait("state", state="waiting")  # a later one would take its place
    client.do("restart")
    script.next().stream(b"data: data\n\n")
    client.wait("event", data="data")
    kinds = [n["kind"] for n in client.news if n["kind"] not in ("state", "retry")]
    assert kinds == ["open", "event", "error", "open", "event"]
    states = [n["state"] for n in client.of("state")]
    assert states == ["connecting", "open", "waiting", "connecting", "open"]


@behaviour("204 ends it")
def test_204(driver: Driver, script: ScriptServer) -> None:
    client = strict(driver, script.url())
    for body in (b"retry: 2\ndata: opened\n\n", b"data: reconnected\n\n"):
        exchange = script.next()
        exchange.stream(body)
        exchange.close()
    script.next().answer(204, b"", STREAM)
    client.wait("end", cause="no_content", status=204)
    assert client.datas() == ["opened", "reconnected"]
    assert client.causes() == ["body_end", "body_end"]
    assert_no_more(driver, script, client)


@behaviour("close in open")
def test_a_close_before_the_events_are_taken(
    driver: Driver, script: ScriptServer
) -> None:
    client = driver.prepare()
    assert client.ask("start", url=script.url(), profile="strict", manual=True) == 0
    exchange = script.next()
    exchange.stream(b"data: x\n\n" * 3)
    while not client.of("event"):  # where one is, the others are
        client.do("take", count=1)
    client.do("close")
    assert client.ask("take", count=100) == 1
    assert client.news[-1]["kind"] == "end"
    assert client.news[-1]["cause"] == "closed"
    assert client.datas() == ["x"]
    exchange.wait_closed()


@behaviour("cancel before headers")
def test_a_close_before_there_is_an_answer(
    driver: Driver, script: ScriptServer
) -> None:
    client = strict(driver, script.url())
    exchange = script.next()
    client.do("close")
    client.wait("end", cause="closed")
    exchange.wait_closed()
    assert client.of("open") == client.of("error") == []
    assert_no_more(driver, script, client)


@behaviour("Last-Event-ID value", "id carried into new connection")
def test_the_last_event_id_is_bytes(driver: Driver, script: ScriptServer) -> None:
    """It is sent with each request until another one comes."""
    client = strict(driver, script.url())
    exchange = script.next()
    exchange.stream("id: …\ndata: first\n\n".encode())
    exchange.close()
    for number in range(3):
        exchange = script.next()
        assert exchange.request.last_event_id == b"\xe2\x80\xa6"
        exchange.stream(b"data: %d\n\n" % number)
        client.wait("event", data=str(number), id="…")
        exchange.close()
    exchange = script.next()
    exchange.stream(b"id: 2\ndata: last\n\n")
    exchange.close()
    assert script.next().request.last_event_id == b"2"


@behaviour("no Last-Event-ID when never set, NUL or reset")
@pytest.mark.parametrize(
    "body",
    [
        b"data: x\n\n",
        b"id: \0\ndata: x\n\n",
        b"id: a\0b\ndata: x\n\n",
        b"id: 1\ndata: x\n\nid\ndata: y\n\n",
        b"id: 1\ndata: x\n\nid:\n\n",
        b"id: \x01\ndata: x\n\n",  # an id, but not one that a header can hold
    ],
)
def test_no_last_event_id(driver: Driver, script: ScriptServer, body: bytes) -> None:
    strict(driver, script.url())
    exchange = script.next()
    exchange.stream(body)
    exchange.close()
    assert script.next().request.last_event_id is None


@behaviour("id of an unfinished block is not committed", "reconnection time")
@pytest.mark.parametrize("retry", [1000, 30_000])
def test_an_unfinished_block(driver: Driver, script: ScriptServer, retry: int) -> None:
    client = strict(driver, script.url())
    exchange = script.next()
    exchange.stream(b"retry:%d\ndata:test1\n\nid:test\ndata:test2\n" % retry)
    begin = time.monotonic()
    exchange.close()
    delay = client.wait("retry")["delay_ms"]
    passed = (time.monotonic() - begin) * 1000  # it tells what is left
    assert retry - passed - 2 <= delay <= retry
    client.do("restart")  # not to wait for it
    assert script.next().request.last_event_id is None
    assert client.datas() == ["test1"]


@behaviour("network error")
@pytest.mark.parametrize("end", [Exchange.close, Exchange.reset])
def test_a_body_that_breaks(
    driver: Driver, script: ScriptServer, end: Callable[[Exchange], None]
) -> None:
    client = strict(driver, script.url())
    exchange = script.next()
    exchange.head(200, STREAM, ("Content-Length", "1000"))
    exchange.send(b"data: x\n\n")
    client.wait("event")
    end(exchange)
    client.wait("error", cause="network")
    script.next().stream(b"data: y\n\n")
    client.wait("event", data="y")


@behaviour("network error")
def test_nobody_listens(driver: Driver, script: ScriptServer) -> None:
    """Each failure makes the next wait longer."""
    with FaultProxy(script.port) as proxy:
        proxy.refuse()
        client = strict(driver, proxy.url("/x"), retry_ms=20)
        for _ in range(3):
            client.wait("error", cause="network")
        proxy.accept()
        script.next().stream(b"data: y\n\n")
        client.wait("event", data="y")


@behaviour("invalid URL")
@pytest.mark.parametrize(
    "url", ["http://this is invalid/", "", "/x", "ftp://127.0.0.1/", "http://", "x"]
)
def test_a_url_that_is_none(driver: Driver, url: str) -> None:
    assert driver.prepare().ask("start", url=url) == INVALID
