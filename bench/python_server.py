#!/usr/bin/env python3
"""A FastAPI application under Uvicorn, whose one stream has one producer.

    python_server.py KIND READERS

KIND says how events come to readers: `ours`, `sse-starlette`, `fastapi`, or
`response`, which is libsse's EventSourceResponse, without a hub. With one
reader, the peers are given the producer itself; with more, a task hands its
events to a queue for each reader, as their users write it. bench/stream_load
reads, and says when to produce."""

import asyncio
import sys

import uvicorn
from fastapi import FastAPI, Request
from fastapi.sse import EventSourceResponse as FastAPIResponse
from fastapi.sse import ServerSentEvent

DATA_LEN = 124
EVENTS_MAX = 40_000
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz012345678"
BACKLOG = 4096


def payload(seq):
    """As bench/wire.h has it, which checks it."""
    head = f"p00 n0000 s{seq:08} l{DATA_LEN:05} "
    start = seq % len(LETTERS)
    return head + (LETTERS * 4)[start : start + DATA_LEN - len(head)]


class Model:
    """What stands for a language model. It does its work beforehand."""

    def __init__(self):
        self.texts = [payload(seq) for seq in range(EVENTS_MAX)]
        self.orders = asyncio.Queue()

    async def words(self):
        """One after the other; after each, others have their turn."""
        seq = 0
        while True:
            count, pause_s = await self.orders.get()
            for seq in range(seq, seq + count):
                yield self.texts[seq]
                await asyncio.sleep(pause_s)
            seq += 1


class Broadcast:
    """Hands what a model gives to many: what users of the peers write."""

    def __init__(self, model):
        self.model = model
        self.queues = set()
        self.task = None

    async def run(self):
        async for word in self.model.words():
            for queue in self.queues:
                queue.put_nowait(word)

    async def words(self):
        queue = asyncio.Queue()
        self.queues.add(queue)
        if self.task is None:
            self.task = asyncio.create_task(self.run())
        try:
            while True:
                yield await queue.get()
        finally:
            self.queues.discard(queue)


def serve_ours(model, source):
    from libsse import Hub

    hub = Hub(log_events=1_000_000, log_bytes=256 << 20)
    app = FastAPI(lifespan=hub.lifespan)

    @app.get("/read")
    async def read(request: Request):
        return hub.respond(request, "b0", producer=model.words)

    return app


def serve_response(model, source):
    from libsse.asgi import EventSourceResponse

    app = FastAPI()

    @app.get("/read")
    async def read():
        return EventSourceResponse(source.words())

    return app


def serve_sse_starlette(model, source):
    from sse_starlette import EventSourceResponse

    app = FastAPI()

    @app.get("/read")
    async def read():
        return EventSourceResponse(source.words(), sep="\n")

    return app


def serve_fastapi(model, source):
    app = FastAPI()

    @app.get("/read", response_class=FastAPIResponse)
    async def read():
        async for word in source.words():
            yield ServerSentEvent(raw_data=word)

    return app


KINDS = {
    "ours": serve_ours,
    "response": serve_response,
    "sse-starlette": serve_sse_starlette,
    "fastapi": serve_fastapi,
}


def make_app(kind, readers):
    model = Model()
    app = KINDS[kind](model, Broadcast(model) if readers > 1 else model)

    @app.post("/produce/{count}/{pause_us}", status_code=204)
    async def produce(count: int, pause_us: int):
        model.orders.put_nowait((count, pause_us / 1e6))

    return app


def main():
    app = make_app(sys.argv[1], int(sys.argv[2]))
    config = uvicorn.Config(app, port=0, log_level="error", backlog=BACKLOG)
    listening = config.bind_socket()
    listening.listen(BACKLOG)
    print("listening on http://127.0.0.1:%d" % listening.getsockname()[1], flush=True)
    uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main()
