"""What tests of the client start."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from client_driver import Driver
from contract_service import Callbacks, Service
from script_server import ScriptServer
from suite.server import Server

ProgramPath = Callable[[str], str]


@pytest.fixture(scope="session")
def program_path(build_dir: Path) -> ProgramPath:
    """Where a program of tests/service is."""
    return lambda name: str(build_dir / "tests" / name)


@pytest.fixture
def script() -> Iterator[ScriptServer]:
    """A server that the test answers for."""
    with ScriptServer() as server:
        yield server


@pytest.fixture
def driver(program_path: ProgramPath) -> Iterator[Driver]:
    with Driver(program_path("sse-client-driver")) as driver:
        yield driver


@pytest.fixture(scope="session")
def callbacks() -> Iterator[Callbacks]:
    with Callbacks() as callbacks:
        yield callbacks


@pytest.fixture(scope="module")
def shared_service(
    program_path: ProgramPath, callbacks: Callbacks
) -> Iterator[Service]:
    """One for the tests of a file, which must end well."""
    server = Server([program_path("sse-contract-service")])
    yield Service(server, callbacks)
    server.stop()
