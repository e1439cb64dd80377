"""libsse: event streams that reach their readers whole, in order and once."""

from . import errors
from ._core import sse_version as _sse_version
from ._events import Event, Gap, Parser, encode, encode_comment, parse
from ._hub import Hub, Stream
from ._info import Recovered, StreamInfo
from ._subscription import Subscription
from .client import Client, ClientError, News
from .errors import (
    BadCursor,
    BadStreamId,
    Forbidden,
    HubClosed,
    HubForked,
    InvalidArgument,
    LimitExceeded,
    NotUTF8,
    SSEError,
    StoreUnavailable,
    StreamEnded,
    StreamExists,
    StreamNotFound,
    TooLarge,
    Unauthorized,
)

__version__ = _sse_version()

__all__ = [
    "BadCursor",
    "BadStreamId",
    "Client",
    "ClientError",
    "Event",
    "Forbidden",
    "Gap",
    "Hub",
    "HubClosed",
    "HubForked",
    "InvalidArgument",
    "LimitExceeded",
    "News",
    "NotUTF8",
    "Parser",
    "Recovered",
    "SSEError",
    "StoreUnavailable",
    "Stream",
    "StreamEnded",
    "StreamExists",
    "StreamInfo",
    "StreamNotFound",
    "Subscription",
    "TooLarge",
    "Unauthorized",
    "encode",
    "encode_comment",
    "errors",
    "parse",
]
