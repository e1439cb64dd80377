"""The HTTP interface of docs/http.md, apart from any framework: a request's parts
in, an answer out. Subscribing and polling are left to who has the connection."""

from __future__ import annotations

import inspect
import json
import threading
from typing import (
    TYPE_CHECKING,
    Any,
    Dict,
    List,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    Union,
)
from urllib.parse import parse_qsl

from . import _json
from ._events import Event, check_id, check_text
from .errors import (
    BadStreamId,
    Forbidden,
    InvalidArgument,
    NotUTF8,
    SSEError,
    StreamExists,
    StreamNotFound,
    TooLarge,
    Unauthorized,
)

if TYPE_CHECKING:
    from . import sync

JSON = "application/json"
RETRY_AFTER_S = 5
EVENTS_MAX = 100_000
BODY_MAX = 16 << 20
TYPE_MAX = 255

Headers = List[Tuple[str, str]]

# Action, method, verb.
OF_STREAM = [
    ("", "GET", "read"),
    ("", "DELETE", "remove"),
    ("events", "POST", "append"),
    ("complete", "POST", "complete"),
    ("fail", "POST", "fail"),
    ("stop", "POST", "stop"),
    ("recover", "GET", "recover"),
]
OF_ALL = [("", "GET", "list"), ("", "POST", "create")]
_METRICS = [("", "GET", "metrics")]
_HEALTH = [("", "GET", "health")]
_BESIDE = ("/metrics", "/health")

_REFUSED = {
    401: "denied",
    403: "denied",
    404: "not_found",
    405: "method",
    408: "timeout",
    409: "conflict",
    413: "too_large",
    429: "limit",
    503: "limit",
    500: "internal",
}


class Answer(NamedTuple):
    status: int
    body: bytes = b""
    headers: Sequence[Tuple[str, str]] = ()
    content_type: str = JSON


class Call(NamedTuple):
    """What a request is for, before anybody was asked whether it may."""

    verb: str
    stream_id: str


class Follow(NamedTuple):
    """To be answered with a stream, or by long poll."""

    stream_id: str
    cursor: str
    poll: bool


def check_hook(authorize: object) -> None:
    if authorize is not None and not callable(authorize):
        raise TypeError("authorize must be a function")


class Request:
    """The parts of a request that the interface reads."""

    def __init__(
        self,
        method: str,
        path: str,
        query: bytes,
        headers: Dict[str, str],
        body: bytes,
        root: str = "",
    ) -> None:
        self.method: str = method
        self.path: str = path
        self.root: str = root  # the part of the path that is where it is mounted
        self.headers: Dict[str, str] = headers  # names in lower case
        self.body: bytes = body
        self.user: Optional[str] = None  # as the authorize hook has it
        pairs = parse_qsl(
            query.decode("latin-1"), keep_blank_values=True, errors="surrogateescape"
        )
        self.query: Dict[str, str] = dict(reversed(pairs))  # the first of a name counts

    @property
    def cursor(self) -> str:
        told = self.headers.get("last-event-id") or self.query.get("last_event_id", "")
        return told.encode("utf-8", "replace").decode()  # what is no text is no cursor

    @property
    def poll(self) -> bool:
        return self.query.get("transport") == "poll"


def allows(word: Any, request: Request) -> bool:
    """Whether the word of an authorize hook is a yes. What is none of those that it
    may give, a user's record or what nobody has awaited, must not be one."""
    if isinstance(word, str):
        request.user = word
        return word != ""  # that would be the owner of what nobody owns
    if word is None or isinstance(word, bool):
        return word is not False
    if inspect.iscoroutine(word):
        word.close()
    raise TypeError(
        "an authorize hook gives True, None, False or the user's id, a str, not "
        f"{type(word).__name__}"
    )


