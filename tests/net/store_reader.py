"""Reads streams of a store through several servers, and says what it has read.

Like reader_process.py, but each connection goes to any of the servers, each
stream has several readers, some come late, and a server may say 503 or be no
more. Reads its task from standard input, one line of JSON; writes the
transcripts as one line of JSON: for each stream, a list for each reader.
"""

import asyncio
import json
import random
import sys
from typing import Any

from reader_process import Entry, StreamReader


class StoreReader(StreamReader):
    not_yet = (404, 503)  # 503: that server cannot ask the store now

    def __init__(self, task: dict[str, Any], stream: str, number: int) -> None:
        super().__init__(task, stream)
        self.random = random.Random(f"{task['seed']} {stream} {number} read")
        self.late_s = self.random.choice([0, self.random.random() * task["late_s"]])

    def server(self) -> str:
        return self.random.choice(self.task["reads"])

    async def follow(self) -> None:
        await asyncio.sleep(self.late_s)
        await super().follow()


async def main(task: dict[str, Any]) -> None:
    readers = [
        StoreReader(task, stream, number)
        for stream in task["streams"]
        for number in range(task["readers"])
    ]
    await asyncio.gather(*(reader.follow() for reader in readers))
    events: dict[str, list[list[Entry]]] = {}
    for reader in readers:
        events.setdefault(reader.stream, []).append(reader.events)
    result = {"events": events, "cuts": sum(reader.cuts for reader in readers)}
    print(json.dumps(result))


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.stdin.readline())))
