"""An HTTP server that does what a test says, byte by byte.

It only accepts: the test takes each request from it, in the order in which
they came, and answers by hand.
"""

import queue
import socket
import ssl
import struct
import threading
from dataclasses import dataclass

from suite.wire import TIMEOUT_S

Headers = list[tuple[str, str]]

STREAM = ("Content-Type", "text/event-stream")


@dataclass(frozen=True)
class Request:
    method: str
    target: str
    headers: list[tuple[str, bytes]]  # names in lower case
    body: bytes

    def all(self, name: str) -> list[bytes]:
        return [value for key, value in self.headers if key == name.lower()]

    def get(self, name: str) -> bytes | None:
        values = self.all(name)
        assert len(values) < 2, values
        return values[0] if values else None

    @property
    def last_event_id(self) -> bytes | None:
        return self.get("last-event-id")


class Exchange:
    """One request, and the connection to answer it on."""

    def __init__(self, request: Request, connection: socket.socket) -> None:
        self.request = request
        self.socket = connection

    def head(
        self, status: int = 200, *headers: tuple[str, str], body: bytes = b""
    ) -> None:
        """Sends a head, and what comes with it in one piece. The body then ends
        with the connection."""
        lines = [f"HTTP/1.1 {status} Scripted"]
        lines += [f"{name}: {value}" for name, value in headers]
        lines += ["Connection: close", "", ""]
        self.send("\r\n".join(lines).encode() + body)

    def stream(self, body: bytes = b"", *headers: tuple[str, str]) -> None:
        """Opens an event stream, and sends some of it."""
        self.head(200, *(headers or (STREAM,)))
        self.send(body)

    def answer(self, status: int, body: bytes = b"", *headers: tuple[str, str]) -> None:
        """A whole response."""
        if status not in (204, 304):
            headers = (*headers, ("Content-Length", str(len(body))))
        self.head(status, *headers, body=body)
        self.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def send_pieces(self, data: bytes, size: int) -> None:
        """Each piece is a segment of its own."""
        for at in range(0, len(data), size):
            self.send(data[at : at + size])

    def close(self) -> None:
        """The orderly end."""
        self.socket.close()

    def reset(self) -> None:
        linger = struct.pack("ii", 1, 0)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.socket.close()

    def wait_closed(self) -> None:
        """Until the client has dropped the connection."""
        try:
            assert self.socket.recv(1) == b""
        except ConnectionResetError:
            pass

    def still_open(self) -> bool:
        self.socket.setblocking(False)
        try:
            return self.socket.recv(1) != b""
        except BlockingIOError:
            return True
        except ConnectionResetError:
            return False
        finally:
            self.socket.settimeout(TIMEOUT_S)


class ScriptServer:
    """Use it in a `with`. With a `tls` context it speaks https."""

    def __init__(
        self, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
    ) -> None:
        self._tls = tls
        self._listener = socket.create_server((host, 0), backlog=1024)
        self._requests: queue.Queue[Exchange] = queue.Queue()
        self._connections: list[socket.socket] = []
        self._last = threading.Event()  # the last connection has been read
        self._last.set()
        self.host = host
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> "ScriptServer":
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._connections:
            connection.close()

    def url(self, path: str = "/stream") -> str:
        scheme = "https" if self._tls else "http"
        return f"{scheme}://{self.host}:{self.port}{path}"

    def next(self, timeout_s: float = TIMEOUT_S) -> Exchange:
        """The next request, or a failure."""
        try:
            return self._requests.get(timeout=timeout_s)
        except queue.Empty:
            raise AssertionError("no request came") from None

    def waiting(self) -> int:
        """Requests that nobody has taken yet."""
        return self._requests.qsize()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.settimeout(TIMEOUT_S)
            self._connections.append(connection)
            before, self._last = self._last, threading.Event()
            threading.Thread(
                target=self._take_request,
                args=(connection, before, self._last),
                daemon=True,
            ).start()

    def _take_request(
        self, connection: socket.socket, before: threading.Event, done: threading.Event
    ) -> None:
        """Reads beside the others, and gives what it has read after them."""
        try:
            exchange = self._read_request(connection)
            before.wait()
            if exchange:
                self._requests.put(exchange)
        finally:
            done.set()

    def _read_request(self, connection: socket.socket) -> Exchange | None:
        try:
            if self._tls:  # whose errors are errors of the system, too
                connection = self._tls.wrap_socket(connection, server_side=True)
                self._connections.append(connection)
            request = read_request(connection)
        except OSError:
            return None
        return Exchange(request, connection) if request else None


def read_request(connection: socket.socket) -> Request | None:
    """None when the connection ends before the request does."""
    raw = b""
    while b"\r\n\r\n" not in raw:
        piece = connection.recv(65536)
        if not piece:
            return None
        raw += piece
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    method, target, version = first.decode().split(" ")
    assert version == "HTTP/1.1"
    headers = []
    for line in lines:
        name, _, value = line.partition(b":")
        headers.append((name.decode().lower(), value.strip(b" ")))
    length = int(dict(headers).get("content-length", b"0"))
    while len(body) < length:
        piece = connection.recv(65536)
        if not piece:
            return None
        body += piece
    return Request(method, target, headers, body)
