"""HTTP over asyncio streams, for tests with many connections."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

from suite.sse_reader import Item, Parser
from suite.wire import Closed, Head, Headers, WireError, build_request, parse_head

DROPPED = (ConnectionError, asyncio.IncompleteReadError, Closed)


class BodyDecoder:
    """Takes a chunked body apart, in whatever pieces it comes."""

    def __init__(self) -> None:
        self._raw = b""
        self._left = 0  # bytes of the chunk still to come, its CRLF included
        self.done = False

    def feed(self, raw: bytes) -> bytes:
        self._raw += raw
        body = b""
        while not self.done and self._step():
            body += self._take_data()
        return body

    def _step(self) -> bool:
        """Whether there is something to take."""
        if self._left:
            return bool(self._raw)
        line, end, rest = self._raw.partition(b"\r\n")
        if not end:
            return False
        size = int(line, 16)
        if size == 0:
            if not rest.startswith(b"\r\n"):
                return False
            self.done, rest = True, rest[2:]
        self._left, self._raw = (size + 2 if size else 0), rest
        return True

    def _take_data(self) -> bytes:
        taken, self._raw = self._raw[: self._left], self._raw[self._left :]
        ends_at = self._left - 2  # where the chunk's own CRLF begins
        self._left -= len(taken)
        data, tail = taken[: max(ends_at, 0)], taken[max(ends_at, 0) :]
        if tail.strip(b"\r\n"):
            raise WireError(f"{tail!r} where a chunk ends")
        return data


class Peer:
    """One connection."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.reader = reader
        self.writer = writer
        self.complete = False  # the last response ended as it should

    @classmethod
    async def connect(cls, base_url: str) -> "Peer":
        parts = urlsplit(base_url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        return cls(reader, writer)

    def close(self, abort: bool = False) -> None:
        """Ends it with FIN, or with RST."""
        if abort:
            self.writer.transport.abort()
        else:
            self.writer.close()

    async def read_head(self) -> Head:
        raw = await self.reader.readuntil(b"\r\n\r\n")
        return parse_head(raw[:-4])

    async def ask(
        self,
        method: str,
        target: str,
        headers: Headers = (),
        body: bytes | None = None,
    ) -> tuple[int, Any]:
        """The status, and the JSON of the answer."""
        self.writer.write(build_request(method, target, headers, body))
        await self.writer.drain()
        head = await self.read_head()
        length = int(head.get("content-length") or 0)
        answer = await self.reader.readexactly(length)
        return head.status, json.loads(answer) if answer else None

    async def subscribe(self, target: str, headers: Headers = ()) -> Head:
        self.writer.write(build_request("GET", target, headers))
        await self.writer.drain()
        return await self.read_head()

    async def items(self, budget: int | None = None) -> AsyncIterator[Item]:
        """What a subscription gives, up to the end of the response.

        It stops after `budget` bytes, wherever in an event or a chunk that
        is; `complete` then says whether the response had ended.
        """
        decoder, parser = BodyDecoder(), Parser()
        while not decoder.done and budget != 0:
            raw = await self.reader.read(min(budget or 65536, 65536))
            if not raw:
                raise Closed("the connection ended within the response")
            if budget is not None:
                budget -= len(raw)
            for item in parser.feed(decoder.feed(raw)):
                yield item
        self.complete = decoder.done
