"""Follows a stream over HTTP until it ends: comes back with the last event id when
the connection is lost, delivers no event twice, and tells what is missing."""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import select
import threading
from collections import deque
from collections.abc import Mapping as MappingABC
from itertools import repeat
from typing import (
    TYPE_CHECKING,
    Any,
    AsyncIterator,
    Awaitable,
    Callable,
    Deque,
    Dict,
    Iterator,
    Mapping,
    Optional,
    Sequence,
    Tuple,
    TypeVar,
    Union,
    cast,
)

from . import _core, _loop
from ._events import Event, check_text, text_of, without_secrets
from ._handles import First, Handle
from ._options import NEVER, flag_of, number_of
from .errors import SSEError, saying

if TYPE_CHECKING:
    from typing_extensions import Literal, TypedDict, Unpack

    class ClientOptions(TypedDict, total=False):
        """Limits and delays, as docs/client.md lists them; None lifts a limit."""

        retry_ms: int
        retry_floor_ms: int
        retry_cap_ms: int
        retry_after_cap_ms: int
        max_attempts: Optional[int]
        budget_ms: Optional[int]
        healthy_ms: int
        healthy_events: int
        connect_ms: Optional[int]
        first_byte_ms: Optional[int]
        stall_ms: Optional[int]
        poll_ms: int
        poll_period_ms: int
        window: int
        queue_bytes: int
        max_event_bytes: Optional[int]
        max_redirects: int
        max_error_bytes: int


__all__ = ["Client", "ClientError", "News"]

R = TypeVar("R")
Token = Union[str, None]
TokenHook = Callable[[int], Union[Token, Awaitable[Token]]]

_OPEN, _EVENT, _COMMENT, _GAP, _STATE, _RETRY, _ERROR, _END, _TOKEN = range(1, 10)
_ANSWERED = 0  # a question for a token that has had its answer
_KINDS = ("", "open", "event", "comment", "gap", "state", "retry", "error", "end")
_GAPS = ("trimmed", "expired", "lagged", "diverged", "other", "unannounced")
_STATES = (
    "idle",
    "connecting",
    "open",
    "waiting",
    "offline",
    "suspended",
    "ended",
)
_PROFILES = ("resilient", "strict", "finite")
_ORDERLY = {"terminal", "no_content", "body_end", "closed"}
_ACK, _COMMENTS, _ASK_TOKEN, _POLL, _INSECURE = 1, 2, 4, 32, 64

_SETTINGS = {
    "method": 1,
    "body": 2,
    "recovery_url": 3,
    "last_event_id": 4,
    "proxy": 5,
    "ca_file": 6,
    "cert_file": 7,
    "key_file": 8,
    "key_password": 9,
    "unix_socket": 10,
    "user_agent": 11,
}


class ClientError(SSEError):
    """The stream was lost for good: `cause`, as docs/client.md names it, the status
    of HTTP, or 0, and the body of a refusal."""

    def __init__(self, cause: str, status: int, detail: str, body: str) -> None:
        super().__init__(detail or cause)
        self.cause: str = cause
        self.http_status: int = status
        self.body: str = body

    def __reduce__(self) -> Tuple[Any, ...]:
        return type(self), (self.cause, self.http_status, str(self), self.body)


class News:
    """What a client has to tell. `kind` is open, event, comment, gap, state, retry,
    error or end, and says which fields hold."""

    __slots__ = ("_core",)

    def __init__(self, core: Dict[str, Any]) -> None:
        self._core = core

    def __repr__(self) -> str:
        return f"<News {self.kind}: {self.detail or self._core['data']!r}>"

    @property
    def kind(self) -> str:
        """open, event, comment, gap, state, retry, error or end."""
        return _KINDS[self._core["kind"]]

    @property
    def event(self) -> Optional[Event]:
        """Of an event, or of a gap, which looks like the server's own."""
        core = self._core
        if core["kind"] == _EVENT:
            return Event(core["data"], core["type"], core["id"])
        if core["kind"] != _GAP:
            return None
        told = {
            "from": core["from_seq"],
            "to": core["to_seq"],
            "missed": None if core["missed"] < 0 else core["missed"],
            "reason": _GAPS[core["gap"]],
        }
        return Event(json.dumps(told), "gap", "")

    @property
    def cause(self) -> str:
        """Of an error and of the end: why, as docs/client.md names it."""
        name: str = _core.sse_cause_name(self._core["cause"])
        return name

    @property
    def status(self) -> int:
        """Of HTTP, where there was an answer; else 0."""
        return int(self._core["status"])

    @property
    def state(self) -> str:
        """Of a state: idle, connecting, open, waiting, offline, suspended, ended."""
        return _STATES[self._core["state"]]

    @property
    def delay_ms(self) -> int:
        """Of a retry: how long it waits before the next attempt."""
        return int(self._core["delay_ms"])

    @property
    def detail(self) -> str:
        """The cause in words."""
        return str(self._core["detail"])

    @property
    def data(self) -> str:
        """The text of a comment, or the body of a refusal."""
        return str(self._core["data"])


