"""What it costs: how many commands Redis gets for what is done."""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from nodes import Nodes
from redis_server import RedisServer
from suite.api import JSON, Reader
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


class Commands:
    """Counts, from now on, what clients send; what scripts call and what keeps
    links alive are left out."""

    IDLE = {"ping", "info", "client|setname", "role", "monitor"}

    def __init__(self, redis: RedisServer) -> None:
        self.client = redis.client()
        self.before = self.all()

    def all(self) -> Counter[str]:
        stats = self.client.info("commandstats")
        return Counter(
            {
                name.removeprefix("cmdstat_"): values["calls"]
                for name, values in stats.items()
            }
        )

    def new(self) -> Counter[str]:
        new = self.all() - self.before
        return Counter({k: n for k, n in new.items() if k not in self.IDLE})

    def sent(self) -> Counter[str]:
        """Without what only scripts call."""
        kinds = {"evalsha", "evalsha_ro", "eval", "subscribe", "unsubscribe",
                 "publish", "script|load", "get", "set"}  # fmt: skip
        new = self.new()
        inside = {"publish", "get", "set"} if new["evalsha"] else set()
        return Counter({k: n for k, n in new.items() if k in kinds - inside})


def test_one_script_for_an_append(nodes: Nodes, redis: RedisServer) -> None:
    api = nodes.start()
    stream = api.new_stream()
    commands = Commands(redis)
    for n in range(50):
        api.append(stream, f"{n}")
    assert commands.sent() == {"evalsha": 50}
    commands = Commands(redis)
    api.append_many(stream, ["x"] * 64)
    assert commands.sent() == {"evalsha": 1}
    commands = Commands(redis)
    api.complete(stream)
    assert commands.sent()["evalsha"] == 1


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
        assert commands.sent() == {"evalsha": 1}
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
        before = scrape(api)
        commands = Commands(redis)
        with ExitStack() as stack:
            for _ in range(100):
                reader: Reader = stack.enter_context(api.subscribe(stream))
                reader.take(20)
        new = commands.new()
        after = scrape(api)
        appends, signs = (
            after[(f"sse_store_{what}_total", ())]
            - before[(f"sse_store_{what}_total", ())]
            for what in ("batches", "life_signs")
        )
        assert new["subscribe"] == 0
        # And what was on its way, or a look for orphans.
        assert new["evalsha"] <= appends + signs + 3, (new, appends, signs)
        assert new["lrange"] == 0
