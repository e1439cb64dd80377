"""The contract service under test, and the harness's side of its protocol."""

import json
import queue
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from suite.server import Server
from suite.wire import TIMEOUT_S, Response, fetch

Message = dict[str, Any]


class Callbacks:
    """Takes what the service sends. Use it in a `with`."""

    def __init__(self) -> None:
        self._receiver = _Receiver(("127.0.0.1", 0), _Handler)
        self._thread = threading.Thread(target=self._receiver.serve_forever)

    def __enter__(self) -> "Callbacks":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._receiver.shutdown()
        self._receiver.server_close()
        self._thread.join()

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self._receiver.server_address[1]}/{name}"

    def open(self, name: str) -> "queue.Queue[tuple[int, Message]]":
        messages: queue.Queue[tuple[int, Message]] = queue.Queue()
        self._receiver.messages[name] = messages
        return messages

    def fail_next(self, count: int) -> None:
        self._receiver.failures = count


class _Receiver(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024
    failures = 0  # answers that will be 500

    def __init__(self, *args: Any) -> None:
        self.messages: dict[str, queue.Queue[tuple[int, Message]]] = {}
        super().__init__(*args)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        _, name, number = self.path.split("/")
        if self.server.failures:
            self.server.failures -= 1
            self.send_response(500)
        else:
            self.server.messages[name].put((int(number), json.loads(body)))
            self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class Service:
    """A running service, and where it sends to."""

    def __init__(self, server: Server, callbacks: Callbacks) -> None:
        self.server = server
        self.callbacks = callbacks
        self._count = 0

    def ask(self, method: str, target: str, value: Any = None) -> Response:
        body = None if value is None else json.dumps(value).encode()
        return fetch(self.server.base_url, method, target, (), body)

    def open(self, url: str, **params: Any) -> "Stream":
        self._count += 1
        return Stream(self, f"s{self._count}", url, params)


class Stream:
    """A stream of the service. Use it in a `with`."""

    def __init__(
        self, service: Service, name: str, url: str, params: dict[str, Any]
    ) -> None:
        self.service = service
        self._messages = service.callbacks.open(name)
        self._number = 0
        created = service.ask(
            "POST",
            "/",
            {"streamUrl": url, "callbackUrl": service.callbacks.url(name), **params},
        )
        assert created.status == 201, created
        self.path = created.get("location") or ""

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        status = self.service.ask("DELETE", self.path).status
        assert kind or status == 204

    def restart(self) -> None:
        command = {"command": "restart"}
        assert self.service.ask("POST", self.path, command).status == 202

    def next(self) -> Message:
        """The next message, with the number that it must have."""
        try:
            number, message = self._messages.get(timeout=TIMEOUT_S)
        except queue.Empty:
            raise AssertionError("no callback came") from None
        self._number += 1
        assert number == self._number
        return message

    def event(self) -> Message:
        message = self.next()
        assert message["kind"] == "event", message
        event: Message = message["event"]
        return event

    def error(self) -> str:
        message = self.next()
        assert message["kind"] == "error", message
        assert message["error"] == message["comment"] != ""
        return str(message["error"])

    def comment(self) -> str:
        message = self.next()
        assert message["kind"] == "comment", message
        return str(message["comment"])

    def silent(self) -> bool:
        return self._messages.empty()
