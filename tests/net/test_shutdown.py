"""SIGTERM: an orderly end, and always an end."""

import signal
import subprocess

import pytest

from suite.api import JSON, TEXT, Api, Reader, path_of
from suite.fixtures import Serve
from suite.server import Server
from suite.sse_reader import Item, Retry
from suite.wire import Connection, build_request

DEADLINE_S = 10  # shutdown_ms of the server
READERS = 20


def start_demo(api: Api) -> str:
    """A stream with a producer inside the server, that goes on for long."""
    response = api.ask("POST", "/demo/start", [JSON], b'{"rate":20}')
    assert response.status == 201
    return response.json()["streamId"]


def assert_farewell(items: list[Item]) -> int:
    """The new `retry`, behind which no more events come; gives it."""
    retries = [item.ms for item in items if isinstance(item, Retry)]
    assert len(retries) == 1
    assert retries[0] > 0
    return retries[0]


def refuses_connections(server: Server) -> bool:
    try:
        Connection(server.base_url).close()
    except ConnectionError:
        return True
    return False


class TestShutdown:
    def test_readers_are_sent_away_in_order(self, own_server: Serve) -> None:
        server = own_server()
        api = Api(server.base_url)
        stream = api.new_stream()
        event_id = api.append(stream, "x")
        readers = [api.subscribe(stream) for _ in range(READERS)]
        for reader in readers:
            assert reader.retry().ms > 0
            assert reader.event().id == event_id
        server.signal(signal.SIGTERM)
        retries = [assert_farewell(list(reader.items())) for reader in readers]
        assert len(set(retries)) > READERS // 4, "no jitter: all come back at once"
        for reader in readers:
            reader.connection.assert_closed()
        assert refuses_connections(server)
        assert server.wait() == 0

    def test_everything_at_once(self, own_server: Serve) -> None:
        """Nothing that a client does, or leaves undone, holds it up."""
        server = own_server()
        api = Api(server.base_url)
        stream, demo = api.new_stream(), start_demo(api)
        idle = Connection(server.base_url)
        assert idle.ask("GET", "/health").status == 200
        silent = Connection(server.base_url)
        half_head = Connection(server.base_url)
        half_head.send(b"GET /health HTTP/1.1\r\nHost: te")
        half_body = Connection(server.base_url)
        half_body.send(
            build_request(
                "POST", path_of(stream, "events"), [TEXT, ("Content-Length", "9")]
            )
            + b"half"
        )
        with api.subscribe(stream) as reader, api.subscribe(demo) as watcher:
            reader.retry()
            watcher.take(3)
            server.signal(signal.SIGTERM)
            assert_farewell(list(reader.items()))
            assert [item for item in watcher.items() if isinstance(item, Retry)]
            for connection in (idle, silent, half_head, half_body):
                connection.read_to_end()
                connection.close()
            assert server.wait(DEADLINE_S + 20) == 0

    def test_a_long_poll_is_answered(self, own_server: Serve) -> None:
        server = own_server()
        api = Api(server.base_url)
        stream = api.new_stream()
        with Connection(server.base_url) as poll, api.subscribe(stream) as reader:
            poll.request("GET", path_of(stream) + "?transport=poll")
            reader.retry()
            api.ask("GET", "/health")
            server.signal(signal.SIGTERM)
            response = poll.read_response()
        assert response.status in (200, 503)
        if response.status == 503:
            assert response.json()["error"] == "closing"
            assert int(response.get("retry-after") or "") > 0
        else:
            assert response.json()["events"] == []
        assert server.wait() == 0

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_without_anybody(self, own_server: Serve, number: int) -> None:
        server = own_server()
        server.signal(number)
        assert server.wait() == 0

    def test_a_reader_that_does_not_read(self, own_server: Serve) -> None:
        """It cannot be told, and does not hold the others or the end up."""
        server = own_server()
        with stalled_reader(server), healthy_reader(server) as reader:
            server.signal(signal.SIGTERM)
            assert_farewell(list(reader.items()))
            assert server.wait(DEADLINE_S + 20) == 0

    def test_a_second_signal_ends_it_at_once(self, own_server: Serve) -> None:
        server = own_server()
        with stalled_reader(server), healthy_reader(server) as reader:
            server.signal(signal.SIGTERM)
            assert_farewell(list(reader.items()))
            assert server.alive(), "the stalled reader should hold the end up"
            server.signal(signal.SIGTERM)
            try:
                server.process.wait(DEADLINE_S / 2)
            except subprocess.TimeoutExpired:
                pytest.fail("it waits for its deadline all the same")

    @pytest.mark.asan
    def test_signals_without_end(self, own_server: Serve) -> None:
        """Whatever it is at, also when its loop is no more."""
        for _ in range(30):
            server = own_server()
            start_demo(Api(server.base_url))
            while server.alive():
                server.signal(signal.SIGTERM)
            assert server.wait() == 0


def stalled_reader(server: Server) -> Reader:
    """A reader for which the server has more than the kernel takes."""
    api = Api(server.base_url)
    stream = api.new_stream()
    reader = api.subscribe(stream, receive_buffer=4096)
    for _ in range(16):
        api.append(stream, "x" * (1 << 20))
    return reader


def healthy_reader(server: Server) -> Reader:
    api = Api(server.base_url)
    reader = api.subscribe(api.new_stream())
    assert reader.retry().ms > 0
    return reader
