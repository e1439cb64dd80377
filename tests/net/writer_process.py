"""Writes streams, and says what it has written.

One process writes many streams at once, each over a connection of its own.
Reads its task from standard input, one line of JSON; writes `progress N` lines
and, last, the transcripts as one line of JSON.

A stream has lives: when the server is killed, the writer creates the stream
again on the next one and writes other events. All lives but the last go on
until that happens.
"""

import asyncio
import json
import random
import sys
from typing import Any

from aio_http import DROPPED, Peer
from suite.api import JSON, NDJSON, PREFIX, TEXT, path_of
from suite.checks import text_of
from suite.wire import Headers

WORDS = [
    "tok",
    "en ",
    "caf\u00e9",
    "\U0001f600",
    "\n",
    "\r\n",
    "\r",
    " ",
    "a: b",
    "",
    "\0",
]
TYPES = ["", "", "token", "step \u03b1", "a:b"]
PROGRESS_EVERY = 100

Entry = list[str | None]  # id, type, data as a reader gets them


class StreamWriter:
    def __init__(self, task: dict[str, Any], stream: str) -> None:
        self.task = task
        self.stream = stream
        self.random = random.Random(f"{task['seed']} {stream} write")
        self.lives: list[dict[str, list[Entry]]] = []

    async def write(self) -> None:
        while True:
            try:
                return await self.write_life()
            except DROPPED:
                continue

    async def write_life(self) -> None:
        peer = await connect(self.task["base_url"])
        body = json.dumps({"streamId": self.stream}).encode()
        status, answer = await peer.ask("POST", PREFIX, [JSON], body)
        assert status == 201, answer
        life: dict[str, list[Entry]] = {"events": [], "unsure": []}
        self.lives.append(life)
        while left := self.left():
            await self.append(peer, life, left)
        await self.complete(peer, life)
        peer.close()

    def left(self) -> int:
        """How many events are still to be written in this life."""
        if len(self.lives) < self.task["lives"]:
            return sys.maxsize
        return int(self.task["events"]) - len(self.lives[-1]["events"])

    async def append(self, peer: Peer, life: dict[str, list[Entry]], left: int) -> None:
        first = len(life["events"])
        form = self.random.choice(["text", "string", "value", "batch"])
        count = self.random.randint(1, self.task["batch"]) if form == "batch" else 1
        events = [
            (self.random.choice(TYPES), self.make_data(first + n))
            for n in range(min(count, left))
        ]
        query, headers, body, shown = encode(form, events)
        life["unsure"] = shown
        target = path_of(self.stream, "events") + query
        status, answer = await peer.ask("POST", target, headers, body)
        assert status == 202, answer
        self.settle(life, answer.get("ids") or [answer["id"]])
        report(len(shown))

    def make_data(self, number: int) -> str:
        """Different in every life and at every place."""
        words = self.random.choices(WORDS, k=self.random.randint(0, 12))
        return f"{len(self.lives)}/{number} " + "".join(words)

    def settle(self, life: dict[str, list[Entry]], ids: list[str]) -> None:
        assert len(ids) == len(life["unsure"])
        for event_id, (_, type, data) in zip(ids, life["unsure"], strict=True):
            life["events"].append([event_id, type, data])
        life["unsure"] = []

    async def complete(self, peer: Peer, life: dict[str, list[Entry]]) -> None:
        life["unsure"] = [[None, "completed", "{}"]]
        status, answer = await peer.ask("POST", path_of(self.stream, "complete"))
        assert status == 200, answer
        self.settle(life, [answer["id"]])


def encode(
    form: str, events: list[tuple[str, str]]
) -> tuple[str, Headers, bytes, list[Entry]]:
    """The query, headers and body of a request, and what readers will get."""
    shown: list[Entry] = [[None, t or "message", text_of(d)] for t, d in events]
    type, data = events[0]
    if form == "text":
        query = "?type=" + "".join(f"%{byte:02x}" for byte in type.encode())
        return query, [TEXT], data.encode(), shown
    if form == "string":
        return "", [JSON], json.dumps({"type": type, "data": data}).encode(), shown
    if form == "value":
        value = json.dumps({"value": data, "n": 1.0})
        shown[0][2] = value
        return (
            "",
            [JSON],
            f'{{"data": {value}, "type": {json.dumps(type)}}}'.encode(),
            shown,
        )
    lines = [json.dumps({"type": t, "data": d}) for t, d in events]
    return "", [NDJSON], "\n".join(lines).encode(), shown


async def connect(base_url: str) -> Peer:
    """Waits for as long as there is no server."""
    while True:
        try:
            return await Peer.connect(base_url)
        except ConnectionError:
            await asyncio.sleep(0.02)


_written = 0


def report(count: int) -> None:
    global _written
    before = _written // PROGRESS_EVERY
    _written += count
    if _written // PROGRESS_EVERY > before:
        print("progress", _written, flush=True)


async def main(task: dict[str, Any]) -> None:
    writers = [StreamWriter(task, stream) for stream in task["streams"]]
    await asyncio.gather(*(writer.write() for writer in writers))
    print(json.dumps({writer.stream: writer.lives for writer in writers}))


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.stdin.readline())))
