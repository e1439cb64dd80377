"""Streams in Django's views, under WSGI. Under ASGI, libsse.asgi.Application stands
beside Django's own application."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional, Tuple

from django.http import HttpRequest, StreamingHttpResponse

from . import wsgi

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from . import sync
    from ._options import StreamOptions

__all__ = ["respond", "response_from_app"]


def respond(
    hub: sync.Hub,
    request: HttpRequest,
    stream_id: str,
    producer: Optional[Callable[..., Any]] = None,
    *,
    user_id: str = "",
    stream_type: str = "",
    metadata: Any = None,
    headers: Optional[Dict[str, str]] = None,
    **options: Unpack[StreamOptions],
) -> StreamingHttpResponse:
    """The response that a view returns for a stream: see libsse.wsgi.respond."""
    app = wsgi.respond(
        hub,
        stream_id,
        producer,
        user_id=user_id,
        stream_type=stream_type,
        metadata=metadata,
        headers=headers,
        **options,
    )
    return response_from_app(app, request)


def response_from_app(app: wsgi.WSGIApp, request: HttpRequest) -> StreamingHttpResponse:
    """What a WSGI application answers, libsse.wsgi.Application for one."""
    environ: Any = getattr(request, "environ", None)
    if environ is None:
        raise TypeError(
            "this request came over ASGI, where a stream must not hold a thread: "
            "serve libsse.asgi.Application beside Django's application"
        )
    started: List[Tuple[int, List[Tuple[str, str]]]] = []

    def start(status: str, headers: List[Tuple[str, str]], *_: Any) -> None:
        started.append((int(status.split()[0]), headers))

    body = app(environ, start)
    ((status, headers),) = started
    response = StreamingHttpResponse(body, status=status, headers=dict(headers))
    if response.headers.get("Content-Type") == "text/event-stream":
        # GZipMiddleware would keep events back until they are many.
        request.META.pop("HTTP_ACCEPT_ENCODING", None)
    return response
