"""What several tests need."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from libsse import Event, Hub

WAIT_S = 30.0  # so that a test fails instead of hanging


def run(test: Callable[[Hub], Awaitable[Any]], **options: Any) -> Any:
    """Runs a test in an event loop of its own, with a hub of its own."""

    async def main() -> Any:
        async with Hub(**options) as hub:
            return await asyncio.wait_for(test(hub), WAIT_S)

    return asyncio.run(main())


async def events_of(hub: Hub, id: str, cursor: str = "") -> list[Event]:
    """All events of a stream, up to its end."""
    return [event async for event in hub.subscribe(id, cursor)]


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.005)
