"""How the tests find the shared suite, which lies with those of the library."""

import shlex
import signal
import sys
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
from suite.server import Server  # noqa: E402


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--server", default="uvicorn", help="what runs the suite's app")


# What a server does by itself, and no application can change.
FACTS = {
    "uvicorn": ["TestSubscribe::test_http_1_0", "TestMethods::test_head_of_a_stream"],
    "uvicorn-h11": ["TestConnection::test_forms_of_a_target[GET http"],
    "hypercorn": ["TestConnection::test_forms_of_a_target[GET http"],
    "hypercorn-trio": ["TestConnection::test_forms_of_a_target[GET http"],
    "gunicorn": ["TestSubscribe::test_http_1_0", "TestMethods::test_head_of_a_stream"],
    "granian": [
        "TestConnection::test_a_client_that_sends_no_more",
        "TestMethods::test_head_of_a_stream",
    ],
    "wsgi-gunicorn": [
        "TestMethods::test_head_of_a_stream",
        "TestRequestBody::test_chunked[Trailer",
    ],
}


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    facts = FACTS.get(str(config.getoption("--server")), [])
    for item in items:
        if any(f"test_suite.py::{fact}" in item.nodeid for fact in facts):
            item.add_marker(pytest.mark.xfail(reason="the server's own", strict=True))


@pytest.fixture(params=["asyncio", "trio"])
def loops(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs a test in each of the two."""
    monkeypatch.setattr(helpers, "backend", request.param)


@pytest.fixture(scope="session")
def command(request: pytest.FixtureRequest) -> list[str]:
    server = request.config.getoption("--server")
    program = f"{sys.executable} {HERE / 'suite_server.py'} --server {server}"
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
