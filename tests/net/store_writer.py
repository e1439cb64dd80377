"""Writes streams into a store through servers that may fail, and says what it
has written.

Like writer_process.py, but nothing is taken for granted: a request may get no
answer, or 503. What it held is then unsure, and never sent again; the next
request holds other events. Some streams are written by `sse pub`, which sees
to it itself that each line arrives once.

Reads its task from standard input, one line of JSON; writes `progress N` lines
and, last, the transcripts as one line of JSON: for each stream, a list of
`[id, type, data, sure]`, with null for an id that is not known.
"""

import asyncio
import json
import random
import sys
from typing import Any

from aio_http import DROPPED, Peer
from suite.api import JSON, PREFIX, path_of
from writer_process import TYPES, WORDS, encode, report

Record = list[Any]  # id, type, data, sure

TRY_AGAIN_S = 0.05
PUB_WORDS = [word for word in WORDS if not set(word) & set("\r\n\0")]


class Writer:
    def __init__(self, task: dict[str, Any], stream: str) -> None:
        self.task = task
        self.stream = stream
        self.random = random.Random(f"{task['seed']} {stream} write")
        self.records: list[Record] = []
        self.number = 0
        self.sure = 0

    async def pause(self) -> None:
        """So that the whole takes about as long as the task says."""
        each = self.task["write_s"] / self.task["events"]
        await asyncio.sleep(self.random.expovariate(1 / each) if each else 0)

    def make_data(self, words: list[str]) -> str:
        """Never the same twice."""
        self.number += 1
        rest = "".join(self.random.choices(words, k=self.random.randint(0, 12)))
        return f"{self.stream}/{self.number} {rest}".rstrip()

    def left(self) -> int:
        return int(self.task["events"]) - self.sure


class HttpWriter(Writer):
    def __init__(self, task: dict[str, Any], stream: str) -> None:
        super().__init__(task, stream)
        self.peer: Peer | None = None

    async def write(self) -> None:
        while await self.ask(PREFIX, {"streamId": self.stream}) not in (201, 409):
            await asyncio.sleep(TRY_AGAIN_S)
        while self.left() > 0:
            await self.append()
        await self.complete()

    async def ask(self, target: str, body: Any = None) -> int:
        status, _ = await self.post(target, [JSON], json.dumps(body).encode())
        return status

    async def post(self, target: str, headers: Any, body: bytes) -> tuple[int, Any]:
        """Status 0 when no answer came."""
        try:
            if not self.peer:
                self.peer = await Peer.connect(self.random.choice(self.task["writes"]))
            return await self.peer.ask("POST", target, headers, body)
        except DROPPED:
            if self.peer:
                self.peer.close()
            self.peer = None
            await asyncio.sleep(TRY_AGAIN_S)
            return 0, None

    async def append(self) -> None:
        form = self.random.choice(["text", "string", "value", "batch"])
        count = self.random.randint(1, self.task["batch"]) if form == "batch" else 1
        events = [
            (self.random.choice(TYPES), self.make_data(WORDS))
            for _ in range(min(count, self.left()))
        ]
        query, headers, body, shown = encode(form, events)
        target = path_of(self.stream, "events") + query
        status, answer = await self.post(target, headers, body)
        self.note(status, shown, answer)
        for _ in shown:
            await self.pause()

    def note(self, status: int, shown: list[Any], answer: Any) -> None:
        """What became of a request."""
        if status in (200, 202):
            ids = answer.get("ids") or [answer["id"]]
            assert len(ids) == len(shown)
            for event_id, (_, type, data) in zip(ids, shown):
                self.records.append([event_id, type, data, True])
            self.sure += len(shown)
            report(len(shown))
        elif status in (0, 503):
            for _, type, data in shown:
                self.records.append([None, type, data, False])
        else:
            assert status == 404, (status, answer)  # Redis has lost the stream

    async def complete(self) -> None:
        """Perhaps more than once: only the first has an effect."""
        while True:
            status, answer = await self.post(
                path_of(self.stream, "complete"), [JSON], b'{"data":{}}'
            )
            if status == 409:
                return
            self.note(status, [[None, "completed", "{}"]], answer)
            if status == 200:
                return
            await asyncio.sleep(TRY_AGAIN_S)


class PubWriter(Writer):
    async def write(self) -> None:
        base_url = self.random.choice(self.task["writes"])
        process = await asyncio.create_subprocess_exec(
            *self.task["pub"], base_url + path_of(self.stream),
            stdin=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stdin
        while self.left() > 0:
            line = self.make_data(PUB_WORDS)
            process.stdin.write(line.encode() + b"\n")
            await process.stdin.drain()
            self.records.append([None, "message", line, True])
            self.sure += 1
            report(1)
            await self.pause()
        process.stdin.close()
        status = await process.wait()
        assert status == 0, f"sse pub: {status}"
        self.records.append([None, "completed", "{}", True])


async def main(task: dict[str, Any]) -> None:
    kinds = [(HttpWriter, task["streams"]), (PubWriter, task["pub_streams"])]
    writers = [kind(task, stream) for kind, streams in kinds for stream in streams]
    await asyncio.gather(*(writer.write() for writer in writers))
    print(json.dumps({writer.stream: writer.records for writer in writers}))


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.stdin.readline())))
