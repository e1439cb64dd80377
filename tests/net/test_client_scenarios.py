"""What happens to clients in the field, over real sockets: every event reaches
the application once and in order, or the application is told why not.

The network between them is fault_proxy.py; the server is sse-server, or
script_server.py where it has to misbehave. The times are shorter than in the
field, by options; the logic is the same.
"""

import signal
import threading
import time
from collections.abc import Iterator
from email.utils import formatdate
from typing import Any

import pytest

from client_driver import NEVER, Client, Driver, Entry
from fault_proxy import Faults, FaultProxy
from script_server import STREAM, Exchange, ScriptServer
from suite.api import Api, path_of
from suite.fixtures import Serve
from suite.server import Server
from suite.waiting import wait_until
from transcripts import assert_whole

QUICK: dict[str, Any] = {
    "retry_floor_ms": 1,
    "retry_cap_ms": 200,
    "max_attempts": NEVER,
}
HTML = ("Content-Type", "text/html")
SLEEP_S = 16  # a tick of 5 s that is more than 10 s late


class Story:
    """A stream of a server, its writer, and a bad network to its readers."""

    def __init__(self, server: Server, proxy: FaultProxy) -> None:
        self.server = server
        self.proxy = proxy
        self.api = Api(server.base_url)
        self.stream = self.api.new_stream()
        self.url = proxy.url(path_of(self.stream))
        self.written: list[Entry] = []

    def write(self, count: int, size: int = 40) -> None:
        first = len(self.written)
        texts = [f"{first + n} ".ljust(size, "x") for n in range(count)]
        ids = self.api.append_many(self.stream, texts)
        self.written += [[i, "message", text] for i, text in zip(ids, texts)]

    def complete(self) -> None:
        self.written.append([self.api.complete(self.stream), "completed", "{}"])

    def start(self, driver: Driver, **options: Any) -> Client:
        return driver.start(self.url, **{**QUICK, **options})

    def assert_whole(self, client: Client) -> None:
        """Up to the end, with nothing in between."""
        client.wait("end", cause="terminal")
        assert_whole(self.written, client.entries())
        assert client.of("gap") == []


@pytest.fixture
def story(own_server: Serve, seed: str) -> Iterator[Story]:
    server = own_server(heartbeat_ms=200)
    with FaultProxy(server.port, seed) as proxy:
        yield Story(server, proxy)
    server.stop()


# ---- The device


@pytest.mark.asan
def test_app_in_the_background_during_a_stream(story: Story, driver: Driver) -> None:
    client = story.start(driver)
    for _ in range(3):
        story.write(50)
        client.wait_events(len(story.written))
        client.do("suspend")
        client.wait("state", state="suspended")
        wait_until(lambda: story.proxy.open_count() == 0)
        attempts = story.proxy.accepted
        story.write(50)
        client.do("resume")
        client.wait_events(len(story.written))
        assert story.proxy.accepted == attempts + 1
    story.complete()
    story.assert_whole(client)
    assert client.of("error") == []


@pytest.mark.asan
def test_suspended_in_the_middle_of_a_flood(story: Story, driver: Driver) -> None:
    """Wherever in the events that is."""
    client = story.start(driver)

    def write() -> None:
        for _ in range(50):
            story.write(100)

    writer = threading.Thread(target=write)
    writer.start()
    while writer.is_alive():
        client.do("suspend")
        client.do("resume")
    writer.join()
    story.complete()
    story.assert_whole(client)


@pytest.mark.asan
def test_airplane_mode(story: Story, driver: Driver) -> None:
    """The program knows: nothing is tried while there is no network."""
    client = story.start(driver)
    story.write(20)
    client.wait_events(20)
    story.proxy.refuse()
    story.proxy.hold()
    client.do("offline")
    client.wait("state", state="offline")
    attempts = story.proxy.accepted
    story.write(20)
    story.proxy.accept()  # a network that only others have been told of
    story.start(driver).wait_events(40)
    assert story.proxy.accepted == attempts + 1
    client.do("online")
    client.wait_events(40)
    assert client.of("error") == client.of("retry") == []
    story.complete()
    story.assert_whole(client)


@pytest.mark.asan
def test_airplane_mode_that_nobody_tells_of(story: Story, driver: Driver) -> None:
    client = story.start(driver)
    story.write(20)
    client.wait_events(20)
    story.proxy.refuse()
    story.proxy.reset()
    for _ in range(3):
        client.wait("error", cause="network")
    story.write(20)
    story.proxy.accept()
    story.complete()
    story.assert_whole(client)


