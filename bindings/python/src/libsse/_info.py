"""What is known of a stream."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Dict, List, Optional

from . import _core
from ._events import Event


@dataclass(init=False, repr=False, eq=False)
class StreamInfo:
    """A stream as it was when it was asked for. `metadata` is the JSON value that it
    was given; {} when it was given none. A route of FastAPI may return one, since it
    is a dataclass."""

    __slots__ = (
        "active_ms",
        "created_ms",
        "ended_ms",
        "first_seq",
        "id",
        "is_channel",
        "last_seq",
        "log_bytes",
        "metadata",
        "raw_metadata",
        "state",
        "stop_requested",
        "stream_type",
        "subscribers",
        "user_id",
    )

    id: str
    state: str
    is_channel: bool
    user_id: str
    stream_type: str
    metadata: Any
    created_ms: int
    active_ms: int
    ended_ms: int
    first_seq: int
    last_seq: int
    log_bytes: int
    subscribers: int
    stop_requested: bool

    def __init__(self, core: Dict[str, Any]) -> None:
        self.id = core["id"]
        self.state = _core.sse_state_name(core["state"])
        self.is_channel = bool(core["flags"] & 1)
        self.user_id = core["owner"]
        self.stream_type = core["kind"]
        self.raw_metadata: bytes = core["metadata"]
        self.metadata = value_of(self.raw_metadata)
        self.created_ms = core["created_ms"]
        self.active_ms = core["active_ms"]
        self.ended_ms = core["ended_ms"]
        self.first_seq = core["first_seq"]
        self.last_seq = core["last_seq"]
        self.log_bytes = core["log_bytes"]
        self.subscribers = core["subscriber_count"]
        self.stop_requested = core["stop_requested"]

    def __repr__(self) -> str:
        return f"<StreamInfo {self.id} {self.state}, {self.last_seq} events>"

    def fields(self) -> str:
        """The members of its JSON object, as docs/http.md has them. The metadata
        stand there byte for byte as they came."""
        told = {
            "streamId": self.id,
            "streamType": self.stream_type,
            "userId": self.user_id,
            "startedAt": moment(self.created_ms),
            "lastHeartbeat": moment(self.active_ms),
            "state": self.state,
        }
        metadata = self.raw_metadata.decode() or "{}"
        return f'{json.dumps(told, ensure_ascii=False)[1:-1]}, "metadata":{metadata}'


@dataclass(init=False, repr=False, eq=False)
class Recovered:
    """All that is known of a stream: what it is, and the events that are kept. A
    dataclass, too."""

    __slots__ = ("events", "info", "last_event_id", "terminal_event")

    info: StreamInfo
    events: List[Event]
    last_event_id: str
    terminal_event: Optional[Event]

    def __init__(
        self,
        info: StreamInfo,
        events: List[Event],
        last_event_id: str,
        terminal_event: Optional[Event],
    ) -> None:
        self.info = info
        self.events = events
        self.last_event_id = last_event_id
        self.terminal_event = terminal_event

    @property
    def state(self) -> str:
        """active, completed, failed, cancelled, orphaned or expired."""
        return self.info.state

    def __repr__(self) -> str:
        return f"<Recovered {self.info.id} {self.state}, {len(self.events)} events>"


def value_of(metadata: bytes) -> Any:
    """What JSON they are; the text, where they are none, as another program's may
    be, or nested more deeply than Python reads."""
    try:
        return json.loads(metadata) if metadata else {}
    except (ValueError, RecursionError):
        return metadata.decode(errors="replace")


def moment(ms: int) -> str:
    """Milliseconds since 1970 as ISO 8601."""
    at = datetime.fromtimestamp(ms / 1000, timezone.utc)
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{ms % 1000:03d}Z"
