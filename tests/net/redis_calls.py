"""Calls the scripts of libsse/src/store/scripts as the library does: loaded
once, run by their hash, with the same keys and arguments."""

from __future__ import annotations

import copy
import itertools
import json
from pathlib import Path
from typing import Any

import redis

SCRIPTS = Path(__file__).resolve().parents[2] / "libsse/src/store/scripts"
NAMES = sorted(path.stem for path in SCRIPTS.glob("*.lua") if path.stem != "common")
_batches = itertools.count(1000)  # beyond those that tests choose
NOW = "2026-01-31T09:30:00.000Z"


def text_of(name: str) -> str:
    return (SCRIPTS / "common.lua").read_text() + (SCRIPTS / f"{name}.lua").read_text()


def tag_of(row: str | bytes) -> str:
    """FNV-1a-32 of the row's bytes."""
    value = 0x811C9DC5
    for byte in row.encode() if isinstance(row, str) else row:
        value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    return f"{value:08x}"


def row_of(data: Any, kind: str = "message", ts: int = 1_700_000_000_000) -> str:
    return json.dumps(
        {"type": kind, "data": data, "ts": ts},
        ensure_ascii=False,
        separators=(",", ":"),
    )


def rows(count: int, start: int = 1) -> list[str]:
    return [row_of({"n": n}) for n in range(start, start + count)]


class Append:
    """An append's reply, by name."""

    def __init__(self, reply: list[Any]) -> None:
        self.word = reply[0]
        if self.word != "wrongtype":
            (self.first, self.base, self.top, self.tag) = reply[1:5]
            (self.state, self.owner, self.readers) = reply[5:8]


class Page:
    """A read's reply, by name."""

    def __init__(self, reply: list[Any]) -> None:
        self.word = reply[0]
        if self.word != "wrongtype":
            (self.start, self.base, self.top, self.tag, self.closed) = reply[1:6]
            (self.state, self.owner, self.user) = reply[6:9]
            self.final, self.known = reply[9:12], reply[12]
            self.rows, self.described = reply[13:]


