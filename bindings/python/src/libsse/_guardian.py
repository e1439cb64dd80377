"""Asks the application what became of streams whose producer went silent."""

from __future__ import annotations

import inspect
import json
import logging
from datetime import datetime
from typing import TYPE_CHECKING, Any, Callable, Dict, Set

from . import _core, sync
from ._info import StreamInfo
from ._loop import Task
from .errors import SSEError

if TYPE_CHECKING:
    from ._hub import Hub

log = logging.getLogger("libsse")

ORPHAN_KEY = 0  # what notes about orphans carry; no stream or reader has it
STATES = ("active", "completed", "failed", "cancelled", "orphaned", "expired")


class Guardian:
    def __init__(self, hub: Hub, on_orphan: Callable[[StreamInfo], Any]) -> None:
        if not callable(on_orphan):
            raise TypeError("on_orphan must be a function")
        self._hub = hub
        self._on_orphan = on_orphan
        self._tasks: Set[Task[None]] = set()
        self._door = hub._doors.here()
        self._door.handlers[ORPHAN_KEY] = self._note
        _core.sse_hub_set_guardian(hub._core.handle, self._door.queue)

    async def close(self) -> None:
        if not self._hub._core.closed:
            _core.sse_hub_set_guardian(self._hub._core.handle, None)
        self._door.handlers.pop(ORPHAN_KEY, None)
        for task in list(self._tasks):
            task.cancel()
            await task.settled()

    def _note(self, kind: int, reason: int, data: bytes) -> None:
        if kind != sync.NOTE_ORPHAN:
            return

        async def ask() -> None:
            try:
                await self._ask(data)
            finally:
                self._tasks.discard(task)

        task = self._door.loop.start(ask, "libsse guardian")
        self._tasks.add(task)

    async def _ask(self, told: bytes) -> None:
        """What fails here is asked again: the store tells it anew."""
        try:
            info = orphan_info(json.loads(told))
            word = self._on_orphan(info)
            if inspect.isawaitable(word):
                word = await word
            state, data = word if isinstance(word, tuple) else (word, None)
            await self._hub.settle(info.id, state or "active", data)
        except SSEError as error:
            log.warning("an orphan could not be settled: %s", error)
        except Exception:
            log.exception("the guardian's on_orphan failed")


def orphan_info(told: Dict[str, Any]) -> StreamInfo:
    """From its JSON, as in a listing."""

    def ms(name: str) -> int:
        text = str(told.get(name) or "1970-01-01T00:00:00Z").replace("Z", "+00:00")
        return int(datetime.fromisoformat(text).timestamp() * 1000)

    state = told.get("state", "orphaned")
    return StreamInfo(
        {
            "id": told["streamId"],
            "state": STATES.index(state) if state in STATES else 4,
            "flags": 0,
            "owner": told.get("userId") or "",
            "kind": told.get("streamType") or "",
            "metadata": json.dumps(told.get("metadata", {})).encode(),
            "created_ms": ms("startedAt"),
            "active_ms": ms("lastHeartbeat"),
            "ended_ms": 0,
            "first_seq": 0,
            "last_seq": 0,
            "log_bytes": 0,
            "subscriber_count": 0,
            "stop_requested": False,
        }
    )
