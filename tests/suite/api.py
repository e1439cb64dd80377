"""The requests of docs/http.md, one short method each."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from suite.sse_reader import Comment, Event, Item, Parser, Retry
from suite.wire import Connection, Headers, Response, fetch

PREFIX = "/api/stream"

JSON = ("Content-Type", "application/json")
NDJSON = ("Content-Type", "application/x-ndjson")
TEXT = ("Content-Type", "text/plain")


class Api:
    def __init__(self, base_url: str) -> None:
        self.base_url = base_url

    def ask(
        self,
        method: str,
        target: str,
        headers: Headers = (),
        body: bytes | None = None,
    ) -> Response:
        return fetch(self.base_url, method, target, headers, body)

    def create(self, **fields: Any) -> Response:
        return self.ask("POST", PREFIX, [JSON], json.dumps(fields).encode())

    def new_stream(self, **fields: Any) -> str:
        """Creates a stream, and gives its id: a fresh one unless named."""
        fields.setdefault("streamId", fresh_id())
        response = self.create(**fields)
        assert response.status == 201, response
        return response.json()["streamId"]

    def post_event(
        self, stream: str, headers: Headers, body: bytes, query: str = ""
    ) -> Response:
        return self.ask("POST", path_of(stream, "events") + query, headers, body)

    def append(self, stream: str, data: str, type: str = "") -> str:
        """Appends text; gives the event's id."""
        query = f"?type={quote(type, safe='')}" if type else ""
        response = self.post_event(stream, [TEXT], data.encode(), query)
        assert response.status == 202, response
        return response.json()["id"]

    def append_json(self, stream: str, raw: str) -> str:
        response = self.post_event(stream, [JSON], raw.encode())
        assert response.status == 202, response
        return response.json()["id"]

    def append_many(self, stream: str, texts: list[str]) -> list[str]:
        lines = [json.dumps({"data": text}) for text in texts]
        response = self.post_event(stream, [NDJSON], "\n".join(lines).encode())
        assert response.status == 202, response
        return response.json()["ids"]

    def end(
        self,
        stream: str,
        verb: str = "complete",
        headers: Headers = (),
        body: bytes | None = None,
    ) -> Response:
        return self.ask("POST", path_of(stream, verb), headers, body)

    def complete(self, stream: str) -> str:
        """Completes it; gives the terminal event's id."""
        response = self.end(stream)
        assert response.status == 200, response
        return response.json()["id"]

    def stop(self, stream: str) -> Response:
        return self.ask("POST", path_of(stream, "stop"))

    def delete(self, stream: str) -> Response:
        return self.ask("DELETE", path_of(stream))

    def recover(self, stream: str, query: str = "") -> Response:
        return self.ask("GET", path_of(stream, "recover") + query)

    def streams_of(self, user: str) -> Response:
        return self.ask("GET", f"{PREFIX}?userId={quote(user, safe='')}")

    def subscribe(self, stream: str, **options: Any) -> "Reader":
        return Reader(self.base_url, stream, **options)

    def events(self, stream: str, **options: Any) -> list[Event]:
        """All events of a stream that has ended, as a reader gets them."""
        with self.subscribe(stream, **options) as reader:
            return reader.rest()

    def poll(self, stream: str, cursor: str = "") -> Response:
        query = "?transport=poll" + (
            f"&last_event_id={quote(cursor)}" if cursor else ""
        )
        return self.ask("GET", path_of(stream) + query)


class Reader:
    """A subscriber. Use it in a `with`."""

    def __init__(
        self,
        base_url: str,
        stream: str,
        cursor: str | None = None,
        query: str = "",
        headers: Headers = (),
        version: str = "1.1",
        **connection: Any,
    ) -> None:
        sent = list(headers)
        if cursor is not None:
            sent.append(("Last-Event-ID", cursor))
        self.connection = Connection(base_url, **connection)
        self.connection.request("GET", path_of(stream) + query, sent, version=version)
        self.head = self.connection.read_head()
        assert self.head.status == 200, self.head
        self._items = self._read_items()

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def _read_items(self) -> Iterator[Item]:
        parser = Parser()
        for piece in self.connection.read_body(self.head):
            yield from parser.feed(piece)
        assert not parser.unfinished, "the response ends within an event"

    def items(self) -> Iterator[Item]:
        """Events, comments and retries, up to the end of the response."""
        return self._items

    def event(self) -> Event:
        """The next event."""
        for item in self._items:
            if isinstance(item, Event):
                return item
        raise AssertionError("the response ended without an event")

    def take(self, count: int) -> list[Event]:
        return [self.event() for _ in range(count)]

    def rest(self) -> list[Event]:
        """All events up to the end of the response, which must be proper."""
        return [item for item in self._items if isinstance(item, Event)]

    def comment(self) -> Comment:
        for item in self._items:
            if isinstance(item, Comment):
                return item
        raise AssertionError("the response ended without a comment")

    def retry(self) -> Retry:
        for item in self._items:
            if isinstance(item, Retry):
                return item
        raise AssertionError("the response ended without a retry")


def fresh_id() -> str:
    return "t-" + secrets.token_hex(8)


def path_of(stream: str, verb: str = "") -> str:
    return f"{PREFIX}/{quote(stream, safe='')}" + (f"/{verb}" if verb else "")
