"""How the tests start a server.

SSE_BUILD_DIR names the build to test (default: build). SSE_SERVER_COMMAND
runs another server that takes the same flags instead. SSE_TEST_SEED gives
another seed to what is done at random.
"""

import os
import resource
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.register_assert_rewrite(
    "suite",
    "transcripts",
    "client_driver",
    "contract_service",
    "script_server",
    "store_verdict",
)

from client_fixtures import *  # noqa: E402, F403
from servers import own_servers, shared_servers  # noqa: E402
from suite.fixtures import *  # noqa: E402, F403
from suite.fixtures import Serve  # noqa: E402

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
def seed() -> str:
    """Of what tests do at random: the same each time, unless it is given."""
    return os.environ.get("SSE_TEST_SEED", "1")


@pytest.fixture(scope="session")
def serve(command: list[str]) -> Iterator[Serve]:
    yield from shared_servers(command)


@pytest.fixture
def own_server(command: list[str]) -> Iterator[Serve]:
    yield from own_servers(command)
