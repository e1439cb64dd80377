"""What a reader has is what the writer wrote, whatever happens between them.

Writers and readers are processes of their own. The readers' connections are
cut at random bytes; the server is stopped for a while, or killed.
"""

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from processes import Script
from suite.api import Api
from suite.fixtures import Serve
from suite.ports import free_port
from suite.server import Server
from transcripts import (
    Entry,
    Life,
    assert_lives,
    assert_other_tags,
    assert_whole,
    assert_whole_but_gaps,
    halves,
    is_gap,
)

FREEZE_S = 0.3


class Run:
    """Writers and readers of the same streams."""

    def __init__(self, server: Server, seed: str, streams: int, **task: Any) -> None:
        self.server = server
        self.streams = [f"t{n}" for n in range(streams)]
        self.task = {
            "base_url": server.base_url,
            "seed": seed,
            "batch": 10,
            "lives": 1,
            "mean_bytes": 6000,
            "pause_s": 0,
            **task,
        }

    @contextmanager
    def scripts(self, name: str) -> Iterator[list[Script]]:
        """Two processes, each with half of the streams."""
        with ExitStack() as stack:
            yield [
                stack.enter_context(Script(name, {**self.task, "streams": streams}))
                for streams in halves(self.streams)
            ]

    @property
    def event_count(self) -> int:
        return len(self.streams) * int(self.task["events"])


def lives_of(writers: list[Script]) -> dict[str, list[Life]]:
    return {k: v for writer in writers for k, v in writer.result().items()}


def read_by(readers: list[Script]) -> dict[str, list[Entry]]:
    results = [reader.result() for reader in readers]
    assert sum(result["cuts"] for result in results) > 0
    return {k: v for result in results for k, v in result["events"].items()}


def freeze(server: Server) -> None:
    server.signal(signal.SIGSTOP)
    time.sleep(FREEZE_S)
    server.signal(signal.SIGCONT)


@pytest.mark.parametrize(
    "streams, events",
    [pytest.param(20, 100, marks=pytest.mark.asan), (200, 500)],
)
def test_readers_get_what_was_written(
    own_server: Serve, seed: str, streams: int, events: int
) -> None:
    server = own_server()
    run = Run(server, seed, streams, events=events)
    with run.scripts("writer_process.py") as writers:
        with run.scripts("reader_process.py") as readers:
            for tenth in (1, 3, 5, 7, 9):
                writers[0].progress(run.event_count // 2 * tenth // 10)
                freeze(server)
            written, read = lives_of(writers), read_by(readers)
    for stream, (life,) in written.items():
        assert len(life["events"]) == events + 1
        assert_whole(life["events"], read[stream])
    server.stop()


def test_a_small_log_loses_nothing_in_silence(own_server: Serve, seed: str) -> None:
    server = own_server(log_events=50)
    run = Run(server, seed, 60, events=500, batch=30, pause_s=0.3, mean_bytes=3000)
    with run.scripts("writer_process.py") as writers:
        writers[0].progress(run.event_count // 8)  # more than 50 of a stream
        with run.scripts("reader_process.py") as readers:
            writers[0].progress(run.event_count // 4)
            freeze(server)
            written, read = lives_of(writers), read_by(readers)
    missed = 0
    for stream, (life,) in written.items():
        missed += assert_whole_but_gaps(life["events"], read[stream])
    assert missed > 0, "no reader was slow or late: the test has tested nothing"
    server.stop()


def test_a_late_reader_of_a_small_log(own_server: Serve, seed: str) -> None:
    """Nobody read while it was written: the first gap is known exactly."""
    server = own_server(log_events=50)
    run = Run(server, seed, 10, events=200, mean_bytes=500)
    with run.scripts("writer_process.py") as writers:
        written = lives_of(writers)
    with run.scripts("reader_process.py") as readers:
        read = read_by(readers)
    for stream, (life,) in written.items():
        missed = assert_whole_but_gaps(life["events"], read[stream])
        assert missed == 201 - 50
    server.stop()


def test_a_reader_that_falls_behind_is_told(own_server: Serve) -> None:
    """It stays connected, and reads on when the log has moved past it."""
    size, count = 20_000, 1000
    server = own_server(log_events=50)
    api = Api(server.base_url)
    stream = api.new_stream()
    written: list[Entry] = []
    with api.subscribe(stream, receive_buffer=4096) as reader:
        reader.retry()
        for n in range(count):
            data = f"{n} ".ljust(size, "x")
            written.append([api.append(stream, data), "message", data])
        written.append([api.complete(stream), "completed", "{}"])
        read: list[Entry] = [[e.id, e.type, e.data] for e in reader.rest()]
    missed = assert_whole_but_gaps(written, read)
    assert missed > 0
    reasons = {(entry[2] or "")[-9:] for entry in read if is_gap(entry)}
    assert reasons == {'"lagged"}'}
    server.stop()


def test_a_server_that_was_killed(own_server: Serve, seed: str) -> None:
    """Its successor has the same streams again, with other events."""
    server = own_server(port=free_port())
    run = Run(server, seed, 60, events=200, lives=2)
    with run.scripts("writer_process.py") as writers:
        with run.scripts("reader_process.py") as readers:
            for writer in writers:
                writer.progress(run.event_count // 4)
            for reader in readers:
                assert reader.line() == "reading"
            server.kill()
            successor = own_server(port=server.port)
            written, read = lives_of(writers), read_by(readers)
    told = 0
    for stream, lives in written.items():
        assert len(lives) == 2
        assert_other_tags(lives)
        told += assert_lives(lives, read[stream])
    assert told > 0, "nobody had read anything: the test has tested nothing"
    successor.stop()
