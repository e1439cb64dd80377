"""A small HTTP/1.1 client over a plain socket: exact bytes out and in.

It is strict about what it reads: a malformed head or chunk is a failure.
"""

from __future__ import annotations

import json
import re
import select
import socket
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

TIMEOUT_S = 60.0  # so that a test fails instead of hanging

Headers = Iterable[tuple[str, str]]

_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9][0-9]) ([\t\x20-\x7e]*)")
_HEADER_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n\0]*?)[ \t]*")


class WireError(AssertionError):
    """The server broke HTTP."""


class Closed(WireError):
    """The connection ended in the middle of a response."""


@dataclass(frozen=True)
class Head:
    version: str
    status: int
    headers: list[tuple[str, str]]  # names in lower case

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name.lower()]

    def get(self, name: str) -> str | None:
        values = self.all(name)
        if len(values) > 1:
            raise WireError(f"{name} stands {len(values)} times: {values}")
        return values[0] if values else None

    def words(self, name: str) -> set[str]:
        """A comma-separated list, as a set."""
        return {word.strip() for word in (self.get(name) or "").split(",")} - {""}


@dataclass(frozen=True)
class Response(Head):
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body.decode("utf-8", "strict"))


def build_request(
    method: str,
    target: str,
    headers: Headers = (),
    body: bytes | None = None,
    version: str = "1.1",
) -> bytes:
    lines = [f"{method} {target} HTTP/{version}"]
    names = {name.lower() for name, _ in headers}
    if "host" not in names:
        lines.append("Host: test")
    lines += [f"{name}: {value}" for name, value in headers]
    if body is not None and not names & {"content-length", "transfer-encoding"}:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b"")


def parse_head(raw: bytes) -> Head:
    """`raw` is everything before the blank line."""
    first, *rest = raw.split(b"\r\n")
    status = _STATUS_LINE.fullmatch(first)
    if not status:
        raise WireError(f"bad status line: {first!r}")
    headers = []
    for line in rest:
        match = _HEADER_LINE.fullmatch(line)
        if not match:
            raise WireError(f"bad header line: {line!r}")
        headers.append((match[1].decode().lower(), match[2].decode("utf-8")))
    head = Head(f"1.{status[1].decode()}", int(status[2]), headers)
    if head.get("transfer-encoding") and head.get("content-length"):
        raise WireError("both Transfer-Encoding and Content-Length")
    return head


class Connection:
    """One TCP connection. Use it in a `with`."""

    def __init__(
        self,
        base_url: str,
        timeout_s: float = TIMEOUT_S,
        receive_buffer: int | None = None,
    ) -> None:
        parts = urlsplit(base_url)
        assert parts.hostname and parts.port
        self.socket = socket.socket(
            socket.AF_INET6 if ":" in parts.hostname else socket.AF_INET
        )
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(timeout_s)
        self.socket.connect((parts.hostname, parts.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def reset(self) -> None:
        """Closes with RST instead of FIN."""
        linger = struct.pack("ii", 1, 0)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def readable(self, timeout_s: float) -> bool:
        """Whether bytes, or the end, have come."""
        return bool(self._buffer) or bool(
            select.select([self.socket], [], [], timeout_s)[0]
        )

    def send_end(self) -> None:
        """Sends FIN, and still reads."""
        self.socket.shutdown(socket.SHUT_WR)

    def request(
        self,
        method: str,
        target: str,
        headers: Headers = (),
        body: bytes | None = None,
        version: str = "1.1",
    ) -> None:
        self.send(build_request(method, target, headers, body, version))

    def ask(
        self,
        method: str,
        target: str,
        headers: Headers = (),
        body: bytes | None = None,
        version: str = "1.1",
    ) -> Response:
        self.request(method, target, headers, body, version)
        return self.read_response(method)

    def read_head(self) -> Head:
        return parse_head(self._take_until(b"\r\n\r\n"))

    def read_response(self, method: str = "GET") -> Response:
        head = self.read_head()
        body = b"".join(self.read_body(head, method))
        return Response(head.version, head.status, head.headers, body)

    def read_body(self, head: Head, method: str = "GET") -> Iterator[bytes]:
        """The pieces of the body, as they come, up to its end."""
        if method == "HEAD" or head.status < 200 or head.status in (204, 304):
            return
        encoding = head.get("transfer-encoding")
        length = head.get("content-length")
        if encoding is not None:
            if encoding != "chunked":
                raise WireError(f"Transfer-Encoding: {encoding}")
            yield from self._read_chunks()
        elif length is not None:
            yield self._take(int(length))
        else:
            yield from self._read_to_end()

    def read_to_end(self) -> bytes:
        """All that still comes, up to the FIN (or RST) of the server."""
        return b"".join(self._read_to_end())

    def assert_closed(self) -> None:
        rest = self.read_to_end()
        if rest:
            raise WireError(f"bytes after the response: {rest[:200]!r}")

    def _read_to_end(self) -> Iterator[bytes]:
        while self._buffer or self._fill():
            piece, self._buffer = self._buffer, b""
            yield piece

    def _read_chunks(self) -> Iterator[bytes]:
        while True:
            line = self._take_until(b"\r\n")
            if not re.fullmatch(rb"[0-9A-Fa-f]+", line):
                raise WireError(f"bad chunk size: {line!r}")
            size = int(line, 16)
            data = self._take(size)
            if self._take(2) != b"\r\n":
                raise WireError("no CRLF behind a chunk")
            if size == 0:
                return
            yield data

    def _take(self, size: int) -> bytes:
        pieces = [self._buffer]
        got = len(self._buffer)
        while got < size:
            self._buffer = b""
            if not self._fill():
                raise Closed(f"closed with {size - got} bytes to come")
            pieces.append(self._buffer)
            got += len(self._buffer)
        whole = b"".join(pieces)
        self._buffer = whole[size:]
        return whole[:size]

    def _take_until(self, end: bytes) -> bytes:
        while end not in self._buffer:
            if not self._fill():
                raise Closed(f"closed after {self._buffer[-200:]!r}")
        taken, _, self._buffer = self._buffer.partition(end)
        return taken

    def _fill(self) -> bool:
        try:
            data = self.socket.recv(65536)
        except ConnectionResetError:
            return False
        self._buffer += data
        return bool(data)


def fetch(
    base_url: str,
    method: str,
    target: str,
    headers: Headers = (),
    body: bytes | None = None,
) -> Response:
    """One request on a connection of its own."""
    with Connection(base_url) as connection:
        return connection.ask(method, target, [*headers, ("Connection", "close")], body)
