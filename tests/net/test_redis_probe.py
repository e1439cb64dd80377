"""A network that lets everything through but messages."""

import socket
import threading
from collections.abc import Iterator
from itertools import count

import pytest

from nodes import Nodes, wait_for_health, wait_until
from redis_fixtures import redis_server  # noqa: F401
from redis_server import RedisServer
from suite.api import Api

pytestmark = pytest.mark.asan


class Muffler:
    """A proxy. From `muffle` on, the connections that are open bring no message,
    nor that they are subscribed; and so do the first `muffled` from the start."""

    def __init__(self, port: int, muffled: int = 0) -> None:
        self.to = port
        self.muffled = muffled
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.generation = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def muffle(self) -> None:
        self.generation += 1

    def close(self) -> None:
        self.listener.close()

    def _accept(self) -> None:
        for number in count():
            try:
                near, _ = self.listener.accept()
                far = socket.create_connection(("127.0.0.1", self.to))
            except OSError:
                return
            born = self.generation - (number < self.muffled)
            for pair in ((near, far, None), (far, near, born)):
                threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def _pump(
        self, source: socket.socket, sink: socket.socket, born: int | None
    ) -> None:
        words = (b"\r\nmessage\r\n", b"\r\nsubscribe\r\n")
        try:
            while data := source.recv(65536):
                muffled = born is not None and self.generation > born
                if not (muffled and any(word in data for word in words)):
                    sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


@pytest.fixture
def muffler(redis_server: RedisServer) -> Iterator[Muffler]:  # noqa: F811
    muffler = Muffler(redis_server.port)
    yield muffler
    muffler.close()


def metric(api: Api, name: str) -> float:
    text = api.ask("GET", "/metrics").body.decode()
    line = next(m for m in text.splitlines() if m.startswith(name + " "))
    return float(line.split()[1])


def test_a_link_without_messages_is_opened_anew(
    command: list[str],
    redis_server: RedisServer,  # noqa: F811
    muffler: Muffler,
) -> None:
    """Within the time of two probes: 600 ms each, here."""
    muffled = f"redis://127.0.0.1:{muffler.port}?timeout_ms=300"
    with Nodes(command, redis_server.url) as near, Nodes(command, muffled) as far:
        writer, there = near.start(), far.start()
        stream = writer.new_stream()
        ids = [writer.append(stream, "before")]
        with there.subscribe(stream) as reader:
            assert reader.event().id == ids[0]
            wait_until(lambda: metric(there, "sse_store_probes_total") > 0)
            assert metric(there, "sse_store_probe_delay_seconds") > 0
            muffler.muffle()
            ids += [writer.append(stream, "after"), writer.complete(stream)]
            assert [e.id for e in reader.rest()] == ids[1:]
        assert metric(there, "sse_store_probes_lost_total") == 1
        wait_for_health(there, 200)


def test_a_link_that_is_never_heard_is_opened_anew(
    command: list[str],
    redis_server: RedisServer,  # noqa: F811
) -> None:
    """A reader would wait for it until the store's time is over, each time."""
    muffler = Muffler(redis_server.port, muffled=2)
    muffled = f"redis://127.0.0.1:{muffler.port}?timeout_ms=300"
    with Nodes(command, redis_server.url) as near, Nodes(command, muffled) as far:
        writer, there = near.start(), far.start()
        stream = writer.new_stream()
        ids = [writer.append(stream, "before")]
        with there.subscribe(stream) as reader:
            assert reader.event().id == ids[0]
            ids += [writer.append(stream, "after"), writer.complete(stream)]
            assert [e.id for e in reader.rest()] == ids[1:]
        wait_for_health(there, 200)
    muffler.close()
