"""Running servers, for the fixtures `serve` and `own_server`."""

import signal
from collections.abc import Iterator
from typing import Any

from suite.fixtures import Serve
from suite.server import Server


def shared_servers(command: list[str]) -> Iterator[Serve]:
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


def own_servers(command: list[str]) -> Iterator[Serve]:
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
