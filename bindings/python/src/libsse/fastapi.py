"""All endpoints of docs/http.md for an existing FastAPI application."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from fastapi import APIRouter, Request, Response

from ._api import OF_ALL, OF_STREAM, Answer
from ._asgi_base import (
    Receive,
    Scope,
    Send,
    full_path,
    raw_headers,
    request_of,
    send_answer,
)
from ._hub import Hub
from .asgi import Application, Authorize

__all__ = ["router"]

# What each verb does; its status, where all is well; what may stand in its query.
_TOLD: Dict[str, Tuple[str, int, Sequence[str]]] = {
    "create": ("Create a stream", 201, ()),
    "list": ("List streams", 200, ["userId"]),
    "read": ("Read a stream", 200, ["last_event_id", "transport"]),
    "append": ("Append events", 202, ["type"]),
    "complete": ("End a stream as completed", 200, ["type"]),
    "fail": ("End a stream as failed", 200, ["type"]),
    "stop": ("Ask the producer to stop", 202, ()),
    "recover": ("Tell what is known of a stream", 200, ["after"]),
    "remove": ("Forget a stream", 204, ()),
    "metrics": ("Metrics for Prometheus", 200, ()),
    "health": ("Ready or not, and why", 200, ()),
}


def router(
    hub: Hub,
    *,
    prefix: str = "/api/stream",
    authorize: Optional[Authorize] = None,
    origins: Sequence[str] = (),
    poll_timeout_s: float = 25.0,
    metrics: bool = True,
    health: bool = True,
) -> APIRouter:
    """`app.include_router(router(hub))`, with a prefix and dependencies of its own if
    wanted. `authorize(request, verb, stream_id)` says who may do what; a str that it
    returns is the user's name. It must not read the request's body."""
    if set(prefix) & set("{}"):
        told = "the prefix must be plain: parameters go to include_router(prefix=...)"
        raise ValueError(told)
    application = Application(
        hub,
        prefix=prefix,
        authorize=authorize,
        origins=origins,
        poll_timeout_s=poll_timeout_s,
    )
    prefix = application.api.prefix
    routes = APIRouter()
    for _, method, verb in OF_ALL:
        _add(routes, application, method, verb, prefix, "")
        _add(routes, application, method, verb, prefix + "/", "", hidden=True)
    for action, method, verb in OF_STREAM:
        rest = "/" + action if action else ""
        _add(routes, application, method, verb, prefix + "/{stream_id}", rest)
    if metrics:
        _add(routes, application, "GET", "metrics", "/metrics", "")
    if health:
        _add(routes, application, "GET", "health", "/health", "")
    others: Any = _Others(application)  # an ASGI application is an endpoint too
    for path in (prefix, prefix + "/{rest:path}", "/metrics", "/health"):
        if path not in ["/metrics"] * (not metrics) + ["/health"] * (not health):
            routes.add_route(path, others, include_in_schema=False)
    return routes


def _add(
    routes: APIRouter,
    application: Application,
    method: str,
    verb: str,
    path: str,
    rest: str,
    hidden: bool = False,
) -> None:
    """A route of FastAPI's, so that dependencies are asked and the schema tells it."""
    summary, status, query = _TOLD[verb]
    of_stream = path.endswith("{stream_id}")
    options: Dict[str, Any] = {
        "name": f"stream_{verb}",
        "summary": summary,
        "status_code": status,
        "tags": ["streams"],
        "response_model": None,
        "response_class": Response,
        "openapi_extra": _schema(verb, query),
        "responses": _responses(verb, status, of_stream),
    }
    endpoint = _endpoint(application, path + rest, of_stream)
    methods = [(method, hidden)] + [("HEAD", True)] * (method == "GET")
    for known, silent in methods:
        routes.add_api_route(
            path + rest,
            endpoint,
            methods=[known],
            include_in_schema=not silent,
            **options,
        )


def _endpoint(
    application: Application, path: str, of_stream: bool
) -> Callable[..., Any]:
    async def of_one(stream_id: str, request: Request) -> Response:
        return _Passing(application, path.format(stream_id=stream_id), request)

    async def of_all(request: Request) -> Response:
        return _Passing(application, path, request)

    # FastAPI looks annotations up in the module, where these are not.
    of_one.__annotations__ = {"stream_id": str, "request": Request}
    of_all.__annotations__ = {"request": Request}
    return of_one if of_stream else of_all


class _Passing(Response):
    """What the application answers to a path below wherever the router is."""

    def __init__(self, application: Application, path: str, request: Request) -> None:
        super().__init__()
        self._application = application
        self._path = path
        self._request = request

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        inner = _below(scope, self._path)
        body = getattr(self._request, "_body", None)
        if body is not None:  # a dependency has read it
            receive = _again(body, receive)
        await self._application(inner, receive, send)


def _below(scope: Scope, path: str) -> Scope:
    whole = full_path(scope)
    return {**scope, "path": whole, "root_path": whole[: len(whole) - len(path)]}


def _again(body: bytes, receive: Receive) -> Receive:
    told: List[Any] = [{"type": "http.request", "body": body}]

    async def again() -> Any:
        return told.pop() if told else await receive()

    return again


class _Others:
    """Answers what no route is for: another method, OPTIONS, no such path. No
    dependency was asked, so it does nothing else."""

    def __init__(self, application: Application) -> None:
        self._api = application.api

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        api = self._api
        rest = scope.get("path_params", {}).get("rest")
        path = scope["path"]
        if rest is not None:
            path = f"{api.prefix}/{rest}"
        else:
            path = next(
                p for p in (api.prefix, "/metrics", "/health") if path.endswith(p)
            )
        request = request_of(_below(scope, path))
        answer = api.route(request.method, request.path, request.root)
        if not isinstance(answer, Answer):
            answer = api.nothing()
        await send_answer(scope, send, answer, raw_headers(api.cors(request)))


# ---- The schema ----


def _schema(verb: str, query: Sequence[str]) -> Dict[str, Any]:
    text = {"type": "string"}
    parameters = [{"name": name, "in": "query", "schema": text} for name in query]
    if verb == "read":
        parameters.append({"name": "Last-Event-ID", "in": "header", "schema": text})
    told: Dict[str, Any] = {"parameters": parameters} if parameters else {}
    if verb in ("create", "append", "complete", "fail"):
        content: Dict[str, Any] = {"application/json": {"schema": {"type": "object"}}}
        if verb != "create":
            content["text/plain"] = {"schema": text}
        if verb == "append":
            content["application/x-ndjson"] = {"schema": text}
        required = verb == "append"
        told["requestBody"] = {"content": content, "required": required}
    return told


def _responses(verb: str, status: int, of_stream: bool) -> Dict[Any, Dict[str, Any]]:
    kind = {"read": "text/event-stream", "metrics": "text/plain"}.get(
        verb, "application/json"
    )
    content: Dict[str, Any] = {kind: {}} if status != 204 else {}
    told: Dict[Any, Dict[str, Any]] = {
        status: {"description": _TOLD[verb][0], "content": content}
    }
    if verb == "read":
        told[204] = {"description": "The stream has ended, and all of it was read"}
        told[400] = {"description": "The cursor is none"}
    if of_stream:
        told[404] = {"description": "There is no such stream"}
    if verb in ("create", "append", "complete", "fail"):
        told[409] = {"description": "The stream is active, or has ended"}
    return told
