"""Reads streams over connections that break, and says what it has read.

One process follows many streams at once. Each reader cuts its connection
after a random number of bytes, often in the middle of an event, and comes
back with the id of the last event that it had whole, until the server says
(204) that there will be nothing more. Reads its task from standard input, one
line of JSON; writes `reading` with the first event and, last, the transcripts as
one line of JSON.
"""

import asyncio
import json
import random
import sys
from typing import Any
from urllib.parse import quote

from aio_http import DROPPED, Peer
from suite.api import path_of
from suite.sse_reader import Event
from suite.wire import Headers

Entry = list[str | None]


class StreamReader:
    not_yet = (404,)  # it is not created yet

    def __init__(self, task: dict[str, Any], stream: str) -> None:
        self.task = task
        self.stream = stream
        self.random = random.Random(f"{task['seed']} {stream} read")
        self.events: list[Entry] = []
        self.cursor = ""
        self.cuts = 0

    async def follow(self) -> None:
        while not await self.attempt():
            if self.task["pause_s"]:  # a slow reader
                await asyncio.sleep(self.random.random() * self.task["pause_s"])

    def server(self) -> str:
        return self.task["base_url"]

    async def attempt(self) -> bool:
        """Whether the stream is over."""
        try:
            peer = await Peer.connect(self.server())
        except ConnectionError:
            await asyncio.sleep(0.02)  # no server at the moment
            return False
        try:
            return await self.read(peer)
        except DROPPED:
            return False
        finally:
            peer.close(abort=self.random.random() < 0.5)

    async def read(self, peer: Peer) -> bool:
        self.forget_last_gap()
        query, headers = self.place_of_cursor()
        head = await peer.subscribe(path_of(self.stream) + query, headers)
        if head.status in self.not_yet:
            await asyncio.sleep(0.02)
            return False
        if head.status == 204:
            return True
        assert head.status == 200, head
        budget = int(self.random.expovariate(1 / self.task["mean_bytes"])) + 1
        async for item in peer.items(budget):
            if isinstance(item, Event):
                self.take(item)
        self.cuts += not peer.complete
        return False

    def forget_last_gap(self) -> None:
        """It has no id: what comes next begins with it again."""
        if self.events and self.events[-1][0] is None:
            self.events.pop()

    def place_of_cursor(self) -> tuple[str, Headers]:
        if not self.cursor:
            return "", []
        if self.random.random() < 0.5:
            return "", [("Last-Event-ID", self.cursor)]
        return "?last_event_id=" + quote(self.cursor), []

    def take(self, event: Event) -> None:
        self.events.append([event.id, event.type, event.data])
        if event.id is not None:
            self.cursor = event.id
            tell_once()


_told = False


def tell_once() -> None:
    """That somebody has an event."""
    global _told
    if not _told:
        print("reading", flush=True)
    _told = True


async def main(task: dict[str, Any]) -> None:
    readers = [StreamReader(task, stream) for stream in task["streams"]]
    await asyncio.gather(*(reader.follow() for reader in readers))
    result = {
        "events": {reader.stream: reader.events for reader in readers},
        "cuts": sum(reader.cuts for reader in readers),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.stdin.readline())))
