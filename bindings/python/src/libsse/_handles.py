"""What holds something of C's, or waits for it, has no copy: two would each get half
of what comes, and the first to go would end the other."""

from __future__ import annotations

import copyreg
from typing import NoReturn

from . import sync
from ._events import Parser
from ._hub import Hub, Stream
from ._subscription import Subscription
from .client import Client


def refuse(handle: object) -> NoReturn:
    raise TypeError(f"a {type(handle).__name__} cannot be copied or pickled")


def forbid_copies() -> None:
    """To the modules `copy` and `pickle`, which both ask here first."""
    for kind in (Hub, Stream, Subscription, Client, Parser):
        copyreg.pickle(kind, refuse)
    for of_threads in (sync.Hub, sync.Stream, sync.Subscription):
        copyreg.pickle(of_threads, refuse)
