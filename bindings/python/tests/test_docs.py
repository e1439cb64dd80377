"""The examples of docs/python.md and of both READMEs are run as they stand: each has
its test here, and a new one without a test fails. What is public is documented."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import inspect
import io
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers import WAIT_S, serving
from libsse.asgi import EventSourceResponse
from libsse.fastapi import router
from suite.api import JSON
from suite.checks import assert_error
from suite.ports import free_port
from suite.sse_reader import Event, Parser
from suite.wire import Connection, fetch

import libsse

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
PAGES = {
    "python.md": ROOT / "docs" / "python.md",
    "PyPI": HERE.parent / "README.md",
    "README.md": ROOT / "README.md",
}
TEXT = {name: path.read_text() for name, path in PAGES.items()}

Test = Callable[..., None]
tested: set[tuple[str, str]] = set()


def examples(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", TEXT[page], re.DOTALL)


def example(page: str, word: str) -> Callable[[Test], Test]:
    """Gives a test the one example of a page in which a word stands."""
    (found,) = [e for e in examples(page) if word in e]
    tested.add((page, found))
    return pytest.mark.parametrize("source", [pytest.param(found, id=page)])


def test_all_examples_have_a_test() -> None:
    there = {(page, source) for page in PAGES for source in examples(page)}
    assert there == tested


def run(source: str) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(source, "example", "exec"), names)
    return names


def events_of(body: bytes) -> list[Event]:
    return [item for item in Parser().feed(body) if isinstance(item, Event)]


def check_the_route(source: str) -> None:
    with serving(run(source)["app"]) as url:
        events = events_of(fetch(url, "POST", "/chat/a?prompt=one%20two").body)
        assert [e.data for e in events] == ["one", "two", "{}"]
        rest = fetch(url, "GET", "/chat/a", [("Last-Event-ID", events[0].id or "")])
        assert events_of(rest.body) == events[1:]
        assert fetch(url, "POST", "/chat/a/stop").status == 200
        assert_error(fetch(url, "POST", "/chat/nobody/stop"), 404, "not_found")
        assert_error(fetch(url, "GET", "/chat/a%20b"), 400, "bad_id")


@example("python.md", "@app.post(")
def test_the_route(source: str) -> None:
    check_the_route(source)


@example("PyPI", "@app.post(")
def test_the_route_at_pypi(source: str) -> None:
    check_the_route(source)


@example("python.md", "export.csv")
def test_the_hub(source: str) -> None:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        run(source)
    lines = out.getvalue().splitlines()
    assert len(lines) == 9
    assert lines[1].endswith('progress {"percent":75}')
    assert lines[-2:] == ["completed {'file': 'export.csv'} 2", "['job-7']"]


@example("python.md", "guardian")
def test_the_guardian(source: str) -> None:
    names = run(source)

    async def main() -> None:
        async with libsse.Hub() as hub:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(names["serve"](hub), 0.05)
            assert (await names["on_orphan"](None))[0] == "failed"

    asyncio.run(main())


CLIENT = "ClientError"


@example("python.md", "include_router")
def test_all_endpoints(source: str) -> None:
    app = run(source)["app"]
    with serving(app) as url:
        headers = [JSON, ("X-User", "u1")]
        assert fetch(url, "POST", "/api/stream", [JSON], b"{}").status == 401
        made = fetch(url, "POST", "/api/stream", headers, b'{"streamId":"s"}')
        assert made.status == 201
        assert fetch(url, "GET", "/api/stream", [("X-User", "u2")]).json() == {
            "streams": []
        }


@example("python.md", CLIENT)
def test_the_client(source: str) -> None:
    hub = libsse.Hub()
    hub.sync.create("s").complete("bye")
    with serving(libsse.asgi.Application(hub)) as url:
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            read = run(source)["read"]
            read(url + "/api/stream/s")
            read(url + "/api/stream/nobody")
        assert out.getvalue() == "bye\nstatus 404 HTTP status 404\n"


@example("python.md", "EventSourceResponse")
def test_one_reader(source: str) -> None:
    with serving(run(source)["app"]) as url:
        events = events_of(fetch(url, "GET", "/clock").body)
    assert [(e.type, e.data) for e in events] == [
        ("tick", '{"n":0}'),
        ("tick", '{"n":1}'),
        ("tick", '{"n":2}'),
        ("end", "done"),
    ]


@example("python.md", "libsse.mcp")
def test_mcp(source: str) -> None:
    body = (
        b'{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":'
        b'"2025-11-25","capabilities":{},"clientInfo":{"name":"x","version":"1"}}}'
    )
    both = ("Accept", "application/json, text/event-stream")
    with serving(run(source)["app"]) as url:
        opened = fetch(url, "POST", "/mcp/", [JSON, both], body)
        session = ("Mcp-Session-Id", opened.get("mcp-session-id") or "")
        prime = Parser().feed(opened.body)
        ids = [line[4:] for line in opened.body.decode().splitlines() if "id: " in line]
        assert prime and len(ids) == 2
        cursor = ("Last-Event-ID", ids[0])
        again = fetch(url, "GET", "/mcp/", [both, session, cursor])
        assert events_of(again.body) == events_of(opened.body)[-1:]


@example("python.md", "from flask")
def test_flask(source: str) -> None:
    answer = run(source)["app"].test_client().post("/chat/a")
    assert [e.data for e in events_of(answer.data)] == ["a", "b", "c", "{}"]


@example("python.md", "libsse.django")
def test_django(source: str) -> None:
    import app_wsgi  # noqa: F401  it sets Django up
    from django.test import RequestFactory

    view = run(source)["chat"]
    answer = view(RequestFactory().post("/chat/a"), "a")
    assert answer["Content-Type"] == "text/event-stream"
    events = events_of(b"".join(answer.streaming_content))
    assert [e.data for e in events] == ["a", "b", "c", "{}"]
    assert view(RequestFactory().get("/chat/b"), "b").status_code == 404


@example("python.md", "Parser()")
def test_the_wire_format(source: str) -> None:
    assert run(source)["body"].startswith(b"retry: 500\n\nid: 7\n")


# ---- The first five minutes ----


@example("README.md", "app.get(")
def test_five_minutes(source: str, tmp_path: Path) -> None:
    """Its commands, one after the other, with another port."""
    section = TEXT["README.md"].partition("## Python in five minutes")[2]
    section = section.partition("\n## ")[0]
    commands = re.findall(r"^    \$ (.*)$", section, re.MULTILINE)
    *install, serve, begin, resume = commands
    assert [c.split()[0] for c in install] == ["apt-get", "python3", "pip"]
    port = str(free_port())
    assert all("8000" in command for command in (serve, begin, resume))
    serve, begin, resume = (c.replace("8000", port) for c in (serve, begin, resume))
    (tmp_path / "app.py").write_text(source)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"

    def start(command: str, **options: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            ["bash", "-c", f"exec {command}"],
            cwd=tmp_path,
            env={**os.environ, "PATH": path},
            stderr=subprocess.DEVNULL,
            **options,
        )

    server = start(serve)
    try:
        wait_for(server, port)
        reader = start(begin, stdout=subprocess.PIPE)
        assert reader.stdout
        told = b""
        while told.count(b"data: ") < 2:
            told += reader.stdout.readline()
        reader.send_signal(signal.SIGINT)  # Ctrl-C
        told += reader.stdout.read()
        reader.wait(WAIT_S)
        first = events_of(told + b"\n")
        assert [e.data for e in first[:2]] == ["It", "was"]

        again = start(resume, stdout=subprocess.PIPE)
        rest = events_of(again.communicate(timeout=WAIT_S)[0])
        words = [e.data for e in first[:2] + rest[:-1]]
        assert " ".join(words) in source
        assert words[-1] == "twice" and rest[-1].type == "completed"
        assert [(e.id or "").partition("-")[0] for e in first[:2] + rest] == [
            str(n + 1) for n in range(len(words) + 1)
        ]
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(WAIT_S)
    assert server.returncode in (0, -signal.SIGINT)


def wait_for(server: subprocess.Popen[bytes], port: str) -> None:
    while server.poll() is None:
        try:
            with Connection(f"http://127.0.0.1:{port}") as connection:
                connection.ask("GET", "/")
            return
        except OSError:
            time.sleep(0.05)
    raise AssertionError("the server does not start")


# ---- What is public ----

MODULES = ["", ".sync", ".asgi", ".wsgi", ".django", ".fastapi", ".mcp", ".prometheus"]
CLASSES = [
    libsse.Hub,
    libsse.Stream,
    libsse.Subscription,
    libsse.Client,
    libsse.News,
    libsse.Event,
    libsse.Gap,
    libsse.Recovered,
    libsse.StreamInfo,
    libsse.Parser,
    libsse.sync.Subscription,
]


def names() -> set[str]:
    found: set[str] = set()
    for module in MODULES:
        try:
            found.update(importlib.import_module("libsse" + module).__all__)
        except ModuleNotFoundError as missing:
            assert missing.name and not missing.name.startswith("libsse")
    for known in CLASSES:
        found.update(name for name in vars(known) if not name.startswith("_"))
    for call in (EventSourceResponse, router, libsse.Hub, libsse.Client):
        found.update(inspect.signature(call).parameters)
    for name, value in vars(libsse.errors).items():
        if isinstance(value, type) and issubclass(value, libsse.SSEError):
            found.add(name)
    found.update(options("HubOptions"), options("ClientOptions"))
    # Of no use but to libsse, of Gap as a tuple, or what stands for the others.
    return found - {"options", "count", "index", "self", "json", "errors"}


def options(name: str) -> set[str]:
    """Of a TypedDict, which is there for type checkers alone."""
    where = "_options.py" if name == "HubOptions" else "client.py"
    source = (Path(libsse.__file__).parent / where).read_text()
    body = source.partition(f"class {name}(")[2].partition("\n\n\n")[0]
    return set(re.findall(r"^        (\w+): ", body.partition("class ")[0], re.M))


@pytest.mark.parametrize("name", sorted(names()))
def test_it_is_documented(name: str) -> None:
    assert re.search(rf"\b{name}\b", TEXT["python.md"])


@pytest.mark.parametrize("error", sorted(vars(libsse.errors)))
def test_statuses(error: str) -> None:
    kind = getattr(libsse.errors, error)
    if not (isinstance(kind, type) and issubclass(kind, libsse.SSEError)):
        return
    rows = [r for r in TEXT["python.md"].splitlines() if r.startswith("| `")]
    if error != "SSEError":
        (row,) = [r for r in rows if re.match(rf"\| `{error}\b|.*`errors\.{error}`", r)]
        assert f"| {kind.status} | `{kind.code}` |" in row
