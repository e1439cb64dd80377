"""What test_any_calls.py hands over that nobody expects, and what its clients get."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time
from typing import Any, Callable


class Oops(Exception):
    """What this program itself raises."""


class Alarm(BaseException):
    """As KeyboardInterrupt."""


class Text(str):
    """Raises where it can."""

    def __str__(self) -> str:
        raise Oops

    def __eq__(self, other: object) -> bool:
        raise Oops

    def __hash__(self) -> int:  # once it is well
        if hasattr(self, "hashed"):
            raise Oops
        self.hashed = True
        return 5

    def __len__(self) -> int:
        raise Oops

    def encode(self, *_: Any) -> Any:
        return Bytes(b"xyz")


class Bytes(bytes):
    def __len__(self) -> int:
        return 1 << 20

    def __bytes__(self) -> bytes:
        return self


class Int(int):
    def __le__(self, other: object) -> bool:
        return True

    __lt__ = __gt__ = __ge__ = __le__

    def __index__(self) -> int:
        raise Oops


class Late:
    """Calls something when it is collected, which is late."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self.me, self._call = self, call

    def __del__(self) -> None:
        with contextlib.suppress(Exception, SystemExit):
            self._call()


class Odd:
    """Has whatever is asked for, and it is wrong."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __call__(self, *_: Any, **__: Any) -> Any:
        raise Oops


# ---- The other side of clients ----

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
ANSWERS = (
    HEAD + b"id: 1\ndata: x\n\nid: 2\nevent: completed\ndata: {}\n\n",
    HEAD + b"data: \xff\xfe\n\nevent: \xf0\x9f\ndata: y\n\n: \xff comment\n\n",
    HEAD + b'event: gap\ndata: {"from":1,"to":2,"missed":2,"reason":"trimmed"}\n\n',
    HEAD + b"event: gap\ndata: " + b"[" * 5000 + b"\n\n", HEAD + b"retry: 1\ndata: cu", HEAD,
    b"HTTP/1.1 400 Bad\r\nContent-Length: 4\r\nX-A: \xff\xfe\r\n\r\n\xff\xfe\xc3\xa9",
    b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 204 No\r\n\r\n", b"", b"\xff\0",
    b"HTTP/1.1 503 No\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 302 No\r\nLocation: /\xff\r\nContent-Length: 0\r\n\r\n",
)  # fmt: skip


def serve(seed: str) -> str:
    choose = random.Random(seed)
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
                connection.settimeout(5)
                with connection:
                    connection.recv(65536)
                    connection.sendall(choose.choice(ANSWERS))
                    if choose.random() < 0.2:
                        time.sleep(0.05)
            except OSError:
                pass

    threading.Thread(target=accept, daemon=True).start()
    return f"http://127.0.0.1:{listener.getsockname()[1]}/x"
