"""The examples of docs/python.md and of README.md are run as they stand."""

from __future__ import annotations

import asyncio
import contextlib
import io
import re
from pathlib import Path
from typing import Any

import pytest
from helpers import serving
from suite.api import JSON
from suite.sse_reader import Event, Parser
from suite.wire import fetch

HERE = Path(__file__).resolve().parent
PAGES = [HERE.parents[2] / "docs" / "python.md", HERE.parent / "README.md"]


def examples(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)


def run(source: str) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "example", "asyncio": asyncio}
    exec(compile(source, "example", "exec"), names)
    return names


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_route(page: Path) -> None:
    names = run(examples(page)[0])
    with serving(names["app"]) as url:
        answer = fetch(url, "POST", "/chat/a?prompt=one%20two")
        events = [e for e in Parser().feed(answer.body) if isinstance(e, Event)]
        assert [e.data for e in events] == ["one", "two", "{}"]
        rest = fetch(url, "GET", "/chat/a", [("Last-Event-ID", events[0].id or "")])
        assert [e for e in Parser().feed(rest.body) if isinstance(e, Event)] == events[
            1:
        ]
        assert fetch(url, "POST", "/chat/a/stop").status == 200


def named(word: str) -> str:
    (found,) = [e for e in examples(PAGES[0]) if word in e]
    return found


def test_the_hub() -> None:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        run(named("export.csv"))
    lines = out.getvalue().splitlines()
    assert len(lines) == 9
    assert lines[1].endswith('progress {"percent":75}')
    assert lines[-2:] == ["completed {'file': 'export.csv'} 2", "['job-7']"]


def test_all_endpoints_and_the_client() -> None:
    app = run(named("include_router"))["app"]
    read = run(named("ClientError"))["read"]
    with serving(app) as url:
        headers = [JSON, ("X-User", "u1")]
        assert fetch(url, "POST", "/api/stream", [JSON], b"{}").status == 401
        made = fetch(url, "POST", "/api/stream", headers, b'{"streamId":"s"}')
        assert made.status == 201
        fetch(url, "POST", "/api/stream/s/complete", headers, b'{"data":"bye"}')
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            read(url + "/api/stream/s")
            read(url + "/api/stream/nobody")
        assert out.getvalue() == "bye\nstatus 404 HTTP status 404\n"


def test_flask_and_guardian() -> None:
    app = run(named("flask"))["app"]
    answer = app.test_client().post("/chat/a")
    assert [e.data for e in Parser().feed(answer.data) if isinstance(e, Event)] == [
        "a",
        "b",
        "c",
        "{}",
    ]
    assert asyncio.run(run(named("guardian"))["on_orphan"](None))[0] == "failed"
