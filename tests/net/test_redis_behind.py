"""What was written on another server is there for whoever asks, though the
message that tells of it is still on its way."""

import threading

import pytest

from redis_fixtures import redis_server  # noqa: F401
from redis_proxy import is_message, near_and_far
from redis_server import RedisServer
from suite.wire import TIMEOUT_S

pytestmark = pytest.mark.asan


class Brake:
    """Lets no message through while it is on."""

    def __init__(self) -> None:
        self.off = threading.Event()
        self.off.set()

    def passes(self, _: int, data: bytes) -> bool:
        return not is_message(data) or self.off.wait(TIMEOUT_S)


def test_recover_is_not_behind(
    command: list[str],
    redis_server: RedisServer,  # noqa: F811
) -> None:
    brake = Brake()
    with near_and_far(command, redis_server, brake.passes) as (a, b):
        stream = a.new_stream()
        ids = [a.append(stream, "one")]
        with b.subscribe(stream) as reader:
            assert reader.event().id == ids[0]
            brake.off.clear()
            ids.append(a.append(stream, "two"))
            body = b.recover(stream, f"?after={ids[0]}").json()
            assert [event["id"] for event in body["events"]] == ids[1:]
            ids.append(a.complete(stream))
            body = b.recover(stream).json()
            assert (body["status"], body["lastEventId"]) == ("completed", ids[-1])
            brake.off.set()
            assert [event.id for event in reader.rest()] == ids[1:]
