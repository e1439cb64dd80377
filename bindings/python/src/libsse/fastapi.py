"""All endpoints of docs/http.md for an existing FastAPI application."""

from __future__ import annotations

from typing import Any, Optional, Sequence

from fastapi import APIRouter

from ._hub import Hub
from .asgi import Application, Authorize

__all__ = ["router"]


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
    """`app.include_router(router(hub))`. `authorize(request, verb, stream_id)` says
    who may do what; a str that it returns is the user's name. Include it without a
    prefix of its own: `prefix` is what the paths begin with."""
    answer = Application(
        hub,
        prefix=prefix,
        authorize=authorize,
        origins=origins,
        poll_timeout_s=poll_timeout_s,
    )
    paths = [prefix, prefix + "/{path:path}"]
    paths += ["/metrics"] * metrics + ["/health"] * health
    routes = APIRouter()
    endpoint: Any = answer  # an ASGI application is an endpoint too
    for path in paths:
        routes.add_route(path, endpoint, include_in_schema=False)
    return routes