class Refused(Exception):
    """What is wrong with a request, with its status and code."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


def json_answer(
    status: int, body: str, headers: Sequence[Tuple[str, str]] = ()
) -> Answer:
    return Answer(status, body.encode(), [*headers, ("Cache-Control", "no-store")])


class Api:
    """The interface of one hub. `answer` may wait for the store."""

    def __init__(
        self, hub: sync.Hub, prefix: str = "/api/stream", origins: Sequence[str] = ()
    ) -> None:
        self.hub: sync.Hub = hub
        self.prefix: str = check_text("prefix", prefix).rstrip("/")
        if isinstance(origins, str):
            raise TypeError("origins must be several, as a list")
        self.origins: List[str] = list(origins)
        self.closing: bool = False
        self._lock = threading.Lock()
        self._refused = dict.fromkeys([*_REFUSED.values(), "bad_request"], 0)

    # ---- Routes ----

    def route(self, method: str, path: str, root: str = "") -> Union[Call, Answer]:
        """What a path names, or the answer to one that names nothing. The prefix
        stands below the root, or is it."""
        root = root.rstrip("/")
        inner = path[len(root) :] if path.startswith(root + "/") else path
        if inner in _BESIDE or self._is_below_prefix(inner):
            path = inner
        if path == "/metrics":
            return self._dispatch(_METRICS, method, "", "")
        if path == "/health":
            return self._dispatch(_HEALTH, method, "", "")
        if not self._is_below_prefix(path):
            return self.nothing()
        rest = path[len(self.prefix) + 1 :]
        if not rest:
            return self._dispatch(OF_ALL, method, "", "")
        id, slash, action = rest.partition("/")
        try:
            check_id(id)
        except BadStreamId as error:
            return self.refuse(error)
        if slash and not action:
            return self.nothing()
        return self._dispatch(OF_STREAM, method, action, id)

    def _is_below_prefix(self, path: str) -> bool:
        return path == self.prefix or path.startswith(self.prefix + "/")

    def _dispatch(
        self, routes: List[Tuple[str, str, str]], method: str, action: str, id: str
    ) -> Union[Call, Answer]:
        here = [(m, verb) for a, m, verb in routes if a == action]
        if not here:
            return self.nothing()
        words: List[str] = []
        for known, _ in here:
            words += ["GET", "HEAD"] if known == "GET" else [known]
        allow = ", ".join([*words, "OPTIONS"])
        if method == "OPTIONS":
            return Answer(204, headers=[("Allow", allow)])
        for known, verb in here:
            if known == ("GET" if method == "HEAD" else method):
                return Call(verb, id)
        told = "This path does not take that method: see Allow."
        return self._error(405, "method_not_allowed", told, [("Allow", allow)])

    def nothing(self) -> Answer:
        return self._error(404, "not_found", "There is nothing at this path.")

    # ---- Errors ----

    def _error(
        self,
        status: int,
        code: str,
        message: str,
        headers: Sequence[Tuple[str, str]] = (),
    ) -> Answer:
        with self._lock:
            self._refused[_REFUSED.get(status, "bad_request")] += 1
        if status in (429, 503):
            headers = [*headers, ("Retry-After", str(RETRY_AFTER_S))]
        body = json.dumps({"error": code, "message": message})
        return json_answer(status, body, headers)

    def refuse(self, error: Exception) -> Answer:
        """The answer to a request that failed."""
        if isinstance(error, Unauthorized):
            challenge = [("WWW-Authenticate", error.challenge)]
            return self._error(error.status, error.code, error.message, challenge)
        if isinstance(error, (SSEError, Refused)):
            return self._error(error.status, error.code, error.message)
        if isinstance(error, UnicodeError):
            return self._error(NotUTF8.status, NotUTF8.code, NotUTF8.message)
        raise error

    def cors(self, request: Request) -> Headers:
        """The headers that let other pages read an answer."""
        if not self.origins:
            return []
        origin = request.headers.get("origin", "")
        vary = [("Vary", "Origin")]
        if "*" in self.origins:
            allowed, vary = "*", []
        elif origin and origin in self.origins:
            allowed = origin
        else:
            return vary
        headers = [
            ("Access-Control-Allow-Origin", allowed),
            ("Access-Control-Expose-Headers", "X-Stream-Id, Location, Retry-After"),
            *vary,
        ]
        if allowed != "*":
            headers.append(("Access-Control-Allow-Credentials", "true"))
        if request.method == "OPTIONS":
            headers += [
                ("Access-Control-Allow-Methods", "GET, HEAD, POST, DELETE, OPTIONS"),
                (
                    "Access-Control-Allow-Headers",
                    "Authorization, Content-Type, Last-Event-ID",
                ),
                ("Access-Control-Max-Age", "600"),
            ]
        return headers

    # ---- Answers ----

    def answer(self, call: Call, request: Request) -> Union[Answer, Follow]:
        """What the request asked for, done."""
        try:
            if len(request.body) > BODY_MAX:
                raise TooLarge(TooLarge.message)
            answer: Union[Answer, Follow] = getattr(self, "_" + call.verb)(
                call.stream_id, request
            )
            return answer
        except (SSEError, Refused, UnicodeError) as error:
            return self.refuse(error)

    def _own(self, id: str, user: Optional[str]) -> sync.Stream:
        """The stream, if there is one and it is the user's."""
        stream = self.hub.open(id)
        if user is not None and stream.info().user_id not in ("", user):
            raise StreamNotFound(StreamNotFound.message)
        return stream

    def _create(self, _: str, request: Request) -> Answer:
        fields = _creation(request.body.decode())
        owner = fields["userId"]
        user = request.user
        if user is not None and owner and owner != user:
            told = "A stream cannot be created for somebody else."
            raise Refused(403, "forbidden", told)
        id = fields["streamId"]
        if id is not None:
            check_id(id)
            if user is not None:
                self._check_replaceable(id, user)
        stream = self.hub.create(
            id or "",
            user_id=(owner or "") if user is None else user,
            stream_type=fields["streamType"] or "",
            metadata=fields["metadata"],
            shared=self.hub.core.has_store,
        )
        location = [("Location", f"{request.path.rstrip('/')}/{stream.id}")]
        return json_answer(201, _state(stream.id, "active"), location)

    def _check_replaceable(self, id: str, user: str) -> None:
        """An ended stream is still its owner's."""
        try:
            owner = self.hub.info(id).user_id
        except StreamNotFound:
            return
        if owner not in ("", user):
            raise StreamExists(StreamExists.message)

    def _read(self, id: str, request: Request) -> Follow:
        self._own(id, request.user)
        return Follow(id, request.cursor, request.poll)

    def _append(self, id: str, request: Request) -> Answer:
        events, many = self._events(request, terminal=False)
        stream = self._own(id, request.user)
        ids = [stream.send(data, type) for type, data in events]
        if many:
            return json_answer(202, json.dumps({"ids": ids}))
        return json_answer(202, json.dumps({"id": ids[0]}))

    def _complete(self, id: str, request: Request) -> Answer:
        return self._end(id, request, "completed")

    def _fail(self, id: str, request: Request) -> Answer:
        return self._end(id, request, "failed")

    def _end(self, id: str, request: Request, state: str) -> Answer:
        ((type, data),), _ = self._events(request, terminal=True)
        stream = self._own(id, request.user)
        end = stream.complete if state == "completed" else stream.fail
        told = {"id": end(data, type), "state": state}
        return json_answer(200, json.dumps(told))

    def _stop(self, id: str, request: Request) -> Answer:
        stream = self._own(id, request.user)
        self.hub.stop(id)
        return json_answer(202, _state(id, stream.info().state))

    def _remove(self, id: str, request: Request) -> Answer:
        self._own(id, request.user)
        self.hub.remove(id)
        return Answer(204)

    def _recover(self, id: str, request: Request) -> Answer:
        try:
            self._own(id, request.user)
            found = self.hub.recover(id, request.query.get("after", ""))
        except StreamNotFound:
            missing = self.refuse(StreamNotFound())
            body = b'{"status":"not_found",' + missing.body[1:]
            return missing._replace(body=body)
        parts = [
            f'{{"status":"{found.state}",{found.info.fields()}',
            f'"lastEventId":{_json.quote(found.last_event_id)}',
        ]
        if found.terminal_event is not None:
            parts += _terminal(found.terminal_event, found.info.ended_ms)
        parts.append(f'"events":{json.dumps([event_json(e) for e in found.events])}}}')
        return json_answer(200, ",".join(parts))

    def _list(self, _: str, request: Request) -> Answer:
        asked = request.query.get("userId", "")
        user = request.user
        if user is not None and asked not in ("", user):
            raise StreamNotFound(StreamNotFound.message)
        infos = self.hub.streams(user_id=asked if user is None else user)
        entries = ",".join(f"{{{info.fields()}}}" for info in infos)
        return json_answer(200, f'{{"streams":[{entries}]}}')

    def _metrics(self, _: str, request: Request) -> Answer:
        name = "sse_requests_refused_total"
        lines = [
            f"# HELP {name} Requests refused, by reason.",
            f"# TYPE {name} counter",
        ]
        with self._lock:
            counts = dict(self._refused)
        lines += [f'{name}{{reason="{r}"}} {n}' for r, n in counts.items()]
        text = self.hub.metrics() + "\n".join(lines) + "\n"
        kind = "text/plain; version=0.0.4; charset=utf-8"
        return Answer(200, text.encode(), [("Cache-Control", "no-store")], kind)

    def _health(self, _: str, request: Request) -> Answer:
        if self.closing:
            return json_answer(503, '{"status":"closing"}')
        why = self.hub.store_error()
        if why:
            return json_answer(503, json.dumps({"status": "degraded", "message": why}))
        return json_answer(200, '{"status":"ok"}')

    # ---- Bodies ----

    def _events(
        self, request: Request, terminal: bool
    ) -> Tuple[List[Tuple[str, str]], bool]:
        """Types and data of a body's events; whether it was a batch."""
        kind = request.headers.get("content-type", "").partition(";")[0]
        kind = kind.strip().lower()
        if kind == "text/plain":
            type = request.query.get("type", "")
            return [self._checked(type, request.body.decode())], False
        lines = ("application/x-ndjson", "application/ndjson", "application/jsonl")
        if kind in lines and not terminal:
            return self._lines(request.body.decode()), True
        if kind not in ("", JSON, "application/x-www-form-urlencoded"):
            told = "Send application/json, application/x-ndjson or text/plain."
            raise Refused(415, "unsupported_type", told)
        if terminal and not request.body:
            return [("", "{}")], False
        return [self._event(request.body.decode(), needs_data=not terminal)], False

    def _lines(self, text: str) -> List[Tuple[str, str]]:
        """All are good, or none is sent."""
        lines = [line for line in text.split("\n") if line.strip(" \t\r")]
        if not lines:
            raise _bad_json()
        if len(lines) > EVENTS_MAX:
            raise TooLarge(TooLarge.message)
        return [self._event(line, needs_data=True) for line in lines]

    def _event(self, text: str, needs_data: bool) -> Tuple[str, str]:
        """One object {"type"?, "data"}."""
        type, data, has_data = "", "{}", False
        try:
            for key, raw in _json.members(text):
                if key == "data":
                    has_data = True
                    data = _json.string(raw) if raw[0] == '"' else raw
                elif key == "type":
                    if raw[0] != '"':
                        raise InvalidArgument(InvalidArgument.message)
                    type = _json.string(raw)
        except InvalidArgument:
            raise
        except ValueError:
            raise _bad_json() from None
        if needs_data and not has_data:
            raise Refused(400, "bad_event", "An event needs the member data.")
        return self._checked(type, data)

    def _checked(self, type: str, data: str) -> Tuple[str, str]:
        """What would be refused on its way, refused before anything is sent."""
        if len(type.encode()) > TYPE_MAX or set(type) & set("\r\n\0"):
            raise InvalidArgument(InvalidArgument.message)
        if len(data.encode()) > self.hub.core.options.get("max_event_bytes", 1 << 20):
            raise TooLarge(TooLarge.message)
        return type, data