@pytest.mark.asan
@pytest.mark.parametrize("told", [False, True])
def test_offline_at_the_start(story: Story, driver: Driver, told: bool) -> None:
    story.write(20)
    story.proxy.refuse()
    client = story.start(driver)
    if told:
        client.do("offline")
        client.wait("state", state="offline")
    else:
        client.wait("error", cause="network")
        client.wait("error", cause="network")
    story.proxy.accept()
    client.do("online")  # what is not offline does not mind
    client.wait_events(20)
    story.complete()
    story.assert_whole(client)


def test_a_laptop_that_sleeps(story: Story, driver: Driver) -> None:
    """What was open is dead when it wakes, and nobody says so. To a program,
    sleep is a clock that jumps: it is stopped for as long as that takes."""
    story.write(20)
    client = story.start(driver, stall_ms=600_000)
    client.wait_events(20)
    story.proxy.hold()
    driver.process.send_signal(signal.SIGSTOP)
    story.write(20)
    time.sleep(SLEEP_S)
    driver.process.send_signal(signal.SIGCONT)
    story.complete()
    story.assert_whole(client)
    assert client.of("error") == client.of("retry") == []


@pytest.mark.asan
def test_a_program_that_ends_and_goes_on_later(story: Story, driver: Driver) -> None:
    """From the state that the first one saved."""
    story.write(100)
    first = story.start(driver, manual=True)
    while len(first.of("event")) < 40:
        first.do("take", count=1)
    state = first.command("export")["data"]
    first.do("free")
    second = story.start(driver, **{"import": state})
    second.wait_events(61)
    story.complete()
    second.wait("end", cause="terminal")
    # The last event taken was not known to be dealt with.
    assert_whole(story.written[39:], second.entries())


@pytest.mark.asan
def test_what_is_acknowledged_is_behind_us(story: Story, driver: Driver) -> None:
    story.write(100)
    first = story.start(driver, flags=["ack"])
    events = first.wait_events(100)
    first.do("ack", id=events[59]["id"])
    state = first.command("export")["data"]
    first.do("free")
    second = story.start(driver, **{"import": state})
    story.complete()
    second.wait("end", cause="terminal")
    assert_whole(story.written[60:], second.entries())


# ---- The network


@pytest.mark.asan
@pytest.mark.parametrize("reset", [False, True])
def test_disconnects_at_any_byte(story: Story, driver: Driver, reset: bool) -> None:
    random = story.proxy.random
    story.write(10)

    def plan() -> Faults:
        limit = min(int(random.expovariate(1 / 2000)), 4000) + 1
        return Faults(reset_after=limit) if reset else Faults(cut_after=limit)

    story.proxy.plan = plan
    client = story.start(driver)
    for _ in range(20):
        story.write(20)
    story.complete()
    story.assert_whole(client)
    # 410 events of more than 60 bytes each, no more than 4001 at a time.
    assert story.proxy.accepted > 5, "nothing was cut"


@pytest.mark.asan
def test_a_stall_is_detected_and_told(story: Story, driver: Driver) -> None:
    """Half-open: nobody ends the connection, and nothing comes."""
    client = story.start(driver, stall_ms=1000)
    story.write(20)
    client.wait_events(20)
    story.proxy.hold()
    story.write(20)
    client.wait("error", cause="stalled")
    client.wait_events(40)
    story.complete()
    story.assert_whole(client)


@pytest.mark.asan
def test_heartbeats_are_signs_of_life(story: Story, driver: Driver) -> None:
    """For longer than a stall takes, and without an event."""
    story.write(1)
    client = story.start(driver, stall_ms=4000, flags=["comments"])
    client.until(lambda: len(client.of("comment")) >= 25)
    assert client.of("error") == []
    story.complete()
    story.assert_whole(client)


@pytest.mark.asan
def test_no_answer_is_told(story: Story, driver: Driver) -> None:
    story.write(5)
    plans = iter([Faults(hold_after=0), Faults(hold_after=10)])
    story.proxy.plan = lambda: next(plans, Faults())
    client = story.start(driver, first_byte_ms=500)
    client.wait("error", cause="no_answer")
    client.wait("error", cause="no_answer")
    story.complete()
    story.assert_whole(client)


