"""The event store of the Model Context Protocol's SDK, on a hub: what a server sends
over streamable HTTP can be resumed.

    StreamableHTTPSessionManager(server, event_store=EventStore(hub))
    mcp.streamable_http_app(event_store=EventStore(hub))

The SDK keeps sessions in its process, and answers 404 to those of other workers. With
Redis and `app = store.wrap(app)`, what such a session has sent is resumed on any
worker.
"""

from __future__ import annotations

import hashlib
import logging
import sys
import weakref
from contextvars import ContextVar
from types import FrameType
from typing import (
    TYPE_CHECKING,
    Any,
    AsyncIterator,
    Awaitable,
    Callable,
    Dict,
    List,
    Optional,
    Tuple,
)

import mcp.server.streamable_http as _sdk
from mcp.types import JSONRPCError, JSONRPCMessage, JSONRPCResponse
from pydantic import TypeAdapter

from ._event_source import EventSourceResponse
from .errors import SSEError, StreamEnded, StreamExists, StreamNotFound, TooLarge

if TYPE_CHECKING:
    from ._events import Event
    from ._hub import Hub, Stream
    from ._subscription import Subscription

__all__ = ["EventStore"]

_log = logging.getLogger("libsse")

Asgi = Callable[..., Awaitable[None]]

SESSION_HEADER = b"mcp-session-id"
CURSOR_HEADER = b"last-event-id"
# What has another type in the hub's log is the hub's own: a gap, an end.
MESSAGE = "message"
UNKNOWN_SESSION = (400, 404)  # as versions 1 and 2 of the SDK answer
INTERNAL_ERROR = -32603

_messages: TypeAdapter[Any] = TypeAdapter(JSONRPCMessage)

# The request that is served, where `wrap` has seen it.
_scope: ContextVar[Any] = ContextVar("libsse_mcp", default=None)


class _Session:
    """One session of MCP. Its streams' ids in the hub are the same in every process,
    and nobody guesses them who does not know the session."""

    def __init__(self, id: str, user: str) -> None:
        self.prefix: str = f"mcp:{_digest(id, user)}:"
        self.streams: Dict[str, Stream] = {}  # those that wait for their answer

    def name_of(self, stream_id: str) -> str:
        return self.prefix + _digest(stream_id)

    def owns(self, name: str) -> bool:
        return name.startswith(self.prefix)


