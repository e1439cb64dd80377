"""One generator for one reader, without a hub: what sse-starlette does."""

from __future__ import annotations

import asyncio
from typing import Any, AsyncIterator, Awaitable, Callable, Dict, Mapping, Optional

from ._asgi_base import (
    BaseResponse,
    Message,
    Receive,
    Scope,
    Send,
    merge,
    stream_headers,
)
from ._events import encode, encode_comment


class EventSourceResponse(BaseResponse):
    """Sends what an async iterable gives, event by event, for one reader, without a
    hub: nothing can be resumed. Items are Events, dicts with "data", "event", "id",
    "retry" or "comment", or what `Stream.send` takes.

    `ping` seconds without an item bring a comment; `sep` and other parameters of
    sse-starlette that the standard has no use for are not here."""

    def __init__(
        self,
        content: Any,
        status_code: int = 200,
        headers: Optional[Mapping[str, str]] = None,
        media_type: str = "text/event-stream",
        background: Any = None,
        ping: Optional[float] = 15,
        ping_message_factory: Optional[Callable[[], Any]] = None,
        data_sender_callable: Optional[Callable[[], Awaitable[None]]] = None,
        send_timeout: Optional[float] = None,
        client_close_handler_callable: Optional[
            Callable[[Message], Awaitable[None]]
        ] = None,
    ) -> None:
        super().__init__((), status_code=status_code, headers=headers)
        self.background: Any = background
        self._content = content
        self._media_type = media_type
        self._ping_s = ping
        self._ping_message = ping_message_factory
        self._data_sender = data_sender_callable
        self._send_timeout = send_timeout
        self._on_close = client_close_handler_callable

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = merge(stream_headers(scope, ""), self.raw_headers)
        headers[0] = (b"content-type", self._media_type.encode())
        await send(
            {
                "type": "http.response.start",
                "status": self.status_code,
                "headers": headers,
            }
        )
        work = asyncio.ensure_future(self._send_all(send))
        gone = asyncio.ensure_future(self._watch(receive))
        helpers = [gone]
        if self._data_sender is not None:
            helpers.append(asyncio.ensure_future(_forever(self._data_sender())))
        try:
            await asyncio.wait([work, gone], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in [work, *helpers]:
                task.cancel()
            await asyncio.gather(work, *helpers, return_exceptions=True)
        if not work.cancelled() and work.exception() is not None:
            raise work.exception()  # type: ignore[misc]
        if self.background is not None:
            await self.background()

    async def _watch(self, receive: Receive) -> None:
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                break
        if self._on_close is not None:
            await self._on_close(message)

    async def _send_all(self, send: Send) -> None:
        """Ends with the items, or when cancelled: their `finally` runs then."""
        items = _async_iterator(self._content)
        step = asyncio.ensure_future(items.__anext__())
        try:
            while True:
                await asyncio.wait([step], timeout=self._ping_s)
                if not step.done():
                    await self._put(send, self._ping_bytes())
                    continue
                try:
                    item = step.result()
                except StopAsyncIteration:
                    break
                await self._put(send, item_bytes(item))
                step = asyncio.ensure_future(items.__anext__())
            await send({"type": "http.response.body", "body": b""})
        except OSError:
            pass  # the caller is gone
        finally:
            if not step.done():
                step.cancel()
                await asyncio.gather(step, return_exceptions=True)
            close = getattr(items, "aclose", None)
            if close is not None:
                await close()

    async def _put(self, send: Send, data: bytes) -> None:
        message = {"type": "http.response.body", "body": data, "more_body": True}
        if self._send_timeout is None:
            await send(message)
        else:
            await asyncio.wait_for(send(message), self._send_timeout)

    def _ping_bytes(self) -> bytes:
        if self._ping_message is None:
            return b": ping\n\n"
        return item_bytes(self._ping_message())


async def _forever(work: Awaitable[None]) -> None:
    await work


def _async_iterator(content: Any) -> Any:
    if hasattr(content, "__aiter__"):
        return content.__aiter__()
    if not hasattr(content, "__iter__"):
        raise TypeError("the content must be an iterable, async or not")
    return _from_thread(iter(content))


async def _from_thread(items: Any) -> AsyncIterator[Any]:
    loop = asyncio.get_running_loop()
    end = object()
    while True:
        item = await loop.run_in_executor(None, next, items, end)
        if item is end:
            return
        yield item


def item_bytes(item: Any) -> bytes:
    """One item as it stands on the wire."""
    if isinstance(item, bytes):
        return item
    if hasattr(item, "encode") and not isinstance(item, str):  # ServerSentEvent
        return bytes(item.encode())
    if isinstance(item, dict):
        fields: Dict[str, Any] = item
        if fields and fields.keys() <= _FIELDS:
            return _dict_bytes(fields)
    return encode(item)


_FIELDS = {"data", "event", "id", "retry", "comment"}


def _dict_bytes(item: Dict[str, Any]) -> bytes:
    out = b""
    if item.get("comment") is not None:
        out += encode_comment(str(item["comment"]))
    if "data" in item or "event" in item or "id" in item:
        id = item.get("id")
        out += encode(
            item.get("data", ""),
            str(item.get("event") or ""),
            "" if id is None else str(id),
            retry_ms=item.get("retry"),
        )
    elif item.get("retry") is not None:
        out += b"retry: %d\n\n" % item["retry"]
    return out
