"""What responses for ASGI have in common: types, headers, whole answers."""

from __future__ import annotations

from typing import (
    TYPE_CHECKING,
    Any,
    Awaitable,
    Callable,
    Iterable,
    List,
    MutableMapping,
    Tuple,
)

from ._api import Answer, Request

if TYPE_CHECKING:
    from starlette.responses import StreamingResponse as BaseResponse
else:
    try:
        from starlette.responses import StreamingResponse as BaseResponse
    except ImportError:  # a plain ASGI application is enough

        class BaseResponse:
            def __init__(self, content, status_code=200, headers=None, **_):
                self.status_code = status_code
                self.background = None
                self.raw_headers = raw_headers((headers or {}).items())


__all__ = [
    "BaseResponse",
    "Message",
    "RawHeaders",
    "Receive",
    "Scope",
    "Send",
    "full_path",
    "merge",
    "raw_headers",
    "request_of",
    "send_answer",
    "stream_headers",
    "until_gone",
]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
RawHeaders = List[Tuple[bytes, bytes]]


def raw_headers(headers: Iterable[Tuple[str, str]]) -> RawHeaders:
    return [(k.lower().encode("latin-1"), v.encode("latin-1")) for k, v in headers]


def stream_headers(scope: Scope, stream_id: str) -> RawHeaders:
    headers = [
        ("content-type", "text/event-stream"),
        ("cache-control", "no-cache, no-transform"),
        ("x-accel-buffering", "no"),
    ]
    if stream_id:
        headers.append(("x-stream-id", stream_id))
    if scope.get("http_version") == "1.1":  # forbidden in HTTP/2
        headers.append(("connection", "keep-alive"))
    return raw_headers(headers)


def merge(own: RawHeaders, extra: RawHeaders) -> RawHeaders:
    """Our headers, and the others that have another name."""
    names = {name for name, _ in own}
    return own + [header for header in extra if header[0] not in names]


def request_of(scope: Scope, body: bytes = b"") -> Request:
    headers = {
        name.decode("latin-1").lower(): value.decode("latin-1")
        for name, value in scope["headers"]
    }
    path, root = full_path(scope), scope.get("root_path", "")
    return Request(scope["method"], path, scope["query_string"], headers, body, root)


def full_path(scope: Scope) -> str:
    """As the caller has it. A root_path that was given to the application and not to
    the server does not stand in the path."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "").rstrip("/")
    return path if path == root or path.startswith(root + "/") else root + path


async def send_answer(
    scope: Scope, send: Send, answer: Answer, extra: RawHeaders
) -> None:
    headers = raw_headers(answer.headers)
    if answer.status != 204:
        headers += raw_headers(
            [
                ("content-type", answer.content_type),
                ("content-length", str(len(answer.body))),
            ]
        )
    await send(
        {
            "type": "http.response.start",
            "status": answer.status,
            "headers": merge(headers, extra),
        }
    )
    body = b"" if scope["method"] == "HEAD" else answer.body
    await send({"type": "http.response.body", "body": body})


async def until_gone(receive: Receive) -> None:
    """Returns when the caller has gone away."""
    while (await receive())["type"] != "http.disconnect":
        pass
