"""Fixtures: a redis-server that tests share, and calls under a new prefix."""

import itertools
from collections.abc import Iterator

import pytest

from redis_calls import Calls
from redis_server import RedisServer

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def calls(redis_server: RedisServer) -> Iterator[Calls]:
    with redis_server.client() as client:
        yield Calls(client, f"t{next(_numbers)}:")
