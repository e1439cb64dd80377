"""The numbers of a hub, a stream and a store, by the names that sse.h gives them."""

from __future__ import annotations

from typing import Any, Dict, Iterable, Literal, Optional, Tuple, TypedDict


class HubOptions(TypedDict, total=False):
    """What is left out has its default, as sse.h says it. None in one of the
    first three means never."""

    heartbeat_ms: Optional[int]
    retry_ms: Optional[int]
    sweep_ms: Optional[int]
    heartbeat: Literal["comment", "event", "line"]
    id_format: Literal["tagged", "plain"]
    slow_policy: Literal["gap", "disconnect", "block"]
    unread_policy: Literal["continue", "cancel", "cancel_after"]
    max_streams: int
    max_streams_per_user: int
    max_subscribers: int
    max_event_bytes: int
    log_events: int
    log_bytes: int
    log_age_ms: int
    channel_events: int
    stream_ttl_ms: int
    completion_ttl_ms: int
    block_timeout_ms: int
    unread_ms: int
    stop_grace_ms: int
    start_ms: int
    command_ms: int
    linger_ms: int
    lease_ms: int
    idle_ms: int


class StreamOptions(TypedDict, total=False):
    """Of one stream, in place of its hub's."""

    log_events: int
    log_bytes: int
    log_age_ms: int
    slow_policy: Literal["gap", "disconnect", "block"]
    unread_policy: Literal["continue", "cancel", "cancel_after"]
    unread_ms: int


NEVER = 0xFFFFFFFF

BLOCK = 2  # of slow_policy: an append may wait

CHANNEL, SHARED = 1, 2  # kinds of a stream

_MAY_BE_NEVER = ("heartbeat_ms", "retry_ms", "sweep_ms")
_OF_STORE = ("start_ms", "command_ms", "linger_ms", "lease_ms", "sweep_ms", "idle_ms")
_WORDS: Dict[str, Tuple[str, ...]] = {
    "heartbeat": ("comment", "event", "line"),
    "id_format": ("tagged", "plain"),
    "slow_policy": ("gap", "disconnect", "block"),
    "unread_policy": ("continue", "cancel", "cancel_after"),
}


def number_of(name: str, value: Any) -> int:
    """The number that C takes for an option."""
    words = _WORDS.get(name)
    if words is not None:
        if value not in words:
            raise ValueError(f"{name} is one of {', '.join(words)}")
        return words.index(value)
    if value is None and name in _MAY_BE_NEVER:
        return NEVER
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    if not 0 <= value <= NEVER:
        raise ValueError(f"{name} is a number from 0 to {NEVER}")
    return value


def flag_of(name: str, value: Any) -> bool:
    """So that a "false" out of the environment does not say yes."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be a bool, not {type(value).__name__}")
    return value


def seconds_of(name: str, value: Any) -> float:
    """A time that Python waits, or an exception."""
    if not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number of seconds")
    try:
        seconds = float(value)
    except OverflowError:
        seconds = -1.0
    if not seconds >= 0:  # nor is NaN
        raise ValueError(f"{name} must not be negative, NaN or too large")
    return seconds


def _numbers(options: Dict[str, Any], known: Iterable[str]) -> Dict[str, int]:
    for name in options:
        if name not in known:
            raise TypeError(f"there is no option {name!r}")
    return {name: number_of(name, value) for name, value in options.items()}


def split(options: Dict[str, Any]) -> Tuple[Dict[str, int], Dict[str, int]]:
    """The hub's numbers and the store's."""
    numbers = _numbers(options, HubOptions.__annotations__)
    store = {name: numbers.pop(name) for name in _OF_STORE if name in numbers}
    return numbers, store


def kind_of_stream(shared: Any, channel: Any) -> int:
    """The flags that C takes."""
    is_shared, is_channel = flag_of("shared", shared), flag_of("channel", channel)
    return (CHANNEL if is_channel else 0) | (SHARED if is_shared else 0)


def of_stream(options: Dict[str, Any]) -> Dict[str, int]:
    """A stream's numbers; each policy comes with a flag that says so."""
    numbers = _numbers(options, StreamOptions.__annotations__)
    for name in ("slow_policy", "unread_policy"):
        if name in numbers:
            numbers[name + "_set"] = 1
    return numbers
