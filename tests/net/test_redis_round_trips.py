"""What it costs: how many commands Redis gets for what is done."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from nodes import Nodes
from redis_calls import NAMES, text_of
from redis_server import RedisServer
from suite.api import JSON, Api, Reader
from suite.observe import scrape


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def nodes(command: list[str], redis: RedisServer) -> Iterator[Nodes]:
    # A link that waits for ever for a reply is not made anew, which costs more.
    with Nodes(command, redis.url + "?timeout_ms=60000") as nodes:
        yield nodes


SCRIPTS = {hashlib.sha1(text_of(name).encode()).hexdigest(): name for name in NAMES}


class Commands:
    """Counts, from now on, what clients send, a script by its name. What keeps
    links and leases alive is left out."""

    IDLE = {"ping", "info", "client", "role", "publish", "beat", "get", "claim"}

    def __init__(self, redis: RedisServer) -> None:
        self.client = redis.client()
        self.listening = redis.client()
        self.monitor = self.listening.monitor().__enter__()

    def sent(self) -> Counter[str]:
        """Up to now; it can be asked once."""
        self.client.echo("the last one")
        found: Counter[str] = Counter()
        while True:
            command = self.monitor.next_command()
            words = command["command"].lower().split()
            if words[0] == "echo":
                return found
            word = (
                SCRIPTS.get(words[1], words[1]) if "evalsha" in words[0] else words[0]
            )
            if command["client_type"] != "lua" and word not in self.IDLE:
                found[word] += 1


def test_one_script_for_an_append(nodes: Nodes, redis: RedisServer) -> None:
    api = nodes.start()
    stream = api.new_stream()
    commands = Commands(redis)
    for n in range(50):
        api.append(stream, f"{n}")
    assert commands.sent() == {"append": 50}
    commands = Commands(redis)
    api.append_many(stream, ["x"] * 64)
    assert commands.sent() == {"append": 1}
    commands = Commands(redis)
    api.complete(stream)
    assert commands.sent()["append"] == 1


def test_one_subscription_for_a_thousand_readers(
    nodes: Nodes, redis: RedisServer
) -> None:
    writer, api = nodes.start_many(2)
    stream = writer.new_stream()
    ids = writer.append_many(stream, ["a", "b", "c"])
    commands = Commands(redis)
    with ExitStack() as stack:
        readers = [stack.enter_context(api.subscribe(stream)) for _ in range(1000)]
        for reader in readers:
            assert [event.id for event in reader.take(3)] == ids
        with redis.client() as client:
            channel = f"sse:ch:{stream}"
            assert client.pubsub_numsub(channel) == [(channel, 2)]
        sent = commands.sent()
        assert sent["subscribe"] == 1
        assert sent.total() <= 10, sent  # reads, for the first of them
        commands = Commands(redis)
        ids = writer.append_many(stream, ["d"] * 10)
        for reader in readers:
            assert [event.id for event in reader.take(10)] == ids
        assert commands.sent() == {"append": 1}
        assert scrape(api)[("sse_store_subscriptions", ())] == 1


def test_readers_beside_the_producer_cost_nothing(
    nodes: Nodes, redis: RedisServer
) -> None:
    """Nor do they wait: what it writes is sent in batches."""
    api = nodes.start()
    response = api.ask("POST", "/demo/start", [JSON], b'{"rate":500}')
    stream = response.json()["streamId"]
    with api.subscribe(stream) as first:
        first.take(100)
        batches = batches_of(api)
        commands = Commands(redis)
        with ExitStack() as stack:
            for _ in range(100):
                reader: Reader = stack.enter_context(api.subscribe(stream))
                reader.take(20)
        sent = commands.sent()
        appends = batches_of(api) - batches
        assert (sent["subscribe"], sent["read"]) == (0, 0), sent
        assert sent["append"] <= appends + 3, (sent, appends)  # some are on their way


def batches_of(api: Api) -> float:
    """The appends that its hub has sent."""
    return scrape(api)[("sse_store_batches_total", ())]
