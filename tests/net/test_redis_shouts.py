"""A program that says after each event, and more often, that there is something
to read; and a Redis that is some way off."""

import threading
import time

import pytest

from nodes import Nodes
from redis_fixtures import redis_server  # noqa: F401
from redis_proxy import proxied
from redis_server import RedisServer

pytestmark = pytest.mark.asan

AWAY_S = 0.05
EVENTS = 3000
ROW = '{"type":"token","data":%d,"ts":1}'


def take_time(_: int, data: bytes) -> bool:
    """What is asked of a script does; messages do not."""
    if b"EVALSHA" in data:
        time.sleep(AWAY_S)
    return True


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
    shouter = Shouter(redis_server)
    with (
        proxied(redis_server.port, there=take_time) as port,
        Nodes(command, f"redis://127.0.0.1:{port}") as nodes,
    ):
        node = nodes.start(log_events=2 * EVENTS)
        with node.subscribe("s", cursor="$"):
            shouter.start()
            with node.subscribe("s") as oldest:
                events = [event.data for event in oldest.take(EVENTS)]
            shouter.silent.set()
    shouter.join()
    assert events == [str(n) for n in range(EVENTS)]