_network: First[_core.Loop] = First()
os.register_at_fork(after_in_child=_network.clear)


def _shared_network() -> _core.Loop:
    """One thread serves the network of all clients."""
    network = _network.get()
    if network is None:
        network = _core.sse_loop_new()
        _core.sse_loop_start(network)
        network = _network.keep(network)
    return network


class Client(Handle):
    """Iterate over it, with `for` or `async for`: events, and gaps as events of type
    gap. It ends behind the stream's end; ClientError when the stream is lost for
    good.

    `profile`: "resilient", "strict" (what a browser's EventSource does) or "finite"
    (answered once, as by a language model). `token` is a bearer token, or a function
    that gives one, async or not: called before each attempt with 0, and with 401
    when the last one was refused. `state` is what `position()` gave."""

    def __init__(
        self,
        url: str,
        *,
        method: str = "",
        body: Any = None,
        headers: Optional[Mapping[str, str]] = None,
        last_event_id: str = "",
        profile: Literal["resilient", "strict", "finite"] = "resilient",
        token: Union[str, TokenHook, None] = None,
        end_types: Optional[Sequence[str]] = None,
        state: Optional[bytes] = None,
        ack: bool = False,
        comments: bool = False,
        poll: bool = False,
        insecure: bool = False,
        settings: Optional[Mapping[str, str]] = None,
        **options: Unpack[ClientOptions],
    ) -> None:
        numbers = _numbers(cast(Dict[str, Any], options))
        if profile not in _PROFILES:
            raise ValueError(f"profile is one of {', '.join(_PROFILES)}")
        numbers["profile"] = _PROFILES.index(profile)
        numbers["flags"] = (
            _ACK * flag_of("ack", ack)
            | _COMMENTS * flag_of("comments", comments)
            | _POLL * flag_of("poll", poll)
            | _INSECURE * flag_of("insecure", insecure)
            | (_ASK_TOKEN if callable(token) else 0)
        )
        if isinstance(end_types, str):
            raise TypeError("end_types must be several, as a list")
        self.url: str = check_text("url", url)
        with saying("the url must be an http or https URL of at most 8 KiB"):
            self._core = _core.sse_client_new(_shared_network(), url, numbers)
        self._token: Optional[TokenHook] = token if callable(token) else None
        self._taken: Deque[Dict[str, Any]] = deque()  # and not yet handed out
        self._asking = threading.RLock()  # for a token, one thread at a time
        self._waiting = False  # a task, for news or for a token
        self._refusal = ""  # the body of the last one
        given: Dict[str, Union[str, bytes]]
        given = {"method": method, "last_event_id": last_event_id, **(settings or {})}
        if body is not None:
            given["body"] = text_of(body)
            given["method"] = method or "POST"
        self._set_all(given)
        if headers is not None and not isinstance(headers, MappingABC):
            raise TypeError("headers must be a mapping")
        for name, value in (headers or {}).items():
            self.set_header(name, value)
        for type in end_types or ():
            with saying(f"{type!r} is no type of an event"):
                _core.sse_client_add_end_type(self._core, check_text("type", type))
        if token is not None and not callable(token):
            self.set_token(token)
        if state is not None:
            with saying("the state is damaged, or belongs to another URL"):
                _core.sse_client_import(self._core, state)
        self._fd = _core.sse_client_fd(self._core)

    def __repr__(self) -> str:
        return f"<Client {without_secrets(self.url)}>"

    def _set_all(self, given: Mapping[str, Union[str, bytes]]) -> None:
        for name, value in given.items():
            if value:
                number = _setting(name)
                with saying(f"{name} cannot be {value!r}"):
                    if name != "body":
                        check_text(name, value)
                    _core.sse_client_set(self._core, number, value)

    # ---- Iterating ----

    def __iter__(self) -> Iterator[Event]:
        return self._each(self._event_of)

    async def __aiter__(self) -> AsyncIterator[Event]:
        async for event in self._aeach(self._event_of):
            yield event

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def news(self) -> Iterator[News]:
        """All that it has to tell, to its end."""
        return self._each(self._news_of)

    async def anews(self) -> AsyncIterator[News]:
        """The same, in an event loop."""
        async for news in self._aeach(self._news_of):
            yield news

    # A signal's handler may raise an exception between any two steps of Python's.
    # What C has taken is in `_taken` when its call returns, and leaves it when C
    # gives what was made of it to who iterates.

    def _each(self, make: Callable[[Dict[str, Any]], Optional[R]]) -> Iterator[R]:
        return map(
            _core.sse_next, repeat(self._taken), repeat(self._more), repeat(make)
        )

    def _more(self) -> bool:
        """Waits until something is taken; false behind the end."""
        while not self._taken:
            is_more = _core.sse_client_take(self._core, self._taken)
            if is_more is False:
                return False
            if is_more is None:
                poll = select.poll()
                poll.register(self._fd, select.POLLIN)
                poll.poll()  # Python's own: a signal's handler runs
        return True

    async def _aeach(
        self, make: Callable[[Dict[str, Any]], Optional[R]]
    ) -> AsyncIterator[R]:
        while True:
            first = self._first()
            if first is None:
                is_more = _core.sse_client_take(self._core, self._taken)
                if is_more is False:
                    return
                if is_more is None:
                    # It is watched only while it is waited for: it stays readable
                    # as long as nobody takes.
                    with self._alone():
                        await _loop.here().readable(self._fd)
            elif first["kind"] == _TOKEN:
                with self._alone():
                    await self._answer_here(first)
            else:
                try:
                    item: R = _core.sse_next(self._taken, bool, make)
                except StopIteration:
                    continue  # there was nothing to hand out for it
                yield item

    def _first(self) -> Optional[Dict[str, Any]]:
        try:
            return self._taken[0]
        except IndexError:  # a thread may take it at any time
            return None

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        if self._waiting:
            raise RuntimeError("another task reads from this client")
        self._waiting = True
        try:
            yield
        finally:
            self._waiting = False

    # Who is interrupted while the hook is asked asks it again.

    def _answer(self, core: Dict[str, Any]) -> None:
        with self._asking:
            if core["kind"] == _TOKEN and self._token is not None:
                token = self._token(core["status"])
                if inspect.isawaitable(token):
                    if inspect.iscoroutine(token):
                        token.close()
                    raise TypeError("an async token function needs `async for`")
                self.set_token(token)
                core["kind"] = _ANSWERED

    async def _answer_here(self, core: Dict[str, Any]) -> None:
        if self._token is not None:
            token = self._token(core["status"])
            self.set_token(await token if inspect.isawaitable(token) else token)
        core["kind"] = _ANSWERED

    def _news_of(self, core: Dict[str, Any]) -> Optional[News]:
        if core["kind"] == _TOKEN:
            self._answer(core)
        if core["kind"] == _ANSWERED:
            return None
        if core["kind"] == _ERROR:
            self._refusal = core["data"]
        return News(core)

    def _event_of(self, core: Dict[str, Any]) -> Optional[Event]:
        news = self._news_of(core)
        if news is None:
            return None
        if news.kind == "end" and news.cause not in _ORDERLY:
            raise ClientError(news.cause, news.status, news.detail, self._refusal)
        return news.event

    # ---- Steering ----

    def header(self, name: str) -> str:
        """A header of the last answer; "" where there is none."""
        return _core.sse_client_header(self._core, check_text("name", name))

    def set_header(self, name: str, value: str) -> None:
        """Of the requests from the next attempt on."""
        check_text("a header's name", name)
        check_text(f"the header {name}", value)
        with saying(f"{name}: {value!r} cannot be sent as a header"):
            _core.sse_client_set_header(self._core, name, value)

    def set_token(self, token: Token, lifetime_ms: int = 0) -> None:
        """A new bearer token; on an open stream, a connection with it is opened
        before the other one is dropped."""
        if token is None:
            _core.sse_client_no_token(self._core)
            return
        with saying("the token must be of characters that a header may hold"):
            _core.sse_client_set_token(
                self._core, check_text("token", token), lifetime_ms
            )

    def suspend(self) -> None:
        """The program sleeps: drops the connection, and waits for `resume()`."""
        _core.sse_client_suspend(self._core)

    def resume(self) -> None:
        """Goes on behind the last event, at once."""
        _core.sse_client_resume(self._core)

    def offline(self) -> None:
        """There is no network: drops the connection, and waits for `online()`."""
        _core.sse_client_offline(self._core)

    def online(self) -> None:
        """There is a network again: goes on behind the last event, at once."""
        _core.sse_client_online(self._core)

    def restart(self) -> None:
        """Drops the connection and opens it again at once."""
        _core.sse_client_restart(self._core)

    def close(self) -> None:
        """Ends it, in whatever thread or task it is waited for."""
        _core.sse_client_close(self._core)

    def ack(self, id: str) -> None:
        """With ack=True: everything up to this event has been dealt with."""
        _core.sse_client_ack(self._core, check_text("id", id))

    def position(self) -> bytes:
        """Where it stands, for `state` of a later one: behind the last event that
        has been dealt with, which asking for the next one says."""
        return _core.sse_client_export(self._core)


def _setting(name: str) -> int:
    if name not in _SETTINGS:
        raise ValueError(f"there is no setting {name!r}")
    return _SETTINGS[name]


def _numbers(options: Dict[str, Any]) -> Dict[str, int]:
    """None is never, for all of a client's."""
    return {
        name: NEVER if value is None else number_of(name, value)
        for name, value in options.items()
    }
