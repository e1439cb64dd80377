"""An MCP server for the tests of several workers. Its tool waits in its middle for a
file, so that a test decides what happens meanwhile. Configured by the environment, as
workers import it."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from libsse.mcp import EventStore
from mcp.server.auth.provider import AccessToken
from mcp.server.auth.settings import AuthSettings

from libsse import Hub

try:
    from mcp.server.mcpserver import Context, MCPServer

    VERSION = 2
except ImportError:
    from mcp.server.fastmcp import Context
    from mcp.server.fastmcp import FastMCP as MCPServer

    VERSION = 1

GATE = Path(os.environ["APP_GATE"])


class Tokens:
    """Who has the token "u1" is u1."""

    async def verify_token(self, token: str) -> AccessToken:
        return AccessToken(token=token, client_id=token, scopes=[])


store = EventStore(Hub(os.environ["APP_STORE"]))
options: dict[str, Any] = {}
if os.environ.get("APP_AUTH"):
    url = "http://127.0.0.1"
    options["auth"] = AuthSettings(issuer_url=url, resource_server_url=url)
    options["token_verifier"] = Tokens()
if VERSION == 1:
    server = MCPServer("test", event_store=store, retry_interval=1, **options)
    app = server.streamable_http_app()
else:
    server = MCPServer("test", **options)
    app = server.streamable_http_app(event_store=store, retry_interval=1)
app = store.wrap(app)


@server.tool()
async def count(ctx: Context) -> str:
    for n in range(6):
        while n == 3 and not GATE.exists():
            await asyncio.sleep(0.005)
        await ctx.report_progress(n)
    return "counted"