class Calls:
    def __init__(self, client: redis.Redis, prefix: str) -> None:
        self.client = client
        self.prefix = prefix
        self.shas = {name: client.script_load(text_of(name)) for name in NAMES}

    def through(self, client: redis.Redis) -> Calls:
        """The same calls over another connection."""
        other = copy.copy(self)
        other.client = client
        return other

    def key(self, kind: str, rest: str = "") -> str:
        return f"{self.prefix}{kind}:{rest}" if rest else f"{self.prefix}{kind}"

    def keys(self, id: str) -> list[str]:
        kinds = ("stream", "events", "meta", "completion")
        return [*(self.key(kind, id) for kind in kinds), self.key("active")]

    def user_set(self, user: str) -> str:
        return self.key("user", f"{user}:streams")

    def channel(self, id: str) -> str:
        return self.key("ch", id)

    def run(self, name: str, keys: list[str], *args: Any) -> Any:
        return self.client.evalsha(self.shas[name], len(keys), *keys, *args)

    # ---- One method for each script ----------------------------------------

    def append(
        self,
        id: str,
        *rows: str,
        owner: str = "",
        claim: str = "",
        expect: int | str = "",
        writer: str = "w1",
        batch: int | None = None,
        cap: int = 1000,
        ttls: tuple[int, int, int] = (300, 7200, 3600),
        beat: str = "",
        channel: bool = True,
        final: tuple[str, str, str] | None = None,
    ) -> Append:
        """`final` is the state, the event's type and its data."""
        state, kind, data = final or ("", "", "")
        pairs = [part for row in rows for part in (tag_of(row), row)]
        reply = self.run(
            "append", self.keys(id), id, owner, claim, expect, writer,
            next(_batches) if batch is None else batch, cap, *ttls, beat,
            self.channel(id) if channel else "", "PUBLISH",
            state, kind, data, NOW, 300, *pairs,
        )  # fmt: skip
        return Append(reply)

    def read(
        self,
        id: str,
        after: int | str = "",
        most: int = 500,
        most_bytes: int = 0,
        described: bool = False,
    ) -> Page:
        return Page(
            self.run("read", self.keys(id), after, most, most_bytes, int(described))
        )

    def restore(
        self, id: str, *rows: str, owner: str, seen: int, base: int = 0,
        token: str = "w1:1:1",
    ) -> list[Any]:  # fmt: skip
        return self.run(
            "restore", self.keys(id), owner, seen, base,
            tag_of(rows[-1]) if rows else "", token, 300, 7200,
            self.channel(id), "PUBLISH", *rows,
        )  # fmt: skip

    def register(
        self, id: str, owner: str = "", user: str = "", kind: str = "chat",
        metadata: str = "{}", ttl: int = 3600,
    ) -> list[Any]:  # fmt: skip
        keys = self.keys(id) + ([self.user_set(user)] if user else [])
        return self.run(
            "register", keys, id, kind, user, NOW, NOW, metadata, owner, ttl, 7200,
            self.channel(id), "PUBLISH",
        )  # fmt: skip

    def describe(
        self, id: str, owner: str = "", user: str = "", kind: str = "chat",
        metadata: str = "{}", ttl: int = 3600,
    ) -> list[Any]:  # fmt: skip
        keys = self.keys(id) + ([self.user_set(user)] if user else [])
        return self.run(
            "describe", keys, id, owner, kind, user, metadata, ttl,
            self.key("user") + ":", ":streams", self.channel(id), "PUBLISH",
        )  # fmt: skip

    def beat(
        self, *streams: tuple[str, str, str], time: str = NOW, ttl: int = 3600
    ) -> list[str]:
        """Each stream is its id, owner token and user."""
        keys, args = [self.key("active")], []
        for id, owner, user in streams:
            stream, events, meta = self.keys(id)[:3]
            keys += [stream, events, meta, self.user_set(user) if user else stream]
            args += [id, owner]
        return self.run("beat", keys, time, ttl, 300, 7200, *args)

    def remove(self, id: str, owner: str = "", keep: int = 60) -> list[Any]:
        return self.run(
            "remove", self.keys(id), id, owner, self.key("user") + ":", ":streams",
            keep, self.channel(id), "PUBLISH", self.key("ctl") + ":",
        )  # fmt: skip

    def list_page(
        self, user: str = "", count: int = 100, cursor: str = "0"
    ) -> list[Any]:
        key = self.user_set(user) if user else self.key("active")
        return self.run("list", [key], self.key("stream") + ":", user, count, cursor)

    def list_all(self, user: str = "", count: int = 100) -> dict[str, list[str]]:
        """All pages: descriptions by id."""
        found, cursor = {}, "0"
        while True:
            _, cursor, _, *page = self.list_page(user, count, cursor)
            found.update({stream[0]: stream for stream in page})
            if cursor == "0":
                return found

    def claim(self, silent: int = 0, lease: int = 10_000, most: int = 50) -> list[Any]:
        return self.run(
            "claim", [self.key("active")], self.key("stream") + ":",
            self.key("completion") + ":", silent, lease, most,
        )  # fmt: skip

    def settle(self, id: str, claim: str, state: str, later: int = 30_000) -> list[Any]:
        return self.run(
            "settle", self.keys(id), id, claim, state, later, 60, 7200,
            self.channel(id), "PUBLISH",
        )  # fmt: skip

    def stop(self, id: str, owner: str = "") -> list[Any]:
        return self.run("stop", self.keys(id), id, owner, self.key("ctl") + ":")

    def count(self, silent: int) -> list[Any]:
        return self.run("count", [self.key("active")], silent)

    # ---- What tests look at ---------------------------------------------------

    def state_of(self, id: str) -> str | None:
        return self.client.hget(self.key("stream", id), "state")

    def score_of(self, id: str) -> float | None:
        return self.client.zscore(self.key("active"), id)

    def everything(self) -> dict[str, tuple[Any, ...]]:
        """All that is stored under the prefix, for comparing before and after."""
        found = {}
        for key in self.client.scan_iter(self.prefix + "*", count=1000):
            kind = self.client.type(key)
            found[key] = (kind, *(
                [self.client.get(key)] if kind == "string"
                else self.client.lrange(key, 0, -1) if kind == "list"
                else sorted(self.client.smembers(key)) if kind == "set"
                else self.client.zrange(key, 0, -1, withscores=True) if kind == "zset"
                else sorted(self.client.hgetall(key).items())
            ))  # fmt: skip
        return found


class Listener:
    """Messages of channels, from the moment it is made."""

    def __init__(self, client: redis.Redis, *channels: str) -> None:
        self.client = client  # whose end would be that of its connections
        self.pubsub = client.pubsub()
        self.pubsub.subscribe(*channels)
        for _ in channels:
            message = self.pubsub.get_message(timeout=60)
            assert message and message["type"] == "subscribe"

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_: object) -> None:
        self.pubsub.close()
        self.client.close()

    def next(self) -> str:
        message = self.pubsub.get_message(timeout=60)
        assert message, "no message came"
        return message["data"]

    def is_quiet(self, client: redis.Redis, channel: str) -> bool:
        """Whether nothing came before a message that is sent now."""
        client.publish(channel, "the last one")
        return self.next() == "the last one"