def _bad_json() -> Refused:
    return Refused(
        400,
        "bad_json",
        "The body must be a JSON object with the member data, or one such object a "
        "line.",
    )


def _creation(text: str) -> Dict[str, Any]:
    """The members of a create body."""
    fields: Dict[str, Any] = dict.fromkeys(("streamId", "streamType", "userId"))
    fields["metadata"] = None
    if not text:
        return fields
    try:
        for key, raw in _json.members(text):
            if key == "metadata":
                fields[key] = raw.encode()
            elif key in fields and raw != "null":
                if raw[0] != '"':
                    raise ValueError(f"{key} is no string")
                fields[key] = _json.string(raw)
    except ValueError:
        told = (
            "The body must be a JSON object; streamId, streamType and userId are "
            "strings."
        )
        raise Refused(400, "bad_json", told) from None
    return fields


def _state(id: str, state: str) -> str:
    return json.dumps({"streamId": id, "state": state})


def event_json(event: Event) -> Dict[str, Optional[str]]:
    """As in the answers of recover and poll: a gap has no id."""
    return {"id": event.id or None, "type": event.type, "data": event.data}


def _terminal(event: Event, ended_ms: int) -> List[str]:
    from ._info import moment

    data = event.data if _json.is_json(event.data) else _json.quote(event.data)
    return [
        f'"terminalEventType":{_json.quote(event.type)}',
        f'"terminalEventData":{data}',
        f'"completedAt":"{moment(ended_ms)}"',
    ]


__all__ = [
    "Answer",
    "Api",
    "Call",
    "Follow",
    "Forbidden",
    "Request",
    "allows",
    "check_hook",
    "event_json",
]
