"""What is of the wrong type, or out of range, is refused before it reaches C."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import libsse
from libsse import _core, sync


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

    def test_a_store_that_is_none(self) -> None:
        with pytest.raises(libsse.InvalidArgument):
            sync.Hub("nonsense://").create()
