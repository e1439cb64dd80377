"""A program that calls whatever there is, with whatever there is, from several threads
and event loops at once: `any_calls.py SEED STEPS END`. What it may not do is crash,
hang, or raise what nobody has promised: it then says so, and exits with 1.

END is how it ends, with all open: return, exit, raise, alarm, or fork, whose children
go on for a while."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import gc
import inspect
import io
import itertools
import logging
import os
import random
import signal
import sys
import threading
import time
import traceback
import warnings
from typing import Any, Callable, Dict, List, Tuple

from any_values import Alarm, Bytes, Int, Late, Odd, Oops, Text, serve

import libsse
from libsse import asgi, errors, sync, wsgi
from libsse.prometheus import HubCollector

STORE = os.environ.get("SSE_TEST_STORE", "memory:")
PACKAGE = os.path.dirname(libsse.__file__)
NOTHING = object()
THREADS = 2  # of each kind
STALLED_S = 150  # on the slowest machine
POPULATION = 40
PUBLIC = (
    libsse.Hub, libsse.Stream, libsse.Subscription, libsse.Client, libsse.Parser,
    libsse.Event, libsse.News, libsse.StreamInfo, libsse.Recovered,
    sync.Hub, sync.Stream, sync.Subscription, asgi.Application, wsgi.Application,
    asgi.EventSourceResponse, asgi.StreamResponse, asgi.ServerSentEvent, HubCollector,
)  # fmt: skip
MAKE = (
    libsse.Hub, sync.Hub, libsse.Client, libsse.Parser, libsse.Event, asgi.Application,
    wsgi.Application, asgi.EventSourceResponse, asgi.ServerSentEvent,
    asgi.JSONServerSentEvent, HubCollector, libsse.encode, libsse.encode_comment,
    libsse.parse, wsgi.respond, errors.Unauthorized, libsse.ClientError,
)  # fmt: skip
DUNDER = (
    "__iter__", "__next__", "__aiter__", "__anext__", "__enter__", "__exit__",
    "__aenter__", "__aexit__", "__repr__", "__reduce__", "__eq__", "__hash__",
    "__call__",
)  # fmt: skip
ENDS = ("close", "aclose", "__exit__", "__aexit__", "begin_shutdown", "lifespan",
        "complete", "fail", "cancel", "remove", "stop")  # fmt: skip
LIVELY = ("Hub", "Stream", "Subscription", "Client")
OFTEN = ("create", "create_or_open", "subscribe", "send", "news", "respond")
# Other than these, whatever they are given, nothing may be raised.
FINE = (
    libsse.SSEError, TypeError, ValueError, TimeoutError, StopIteration,
    StopAsyncIteration, GeneratorExit, ConnectionError, asyncio.CancelledError, asyncio.TimeoutError,
)  # fmt: skip
TOLD = ("running event loop", "reads from this", "is closed", "different loop",
        "already running", "already executing", "cannot reuse", "never awaited",
        "different event loop", "can't start new thread", "schedule new futures",
        "after shutdown", "generator didn't", "shutdown", "asynchronous generator")  # fmt: skip


class World:
    def __init__(self, seed: str, url: str) -> None:
        self.seed, self.url = seed, url
        self.things: List[Any] = []
        self.wrong: List[str] = []
        self.late: List[Tuple[float, Callable[[], Any]]] = []
        self.over = False

    def keep(self, thing: Any) -> None:
        if isinstance(thing, PUBLIC):
            self.things.append(thing)
            if len(self.things) > POPULATION:
                with contextlib.suppress(IndexError):
                    del self.things[0]

    def note(self, what: str, error: BaseException) -> None:
        told = str(error) if not isinstance(error, Oops) else ""
        where = traceback.extract_tb(error.__traceback__)
        is_fine = isinstance(error, (*FINE, Oops, Alarm, SystemExit, KeyboardInterrupt))
        if not where or not where[-1].filename.startswith(PACKAGE):
            is_fine = True  # of what it was given, or of Python's own
        if isinstance(error, RuntimeError) and any(t in told for t in TOLD):
            is_fine = True
        if isinstance(error, AttributeError) and "'Odd'" in told:
            is_fine = True
        if isinstance(error, RecursionError) and "repr of an object" in told:
            is_fine = True
        if "in method '" in told or isinstance(error, SystemError):
            is_fine = False
        if not is_fine:
            trace = "".join(
                traceback.format_exception(type(error), error, error.__traceback__)
            )
            self.wrong.append(f"{what}: {error!r}\n{trace}")

    def janitor(self) -> None:
        """Closes what somebody may wait for."""
        while not self.over:
            time.sleep(0.002)
            now = time.monotonic()
            for entry in list(self.late):
                if entry[0] <= now:
                    self.late.remove(entry)
                    with contextlib.suppress(Exception):
                        entry[1]()

    def soon(self, call: Callable[[], Any]) -> None:
        self.late.append((time.monotonic() + 0.02, call))


class Actor:
    """One thread's random choices."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, name
        self.random = random.Random(f"{world.seed} {name}")
        self.last = ""

    # ---- Values ----

    def one_of(self, *values: Any) -> Any:
        return self.random.choice(values)

    def some(self) -> Any:
        """Of any class alike, however many there are."""
        things = list(self.world.things)
        kinds = sorted({type(t) for t in things}, key=repr)
        if not kinds:
            return None
        lively = [k for k in kinds if k.__name__ in LIVELY]
        kind = self.random.choice(
            lively or kinds if self.random.random() < 0.6 else kinds
        )
        return self.random.choice([t for t in things if type(t) is kind])

    def call_back(self) -> Callable[..., Any]:
        """Does something with something, wherever it is called."""
        thing = self.some()
        names = ("close", "send", "info", "streams", "metrics", "take_ready", "feed")
        name = self.one_of(*names)

        def call(*_: Any) -> Any:
            if isinstance(
                thing, (sync.Hub, sync.Stream, sync.Subscription, libsse.Client)
            ):
                method = getattr(thing, name, None)
                if method is not None:
                    return method("x") if name == "send" else method()
            return None

        return call

    def producer(self) -> Any:
        back, rest = self.call_back(), self.one_of(0, 0.001)

        async def agen() -> Any:
            for n in range(20):
                yield n
                await asyncio.sleep(rest)
                back()

        async def coroutine(stream: Any) -> None:
            await stream.send("x")
            await asyncio.sleep(rest)
            await stream.complete()

        def gen() -> Any:
            yield "x"
            back()
            yield "y"

        def closed() -> Any:
            made = gen()
            made.close()
            return made

        def leaves() -> Any:
            yield "x"
            sys.exit(3)

        def fails(*_: Any) -> Any:
            raise Oops("no")

        async def afails() -> Any:
            yield "x"
            raise Oops("no")

        running = gen()

        def within() -> Any:
            yield from running

        return self.one_of(
            agen, coroutine, gen, closed, leaves, fails, afails, within, back,
            lambda: running, lambda: ["a", {"b": 1}], lambda: 5, lambda stream: None,
        )  # fmt: skip

    def deep(self) -> Any:
        made: Any = []
        for _ in range(self.one_of(10, 20_000)):
            made = [made]
        return made

    def odd(self) -> Any:
        """Of a wrong type, or of a value that nobody expects."""
        return self.one_of(
            None, True, 5, -1, 1 << 32, 1 << 64, -(1 << 63), 10**400, 0.5, float("nan"),
            float("inf"), "", "x", "\0", "\ud800", "é" * 200, "x" * 70000, b"", b"\xff",
            b"\xf0\x9f", bytearray(b"x"), memoryview(b"abcdef")[::2], memoryview(b"xy"),
            (), [], {}, {"a": {1: 2}}, {5: 6}, {Text("data"): 1}, Text("s0"), Bytes(b"x"),
            Int(5), Odd(), object(), Late(self.call_back()), self.deep(), self.producer(),
            self.call_back(), iter([1]), (n for n in "ab"), type, Oops, self.some(),
        )  # fmt: skip

    def data(self) -> Any:
        return self.one_of(
            "x", "é\n\r\nx", {"a": [1, 2.5, None]}, 7, b"bytes", libsse.Event("x", "t"),
            [], "x" * 5000, b"data: x\n\nid: 5\ndata: y\n\n", {"data": "x", "id": 1},
            '{"from":1}', b"[" * 3000, self.odd(),
        )  # fmt: skip

    def hub_of(self, call: Any) -> Any:
        """Of the kind that it takes, as a rule."""
        kind = sync.Hub if "wsgi" in getattr(call, "__module__", "") else libsse.Hub
        hubs = [t for t in list(self.world.things) if isinstance(t, kind)]
        return self.random.choice(hubs) if hubs else kind()

    def sensible(self, name: str) -> Any:
        """By the name of the parameter."""
        id = f"s{self.random.randrange(3)}"
        named: Dict[str, Callable[[], Any]] = {
            "id": lambda: self.one_of(id, id, id, "", self.last),
            "stream_id": lambda: id,
            "last_event_id": lambda: self.one_of("", "0", "$", "1", self.last),
            "after": lambda: self.one_of("", "0", "$", self.last),
            "data": self.data, "body": self.data, "items": lambda: [self.data()],
            "content": lambda: self.one_of(["a", "b"], self.producer()),
            "type": lambda: self.one_of("", "t", "gap"), "text": lambda: "a comment",
            "producer": self.producer, "metadata": self.data,
            "user_id": lambda: self.one_of("", "u"), "stream_type": lambda: "chat",
            "on_orphan": self.call_back, "authorize": self.call_back,
            "timeout_s": lambda: self.one_of(0, 0.001, -1), "raw": lambda: self.one_of(True, False),
            "url": lambda: self.one_of(STORE, "memory:") if self.last == "Hub" else self.world.url,
            "headers": lambda: {"X-A": "b"}, "state": lambda: b"" if self.last == "Client" else self.one_of("active", "failed"),
            "token": lambda: self.one_of("abc", self.call_back(), lambda n: "tok"),
            "drain_s": lambda: self.one_of(0, 0.01, "x", None), "shutdown_s": lambda: self.one_of(0, 0.01),
            "ping": lambda: self.one_of(0, 0.001), "send_timeout": lambda: self.one_of(None, 0.01),
            "cleanup_timeout": lambda: 0.05, "shutdown_grace_period": lambda: 0,
            "poll_timeout_s": lambda: 0.01, "scope": self.scope, "receive": self.receive,
            "send": lambda: self.send, "environ": self.environ, "start": lambda: self.start,
            "request": lambda: self.one_of(None, Odd()), "lifetime_ms": lambda: 1000,
        }  # fmt: skip
        return named[name]() if name in named else NOTHING

    OPTIONS = {
        "log_events": 3, "log_bytes": 2000, "log_age_ms": 5, "slow_policy": "block",
        "unread_policy": "cancel", "unread_ms": 1, "heartbeat_ms": 1, "retry_ms": None,
        "max_event_bytes": 5000, "max_streams": 3, "max_subscribers": 3, "id_format": "plain",
        "stream_ttl_ms": 5, "completion_ttl_ms": 5, "stop_grace_ms": 5, "max_attempts": 2,
        "connect_ms": 50, "first_byte_ms": 50, "stall_ms": 50, "budget_ms": 100,
        "retry_floor_ms": 1, "retry_cap_ms": 5, "window": 1, "queue_bytes": 100,
    }  # fmt: skip
    NOT_ODD = (
        "drain_s",
        "shutdown_s",
        "cleanup_timeout",
        "shutdown_grace_period",
        "timeout_s",
        "url",
        "poll_timeout_s",
        "shutdown_event",
        "background",
        "data_sender_callable",
        "scope",
        "receive",
        "send",
        "environ",
        "start",
        "status_code",
        "headers",
    )  # who asks to wait for ever, waits

    def arguments(self, call: Any) -> Tuple[List[Any], Dict[str, Any]]:
        try:
            parameters = list(inspect.signature(call).parameters.values())
        except (TypeError, ValueError):
            return [self.odd() for _ in range(self.random.randrange(3))], {}
        given: List[Any] = []
        named: Dict[str, Any] = {}
        odd = self.random.randrange(12)  # one of them, if there are so many
        for n, p in enumerate(parameters):
            if p.kind is p.VAR_POSITIONAL:
                given += [None] * 3 if "exit" in getattr(call, "__name__", "") else []
            elif p.kind is p.VAR_KEYWORD:
                for name in self.random.sample(
                    list(self.OPTIONS), self.random.choice((0, 0, 1, 2))
                ):
                    named[name] = self.odd() if odd == 11 else self.OPTIONS[name]
            elif p.default is p.empty or n == odd or self.random.random() < 0.3:
                if n == odd and p.name not in self.NOT_ODD:
                    value = self.odd()
                else:
                    value = (
                        self.hub_of(call) if p.name == "hub" else self.sensible(p.name)
                    )
                if value is NOTHING and p.default is p.empty:
                    value = self.odd()
                if value is NOTHING:
                    continue
                if p.kind is p.KEYWORD_ONLY or len(given) < n:
                    named[p.name] = value
                else:
                    given.append(value)
        return given, named

    # ---- HTTP ----

    def scope(self) -> Any:
        method = self.one_of("GET", "POST", "DELETE", "HEAD", "OPTIONS", "X")
        path = self.one_of(
            "", "/s0", "/s1/events", "/s1/complete", "/s0/stop", "/s0/recover"
        )
        path = self.one_of("/api/stream" + path, "/metrics", "/health", "/\ud800")
        headers = [(b"last-event-id", self.one_of(b"0", b"\xff", b"$", b"x"))]
        return {"type": "http", "method": method, "path": path, "headers": headers,
                "query_string": self.one_of(b"", b"transport=poll", b"%ff=%00&after=\xff"),
                "http_version": "1.1"}  # fmt: skip

    def environ(self) -> Any:
        scope = self.scope()
        body = self.one_of(b"", b'{"data":"x"}', b"\xff", b"[" * 5000)
        return {"REQUEST_METHOD": scope["method"], "PATH_INFO": scope["path"],
                "QUERY_STRING": "transport=poll", "CONTENT_LENGTH": str(len(body)),
                "wsgi.input": io.BytesIO(body)}  # fmt: skip

    def receive(self) -> Any:
        body = self.one_of(b"", b'{"data":"x"}', b"\xff", b"[" * 5000)
        messages = [{"type": "http.request", "body": body}, {"type": "http.disconnect"}]
        left = iter(messages)

        async def receive() -> Any:
            await asyncio.sleep(0.002)
            return next(left, messages[-1])

        return receive

    async def send(self, message: Any) -> None:
        await asyncio.sleep(0)
        if self.random.random() < 0.05:
            raise self.one_of(ConnectionError("gone"), Oops("no"))

    def start(self, *_: Any) -> Any:
        return lambda _: None

    # ---- Steps ----

    def pick(self) -> Tuple[str, Any, Any]:
        """What is called: its name, of what, the callable."""
        thing = self.some() if self.random.random() < 0.8 else None
        if thing is None:
            call = self.random.choice(MAKE)
            self.last = call.__name__ if call.__name__ in LIVELY else self.last
            return call.__name__, None, call
        owners = [c for c in type(thing).__mro__ if c.__module__.startswith("libsse")]
        names = [n for c in owners for n in vars(c) if n[0] != "_" or n in DUNDER]
        name = self.random.choice(names + [n for n in names if n in OFTEN] * 5)
        if name in ENDS and self.random.random() < 0.8:
            name = self.random.choice(names)
        value = getattr(thing, name)
        return f"{type(thing).__name__}.{name}", thing, value

    def begin(self) -> Tuple[str, Any, Any]:
        """Calls something; what it gave."""
        try:
            what, thing, call = self.pick()
        except BaseException as error:
            self.world.note(f"{self.name} get", error)
            if isinstance(error, Alarm):
                raise
            return "get", None, None
        if not callable(call):
            return what, thing, call
        given, named = self.arguments(call)
        if what.endswith(("__next__", ".next")) and "timeout_s" not in named:
            self.world.soon(thing.close)
        try:
            made = call(*given, **named)
        except BaseException as error:
            self.world.note(
                f"{self.name} {what}(*{short(given)}, **{short(named)})", error
            )
            if isinstance(error, Alarm):
                raise
            return what, thing, None
        finally:
            self.last = ""
        if isinstance(made, str):
            self.last = made
        self.world.keep(made)
        return f"{what}(*{short(given)}, **{short(named)})", thing, made

    def tidy(self) -> None:
        things = self.world.things
        chance = self.random.random()
        if chance < 0.02:
            gc.collect()
        with contextlib.suppress(IndexError, ValueError):
            if chance > 0.95:
                del things[self.random.randrange(len(things))]

    def step(self) -> None:
        """Where no loop runs."""
        what, thing, made = self.begin()
        self.tidy()
        try:
            if inspect.iscoroutine(made):
                if self.random.random() < 0.3:
                    made.send(None)
                made.close()
            elif what.startswith("respond("):
                body = made(self.environ(), self.start)
                for _ in zip(range(3), body):
                    self.world.soon(getattr(body, "close", list))
                getattr(body, "close", list)()
            elif hasattr(made, "__next__") and not isinstance(made, sync.Subscription):
                if hasattr(thing, "close"):
                    self.world.soon(thing.close)
                for item in itertools.islice(made, self.random.randrange(4)):
                    self.world.keep(item)
        except BaseException as error:
            self.world.note(f"{self.name} {what}", error)
            if isinstance(error, Alarm):
                raise

    async def astep(self) -> None:
        what, thing, made = self.begin()
        self.tidy()
        limit = self.one_of(0, 0.001, 0.02)
        try:
            if hasattr(made, "__await__"):
                made = await asyncio.wait_for(made, limit)
            elif hasattr(made, "__aenter__") and self.random.random() < 0.5:

                async def within() -> None:
                    async with made:
                        await asyncio.sleep(0.001)

                await asyncio.wait_for(within(), 0.05)
            elif hasattr(made, "__anext__"):
                for _ in range(self.random.randrange(4)):
                    self.world.keep(await asyncio.wait_for(made.__anext__(), limit))
                if hasattr(made, "aclose") and self.random.random() < 0.5:
                    await made.aclose()
            self.world.keep(made)
        except (Exception, asyncio.CancelledError) as error:
            self.world.note(f"{self.name} {what}", error)

    def run(self, steps: int) -> None:
        for _ in range(steps):
            if self.world.over:
                return
            self.step()

    def run_loops(self, steps: int) -> None:
        """A few loops, one after the other, each with a few tasks."""

        async def main() -> None:
            async def act() -> None:
                for _ in range(steps // 9):
                    if not self.world.over:
                        await self.astep()

            await asyncio.gather(*(act() for _ in range(3)), return_exceptions=True)

        for _ in range(3):
            if self.world.over:
                return
            try:
                asyncio.run(main())
            except BaseException as error:
                self.world.note(f"{self.name} loop", error)


def short(value: Any) -> str:
    try:
        return repr(value)[:200]
    except BaseException:
        return "..."


class Log(logging.Handler):
    """Keeps what a program would not want to see."""

    def __init__(self, wrong: List[str]) -> None:
        super().__init__()
        self._wrong = wrong

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        text = record.getMessage()
        if "cannot be handed over" in text or isinstance(error, SystemError):
            self._wrong.append(f"log: {text} {error!r}")


def child(world: World, steps: int) -> None:
    # The parent's watch has no thread here, and would be waited for.
    faulthandler.register(signal.SIGALRM, chain=True)
    signal.alarm(STALLED_S)
    world.over = False
    world.late.clear()
    threading.Thread(target=world.janitor, daemon=True).start()
    actor = Actor(world, f"child {steps}")
    actor.run(steps)
    actor.run_loops(steps)


def forks(world: World, steps: int) -> None:
    for n in range(3):
        Actor(world, f"before fork {n}").run(steps // 5)
        pid = os.fork()
        if pid == 0:
            code = 7
            try:
                world.wrong.clear()
                child(world, steps // 5)
                code = report(world)
            finally:
                os._exit(code)
        _, status = os.waitpid(pid, 0)
        if status != 0:
            world.wrong.append(f"a child of a fork ended with {status}")


def report(world: World) -> int:
    for text in world.wrong[:20]:
        os.write(2, (text + "\n").encode("utf-8", "replace"))
    return 1 if world.wrong else 0


def main(seed: str, steps: int, end: str) -> int:
    faulthandler.enable()
    faulthandler.dump_traceback_later(STALLED_S, exit=True)
    world = World(seed, serve(seed))
    # Threads that go on at the end must not be stopped while they write to stderr.
    warnings.simplefilter("ignore")
    threading.excepthook = lambda told: world.note("a thread", told.exc_value or Oops())
    sys.unraisablehook = lambda told: world.note(
        "a finalizer", told.exc_value or Oops()
    )
    for name in ("libsse", "asyncio"):
        logging.getLogger(name).addHandler(Log(world.wrong))
        logging.getLogger(name).propagate = False
    world.keep(sync.Hub())
    world.keep(libsse.Hub())
    threading.Thread(target=world.janitor, daemon=True).start()
    if end == "fork":
        forks(world, steps)
        return report(world)
    threads = []
    for n in range(THREADS):
        for run in (
            Actor(world, f"thread {n}").run,
            Actor(world, f"loop {n}").run_loops,
        ):
            threads.append(threading.Thread(target=run, args=(steps,), daemon=True))
    for thread in threads:
        thread.start()
    actor = Actor(world, "main")
    if end == "alarm":
        interrupted(actor, steps)
    else:
        actor.run(steps)
        if end != "exit":
            for thread in threads:
                thread.join()
    code = report(world)
    if end == "raise":
        raise SystemExit(code)
    if end == "exit":  # and threads go on
        sys.exit(code)
    return code


def interrupted(actor: Actor, steps: int) -> None:
    def ring(*_: Any) -> None:
        raise Alarm

    signal.signal(signal.SIGALRM, ring)
    for _ in range(steps // 5):
        try:
            signal.setitimer(signal.ITIMER_REAL, actor.random.random() / 200)
            actor.run(5)
            signal.setitimer(signal.ITIMER_REAL, 0)
        except Alarm:
            pass
    signal.setitimer(signal.ITIMER_REAL, 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
