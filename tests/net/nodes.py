"""Several servers on one store."""

from typing import Any

from suite.api import Api
from suite.server import Server
from suite.waiting import wait_until


class Nodes:
    """Use it in a `with`, which ends those that still run, and demands that
    they end cleanly."""

    def __init__(self, command: list[str], store_url: str) -> None:
        self.command = [*command, "--store", store_url]
        self.servers: list[Server] = []

    def __enter__(self) -> "Nodes":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        for server in self.servers:
            if server.alive():
                server.kill() if kind else server.stop()

    def start(self, **options: Any) -> Api:
        self.servers.append(Server(self.command, **options))
        return Api(self.servers[-1].base_url)

    def start_many(self, count: int, **options: Any) -> list[Api]:
        return [self.start(**options) for _ in range(count)]


def wait_for_health(api: Api, status: int) -> Any:
    """The answer of /health, once it has this status."""

    def answer() -> Any:
        response = api.ask("GET", "/health")
        return response if response.status == status else None

    return wait_until(answer, f"/health does not become {status}")
