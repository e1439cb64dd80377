"""The servers that the suite runs against.

Whoever collects the suite defines two fixtures, both of them functions that
take options and give a running server: `serve` gives the same server for the
same options, `own_server` starts a new one. An option `log_events=10` is the
flag `--log-events 10`.
"""

from collections.abc import Callable, Iterator

import pytest

from suite.api import Api
from suite.server import Server

HEARTBEAT_MS = 200
LOG_EVENTS = 10
LOG_BYTES = 4096
ORIGIN = "https://app.example"


Serve = Callable[..., Server]


@pytest.fixture
def base_url(serve: Serve) -> Iterator[str]:
    yield from _url_of(serve())


@pytest.fixture
def api(base_url: str) -> Api:
    return Api(base_url)


@pytest.fixture
def own_api(own_server: Serve) -> Api:
    """A server that no other test has used."""
    return Api(own_server().base_url)


@pytest.fixture
def lively(serve: Serve) -> Iterator[Api]:
    """A server whose readers get a heartbeat after a fifth of a second."""
    yield from map(Api, _url_of(serve(heartbeat_ms=HEARTBEAT_MS)))


@pytest.fixture
def forgetful(serve: Serve) -> Iterator[Api]:
    """A server that keeps ten events of a stream."""
    yield from map(Api, _url_of(serve(log_events=LOG_EVENTS)))


@pytest.fixture
def narrow(serve: Serve) -> Iterator[Api]:
    """A server that keeps four kilobytes of a stream."""
    yield from map(Api, _url_of(serve(log_bytes=LOG_BYTES)))


@pytest.fixture
def shared(serve: Serve) -> Iterator[Api]:
    """A server whose answers the pages of one other origin may read."""
    yield from map(Api, _url_of(serve(allow_origin=ORIGIN)))


@pytest.fixture
def open_to_all(serve: Serve) -> Iterator[Api]:
    yield from map(Api, _url_of(serve(allow_origin="*")))


def _url_of(server: Server) -> Iterator[str]:
    yield server.base_url
    assert server.alive(), "the server died during this test"
