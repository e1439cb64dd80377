"""A network that lets everything through but messages."""

import pytest

from nodes import wait_for_health
from redis_fixtures import redis_server  # noqa: F401
from redis_proxy import is_message, near_and_far
from redis_server import RedisServer
from suite.api import Api
from suite.waiting import wait_until

pytestmark = pytest.mark.asan

HASTY = "?timeout_ms=300"
LOST = "sse_store_probes_lost_total"


class Muffler:
    """Connections below `muffled` bring no message, nor that they are subscribed."""

    def __init__(self) -> None:
        self.muffled = 0
        self.newest = -1

    def passes(self, number: int, data: bytes) -> bool:
        self.newest = max(self.newest, number)
        return number >= self.muffled or not is_message(data)

    def muffle(self) -> None:
        """Those that are open."""
        self.muffled = self.newest + 1


class DeafEar:
    """The first connection on which a message comes never brings one."""

    def __init__(self) -> None:
        self.deaf: int | None = None

    def passes(self, number: int, data: bytes) -> bool:
        if self.deaf is None and is_message(data):
            self.deaf = number
        return number != self.deaf or not is_message(data)


def metric(api: Api, name: str) -> float:
    text = api.ask("GET", "/metrics").body.decode()
    line = next(m for m in text.splitlines() if m.startswith(name + " "))
    return float(line.split()[1])


def test_a_link_without_messages_is_opened_anew(
    command: list[str],
    redis_server: RedisServer,  # noqa: F811
) -> None:
    """Within the time of two probes: 600 ms each, here."""
    muffler = Muffler()
    with near_and_far(command, redis_server, muffler.passes, HASTY) as (writer, there):
        stream = writer.new_stream()
        ids = [writer.append(stream, "before")]
        with there.subscribe(stream) as reader:
            assert reader.event().id == ids[0]
            wait_until(lambda: metric(there, "sse_store_probes_total") > 0)
            assert metric(there, "sse_store_probe_delay_seconds") > 0
            lost = metric(there, LOST)
            while metric(there, LOST) == lost:  # else it broke for another reason
                muffler.muffle()
                ids.append(writer.append(stream, "after"))
                assert reader.event().id == ids[-1]
            assert metric(there, LOST) == lost + 1
            ids.append(writer.complete(stream))
            assert [e.id for e in reader.rest()] == ids[-1:]
        wait_for_health(there, 200)


def test_a_link_that_is_never_heard_is_opened_anew(
    command: list[str],
    redis_server: RedisServer,  # noqa: F811
) -> None:
    """A reader would wait for it until the store's time is over, each time."""
    ear = DeafEar()
    with near_and_far(command, redis_server, ear.passes, HASTY) as (writer, there):
        stream = writer.new_stream()
        ids = [writer.append(stream, "before")]
        with there.subscribe(stream) as reader:
            assert reader.event().id == ids[0]
            ids += [writer.append(stream, "after"), writer.complete(stream)]
            assert [e.id for e in reader.rest()] == ids[1:]
        assert ear.deaf is not None
        wait_for_health(there, 200)