@pytest.mark.asan
def test_a_slow_network(story: Story, driver: Driver) -> None:
    """Slow is not dead: it never stays silent for long."""
    story.proxy.plan = lambda: Faults(connect_s=0.2, delay_s=0.001, piece=7, rate=3000)
    client = story.start(driver, stall_ms=4000)
    for _ in range(7):  # more than 4 s at that rate
        story.write(20)
    story.complete()
    story.assert_whole(client)
    assert client.of("error") == []


@pytest.mark.asan
def test_ten_percent_of_the_packets_lost(story: Story, driver: Driver) -> None:
    story.proxy.plan = lambda: Faults(loss=0.1, piece=700)
    client = story.start(driver)
    for _ in range(5):
        story.write(20)
    story.complete()
    story.assert_whole(client)
    assert client.of("error") == []


def test_ten_percent_lost_and_half_of_the_connections(
    story: Story, driver: Driver
) -> None:
    random = story.proxy.random

    def plan() -> Faults:
        return Faults(
            refuse=random.random() < 0.5,
            loss=0.1,
            piece=700,
            cut_after=random.randrange(1, 10_000),
        )

    story.proxy.plan = plan
    client = story.start(driver)
    for _ in range(5):
        story.write(50)
    story.complete()
    story.assert_whole(client)
    assert client.of("error") != []


