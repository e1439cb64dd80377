"""The hub: streams, readers, listings, text on the wire."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import anyio
import pytest
from helpers import beside, events_of, run, until
from pydantic import BaseModel

import libsse
from libsse import Event, Gap, Hub, Parser, sync

pytestmark = pytest.mark.usefixtures("loops")


class Word(BaseModel):
    text: str


@dataclasses.dataclass
class Point:
    x: int


@dataclasses.dataclass
class Line:
    points: list[Any]


class TestSending:
    @pytest.mark.parametrize(
        "data, text",
        [
            ("hällo", "hällo"),
            (b"bytes", "bytes"),
            ("", ""),
            ({"a": ["é", 1.5, None]}, '{"a":["é",1.5,null]}'),
            ([1, 2], "[1,2]"),
            (7, "7"),
            (True, "true"),
            (None, "null"),
            (Word(text="hi"), '{"text":"hi"}'),
            (Point(3), '{"x":3}'),
            ([Point(3), Word(text="hi")], '[{"x":3},{"text":"hi"}]'),
            ({"w": Word(text="hi")}, '{"w":{"text":"hi"}}'),
            (Line([Point(1), Point(2)]), '{"points":[{"x":1},{"x":2}]}'),
        ],
    )
    def test_what_can_be_sent(self, data: Any, text: str) -> None:
        async def test(hub: Hub) -> None:
            stream = await hub.create("s")
            id = await stream.send(data, "token")
            await stream.complete()
            assert (await events_of(hub, "s"))[0] == Event(text, "token", id)

        run(test)

    def test_an_event_names_its_type(self) -> None:
        async def test(hub: Hub) -> None:
            stream = await hub.create("s")
            await stream.send(Event({"a": 1}, type="step"))
            await stream.fail(Event("bye", type="error"))
            first, last = await events_of(hub, "s")
            assert (first.type, first.json()) == ("step", {"a": 1})
            assert (last.type, last.data) == ("error", "bye")
            assert (await hub.info("s")).state == "failed"

        run(test)

    def test_many_in_one_step(self) -> None:
        async def test(hub: Hub) -> None:
            stream = await hub.create("s")
            last = await stream.send_many(["a", {"b": 1}, "ü"], "t")
            assert last.startswith("3-")
            await stream.send_many([Event({"c": 2}, "u"), "d"])
            await stream.complete()
            events = [(event.type, event.data) for event in await events_of(hub, "s")]
            assert events == [
                ("t", "a"),
                ("t", '{"b":1}'),
                ("t", "ü"),
                ("u", '{"c":2}'),
                ("u", "d"),
                ("completed", "{}"),
            ]

        run(test)

    @pytest.mark.parametrize(
        "call, error",
        [
            (lambda s: s.send(object()), TypeError),
            (lambda s: s.send(float("nan")), libsse.InvalidArgument),
            (lambda s: s.send("x", 5), TypeError),
            (lambda s: s.send("x", "a\nb"), libsse.InvalidArgument),
            (lambda s: s.send(b"\xff"), libsse.NotUTF8),
            (lambda s: s.send("\ud800"), libsse.NotUTF8),
            (lambda s: s.send({"a": "\ud800"}), libsse.NotUTF8),
            (lambda s: s.send("x", "\ud800"), libsse.NotUTF8),
            (lambda s: s.send_many(["x", "\ud800"]), libsse.NotUTF8),
            (lambda s: s.send("x" * (2 << 20)), libsse.TooLarge),
            (lambda s: s.send_many(["x", object()]), TypeError),
            (lambda s: s.send_many([]), libsse.InvalidArgument),
            (lambda s: s.send_many("abc"), libsse.InvalidArgument),
            (lambda s: s.send_many({"a": 1}), libsse.InvalidArgument),
            (
                lambda s: s.send_many([Event("x", "a"), Event("y", "b")]),
                libsse.InvalidArgument,
            ),
            (lambda s: s.complete("x", "a\0b"), libsse.InvalidArgument),
        ],
    )
    def test_what_is_refused_changes_nothing(self, call: Any, error: type) -> None:
        async def test(hub: Hub) -> None:
            stream = await hub.create("s")
            with pytest.raises(error):
                await call(stream)
            info = await stream.info()
            assert (info.state, info.last_seq) == ("active", 0)

        run(test)

    def test_a_refusal_says_what_to_do(self) -> None:
        hub = sync.Hub()
        stream = hub.create("s")
        channel = hub.create("c", channel=True)
        one_line = "The event type must be one line"
        for call, sentence in [
            (lambda: stream.send("x", "a\nb"), one_line),
            (lambda: stream.send_many(["x"], "a\nb"), one_line),
            (lambda: stream.complete("x", "a\nb"), one_line),
            (lambda: channel.complete(), "a channel has no end"),
            (lambda: libsse.encode("x", "a\nb"), "the type and the id must be"),
            (lambda: hub.create(metadata=float("nan")), "the metadata have no JSON"),
            (lambda: hub.subscribe("s", "nonsense"), "The cursor must be an event id"),
            (lambda: sync.Hub("nonsense://").create(), "the URL"),
            (lambda: stream.send("x" * (2 << 20)), "above a limit: an event's is max_"),
            (lambda: sync.Hub("memory"), 'the url is "memory:", or that of a store'),
        ]:
            with pytest.raises(libsse.SSEError) as raised:
                call()
            assert str(raised.value).startswith(sentence)

    def test_a_wrong_option_is_refused_by_its_name(self) -> None:
        """Here and now, not when it is used; also what other calls would take."""
        hub: Any = Hub()
        threads: Any = sync.Hub
        for call, sentence in [
            (lambda: threads(log_event=5), "there is no option 'log_event'"),
            (lambda: threads(producer=print), "there is no option 'producer'"),
            (lambda: hub.sync.create(producer=print), "there is no option 'producer'"),
            (lambda: hub.sync.create(lease_ms=5), "there is no option 'lease_ms'"),
            (lambda: threads(log_events="5"), "log_events must be an int, not str"),
            (lambda: threads(heartbeat="x"), "heartbeat is one of comment, event"),
            (lambda: Hub(drain_s=hub), "drain_s must be a number of seconds"),
            (lambda: Hub(shutdown_s=-1), "shutdown_s must not be negative"),
            (lambda: libsse.encode("x", retry_ms=-1), "retry_ms is a number from 0"),
        ]:
            with pytest.raises((TypeError, ValueError), match=sentence):
                call()

    def test_a_refusal_in_a_loop_says_it_too(self) -> None:
        async def test(hub: Hub) -> None:
            stream = await hub.create("s")
            async with hub.subscribe("s"):
                with pytest.raises(libsse.InvalidArgument, match="must be one line"):
                    await stream.send("x", "a\nb")

        run(test)

    @pytest.mark.parametrize("per_stream", [True, False])
    def test_a_sender_that_waits_for_readers(self, per_stream: bool) -> None:
        """Who reads in the same loop is not kept from it."""

        async def test(hub: Hub) -> None:
            options: Any = {"log_events": 10}
            if per_stream:
                options["slow_policy"] = "block"
            stream = await hub.create("s", **options)
            async with hub.subscribe("s") as reader, beside() as begin:

                async def read() -> list[str]:
                    return [event.data async for event in reader]

                begun = begin(read)
                for n in range(200):
                    await stream.send(n)
                await stream.complete()
                got = await begun.result()
            assert got == [*map(str, range(200)), "{}"]
            assert stream.sync.waits

        if per_stream:
            run(test)
        else:
            run(test, slow_policy="block")

    def test_after_the_end(self) -> None:
        async def test(hub: Hub) -> None:
            stream = await hub.create("s")
            await stream.complete()
            for call in (stream.send, stream.complete, stream.fail, stream.cancel):
                with pytest.raises(libsse.StreamEnded):
                    await call("x")

        run(test)

    def test_a_sender_leaves_the_loop_its_turns(self) -> None:
        """Sending waits for nothing, and yet a reader gets along beside it."""

        async def test(hub: Hub) -> None:
            stream = await hub.create("s")
            reader = hub.subscribe("s")
            async with beside() as begin:
                first = begin(reader.__anext__)
                while not first.done:
                    await stream.send("x")
            assert (await first.result()).data == "x"
            reader.close()

        run(test)


class TestStreams:
    def test_fields(self) -> None:
        async def test(hub: Hub) -> None:
            stream = await hub.create(
                user_id="u1", stream_type="chat", metadata={"a": [1.0]}
            )
            assert len(stream.id) >= 16
            await stream.send("x")
            (info,) = await hub.streams(user_id="u1")
            assert info.id == stream.id
            assert (info.state, info.user_id, info.stream_type) == (
                "active",
                "u1",
                "chat",
            )
            assert info.metadata == {"a": [1.0]}
            assert (info.first_seq, info.last_seq) == (1, 1)
            assert await hub.streams(user_id="u2") == []

        run(test)

    def test_an_id_is_active_once(self) -> None:
        async def test(hub: Hub) -> None:
            stream = await hub.create("s")
            with pytest.raises(libsse.StreamExists):
                await hub.create("s")
            await stream.complete()
            await hub.create("s")

        run(test)

    @pytest.mark.parametrize("id", ["a b", "a/b", "ü", "x" * 256, "a\n"])
    def test_bad_ids(self, id: str) -> None:
        async def test(hub: Hub) -> None:
            for call in (hub.create, hub.open, hub.stop, hub.remove, hub.recover):
                with pytest.raises(libsse.BadStreamId):
                    await call(id)  # type: ignore[operator]
            with pytest.raises(libsse.BadStreamId):
                hub.subscribe(id)

        run(test)

    def test_unknown(self) -> None:
        async def test(hub: Hub) -> None:
            for call in (hub.open, hub.stop, hub.remove, hub.recover, hub.info):
                with pytest.raises(libsse.StreamNotFound):
                    await call("nobody")  # type: ignore[operator]
            with pytest.raises(libsse.StreamNotFound):
                await hub.subscribe("nobody").__anext__()

        run(test)

    @pytest.mark.parametrize(
        "fields", [{"user_id": "x" * 256}, {"metadata": "x" * 20000}]
    )
    def test_what_is_too_large_makes_no_stream(self, fields: Any) -> None:
        async def test(hub: Hub) -> None:
            with pytest.raises(libsse.TooLarge):
                await hub.create("s", **fields)
            assert await hub.streams() == []

        run(test)

    def test_recover(self) -> None:
        async def test(hub: Hub) -> None:
            stream = await hub.create("s", metadata=[1])
            ids = [await stream.send(n) for n in range(3)]
            found = await hub.recover("s", ids[0])
            assert [event.id for event in found.events] == ids[1:]
            assert (found.state, found.last_event_id) == ("active", ids[2])
            assert found.terminal_event is None
            last = await stream.complete({"n": 3})
            found = await hub.recover("s", last)
            assert (found.events, found.state) == ([], "completed")
            assert found.terminal_event == Event('{"n":3}', "completed", last)
            with pytest.raises(libsse.BadCursor):
                await hub.recover("s", "x")

        run(test)

    def test_limits(self) -> None:
        async def test(hub: Hub) -> None:
            await hub.create("a", user_id="u")
            with pytest.raises(libsse.LimitExceeded):
                await hub.create("b", user_id="u")
            with pytest.raises(libsse.StreamNotFound):
                await hub.open("b")

        run(test, max_streams_per_user=1)


class TestReading:
    def test_from_a_cursor(self) -> None:
        async def test(hub: Hub) -> None:
            stream = await hub.create("s")
            ids = [await stream.send(n) for n in range(5)]
            ids.append(await stream.complete())
            for cursor, rest in (
                ("", ids),
                ("0", ids),
                (ids[2], ids[3:]),
                ("3", ids[3:]),
            ):
                assert [e.id for e in await events_of(hub, "s", cursor)] == rest
            assert await events_of(hub, "s", ids[-1]) == []

        run(test)

    def test_only_what_is_new(self) -> None:
        async def test(hub: Hub) -> None:
            stream = await hub.create("s")
            await stream.send("old")
            async with hub.subscribe("s", "$") as reader:
                await stream.send("new")
                assert (await reader.__anext__()).data == "new"
            assert reader.reason == "closed"

        run(test)

    def test_bytes_for_a_response(self) -> None:
        async def test(hub: Hub) -> None:
            stream = await hub.create("s")
            id = await stream.send("a\nb", "t")
            last = await stream.complete()
            pieces = [piece async for piece in hub.subscribe("s", raw=True)]
            assert b"".join(pieces).decode() == (
                f"retry: 1000\n\nid: {id}\nevent: t\ndata: a\ndata: b\n\n"
                f"id: {last}\nevent: completed\ndata: {{}}\n\n"
            )

        run(test)

    def test_many_readers_at_once(self) -> None:
        async def test(hub: Hub) -> None:
            stream = await hub.create("s")
            async with beside() as begin:
                readers = [begin(events_of, hub, "s") for _ in range(200)]
                for n in range(100):
                    await stream.send(n)
                    await anyio.sleep(0)
                await stream.complete()
            transcripts = [await reader.result() for reader in readers]
            assert len(transcripts[0]) == 101
            assert all(events == transcripts[0] for events in transcripts)

        run(test)

    def test_a_reader_that_lags_is_told(self) -> None:
        async def test(hub: Hub) -> None:
            stream = await hub.create("s")
            async with hub.subscribe("s") as reader:
                for n in range(100):
                    stream.sync.send(n)
                first = await reader.__anext__()
                assert first.gap == Gap(1, 90, 90, "lagged") or first.gap == Gap(
                    1, 90, 90, "trimmed"
                )
                assert (await reader.__anext__()).data == "90"

        run(test, log_events=10)

    def test_one_that_must_not_lag_is_ended(self) -> None:
        async def test(hub: Hub) -> None:
            stream = await hub.create("s")
            async with hub.subscribe("s") as reader:
                await stream.send("x")
                await reader.__anext__()
                for n in range(100):
                    stream.sync.send(n)
                assert len([e async for e in reader]) < 100
                assert reader.reason == "lagged"

        run(test, log_events=10, slow_policy="disconnect")

    def test_remove_ends_readers(self) -> None:
        async def test(hub: Hub) -> None:
            await hub.create("s")
            reader = hub.subscribe("s")
            async with beside() as begin:
                rest = begin(_all, reader)
                await until(lambda: reader._door is not None)
                await hub.remove("s")
            assert await rest.result() == []
            assert reader.reason == "removed"

        run(test)

    def test_two_tasks_on_one_reader(self) -> None:
        async def test(hub: Hub) -> None:
            await hub.create("s")
            async with hub.subscribe("s") as reader:
                async with beside() as begin:
                    rest = begin(_all, reader)
                    await until(lambda: reader._waiter is not None)
                    with pytest.raises(RuntimeError, match="another task"):
                        await reader.__anext__()
                    reader.close()
                assert await rest.result() == []

        run(test)

    def test_a_wait_that_is_cancelled_loses_nothing(self) -> None:
        async def test(hub: Hub) -> None:
            stream = await hub.create("s")
            async with hub.subscribe("s") as reader:
                for n in range(20):
                    with pytest.raises(TimeoutError), anyio.fail_after(0.001):
                        await reader.__anext__()
                    await stream.send(n)
                    assert (await reader.__anext__()).data == str(n)

        run(test)


async def _all(reader: Any) -> list[Any]:
    return [item async for item in reader]


class TestWire:
    def test_encode(self) -> None:
        assert libsse.encode("a\r\nb", "t", "4") == (
            b"id: 4\nevent: t\ndata: a\ndata: b\n\n"
        )
        assert libsse.encode(Event({"a": 1})) == b'data: {"a":1}\n\n'
        assert libsse.encode("x", retry_ms=5) == b"retry: 5\n\ndata: x\n\n"
        assert libsse.encode_comment("x") == b": x\n\n"
        for bad in ("a\nb", "a\0"):
            with pytest.raises(libsse.InvalidArgument):
                libsse.encode("x", bad)
            with pytest.raises(libsse.InvalidArgument):
                libsse.encode("x", "t", bad)

    def test_what_was_encoded_is_parsed(self) -> None:
        events = [Event(f"line\n{n}", f"t{n}", str(n)) for n in range(1, 9)]
        body = b"".join(map(libsse.encode, events))
        assert list(libsse.parse(body)) == events
        for size in range(1, 40):
            parser = Parser()
            got = []
            for start in range(0, len(body), size):
                got += parser.feed(body[start : start + size])
            assert got == events
            assert parser.last_event_id == "8"

    def test_retry_and_reset(self) -> None:
        parser = Parser()
        assert parser.feed(b"retry: 250\nid: 4\n\ndata: unfin") == []
        assert parser.retry_ms == 250
        parser.reset()
        assert parser.feed("data: ü\n\n") == [Event("ü", "message", "4")]
        parser.reset("9")
        assert parser.last_event_id == "9"

    def test_too_large(self) -> None:
        parser = Parser(max_event_bytes=100)
        for _ in range(2):  # it is final
            with pytest.raises(libsse.TooLarge):
                parser.feed(b"data: " + b"x" * 200)

    def test_version(self) -> None:
        assert libsse.__version__ == "0.1.0"

    def test_metrics(self) -> None:
        async def test(hub: Hub) -> None:
            await (await hub.create("s")).send("x")
            assert "\nsse_events_in_total 1\n" in hub.metrics()

        run(test)

    def test_json_of_an_event(self) -> None:
        assert Event('{"a": 1}').json() == {"a": 1}
        with pytest.raises(json.JSONDecodeError):
            Event("{").json()
