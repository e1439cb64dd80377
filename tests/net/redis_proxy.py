"""A way to Redis on which a test may hold up, or lose, what it chooses."""

import contextlib
import itertools
import socket
import threading
from collections.abc import Callable, Iterator

from nodes import Nodes
from redis_server import RedisServer
from suite.api import Api

Passing = Callable[[int, bytes], bool]
"""Of a connection's number and a piece: whether it goes on. It may take its time."""


def anything(_: int, __: bytes) -> bool:
    return True


def is_message(data: bytes) -> bool:
    """Or tells that a channel is subscribed, before any."""
    return any(word in data for word in (b"\r\nmessage\r\n", b"\r\nsubscribe\r\n"))


class Proxy:
    def __init__(
        self, port: int, *, there: Passing = anything, back: Passing = anything
    ) -> None:
        self.to = port
        self.there = there
        self.back = back
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        for number in itertools.count():
            try:
                near, _ = self.listener.accept()
                far = socket.create_connection(("127.0.0.1", self.to))
            except OSError:
                return
            for way in ((near, far, self.there), (far, near, self.back)):
                args = (number, *way)
                threading.Thread(target=pump, args=args, daemon=True).start()


def pump(
    number: int, source: socket.socket, sink: socket.socket, passes: Passing
) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            if passes(number, data):
                sink.sendall(data)
    for end in (source, sink):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def proxied(
    port: int, *, there: Passing = anything, back: Passing = anything
) -> Iterator[int]:
    """Gives the port to use in place of `port`."""
    proxy = Proxy(port, there=there, back=back)
    yield proxy.port
    proxy.listener.close()


@contextlib.contextmanager
def near_and_far(
    command: list[str], redis: RedisServer, back: Passing, query: str = ""
) -> Iterator[tuple[Api, Api]]:
    """Two servers on one Redis, of which the second hears it by such a way."""
    with (
        proxied(redis.port, back=back) as port,
        Nodes(command, redis.url) as near,
        Nodes(command, f"redis://127.0.0.1:{port}{query}") as far,
    ):
        yield near.start(), far.start()
