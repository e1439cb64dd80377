"""What is of the wrong type, or out of range, is refused before it reaches C."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable
from typing import Any

import pytest

import libsse
from libsse import _core, asgi, sync, wsgi
from libsse._events import check_cursor
from libsse.prometheus import HubCollector

URL = "http://127.0.0.1:9/"  # where nobody listens


class TestWrongTypes:
    @pytest.mark.parametrize("value", [None, 5, b"x", [], object()])
    def test_of_the_api(self, value: Any) -> None:
        hub = sync.Hub()
        stream = hub.create("s")
        for call in (
            lambda: hub.create(value),
            lambda: hub.create(user_id=value),
            lambda: hub.create(stream_type=value),
            lambda: hub.open(value),
            lambda: hub.stop(value),
            lambda: hub.remove(value),
            lambda: hub.streams(user_id=value),
            lambda: hub.subscribe("s", value),
            lambda: hub.recover("s", value),
            lambda: stream.send("x", value),
            lambda: stream.send_many(["x"], value),
            lambda: stream.complete("x", value),
            lambda: sync.Hub(value),
            lambda: libsse.encode("x", value),
        ):
            with pytest.raises(TypeError):
                call()

    @pytest.mark.parametrize(
        "options, error",
        [
            ({"log_events": "5"}, TypeError),
            ({"log_events": True}, TypeError),
            ({"log_events": None}, TypeError),
            ({"log_events": -1}, ValueError),
            ({"log_events": 1 << 32}, ValueError),
            ({"slow_policy": 1}, ValueError),
            ({"slow_policy": "nonsense"}, ValueError),
            ({"nonsense": 1}, TypeError),
            ({"lease_ms": "5"}, TypeError),
        ],
    )
    def test_of_options(self, options: Any, error: type) -> None:
        with pytest.raises(error):
            sync.Hub(**options)

    @pytest.mark.parametrize("value", ["false", "", 0, 1, None])
    def test_flags(self, value: Any) -> None:
        """Not by their truth: "false" out of the environment would be a yes."""
        hub = libsse.Hub()
        hub.sync.create("s")
        for call in (
            lambda: libsse.Hub(expose_errors=value),
            lambda: sync.Hub(expose_errors=value),
            lambda: hub.sync.create(shared=value),
            lambda: hub.sync.create(channel=value),
            lambda: hub.sync.subscribe("s", raw=value),
            lambda: hub.subscribe("s", raw=value),
            lambda: asyncio.run(hub.create(channel=value)),
        ):
            with pytest.raises(TypeError, match="must be a bool, not"):
                call()

    @pytest.mark.parametrize("value", [None, 5, "failed"])
    def test_a_guardian_that_cannot_be_asked(self, value: Any) -> None:
        async def test() -> None:
            async with libsse.Hub() as hub, hub.guardian(value):
                pass

        with pytest.raises(TypeError, match="on_orphan must be a function"):
            asyncio.run(test())

    def test_options_of_a_store_that_is_not_there(self) -> None:
        """So that one program runs with either."""
        with sync.Hub("memory:", lease_ms=5, sweep_ms=None) as hub:
            assert hub.create("s").send("x")

    def test_handles(self) -> None:
        """Below the API too, everything is checked."""
        hub = _core.sse_hub_new({})
        for wrong in (None, 5, "x", object(), _core.sse_queue_new(hub, None)):
            with pytest.raises(TypeError):
                _core.sse_stream_open(wrong, "s")  # type: ignore[arg-type]
            with pytest.raises(TypeError):
                _core.sse_stream_append(wrong, "", "")  # type: ignore[arg-type]

    @pytest.mark.parametrize("value", [5, b"x", object()])
    def test_of_what_python_alone_takes(self, value: Any) -> None:
        hub = libsse.Hub()
        for call in (
            lambda: libsse.Client(URL, token=value),
            lambda: asgi.Application(value),
            lambda: asgi.Application(hub, prefix=value),
            lambda: asgi.Application(hub, authorize=value),
            lambda: asgi.Application(hub, poll_timeout_s=[value]),
            lambda: wsgi.Application(value),
            lambda: wsgi.respond(value, "s"),
            lambda: HubCollector(value),
            lambda: asgi.EventSourceResponse([], send_timeout=[value]),
            lambda: asgi.EventSourceResponse([], media_type=value),
            lambda: asgi.ServerSentEvent("x", sep=value),
            lambda: asyncio.run(hub.guardian(value).__aenter__()),
        ):
            with pytest.raises(TypeError):
                call()

    def test_the_other_hub(self) -> None:
        for call in (
            lambda: asgi.Application(sync.Hub()),  # type: ignore[arg-type]
            lambda: wsgi.Application(libsse.Hub()),  # type: ignore[arg-type]
            lambda: wsgi.respond(libsse.Hub(), "s"),  # type: ignore[arg-type]
            lambda: asgi.Application(libsse.Hub(), origins="https://app.example"),
        ):
            with pytest.raises(TypeError):
                call()

    @pytest.mark.parametrize("seconds", [math.nan, -1, 10**400])
    def test_seconds(self, seconds: Any) -> None:
        for call in (
            lambda: libsse.Hub(shutdown_s=seconds),
            lambda: asgi.Application(libsse.Hub(), poll_timeout_s=seconds),
            lambda: asgi.EventSourceResponse([], ping=seconds),
            lambda: asgi.EventSourceResponse([], send_timeout=seconds),
        ):
            with pytest.raises(ValueError):
                call()

    @pytest.mark.parametrize("value", ["x", 0, 1 << 40, [5], None])
    def test_flags_of_a_client(self, value: Any) -> None:
        for name in ("ack", "comments", "poll", "insecure"):
            with pytest.raises(TypeError, match=f"{name} must be a bool, not"):
                libsse.Client(URL, **{name: value})

    def test_numbers_of_c(self) -> None:
        client = libsse.Client(URL)
        for wrong, error in ((1 << 70, ValueError), ("5", TypeError)):
            with pytest.raises(error):
                client.set_token("x", wrong)  # type: ignore[arg-type]
        for value in ("x", None, 1.5):
            with pytest.raises(TypeError, match="a whole number is needed"):
                _core.sse_cause_name(value)  # type: ignore[arg-type]

    def test_bytes_in_pieces(self) -> None:
        with pytest.raises(TypeError):
            libsse.Parser().feed(memoryview(b"data: x")[::2])

    def test_a_store_that_is_none(self) -> None:
        with pytest.raises(libsse.InvalidArgument):
            sync.Hub("nonsense://").create()


def test_a_cursor_is_the_same_to_python_and_c() -> None:
    """Python looks before it makes a stream, C when it reads one."""
    choose = random.Random(3)
    cursors = [
        *("", "0", "$", "00", "01", "1", "-", "1-", "0-00000000", "$1", " 1", "1\n"),
        *("100000000000000", "100000000000001", "999999999999999", "1000000000000000"),
        *(
            "1-0123456",
            "1-0123456f",
            "1-0123456g",
            "1-0123456A",
            "1-0123456\n",
            "\uff11",
        ),
    ]
    for _ in range(2000):
        size = choose.randrange(1, 18)
        cursors.append("".join(choose.choice("019-$af ") for _ in range(size)))
    with sync.Hub() as hub:
        hub.create("s").send("x")
        for cursor in cursors:
            assert is_refused(check_cursor, cursor) == is_refused(
                lambda text: hub.subscribe("s", text).close(), cursor
            ), cursor


def is_refused(call: Callable[[str], None], cursor: str) -> bool:
    try:
        call(cursor)
    except libsse.BadCursor:
        return True
    return False


class TestDepth:
    """JSON that is nested more deeply than Python reads or writes it."""

    def test_what_is_sent(self) -> None:
        deep: Any = []
        for _ in range(100_000):
            deep = [deep]
        with sync.Hub() as hub:
            for call in (
                lambda: hub.create("s").send(deep),
                lambda: hub.create(metadata=deep),
                lambda: asgi.JSONServerSentEvent(deep),
            ):
                with pytest.raises(libsse.InvalidArgument):
                    call()

    def test_what_comes(self) -> None:
        """Somebody else's stream does not break a listing, nor its event a reader."""
        text = "[" * 100_000 + "]" * 100_000
        metadata = text[95_000:105_000]
        with sync.Hub() as hub:
            stream = hub.create("s", metadata=metadata.encode())
            stream.send(text, "gap")
            (info,) = hub.streams()
            assert info.raw_metadata.decode() == metadata
            # Some versions of Python read that much.
            assert info.metadata == metadata or isinstance(info.metadata, list)
            (event,) = hub.recover("s").events
            assert event.gap is None
            with pytest.raises(ValueError):
                event.json()
