"""A program that says after each event, and more often, that there is something
to read; and a Redis that is some way off."""

import socket
import threading
import time

import pytest

from nodes import Nodes
from redis_fixtures import redis_server  # noqa: F401
from redis_server import RedisServer

pytestmark = pytest.mark.asan

AWAY_S = 0.05
EVENTS = 3000
ROW = '{"type":"token","data":%d,"ts":1}'


class Distance:
    """A proxy. What is asked of a script takes its time; messages do not."""

    def __init__(self, port: int) -> None:
        self.to = port
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self.listener.accept()
                far = socket.create_connection(("127.0.0.1", self.to))
            except OSError:
                return
            for pair in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                if b"EVALSHA" in data:
                    time.sleep(AWAY_S)
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


class Shouter(threading.Thread):
    """Until `silent` is set, there is never a quiet moment."""

    def __init__(self, redis: RedisServer) -> None:
        super().__init__(daemon=True)
        self.redis = redis
        self.silent = threading.Event()

    def run(self) -> None:
        with self.redis.client() as client:
            while not self.silent.is_set():
                client.publish("sse:ch:s", "")
                time.sleep(AWAY_S / 50)


def test_what_came_before_is_read_while_somebody_shouts(
    command: list[str],
    redis_server: RedisServer,  # noqa: F811
) -> None:
    """The log here begins with the newest event, and grows backwards."""
    with redis_server.client() as client:
        client.rpush("sse:events:s", *(ROW % n for n in range(EVENTS)))
    distance = Distance(redis_server.port)
    url = f"redis://127.0.0.1:{distance.port}"
    shouter = Shouter(redis_server)
    with Nodes(command, url) as nodes:
        node = nodes.start(log_events=2 * EVENTS)
        with node.subscribe("s", cursor="$"):
            shouter.start()
            with node.subscribe("s") as oldest:
                events = [event.data for event in oldest.take(EVENTS)]
            shouter.silent.set()
    shouter.join()
    distance.listener.close()
    assert events == [str(n) for n in range(EVENTS)]