def test_a_reader_that_does_not_take(story: Story, driver: Driver) -> None:
    """The socket waits, not the memory; nor is the silence a stall."""
    size, count = 10_000, 200
    client = driver.prepare()
    options = {**QUICK, "queue_bytes": 50_000, "stall_ms": 4000, "manual": True}
    assert client.ask("start", url=story.url, **options) == 0
    for _ in range(count // 50):
        story.write(50, size)
    story.complete()
    wait_until(lambda: story.proxy.accepted == 1)
    time.sleep(5)  # longer than a stall, and nobody takes anything
    while not client.of("end"):
        client.do("take", count=100)
    story.assert_whole(client)
    assert client.of("error") == []


@pytest.mark.asan
def test_it_keeps_no_more_than_it_may(script: ScriptServer, driver: Driver) -> None:
    """A server that sends without end is made to wait."""
    client = driver.prepare()
    options = {**QUICK, "manual": True, "stall_ms": NEVER}
    assert client.ask("start", url=script.url(), **options) == 0
    exchange = script.next()
    exchange.stream()
    exchange.socket.settimeout(1)
    sent = 0
    with pytest.raises(TimeoutError):
        while True:
            sent += exchange.socket.send(b"data: %01000d\n\n" % 0)
    assert sent < 32 << 20  # what the sockets hold on the way, and no more
    client.do("take", count=sent // 1008)
    assert len(client.of("event")) >= sent // 1008 - 5  # "open" and the like


# ---- The server


@pytest.mark.asan
def test_the_server_is_restarted_with_another_log(
    own_server: Serve, driver: Driver
) -> None:
    """The client is told, and gets all of the new log."""
    server = own_server()
    with FaultProxy(server.port) as proxy:
        story = Story(server, proxy)
        client = story.start(driver)
        story.write(30)
        client.wait_events(30)
        proxy.refuse()  # until there is a stream again: 404 would be the end
        server.kill()
        successor = own_server(port=server.port)
        story.api.new_stream(streamId=story.stream)
        proxy.accept()
        before, story.written = story.written, []
        story.write(10, 50)
        gap = client.wait("gap")
        assert (gap["gap"], gap["missed"]) == ("diverged", -1)
        story.complete()
        client.wait("end", cause="terminal")
        assert_whole(before + story.written, client.entries())
        successor.stop()


@pytest.mark.asan
def test_what_the_server_has_forgotten_is_told(
    own_server: Serve, driver: Driver
) -> None:
    server = own_server(log_events=20)
    with FaultProxy(server.port) as proxy:
        story = Story(server, proxy)
        client = story.start(driver)
        story.write(10)
        client.wait_events(10)
        client.do("suspend")
        client.wait("state", state="suspended")
        story.write(100)
        client.do("resume")
        gap = client.wait("gap", gap="trimmed")
        assert (gap["from"], gap["to"], gap["missed"]) == (11, 90, 80)
        story.complete()
        client.wait("end", cause="terminal")
        read = story.written[:10] + story.written[90:]
        assert_whole(read, client.entries())
    server.stop()


@pytest.mark.parametrize("count", [pytest.param(50, marks=pytest.mark.asan), 500])
def test_many_streams_at_once(
    own_server: Serve, driver: Driver, seed: str, count: int
) -> None:
    """One process, one loop, each connection cut now and then."""
    server = own_server()
    with FaultProxy(server.port, seed) as proxy:
        proxy.plan = lambda: Faults(cut_after=proxy.random.randrange(200, 5000))
        stories = [Story(server, proxy) for _ in range(count)]
        clients = [story.start(driver) for story in stories]
        for _ in range(3):
            for story in stories:
                story.write(10)
        for story in stories:
            story.complete()
        for story, client in zip(stories, clients):
            story.assert_whole(client)
        assert proxy.accepted > count
    server.stop()


def bearer(exchange: Exchange) -> bytes | None:
    return exchange.request.get("authorization")


@pytest.mark.asan
def test_a_token_that_expires_mid_stream(script: ScriptServer, driver: Driver) -> None:
    """The server drops the connection and says 401 to the old token."""
    client = driver.start(script.url(), flags=["token"], **QUICK)
    assert client.wait("token")["status"] == 0
    client.do("token", token="one")
    exchange = script.next()
    assert bearer(exchange) == b"Bearer one"
    exchange.stream(b"id:1-0000000a\ndata:1\n\n")
    client.wait("event")
    exchange.close()
    client.wait("token")
    client.do("token", token="one")
    script.next().answer(401, b"expired", HTML)
    assert client.wait("token", status=401)
    client.do("token", token="two")
    exchange = script.next()
    assert bearer(exchange) == b"Bearer two"
    assert exchange.request.last_event_id == b"1-0000000a"
    exchange.stream(b"id:2-0000000b\nevent:done\ndata:2\n\n")
    client.wait("end", cause="terminal")
    assert client.datas() == ["1", "2"]


@pytest.mark.asan
def test_a_fresh_token_is_refused_as_well(script: ScriptServer, driver: Driver) -> None:
    """It asks once, not for ever."""
    client = driver.start(script.url(), flags=["token"], **QUICK)
    client.wait("token", status=0)
    client.do("token", token="one")
    script.next().answer(401)
    client.wait("token", status=401)
    client.do("token", token="two")
    script.next().answer(401)
    client.wait("end", cause="status", status=401)


@pytest.mark.asan
def test_a_token_is_renewed_before_it_expires(
    script: ScriptServer, driver: Driver
) -> None:
    """A second connection takes over; what both bring is delivered once."""
    client = driver.start(script.url(), flags=["token"], **QUICK)
    client.wait("token")
    client.do("token", token="one", lifetime_ms=4000)
    old = script.next()
    old.stream(b"id:1-0000000a\ndata:1\n\n")
    client.wait("event", data="1")
    client.until(lambda: len(client.of("token")) == 2)
    client.do("token", token="two")
    new = script.next()
    assert bearer(new) == b"Bearer two"
    assert old.still_open()
    old.send(b"id:2-0000000b\ndata:2\n\n")
    client.wait("event", data="2")
    new.stream(b"id:2-0000000b\ndata:2\n\nid:3-0000000c\ndata:3\n\n")
    client.wait("event", data="3")
    old.wait_closed()
    assert client.datas() == ["1", "2", "3"]
    assert client.of("error") == client.of("gap") == []


@pytest.mark.asan
def test_there_is_no_token(script: ScriptServer, driver: Driver) -> None:
    """Nothing is asked for without one, and not for ever with none."""
    options = {**QUICK, "max_attempts": 3}
    client = driver.start(script.url(), flags=["token"], **options)
    for _ in range(3):
        client.wait("token")
        client.do("token", token=None)
    client.wait("end")
    assert set(client.causes()) == {"token"}
    assert script.waiting() == 0


@pytest.mark.asan
def test_an_html_error_page_with_status_200(
    script: ScriptServer, driver: Driver
) -> None:
    """It is not parsed, and not asked for again and again."""
    page = b"<html>\ndata: no event\n\n</html>"
    client = driver.start(script.url(), **QUICK)
    script.next().answer(200, page, HTML)
    assert client.wait("error", cause="content_type")["data"] == page.decode()
    client.wait("end", cause="content_type")
    assert client.of("event") == client.of("retry") == []
    assert script.waiting() == 0


@pytest.mark.asan
def test_a_redirect_loop(script: ScriptServer, driver: Driver) -> None:
    client = driver.start(script.url(), max_redirects=5, **QUICK)
    for _ in range(6):
        script.next().answer(302, b"", ("Location", script.url()))
    client.wait("error", cause="redirect")
    client.wait("end", cause="redirect")
    assert script.waiting() == 0


@pytest.mark.asan
def test_credentials_stay_at_home(script: ScriptServer, driver: Driver) -> None:
    client = driver.start(
        script.url(),
        headers={"Authorization": "secret", "X-Api-Key": "secret"},
        set={"cursor": "7"},
        **QUICK,
    )
    with ScriptServer() as other:
        first = script.next().request
        assert first.get("x-api-key") == first.get("authorization") == b"secret"
        script_answer = ("Location", other.url("/there"))
        assert first.last_event_id == b"7"
        client.do("restart")
        script.next().answer(307, b"", script_answer)
        exchange = other.next()
        names = {name for name, _ in exchange.request.headers}
        assert not names & {"authorization", "x-api-key", "last-event-id", "cookie"}
        exchange.stream(b"data: x\n\n")
        client.wait("event", data="x")


@pytest.mark.asan
def test_retry_0_is_no_tight_loop(script: ScriptServer, driver: Driver) -> None:
    """There is a floor, and what follows empty bodies grows above it."""
    client = driver.start(script.url())
    exchange = script.next()
    begin = time.monotonic()
    for _ in range(4):
        exchange.stream(b"retry: 0\n\n")
        exchange.close()
        exchange = script.next()
    assert time.monotonic() - begin > 0.38  # four times the floor, 100 ms
    for _ in range(4):
        client.wait("retry")
    assert len(client.of("retry")) == 4


@pytest.mark.asan
def test_204_is_the_end(script: ScriptServer, driver: Driver) -> None:
    client = driver.start(script.url(), **QUICK)
    exchange = script.next()
    exchange.stream(b"id: 1\ndata: x\n\n")
    exchange.close()
    script.next().answer(204)
    client.wait("end", cause="no_content", status=204)
    assert client.datas() == ["x"]
    assert script.waiting() == 0


@pytest.mark.asan
@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("as_date", [False, True])
def test_retry_after(
    script: ScriptServer, driver: Driver, status: int, as_date: bool
) -> None:
    client = driver.start(script.url(), **QUICK)
    asked = formatdate(time.time() + 60, usegmt=True) if as_date else "60"
    script.next().answer(status, b"busy", HTML, ("Retry-After", asked))
    error = client.wait("error", cause="status", status=status)
    assert error["data"] == "busy"
    assert 30_000 < client.wait("retry")["delay_ms"] <= 60_000
    client.do("restart")  # not to wait for it
    script.next().stream(b"data: x\n\n")
    client.wait("event")


@pytest.mark.asan
def test_retry_after_is_waited_for(script: ScriptServer, driver: Driver) -> None:
    driver.start(script.url(), **QUICK)
    exchange = script.next()
    begin = time.monotonic()
    exchange.answer(503, b"", ("Retry-After", "1"))
    script.next()
    assert time.monotonic() - begin > 0.95


@pytest.mark.asan
@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_troubles_that_pass(script: ScriptServer, driver: Driver, status: int) -> None:
    client = driver.start(script.url(), **QUICK)
    for _ in range(2):
        script.next().answer(status, b"data: no\n\n", STREAM)
        client.wait("error", cause="status", status=status)
    script.next().stream(b"data: x\n\n")
    client.wait("event", data="x")


@pytest.mark.asan
@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
def test_troubles_that_stay(script: ScriptServer, driver: Driver, status: int) -> None:
    client = driver.start(script.url(), **QUICK)
    script.next().answer(status, b"no", HTML)
    client.wait("error", cause="status", status=status)
    client.wait("end", cause="status", status=status)
    assert script.waiting() == 0


@pytest.mark.asan
def test_it_gives_up(script: ScriptServer, driver: Driver) -> None:
    client = driver.start(script.url(), **{**QUICK, "max_attempts": 3})
    for _ in range(3):
        script.next().answer(503)
    client.wait("end", cause="attempts")
    assert script.waiting() == 0


@pytest.mark.asan
def test_the_program_decides(script: ScriptServer, driver: Driver) -> None:
    client = driver.start(script.url(), flags=["decide"], **QUICK)
    script.next().answer(404)
    assert client.wait("decide", status=404)["decision"] == 2  # stop
    client.do("decide", decision=1)  # but it tries again
    script.next().answer(503)
    assert client.wait("decide", status=503)["decision"] == 1
    client.do("decide", decision=5)
    exchange = script.next()
    exchange.stream(b"data: x\n\n")
    exchange.close()
    client.wait("decide", cause="body_end")
    client.do("decide", decision=4)  # that was all
    client.wait("end", cause="body_end")
