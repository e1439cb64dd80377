"""The event store of the Model Context Protocol's SDK, on a hub: streams of a
server over streamable HTTP can be resumed, with Redis from any worker.

    store = EventStore(hub)
    app = store.wrap(server.streamable_http_app(event_store=store))

The SDK gives its store no session, and every session has a stream "1". `wrap`
finds the session in the request, so that none gets what is another's. A store for
one transport alone is `EventStore(hub, session=its_session_id)`, and needs no wrap.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
import weakref
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Awaitable, Callable, Dict, Optional

import mcp.server.streamable_http as _sdk
from mcp.types import JSONRPCError, JSONRPCMessage, JSONRPCResponse
from pydantic import TypeAdapter

from .errors import SSEError, StreamEnded, StreamExists, StreamNotFound

if TYPE_CHECKING:
    from ._hub import Hub, Stream

__all__ = ["EventStore"]

_log = logging.getLogger("libsse")

Asgi = Callable[..., Awaitable[None]]

SESSION_HEADER = b"mcp-session-id"
# What has another type in the hub's log is the hub's own: a gap, an end.
MESSAGE = "message"

_messages: TypeAdapter[Any] = TypeAdapter(JSONRPCMessage)


class _Session:
    """One session of MCP, as this process knows it."""

    def __init__(self, id: str) -> None:
        self.id: str = id  # "" until the answer to `initialize` tells it
        self.streams: Dict[str, Stream] = {}  # those that wait for their answer
        self._secret = secrets.token_hex(16)

    def name_of(self, stream_id: str) -> str:
        """The hub's id for one of its streams: the same in every process, and
        nobody guesses it who does not know the session."""
        return self.owner() + _digest(stream_id)

    def owner(self) -> str:
        return _prefix(self.id or self._secret)

    def owns(self, name: str) -> bool:
        """Also what was begun before the session had its id."""
        return name.startswith((self.owner(), _prefix(self._secret)))


_current: ContextVar[Optional[_Session]] = ContextVar("libsse_mcp", default=None)


class EventStore(_sdk.EventStore):
    """Keeps messages in the hub's streams, for as long as the hub keeps those.

    An event's id is `<seq>-<tag>@<stream>`. A message that cannot be stored, as
    Redis is away, goes out without an id: it reaches who is connected."""

    def __init__(self, hub: Hub, *, session: str = "") -> None:
        self._hub = hub
        self._only: Optional[_Session] = _Session(session) if session else None
        # A session lives as long as the SDK's task for it, whose context has it.
        self._known: weakref.WeakValueDictionary[str, _Session] = (
            weakref.WeakValueDictionary()
        )

    # ---- Whose it is ----

    def wrap(self, app: Asgi) -> Asgi:
        """The ASGI application, with each request's session known to the store."""

        async def wrapped(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] != "http":
                return await app(scope, receive, send)
            session = self._session_named(_header(scope["headers"]))

            async def noting(message: Any) -> None:
                if message["type"] == "http.response.start" and session.id == "":
                    self._name(session, _header(message.get("headers", ())))
                await send(message)

            token = _current.set(session)
            try:
                await app(scope, receive, noting)
            finally:
                _current.reset(token)

        return wrapped

    def _session_named(self, id: str) -> _Session:
        session = self._known.get(id)
        if session is None:
            session = _Session("")
            self._name(session, id)
        return session

    def _name(self, session: _Session, id: str) -> None:
        if id != "":
            session.id = id
            self._known[id] = session

    def _session(self) -> _Session:
        session = self._only or _current.get()
        if session is None:
            raise RuntimeError(
                "this EventStore cannot tell the sessions apart: serve "
                "store.wrap(app), or give it the session it is for"
            )
        return session

    # ---- Storing ----

    async def store_event(
        self, stream_id: str, message: Optional[JSONRPCMessage]
    ) -> str:
        """Keeps a message; gives its event's id. None is asked for where the
        stream stands now."""
        session = self._session()
        try:
            try:
                return await self._store(session, stream_id, message)
            except (StreamNotFound, StreamEnded):  # its time was over: a new one
                session.streams.pop(stream_id, None)
                return await self._store(session, stream_id, message)
        except SSEError as error:
            _log.warning("an MCP message goes out unstored: %s", error)
            return ""

    async def _store(
        self, session: _Session, stream_id: str, message: Optional[JSONRPCMessage]
    ) -> str:
        stream = session.streams.get(stream_id)
        if stream is None:
            stream = session.streams[stream_id] = await self._open(session, stream_id)
        if message is None:
            found = await self._hub.recover(stream.id, "$")
            return f"{found.last_event_id or '0'}@{stream.id}"
        body: Any = getattr(message, "root", message)  # as version 1 of the SDK has it
        text = body.model_dump_json(by_alias=True, exclude_unset=True)
        if _answers(body, stream_id):
            session.streams.pop(stream_id, None)
            position = await stream.complete(text, MESSAGE)
        else:
            position = await stream.send(text, MESSAGE)
        return f"{position}@{stream.id}"

    async def _open(self, session: _Session, stream_id: str) -> Stream:
        """Shared, as another worker may have begun it, and as a client must not
        know an id that Redis does not."""
        name = session.name_of(stream_id)
        try:
            return await self._hub.create(
                name, user_id=session.owner(), stream_type="mcp", shared=True
            )
        except StreamExists:
            return await self._hub.open(name)

    # ---- Replaying ----

    async def replay_events_after(
        self, last_event_id: str, send_callback: Callable[[Any], Awaitable[None]]
    ) -> Optional[str]:
        """Sends what came behind an event, and goes on with what comes, up to the
        answer. The SDK is told None, so that it does not follow too: it would
        miss what another worker stores, and what comes between."""
        position, _, name = last_event_id.rpartition("@")
        if not self._session().owns(name):
            _log.info("an MCP client asked for a stream that it does not have")
            return None
        try:
            async with self._hub.subscribe(name, position) as events:
                async for event in events:
                    if event.type == MESSAGE:
                        message = _messages.validate_json(event.data)
                        id = f"{event.id}@{name}"
                        await send_callback(_sdk.EventMessage(message, id))
                    elif event.gap is not None:
                        _log.warning("an MCP client missed messages: %s", event.data)
        except SSEError as error:
            _log.info("an MCP stream cannot be resumed: %s", error)
        return None


def _prefix(secret: str) -> str:
    return f"mcp:{_digest(secret)}:"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _header(headers: Any) -> str:
    for name, value in headers:
        if name.lower() == SESSION_HEADER:
            return str(value, "latin-1")
    return ""


def _answers(message: Any, stream_id: str) -> bool:
    """Whether it is what ends the stream of a request."""
    return (
        isinstance(message, (JSONRPCResponse, JSONRPCError))
        and str(message.id) == stream_id
    )