class EventStore(_sdk.EventStore):
    """Keeps messages in the hub's streams, for as long as the hub keeps those.

    The SDK gives its store a stream's id without its session, and every session has
    a stream "1". Whose it is, is seen from the transport that calls. `session` says
    it where something else calls.

    An event's id is `<seq>-<tag>@<stream>`. A message that cannot be stored, as
    Redis is away, goes out without an id: it reaches who is connected. An answer that
    is larger than an event may be is kept as an error, so that who resumes gets an
    end."""

    def __init__(self, hub: Hub, *, session: str = "") -> None:
        self._hub = hub
        self._only: Optional[_Session] = _Session(session, "") if session else None
        self._known: weakref.WeakKeyDictionary[Any, _Session] = (
            weakref.WeakKeyDictionary()
        )

    def _session(self) -> _Session:
        """Whose transport calls."""
        if self._only is not None:
            return self._only
        transport = _calling_transport(sys._getframe(1))
        if transport is None or transport.mcp_session_id is None:
            raise RuntimeError(
                "the EventStore was not called by a transport with a session, so it "
                "cannot tell the sessions apart: give it the one that it is for, as "
                "EventStore(hub, session=...)"
            )
        session = self._known.get(transport)
        if session is None:
            session = _Session(transport.mcp_session_id, _user_of(_scope.get()))
            self._known[transport] = session
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
        if _answers(body, stream_id):
            session.streams.pop(stream_id, None)
            position = await self._end(stream, body)
        else:
            position = await stream.send(_text_of(body), MESSAGE)
        return f"{position}@{stream.id}"

    async def _end(self, stream: Stream, answer: Any) -> str:
        try:
            return await stream.complete(_text_of(answer), MESSAGE)
        except TooLarge as error:
            _log.warning("an MCP answer is kept as an error: %s", error)
            told = {
                "code": INTERNAL_ERROR,
                "message": "The answer was too large to be kept for who comes back.",
            }
            kept = {"jsonrpc": "2.0", "id": answer.id, "error": told}
            return await stream.complete(kept, MESSAGE)

    async def _open(self, session: _Session, stream_id: str) -> Stream:
        """Shared, as another worker may have begun it, and as a client must not
        know an id that Redis does not."""
        name = session.name_of(stream_id)
        try:
            return await self._hub.create(
                name, user_id=session.prefix, stream_type="mcp", shared=True
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
            self._hub.watch_server()
            async with self._hub.subscribe(name, position) as reader:
                async for id, text in _kept(reader):
                    message = _messages.validate_json(text)
                    await send_callback(_sdk.EventMessage(message, id))
        except SSEError as error:
            _log.info("an MCP stream cannot be resumed: %s", error)
        return None

    # ---- Sessions of other workers ----

    def wrap(self, app: Asgi) -> Asgi:
        """The ASGI application, which resumes the streams of sessions that another
        worker has, too. Only for the user, as the SDK's authentication has him, that
        the session is of."""

        async def wrapped(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] != "http":
                return await app(scope, receive, send)
            token = _scope.set(scope)
            try:
                if scope["method"] == "GET" and _header(scope, CURSOR_HEADER):
                    await self._resume(app, scope, receive, send)
                else:
                    await app(scope, receive, send)
            finally:
                _scope.reset(token)

        return wrapped

    async def _resume(self, app: Asgi, scope: Any, receive: Any, send: Any) -> None:
        """The application's answer, unless it does not know the session."""
        refusal: List[Any] = []

        async def noting(message: Any) -> None:
            start = message["type"] == "http.response.start"
            if refusal or (start and message["status"] in UNKNOWN_SESSION):
                refusal.append(message)
            else:
                await send(message)

        await app(scope, receive, noting)
        if not refusal:
            return
        response = await self._elsewhere(scope)
        if response is not None:
            return await response(scope, receive, send)
        for message in refusal:
            await send(message)

    async def _elsewhere(self, scope: Any) -> Optional[EventSourceResponse]:
        """What a session of another worker has sent, and sends."""
        id = _header(scope, SESSION_HEADER)
        position, _, name = _header(scope, CURSOR_HEADER).rpartition("@")
        if not id or not _Session(id, _user_of(scope)).owns(name):
            return None
        try:
            reader = self._hub.subscribe(name, position)
            await reader.__aenter__()
        except SSEError as error:
            _log.info("an MCP stream cannot be resumed: %s", error)
            return None

        async def items() -> AsyncIterator[Dict[str, str]]:
            try:
                async for event_id, text in _kept(reader):
                    yield {"id": event_id, "event": MESSAGE, "data": text}
            finally:
                reader.close()

        headers = {
            "Cache-Control": "no-cache, no-transform",
            SESSION_HEADER.decode(): id,
        }
        return EventSourceResponse(items(), headers=headers)


async def _kept(reader: Subscription[Event]) -> AsyncIterator[Tuple[str, str]]:
    """Its messages, each with its event's id."""
    async for event in reader:
        if event.type == MESSAGE:
            yield f"{event.id}@{reader.stream_id}", event.data
        elif event.gap is not None:
            _log.warning("an MCP client missed messages: %s", event.data)


def _calling_transport(frame: Optional[FrameType]) -> Any:
    """The SDK's transport among the callers: coroutines that await stand there too."""
    while frame is not None:
        owner = frame.f_locals.get("self")
        if isinstance(owner, _sdk.StreamableHTTPServerTransport):
            return owner
        frame = frame.f_back
    return None


def _user_of(scope: Any) -> str:
    """Who asks, by what the SDK compares: a token's client, issuer and subject."""
    user: Any = scope.get("user") if scope is not None else None
    token = getattr(user, "access_token", None)
    if token is None:
        return ""
    claims = getattr(token, "claims", None) or {}
    subject = getattr(token, "subject", None)
    return repr((token.client_id, claims.get("iss"), subject))


def _text_of(message: Any) -> str:
    return str(message.model_dump_json(by_alias=True, exclude_unset=True))


def _digest(*texts: str) -> str:
    text = "\0".join(texts)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _header(scope: Any, wanted: bytes) -> str:
    for name, value in scope["headers"]:
        if name.lower() == wanted:
            return str(value, "latin-1")
    return ""


def _answers(message: Any, stream_id: str) -> bool:
    """Whether it is what ends the stream of a request."""
    return (
        isinstance(message, (JSONRPCResponse, JSONRPCError))
        and str(message.id) == stream_id
    )
