"""What a shell, an editor and a log show of libsse's objects."""

from __future__ import annotations

import copy
import importlib
import inspect
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import libsse
from libsse import Client, Hub, Parser, sync
from libsse._options import HubOptions, StreamOptions

MODULES = ["", ".sync", ".asgi", ".fastapi", ".wsgi", ".django", ".mcp", ".prometheus"]


def undocumented(module: Any) -> Iterator[str]:
    """Its public names that help() says nothing of."""
    for name in module.__all__:
        found = getattr(module, name)
        if not inspect.getdoc(found):
            yield name
        if not inspect.isclass(found):
            continue
        for member, value in vars(found).items():
            if member.startswith("_") or not (
                inspect.isroutine(value) or isinstance(value, property)
            ):
                continue
            if not inspect.getdoc(getattr(found, member)):
                yield f"{name}.{member}"


@pytest.mark.parametrize("name", MODULES)
def test_help_says_something_of_every_public_name(name: str) -> None:
    pytest.importorskip("libsse" + name)
    assert list(undocumented(importlib.import_module("libsse" + name))) == []


def test_help_lists_the_options() -> None:
    of_hub, of_stream = inspect.getdoc(Hub), inspect.getdoc(Hub.create)
    assert of_hub and of_stream
    assert [n for n in HubOptions.__annotations__ if n not in of_hub] == []
    assert [n for n in StreamOptions.__annotations__ if n not in of_stream] == []


def test_a_repr_says_which_and_tells_no_secret() -> None:
    hub = Hub("redis://me:pass@localhost/1?sentinel_password=word")
    assert repr(hub) == "<Hub redis://localhost/1>"
    client = Client("https://me:pass@host/s?token=word")
    assert repr(client) == "<Client https://host/s>"
    with sync.Hub() as threads:
        assert repr(threads.create("s")) == "<Stream s>"
    assert repr(threads) == "<Hub memory:, closed>"
    assert repr(Hub().subscribe("s")) == "<Subscription of s>"


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickle.dumps])
def test_what_holds_something_open_has_no_copy(copied: Callable[[Any], Any]) -> None:
    """A copy would take what comes from the one that it is of."""
    with sync.Hub() as threads:
        stream = threads.create("s")
        hub = Hub()
        held = [threads, stream, threads.subscribe("s"), Client("http://localhost/")]
        held += [hub, libsse.Stream(hub, stream), hub.subscribe("s"), Parser()]
        held.append(type("MyHub", (Hub,), {})())  # a subclass is one, too
        for handle in held:
            name = type(handle).__name__
            with pytest.raises(TypeError, match=f"{name} cannot be copied or pickled"):
                copied(handle)
