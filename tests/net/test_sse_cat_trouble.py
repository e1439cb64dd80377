"""`sse cat` when the server or the network misbehaves, and what it says at a
terminal meanwhile."""

import fcntl
import json
import os
import pty
import random
import re
import select
import signal
import socket
import struct
import subprocess
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from fault_proxy import hold_port
from suite.api import Api, fresh_id
from suite.fixtures import Serve
from suite.server import Server
from test_sse_cat import lines_of, parsed, run, sse, stream, url  # noqa: F401
from test_sse_command import TIMEOUT_S, Command

pytestmark = pytest.mark.asan


# ---- What only a server that misbehaves can show


@dataclass
class Answer:
    status: int = 200
    body: str = ""
    after: str = "end"  # then: "end", "cut", or "hold" the connection
    type: str = "text/event-stream"
    retry_after_s: int = 0


@dataclass
class Asked:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Peer(ThreadingHTTPServer):
    """Gives the next of its answers to each request; 204 after the last."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _PeerHandler)
        self.url = f"http://127.0.0.1:{self.server_port}/stream"
        self.answers: list[Answer] = []
        self.asked: list[Asked] = []
        self.over = threading.Event()

    def handle_error(self, *_: object) -> None:
        pass


class _PeerHandler(BaseHTTPRequestHandler):
    wbufsize = -1  # an answer goes out in one piece
    server: Peer

    def log_message(self, *_: object) -> None:
        pass

    def answer(self) -> None:
        peer = self.server
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        peer.asked.append(Asked(self.command, self.path, dict(self.headers), body))
        answer = peer.answers.pop(0) if peer.answers else Answer(status=204)
        raw = answer.body.encode()
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.type)
        if answer.retry_after_s:
            self.send_header("Retry-After", str(answer.retry_after_s))
        if answer.after != "end":
            self.send_header("Content-Length", str(len(raw) + 1))
        self.end_headers()
        self.wfile.write(raw)
        self.wfile.flush()
        if answer.after == "hold":
            peer.over.wait(TIMEOUT_S)

    do_GET = do_POST = do_PUT = answer


@pytest.fixture
def peer() -> Iterator[Peer]:
    with Peer() as server:
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        yield server
        server.over.set()
        server.shutdown()


QUICK = "retry: 1\n\n"  # the client makes it 100 ms


class TestTrouble:
    def test_what_is_asked(self, sse: Command, peer: Peer) -> None:
        sse("cat", "-H", "Authorization: Bearer t", "-HX-A:b", peer.url + "?k=a%26b")
        (asked,) = peer.asked
        assert (asked.method, asked.path) == ("GET", "/stream?k=a%26b")
        assert asked.headers["Accept"] == "text/event-stream"
        assert asked.headers["Authorization"] == "Bearer t"
        assert asked.headers["X-A"] == "b"
        assert asked.headers["User-Agent"].startswith("sse/")
        assert "Last-Event-ID" not in asked.headers

    @pytest.mark.parametrize("way", ["text", "file", "stdin"])
    def test_a_body_is_posted(
        self, sse: Command, peer: Peer, tmp_path: Path, way: str
    ) -> None:
        body = '{"é":\n1}\n'.encode()
        (tmp_path / "body").write_bytes(body)
        arg = {
            "text": body.decode(),
            "file": f"@{tmp_path / 'body'}",
            "stdin": "@-",
        }[way]
        peer.answers = [Answer(body="data: one\n\n")]
        done = sse("cat", "-d", arg, peer.url, stdin=body)
        (asked,) = peer.asked
        assert (asked.method, asked.body) == ("POST", body)
        assert asked.headers["Content-Type"] == "application/json"
        assert done.stdout == b"one\n"

    def test_the_method_and_the_type_can_be_chosen(
        self, sse: Command, peer: Peer
    ) -> None:
        sse("cat", "-XPUT", "-d", "a=b", "-H", "content-type: text/plain", peer.url)
        (asked,) = peer.asked
        assert (asked.method, asked.body) == ("PUT", b"a=b")
        types = [v for k, v in asked.headers.items() if k.lower() == "content-type"]
        assert types == ["text/plain"]

    def test_it_comes_back_with_the_last_id(self, sse: Command, peer: Peer) -> None:
        peer.answers = [
            Answer(body=QUICK + "id: a\ndata: one\n\ndata: half", after="cut"),
            Answer(status=503, type="text/plain"),
            Answer(body="id: b\ndata: two\n\n"),
        ]
        done = run(sse, peer.url)
        assert (done.returncode, done.stdout) == (0, b"one\ntwo\n")
        ids = [asked.headers.get("Last-Event-ID") for asked in peer.asked]
        assert ids == [None, "a", "a", "b"]
        told = done.stderr.decode().splitlines()
        assert [line.split(" s: ")[0][:12] for line in told] == [
            "sse: waiting",
            "sse: waiting",
            "sse: connect",
            "sse: waiting",
        ]
        assert "503" in told[1]

    def test_a_mark_of_the_end_is_no_data(self, sse: Command, peer: Peer) -> None:
        peer.answers = [Answer(body='data: {"a":1}\n\ndata: [DONE]\n\n')] * 2
        assert sse("cat", peer.url).stdout == b'{"a":1}\n'
        last = parsed(sse("cat", "--json", peer.url).stdout)[-1]
        assert last == {"type": "message", "data": "[DONE]", "lastEventId": ""}

    @pytest.mark.parametrize("status", [500, 503, 429])
    def test_the_profile_says_what_is_tried_again(
        self, sse: Command, peer: Peer, status: int
    ) -> None:
        answers = [Answer(status=status), Answer(body="data: one\n\ndata: [DONE]\n\n")]
        peer.answers = list(answers)
        done = run(sse, "--profile", "strict", peer.url)
        assert (done.returncode, len(peer.asked)) == (1, 1)
        assert str(status).encode() in done.stderr
        peer.answers = list(answers)
        done = run(sse, "--profile", "resilient", peer.url)
        assert (done.returncode, done.stdout) == (0, b"one\n")

    def test_a_finite_answer_is_the_end(self, sse: Command, peer: Peer) -> None:
        answer = Answer(body=QUICK + "data: one\n\n")
        peer.answers = [answer]
        assert sse("cat", "--profile", "finite", peer.url).stdout == b"one\n"
        assert len(peer.asked) == 1
        peer.answers = [answer, answer]
        assert run(sse, peer.url).stdout == b"one\none\n"

    def test_a_post_is_not_repeated_where_it_would_begin_anew(
        self, sse: Command, peer: Peer
    ) -> None:
        peer.answers = [Answer(body=QUICK + "data: one\n\n", after="cut")] * 2
        done = run(sse, "-d", "{}", peer.url)
        assert (done.returncode, done.stdout) == (1, b"one\n")
        assert len(peer.asked) == 1
        assert b"no id to go on from" in done.stderr

    def test_silence_is_a_dead_connection(self, sse: Command, peer: Peer) -> None:
        peer.answers = [
            Answer(body=QUICK + "id: a\ndata: one\n\n", after="hold"),
            Answer(body="id: b\ndata: two\n\ndata: [DONE]\n\n", after="hold"),
        ]
        done = run(sse, "--stall-ms", "200", peer.url)
        assert (done.returncode, done.stdout) == (0, b"one\ntwo\n")
        assert peer.asked[1].headers["Last-Event-ID"] == "a"

    def test_it_gives_up(self, sse: Command, peer: Peer) -> None:
        peer.answers = [Answer(status=503)] * 100
        done = run(sse, "--retry-for", "1", peer.url)
        assert done.returncode == 1
        assert done.stderr.decode().splitlines()[-1].startswith("sse: gave up: ")

    def test_nobody_listens(self, sse: Command) -> None:
        with hold_port() as place:
            url = f"http://127.0.0.1:{place.getsockname()[1]}/stream"
            done = run(sse, "--retry-for", "0", url)
        assert done.returncode == 1
        assert re.fullmatch(rb"sse: gave up: .+\n", done.stderr)

    def test_an_answer_that_is_no_stream(self, sse: Command, peer: Peer) -> None:
        peer.answers = [Answer(body="<h1>Hello</h1>", type="text/html")]
        done = run(sse, peer.url)
        assert done.returncode == 1 and done.stdout == b""
        assert re.fullmatch(rb"sse: .+\n", done.stderr)


class Relay:
    """Passes connections on, and cuts each one after its number of bytes."""

    def __init__(self, port: int, budgets: list[int]) -> None:
        self.target = port
        self.budgets = budgets
        self.cuts = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> "Relay":
        return self

    def __exit__(self, *_: object) -> None:
        self.listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                self._serve(self.listener.accept()[0])

    def _serve(self, near: socket.socket) -> None:
        left = self.budgets.pop(0) if self.budgets else None
        with near, socket.create_connection(("127.0.0.1", self.target)) as far:
            while left != 0:
                ready, _, _ = select.select([near, far], [], [])
                if near in ready:
                    data = near.recv(65536)
                    if not data:
                        return
                    far.sendall(data)
                if far in ready:
                    data = far.recv(min(left or 65536, 65536))
                    if not data:
                        return
                    near.sendall(data)
                    left = None if left is None else left - len(data)
            self.cuts += 1
            linger = struct.pack("ii", 1, 0)  # RST
            near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)


class TestNetwork:
    def test_cut_connections_do_no_harm(
        self, sse: Command, api: Api, stream: str, seed: str
    ) -> None:
        texts = [f"line {i}" for i in range(2_000)]
        api.append_many(stream, texts)
        api.complete(stream)
        port = int(api.base_url.rpartition(":")[2])
        chance = random.Random(seed)
        # All of them together are less than the stream.
        budgets = [chance.randint(1_000, 10_000) for _ in range(4)]
        with Relay(port, budgets) as relay:
            done = run(sse, f"http://127.0.0.1:{relay.port}/api/stream/{stream}")
        assert done.returncode == 0
        assert done.stdout == lines_of(texts)
        assert relay.cuts == 4

    def test_a_stream_made_again_on_a_new_server(
        self, sse: Command, own_server: Serve
    ) -> None:
        first = own_server()
        api, stream = Api(first.base_url), fresh_id()
        api.new_stream(streamId=stream)
        api.append(stream, "old")
        with sse.start("cat", "--json", f"{first.base_url}/api/stream/{stream}") as cat:
            assert cat.stdout and cat.stderr
            assert json.loads(cat.stdout.readline())["data"] == "old"
            with successor(cat, first, own_server):
                api.new_stream(streamId=stream)
            api.append(stream, "new")
            gap, event = (json.loads(cat.stdout.readline()) for _ in range(2))
            assert gap["gap"]["reason"] == "diverged"
            assert event["data"] == "new"
            api.complete(stream)
            assert cat.wait(TIMEOUT_S) == 0

    def test_a_server_that_has_forgotten_the_stream(
        self, sse: Command, own_server: Serve
    ) -> None:
        first = own_server()
        api, stream = Api(first.base_url), fresh_id()
        api.new_stream(streamId=stream)
        api.append(stream, "old")
        with sse.start("cat", f"{first.base_url}/api/stream/{stream}") as cat:
            assert cat.stdout and cat.stderr
            assert cat.stdout.readline() == b"old\n"
            with successor(cat, first, own_server):
                pass
            assert cat.wait(TIMEOUT_S) == 1
            told = cat.stderr.read().decode().splitlines()
        assert told[0].startswith("sse: waiting ")
        assert told[-1].startswith("sse: the server says: ")


@contextmanager
def successor(
    reader: subprocess.Popen[bytes], old: Server, own_server: Serve
) -> Iterator[None]:
    """Kills a server and starts another on its port; the reader sees it as it is
    at the end of the block."""
    reader.send_signal(signal.SIGSTOP)
    old.kill()
    own_server(port=old.port)
    yield
    reader.send_signal(signal.SIGCONT)


# ---- At a terminal


class Terminal:
    """Standard error of a program that sits at a terminal."""

    def __init__(self, columns: int) -> None:
        self.near, self.far = pty.openpty()
        size = struct.pack("HHHH", 24, columns, 0, 0)
        fcntl.ioctl(self.far, termios.TIOCSWINSZ, size)
        self.seen = ""

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.near)

    def _read(self) -> bool:
        try:
            self.seen += os.read(self.near, 4096).decode()
        except OSError:  # the program has ended
            return False
        return True

    def wait_for(self, pattern: str) -> None:
        while not re.search(pattern, self.seen):
            ready, _, _ = select.select([self.near], [], [], TIMEOUT_S)
            assert ready and self._read(), self.seen

    def rest(self) -> str:
        os.close(self.far)
        while self._read():
            pass
        return self.seen


ERASE = "\r\x1b[K"


class TestTerminal:
    def start(
        self, sse: Command, terminal: Terminal, *args: str, **options: Any
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sse.path, "cat", *args],
            stdin=subprocess.DEVNULL,
            stdout=options.get("stdout", subprocess.PIPE),
            stderr=terminal.far,
            env={**os.environ, "TERM": options.get("term", "xterm")},
        )

    def test_one_line_is_kept_up_to_date(
        self, sse: Command, api: Api, stream: str, url: str
    ) -> None:
        with Terminal(80) as terminal, self.start(sse, terminal, url) as cat:
            assert cat.stdout
            first = api.append(stream, "one")
            terminal.wait_for(f"open, 1 event, the last is {first}")
            second = api.append(stream, "two")
            terminal.wait_for(f"open, 2 events, the last is {second}")
            api.complete(stream)
            assert cat.wait(TIMEOUT_S) == 0
            assert cat.stdout.read() == b"one\ntwo\n"
            seen = terminal.rest()
        assert "\n" not in seen and seen.endswith(ERASE)

    def test_it_counts_the_seconds_down(self, sse: Command, peer: Peer) -> None:
        busy = Answer(status=503, retry_after_s=3)
        peer.answers = [busy, Answer(status=404, type="text/plain")]
        with Terminal(80) as terminal, self.start(sse, terminal, peer.url) as cat:
            terminal.wait_for(r"sse: waiting \d+ s: .*503")
            assert cat.wait(TIMEOUT_S) == 1
            seen = terminal.rest()
        assert re.search(re.escape(ERASE) + "sse: .*404.*\r\n$", seen)
        assert seen.count("\n") == 1

    def test_the_line_fits_the_terminal(
        self, sse: Command, api: Api, stream: str, url: str
    ) -> None:
        with Terminal(20) as terminal, self.start(sse, terminal, url) as cat:
            api.append(stream, "one")
            terminal.wait_for("sse: open, 1 event")
            cat.send_signal(signal.SIGINT)
            assert cat.wait(TIMEOUT_S) == 130
            seen = terminal.rest()
        assert max(len(line) for line in seen.split(ERASE)) == 19

    def test_the_output_may_go_to_the_same_terminal(
        self, sse: Command, api: Api, stream: str, url: str
    ) -> None:
        with Terminal(80) as terminal:
            with self.start(sse, terminal, url, stdout=terminal.far) as cat:
                terminal.wait_for("open, 0 events")  # which has to make room
                api.append(stream, "one")
                terminal.wait_for(f"{re.escape(ERASE)}one\r\n")
                terminal.wait_for("open, 1 event,")
                api.complete(stream)
                assert cat.wait(TIMEOUT_S) == 0
            assert terminal.rest().endswith(ERASE)

    def test_a_dumb_terminal_gets_plain_lines(self, sse: Command, peer: Peer) -> None:
        peer.answers = [Answer(status=503)]
        with Terminal(80) as terminal:
            with self.start(sse, terminal, peer.url, term="dumb") as cat:
                assert cat.wait(TIMEOUT_S) == 0
            assert re.fullmatch(r"sse: waiting .*503.*\r\n", terminal.rest())
