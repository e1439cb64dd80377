"""How the tests start a server.

SSE_BUILD_DIR names the build to test (default: build). SSE_SERVER_COMMAND
runs another server that takes the same flags instead.
"""

import os
import resource
import shlex
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.register_assert_rewrite(
    "suite", "transcripts", "client_driver", "contract_service", "script_server"
)

from client_fixtures import *  # noqa: E402, F403
from suite.fixtures import *  # noqa: E402, F403
from suite.fixtures import Serve  # noqa: E402
from suite.server import Server  # noqa: E402

# Some tests hold thousands of connections.
_, _most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (_most, _most))

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def build_dir() -> Path:
    return ROOT / os.environ.get("SSE_BUILD_DIR", "build")


@pytest.fixture(scope="session")
def command(build_dir: Path) -> list[str]:
    other = os.environ.get("SSE_SERVER_COMMAND")
    return shlex.split(other) if other else [str(build_dir / "bin" / "sse-server")]


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
    live = [server for server in running.values() if server.alive()]
    for server in live:
        server.stop()


@pytest.fixture
def own_server(command: list[str]) -> Iterator[Serve]:
    """Servers for one test alone, which may do with them what it wants."""
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
