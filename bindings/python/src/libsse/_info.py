"""What is known of a stream."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Any, Dict, List, Optional

from . import _core
from ._events import Event


class StreamInfo:
    """A stream as it was when it was asked for."""

    __slots__ = (
        "active_ms",
        "created_ms",
        "ended_ms",
        "first_seq",
        "id",
        "is_channel",
        "last_seq",
        "log_bytes",
        "raw_metadata",
        "state",
        "stop_requested",
        "stream_type",
        "subscribers",
        "user_id",
    )

    def __init__(self, core: Dict[str, Any]) -> None:
        self.id: str = core["id"]
        self.state: str = _core.sse_state_name(core["state"])
        self.is_channel: bool = bool(core["flags"] & 1)
        self.user_id: str = core["owner"]
        self.stream_type: str = core["kind"]
        self.raw_metadata: bytes = core["metadata"]
        self.created_ms: int = core["created_ms"]
        self.active_ms: int = core["active_ms"]
        self.ended_ms: int = core["ended_ms"]
        self.first_seq: int = core["first_seq"]
        self.last_seq: int = core["last_seq"]
        self.log_bytes: int = core["log_bytes"]
        self.subscribers: int = core["subscriber_count"]
        self.stop_requested: bool = core["stop_requested"]

    def __repr__(self) -> str:
        return f"<StreamInfo {self.id} {self.state}, {self.last_seq} events>"

    @property
    def metadata(self) -> Any:
        """The JSON value that the stream was given; {} when it was given none."""
        return json.loads(self.raw_metadata or b"{}")

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


class Recovered:
    """All that is known of a stream: what it is, and the events that are kept."""

    __slots__ = ("events", "info", "last_event_id", "terminal_event")

    def __init__(
        self,
        info: StreamInfo,
        events: List[Event],
        last_event_id: str,
        terminal_event: Optional[Event],
    ) -> None:
        self.info: StreamInfo = info
        self.events: List[Event] = events
        self.last_event_id: str = last_event_id
        self.terminal_event: Optional[Event] = terminal_event

    @property
    def state(self) -> str:
        """active, completed, failed, cancelled, orphaned or expired."""
        return self.info.state

    def __repr__(self) -> str:
        return f"<Recovered {self.info.id} {self.state}, {len(self.events)} events>"


def moment(ms: int) -> str:
    """Milliseconds since 1970 as ISO 8601."""
    at = datetime.fromtimestamp(ms / 1000, timezone.utc)
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{ms % 1000:03d}Z"
