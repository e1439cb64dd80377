"""How the tests find the shared suite, which lies with those of the library."""

from __future__ import annotations

import itertools
import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[2] / "tests"))
pytest.register_assert_rewrite("suite")

import helpers  # noqa: E402
from suite.fixtures import *  # noqa: E402, F403
from suite.fixtures import Serve  # noqa: E402
from suite.ports import free_port  # noqa: E402
from suite.server import Server  # noqa: E402

from libsse import _core  # noqa: E402

# A child that crashes says where.
os.environ["PYTHONFAULTHANDLER"] = "1"

SERVERS = [
    "uvicorn",
    "uvicorn-h11",
    "gunicorn",
    "hypercorn",
    "hypercorn-trio",
    "granian",
    "wsgi-gunicorn",
]

HEAD = "TestMethods::test_head_of_a_stream"
HTTP_1_0 = "TestSubscribe::test_http_1_0"
WHOLE_URL = "TestConnection::test_forms_of_a_target[GET http"
FIN = "TestConnection::test_a_client_that_sends_no_more"

# What a server does by itself, and no application can change. The answer to HEAD
# lacks the Transfer-Encoding that each adds to the one to GET; httptools' Uvicorn
# answers in chunks over HTTP/1.0; h11's servers take a whole URL for a path.
FACTS = {
    "uvicorn": [HTTP_1_0, HEAD],
    "uvicorn-h11": [WHOLE_URL],
    "gunicorn": [HTTP_1_0, HEAD],
    "hypercorn": [WHOLE_URL],
    "hypercorn-trio": [WHOLE_URL],
    "granian": [HEAD],
    "wsgi-gunicorn": [HEAD],
}

# The same, by chance: Granian hangs up on who ends his side, mostly before it
# has answered.
CHANCES = {"granian": [FIN]}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--server",
        default="uvicorn",
        help=f"what runs the suite's application: {', '.join(SERVERS)}, or all",
    )
    parser.addoption(
        "--keep", metavar="DIR", help="where test_packaging.py leaves what it builds"
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "command" not in metafunc.fixturenames:
        return
    asked = metafunc.config.getoption("--server")
    servers = SERVERS if asked == "all" else [asked]
    metafunc.parametrize("command", servers, indirect=True, scope="session")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        callspec = getattr(item, "callspec", None)
        if callspec is None or "command" not in callspec.params:
            continue
        server = callspec.params["command"]
        name = item.nodeid.rpartition(".py::")[2].replace(f"[{server}-", "[")
        for facts, strict in ((FACTS, True), (CHANCES, False)):
            if any(name.startswith(fact) for fact in facts.get(server, [])):
                item.add_marker(pytest.mark.xfail(reason="its own", strict=strict))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """In parallel, each server is the matter of one process."""
    if config.getoption("--server") != "all":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class ByServer(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            names = [s for s in SERVERS if f"[{s}]" in nodeid or f"[{s}-" in nodeid]
            return max(names, key=len, default=nodeid)

    return ByServer(config, log)


@pytest.fixture(params=["asyncio", "trio"])
def loops(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs a test in each of the two."""
    monkeypatch.setattr(helpers, "backend", request.param)


@pytest.fixture
def slowly(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A call of C that waits until it may go on."""

    def patch(name: str) -> tuple[threading.Event, threading.Event]:
        within, go_on = threading.Event(), threading.Event()
        call = getattr(_core, name)

        def wait(*args: Any) -> Any:
            within.set()
            go_on.wait(20)
            return call(*args)

        monkeypatch.setattr(_core, name, wait)
        return within, go_on

    return patch


@pytest.fixture(scope="session")
def redis() -> Iterator[str]:
    port = free_port()
    command = ["redis-server", "--port", str(port), "--save", "", "--bind", "127.0.0.1"]
    command += ["--databases", "1000"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout
    for line in server.stdout:
        if "Ready to accept" in line:
            break
    yield f"redis://127.0.0.1:{port}"
    assert server.poll() is None, f"Redis has ended: {server.returncode}"
    server.kill()
    server.wait()


numbers = itertools.count()


@pytest.fixture
def url(redis: str) -> str:
    """An empty database."""
    return f"{redis}/{next(numbers)}"


@pytest.fixture(scope="session")
def command(request: pytest.FixtureRequest) -> list[str]:
    program = f"{sys.executable} {HERE / 'suite_server.py'} --server {request.param}"
    return shlex.split(program)


@pytest.fixture(scope="session")
def serve(command: list[str]) -> Iterator[Serve]:
    """Servers that tests share: one for each set of options."""
    running: dict[frozenset[tuple[str, Any]], Server] = {}

    def start(**options: Any) -> Server:
        key = frozenset(options.items())
        if key not in running or not running[key].alive():
            running[key] = Server(command, **options)
        return running[key]

    yield start
    for server in [s for s in running.values() if s.alive()]:
        server.stop()


@pytest.fixture
def own_server(command: list[str]) -> Iterator[Serve]:
    """Servers for one test alone."""
    started: list[Server] = []

    def start(**options: Any) -> Server:
        started.append(Server(command, **options))
        return started[-1]

    yield start
    for server in started:
        if server.alive():
            server.kill()
        status = server.process.returncode
        assert status in (0, -signal.SIGKILL), f"{status}: {server.errors()}"
