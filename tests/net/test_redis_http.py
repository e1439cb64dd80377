"""The suite that all servers share, run against sse-server on a Redis."""

from collections.abc import Iterator

import pytest

from redis_fixtures import redis_server  # noqa: F401
from redis_server import RedisServer
from servers import own_servers, shared_servers
from suite.append import (  # noqa: F401
    TestAppendBody,
    TestAppendData,
    TestAppendNumbers,
    TestAppendType,
)
from suite.create import TestCreate  # noqa: F401
from suite.cursors import TestCursor, TestDiverged, TestGap, told  # noqa: F401
from suite.ending import TestDelete, TestEnd, TestStop  # noqa: F401
from suite.fixtures import Serve
from suite.http_rules import (  # noqa: F401
    TestConnection,
    TestCors,
    TestMethods,
    TestRequestBody,
)
from suite.observe import TestHealth, TestMetrics  # noqa: F401
from suite.recover import TestList, TestPoll, TestRecover  # noqa: F401
from suite.subscribe import TestHeartbeat, TestSubscribe  # noqa: F401

pytestmark = pytest.mark.asan


@pytest.fixture(scope="module")
def on_redis(command: list[str], redis_server: RedisServer) -> list[str]:  # noqa: F811
    return [*command, "--store", redis_server.url]


@pytest.fixture(scope="module")
def serve(on_redis: list[str]) -> Iterator[Serve]:
    yield from shared_servers(on_redis)


@pytest.fixture
def own_server(on_redis: list[str]) -> Iterator[Serve]:
    yield from own_servers(on_redis)
