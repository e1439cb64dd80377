"""Very many readers of one stream that wait for an event.

Reads its task from standard input, one line of JSON. Writes `open` when every
reader has its response, and, when each has its event, one line of JSON with
how many readers got what.
"""

import asyncio
import json
import sys
from collections import Counter
from typing import Any

from aio_http import Peer
from suite.api import path_of
from suite.sse_reader import Event, Retry

AT_ONCE = 100  # connections being opened


class Crowd:
    def __init__(self, task: dict[str, Any]) -> None:
        self.task = task
        self.opening = asyncio.Semaphore(AT_ONCE)
        self.open = 0

    async def read(self) -> str:
        async with self.opening:
            peer = await Peer.connect(self.task["base_url"])
            head = await peer.subscribe(path_of(self.task["stream"]))
            assert head.status == 200, head
            items = peer.items()
            assert isinstance(await anext(items), Retry)
        self.count()
        async for item in items:
            if isinstance(item, Event):
                peer.close()
                return json.dumps([item.id, item.type, item.data])
        return "the response ended"

    def count(self) -> None:
        self.open += 1
        if self.open == self.task["count"]:
            print("open", flush=True)

    async def run(self) -> Counter[str]:
        return Counter(
            await asyncio.gather(*(self.read() for _ in range(self.task["count"])))
        )


async def main(task: dict[str, Any]) -> None:
    print(json.dumps(await Crowd(task).run()))


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.stdin.readline())))
