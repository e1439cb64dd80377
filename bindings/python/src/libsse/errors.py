"""What goes wrong, one class for each thing that a program does differently.

Each knows the HTTP status and the code that docs/http.md has for it.
"""

from __future__ import annotations

import contextlib
from typing import ClassVar, Iterator

from . import _core

if not _core.sse_in_main_interpreter():
    raise ImportError("libsse does not support loading in subinterpreters")


class SSEError(Exception):
    """Whatever libsse refuses. Its text is one sentence."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"
    message: ClassVar[str] = "The server is out of memory."


class OutOfMemory(SSEError, MemoryError):
    """An allocation failed."""


class InvalidArgument(SSEError, ValueError):
    """An argument breaks a documented rule."""

    status = 400
    code = "bad_event"
    message = "The event type must be one line of UTF-8 without NUL."


@contextlib.contextmanager
def saying(sentence: str) -> Iterator[None]:
    """What C refuses without saying which rule is broken is refused with a sentence
    that does."""
    try:
        yield
    except InvalidArgument as error:
        if type(error) is not InvalidArgument:
            raise
        raise InvalidArgument(sentence) from None


class BadStreamId(InvalidArgument):
    """It has other characters than a stream's id may have, or too many."""

    code = "bad_id"
    message = "A stream id is 1 to 255 characters out of A-Z a-z 0-9 . _ ~ : @ + -"


class LimitExceeded(SSEError):
    """A limit on how many is reached: try later."""

    status = 429
    code = "limit"
    message = "The server's limit is reached: try later."


class TooLarge(SSEError, ValueError):
    """A limit on how large is passed: send less."""

    status = 413
    code = "too_large"
    message = "That is above the server's limit: send less."


class StreamNotFound(SSEError, LookupError):
    """There is none with that id, or it is not the asker's."""

    status = 404
    code = "not_found"
    message = "There is no such stream."


class StreamExists(SSEError):
    """An active stream has that id."""

    status = 409
    code = "exists"
    message = "An active stream has that id."


class StreamEnded(SSEError):
    """The stream has its terminal event: nothing comes behind it."""

    status = 409
    code = "ended"
    message = "The stream has ended: nothing can be appended to it."


class BadCursor(SSEError, ValueError):
    """The text is no event id, no "0" and no "$"."""

    status = 400
    code = "bad_cursor"
    message = (
        "The cursor must be an event id as this stream gave it, 0 for the "
        "start, or $ for only what is new."
    )

    def __init__(self, _: str = "") -> None:
        super().__init__(self.message)


class NotUTF8(SSEError, ValueError):
    """Bytes that are no UTF-8, or half of a surrogate pair."""

    status = 400
    code = "bad_utf8"
    message = "The text is not valid UTF-8."


class TimedOut(SSEError, TimeoutError):
    """What was waited for did not come in time."""

    status = 503
    code = "closing"
    message = "The server did not answer in time."


class Unauthorized(SSEError):
    """Raise it in an authorize hook: the answer is 401, with a challenge."""

    status = 401
    code = "unauthorized"
    message = "Say who you are."

    def __init__(self, challenge: str = "Bearer") -> None:
        super().__init__(self.message)
        self.challenge: str = challenge


class Forbidden(SSEError):
    """Raise it in an authorize hook: the answer is 403."""

    status = 403
    code = "forbidden"
    message = "That is not allowed."


class HubClosed(SSEError):
    """The hub, or the object, has been closed."""

    status = 503
    code = "closing"
    message = "The server is shutting down."


class SystemFailure(SSEError, OSError):
    """The operating system refused."""


class HubForked(SSEError):
    """The object was made before a fork, and belongs to the parent process."""


class StoreUnavailable(SSEError):
    """The store cannot be reached, or refused."""

    status = 503
    code = "store_unavailable"
    message = "The store cannot be reached: try later."


_core.errors.update(
    {
        -1: OutOfMemory,
        -2: InvalidArgument,
        -3: LimitExceeded,
        -4: TooLarge,
        -5: StreamNotFound,
        -6: StreamExists,
        -7: StreamEnded,
        -8: BadCursor,
        -9: NotUTF8,
        -10: TimedOut,
        -11: Forbidden,
        -12: HubClosed,
        -13: SystemFailure,
        -14: HubForked,
        -15: StoreUnavailable,
    }
)
