"""A model server whose answers a test speaks, in the format of OpenAI's
streamed chat completions."""

import json
from typing import Any

from script_server import STREAM, Exchange, ScriptServer

DONE = "[DONE]"


def chunk_of(delta: dict[str, Any], reason: str | None = None) -> str:
    """The data of one event."""
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
    return json.dumps(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1790000000,
            "model": "test-model",
            "system_fingerprint": None,
            "choices": [choice],
            "usage": None,
        },
        ensure_ascii=False,
    )


ROLE = chunk_of({"role": "assistant", "content": ""})
FINISH = chunk_of({}, "stop")
USAGE = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1790000000,
        "model": "test-model",
        "choices": [],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    }
)
ERROR = '{"error":{"message":"out of memory","type":"server_error","code":null}}'


def say(text: str) -> str:
    return chunk_of({"content": text})


class Completion:
    """One request, and the answer to it."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.request = exchange.request

    def open(self) -> None:
        self.exchange.head(200, STREAM, ("Transfer-Encoding", "chunked"))

    def send(self, *chunks: str) -> None:
        for text in chunks:
            block = f"data: {text}\n\n".encode()
            self.exchange.send(f"{len(block):x}\r\n".encode() + block + b"\r\n")

    def end_body(self) -> None:
        """As an answer ends that is whole."""
        self.exchange.send(b"0\r\n\r\n")
        self.exchange.close()

    def finish(self) -> None:
        self.send(FINISH, USAGE, DONE)
        self.end_body()

    def refuse(self, status: int, body: bytes, *headers: tuple[str, str]) -> None:
        self.exchange.answer(
            status, body, ("Content-Type", "application/json"), *headers
        )


class ModelServer(ScriptServer):
    """Use it in a `with`."""

    def completion(self) -> Completion:
        """The next request."""
        return Completion(self.next())
