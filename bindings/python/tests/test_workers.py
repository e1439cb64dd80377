"""Servers with several workers, which share one Redis, when they are told to end."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from suite.sse_reader import Event
from test_servers import COMMANDS, DEADLINE_S, Server, wait_for_workers

WORKERS = {
    "uvicorn": "--workers",
    "gunicorn": "--workers",
    "hypercorn": "--workers",
    "hypercorn trio": "--workers",
    "granian": "--workers",
}
CANCELLED = ("cancelled", '{"reason":"shutdown"}')


@pytest.mark.parametrize("name", WORKERS)
def test_a_redeployment(name: str, url: str, tmp_path: Path) -> None:
    """Whichever worker produces and whichever are read from: readers get complete
    responses, come back to the next server, and have the whole stream then."""
    command = [*COMMANDS[name], WORKERS[name], "2"]
    transcripts: list[list[Event]] = []
    server = Server(name, command, tmp_path, APP_STORE=url)
    try:
        wait_for_workers(server, 2)  # a signal may pass by one that is starting
        readers = [server.read("POST", f"/chat/s{n % 3}") for n in range(12)]
        for reader in readers:
            reader.wait_for(3)
        server.process.send_signal(signal.SIGTERM)
        transcripts += [reader.rest() for reader in readers]
        server.process.wait(DEADLINE_S)
        assert server.notes.read_text().split().count("cancelled") == 3
    finally:
        server.kill()

    server = Server(name, command, tmp_path, APP_STORE=url)
    try:
        for n, events in enumerate(transcripts):
            if events[-1].type == "message":
                cursor = events[-1].id or ""
                events += server.read("GET", f"/chat/s{n % 3}", cursor).rest()
            assert (events[-1].type, events[-1].data) == CANCELLED
            assert events == transcripts[n % 3]
    finally:
        server.kill()
