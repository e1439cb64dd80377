"""Everything at once: whatever a program does to its clients, in any order and
at any byte, and whatever the network does, no event is lost or comes twice."""

import random
import time
from typing import Any

import pytest

from client_driver import NEVER, Client, Driver, Entry
from fault_proxy import Faults, FaultProxy
from suite.api import Api, path_of
from suite.fixtures import Serve
from transcripts import assert_whole

pytestmark = pytest.mark.asan

CLIENTS = 10
STEPS = 1000
BATCH = 5  # events
OPTIONS: dict[str, Any] = {
    "retry_floor_ms": 1,
    "retry_cap_ms": 20,
    "max_attempts": NEVER,
    "stall_ms": 2000,
    "first_byte_ms": 2000,
}
TROUBLES = [
    ["suspend", "resume"],
    ["offline", "online"],
    ["suspend", "offline", "resume", "online"],
    ["restart"],
    ["restart", "restart"],
    ["token"],
]


def plan(proxy: FaultProxy) -> Faults:
    """Half of the connections are good."""
    chance = proxy.random
    if chance.random() < 0.5:
        return Faults(piece=chance.choice([1 << 16, 100, 7]))
    limit = int(chance.expovariate(1 / 5000)) + 1
    return chance.choice(
        [
            Faults(refuse=True),
            Faults(cut_after=limit),
            Faults(reset_after=limit),
            Faults(delay_s=0.001),
        ]
    )


def shake(client: Client, chance: random.Random) -> None:
    for step in chance.choice(TROUBLES):
        if step == "token":
            client.do("token", token=f"t{chance.random()}")
        else:
            client.do(step)


@pytest.mark.parametrize("flags", [[], ["ack"]], ids=["plain", "ack"])
def test_a_storm(
    own_server: Serve, driver: Driver, seed: str, flags: list[str]
) -> None:
    chance = random.Random(seed)
    server = own_server()
    api = Api(server.base_url)
    stream = api.new_stream()
    written: list[Entry] = []

    with FaultProxy(server.port, seed) as proxy:
        proxy.plan = lambda: plan(proxy)
        url = proxy.url(path_of(stream))
        clients = [driver.start(url, flags=flags, **OPTIONS) for _ in range(CLIENTS)]
        for step in range(STEPS):
            shake(chance.choice(clients), chance)
            time.sleep(chance.random() / 200)
            if step % 2 == 0:
                texts = [f"{step} {n}" for n in range(BATCH)]
                ids = api.append_many(stream, texts)
                written += [[i, "message", text] for i, text in zip(ids, texts)]
        assert proxy.accepted > 5 * CLIENTS, "it was no storm"
        written.append([api.complete(stream), "completed", "{}"])
        for client in clients:
            while flags and not client.of("end"):
                acknowledge(client)
            client.wait("end", cause="terminal")
            assert_whole(written, client.entries())
            assert client.of("gap") == []
    server.stop()


def acknowledge(client: Client) -> None:
    """Without it, no more than the window would come."""
    before = len(client.news)
    events = client.of("event")
    if events:
        client.ask("ack", id=events[-1]["id"])
    client.until(lambda: len(client.news) > before or client.of("end"))
