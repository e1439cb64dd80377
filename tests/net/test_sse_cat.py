"""`sse cat`: a stream at a terminal, whole, whatever happens on the way."""

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
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from suite.api import Api, fresh_id
from suite.fixtures import Serve
from suite.server import Server
from test_sse_command import TIMEOUT_S, Command

pytestmark = pytest.mark.asan


@pytest.fixture
def sse(build_dir: Path) -> Command:
    return Command(build_dir / "bin" / "sse")


@pytest.fixture
def stream(api: Api) -> str:
    return api.new_stream()


@pytest.fixture
def url(api: Api, stream: str) -> str:
    return f"{api.base_url}/api/stream/{stream}"


def run(
    sse: Command, *args: str, stdin: bytes = b"", **options: Any
) -> subprocess.CompletedProcess[bytes]:
    """As `sse()`, whatever the status and standard error are."""
    return subprocess.run(
        [sse.path, "cat", *args],
        input=stdin,
        capture_output=True,
        timeout=TIMEOUT_S,
        **options,
    )


def lines_of(texts: list[str]) -> bytes:
    return "".join(text + "\n" for text in texts).encode()


def as_json(events: list[Any]) -> list[dict[str, str]]:
    return [{"type": e.type, "data": e.data, "lastEventId": e.last_id} for e in events]


def parsed(output: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.decode().split("\n")[:-1]]


# ---- A server of this library


class TestStream:
    def test_the_demo_stream_comes_whole(self, sse: Command, api: Api) -> None:
        started = api.ask("POST", "/demo/start", [], b'{"rate":5000}').json()
        stream = started["streamId"]
        done = sse("cat", f"{api.base_url}/api/stream/{stream}")
        *words, last = api.events(stream)
        assert last.type == "completed" and len(words) > 1000
        assert done.stdout == lines_of([word.data for word in words])

    def test_what_was_published_comes_back(
        self, sse: Command, api: Api, url: str
    ) -> None:
        lines = b"".join(b"line %d\n" % i for i in range(5_000))
        sse("pub", url, stdin=lines)
        assert sse("cat", url).stdout == lines

    def test_a_url_needs_no_scheme(
        self, sse: Command, api: Api, stream: str, url: str
    ) -> None:
        api.append(stream, "one")
        api.complete(stream)
        assert sse("cat", url.removeprefix("http://")).stdout == b"one\n"

    def test_an_event_is_printed_as_it_comes(
        self, sse: Command, api: Api, stream: str, url: str
    ) -> None:
        with sse.start("cat", url) as process:
            assert process.stdout and process.stderr
            for text in ("one", "two", "two\nlines"):
                api.append(stream, text)
                for line in text.split("\n"):
                    assert process.stdout.readline().decode() == line + "\n"
            api.complete(stream)
            assert process.stdout.read() == b""
            assert process.wait(TIMEOUT_S) == 0
            assert process.stderr.read() == b""

    def test_json_is_what_sse_parse_prints(
        self, sse: Command, api: Api, stream: str, url: str
    ) -> None:
        api.append(stream, 'é "\n', "odd")
        api.append(stream, "{}")
        api.complete(stream)
        done = sse("cat", "--json", url)
        assert parsed(done.stdout) == as_json(api.events(stream))
        assert done.stdout.startswith(b'{"type":"odd","data":"\xc3\xa9 \\"\\n","last')

    def test_braces_that_are_data_are_printed(
        self, sse: Command, api: Api, stream: str, url: str
    ) -> None:
        with sse.start("cat", url) as process:
            assert process.stdout
            api.append(stream, "{}")
            assert process.stdout.readline() == b"{}\n"
            api.append(stream, "{}")
            api.append(stream, "one")
            assert process.stdout.readline() == b"{}\n"
            api.end(stream, "complete", [("Content-Type", "text/plain")], b"the result")
            assert process.stdout.read() == b"one\nthe result\n"

    @pytest.mark.parametrize("verb", ["fail", "stop"])
    def test_a_stream_that_went_wrong(
        self, sse: Command, api: Api, stream: str, url: str, verb: str
    ) -> None:
        api.append(stream, "one")
        api.ask("POST", f"/api/stream/{stream}/{verb}")
        wait_for_end(api, stream)
        done = run(sse, url)
        ended = "failed" if verb == "fail" else "cancelled"
        assert done.returncode == 3 and done.stdout.startswith(b"one\n")
        assert done.stderr.startswith(f"sse: the stream ended as {ended}".encode())
        assert run(sse, "--until", ended, url).returncode == 0

    def test_an_event_can_be_the_end(
        self, sse: Command, api: Api, stream: str, url: str
    ) -> None:
        api.append(stream, "one")
        api.append(stream, "two", "halt")
        api.append(stream, "three")
        done = sse("cat", "--until", "other", "--until", "halt", url)
        assert done.stdout == b"one\ntwo\n"

    def test_it_can_begin_behind_an_event(
        self, sse: Command, api: Api, stream: str, url: str
    ) -> None:
        _, second, _ = api.append_many(stream, ["one", "two", "three"])
        api.complete(stream)
        assert sse("cat", "--last-event-id", second, url).stdout == b"three\n"

    def test_a_gap_is_told(self, sse: Command, forgetful: Api) -> None:
        stream = forgetful.new_stream()
        forgetful.append_many(stream, [str(i) for i in range(1, 31)])
        forgetful.complete(stream)
        url = f"{forgetful.base_url}/api/stream/{stream}"
        _, *kept = forgetful.events(stream)
        first = 31 - (len(kept) - 1)
        missed = first - 1
        gap = {"from": 1, "to": missed, "missed": missed, "reason": "trimmed"}
        told = f"sse: {missed} events are missing, 1 to {missed}: trimmed\n"

        done = run(sse, "--json", url)
        assert parsed(done.stdout) == [{"gap": gap}, *as_json(kept)]
        assert (done.returncode, done.stderr.decode()) == (0, told)
        done = run(sse, url)
        assert done.stdout == lines_of([str(i) for i in range(first, 31)])
        assert done.stderr.decode() == told

    def test_a_stream_that_is_not_there(self, sse: Command, api: Api) -> None:
        done = run(sse, f"{api.base_url}/api/stream/{fresh_id()}")
        assert done.returncode == 1 and done.stdout == b""
        assert done.stderr.startswith(b"sse: the server says: ")

    @pytest.mark.parametrize("signo", [signal.SIGINT, signal.SIGTERM])
    def test_a_signal_ends_it(
        self, sse: Command, api: Api, stream: str, url: str, signo: signal.Signals
    ) -> None:
        api.append(stream, "one")
        with sse.start("cat", url) as process:
            assert process.stdout and process.stderr
            assert process.stdout.readline() == b"one\n"
            process.send_signal(signo)
            assert process.wait(TIMEOUT_S) == 128 + signo
            assert process.stderr.read() == b""


def wait_for_end(api: Api, stream: str) -> None:
    while api.recover(stream).json()["status"] == "active":
        pass


# ---- Its output goes away


class TestOutput:
    @pytest.mark.parametrize("ignored", [False, True])
    def test_a_broken_pipe_ends_it_quietly(
        self, sse: Command, api: Api, stream: str, url: str, ignored: bool
    ) -> None:
        with sse.start("cat", url, restore_signals=not ignored) as process:
            assert process.stdout and process.stderr
            process.stdout.close()
            api.append(stream, "one")
            assert process.stderr.read() == b""
            assert process.wait(TIMEOUT_S) == 1

    def test_a_full_disk_is_an_error(
        self, sse: Command, api: Api, stream: str, url: str
    ) -> None:
        api.append(stream, "one")
        with open("/dev/full", "wb") as full:
            done = subprocess.run(
                [sse.path, "cat", url],
                stdout=full,
                stderr=subprocess.PIPE,
                timeout=TIMEOUT_S,
            )
        assert done.returncode == 1 and done.stderr.startswith(b"sse: cannot write: ")

    def test_a_slow_reader_loses_nothing(
        self, sse: Command, api: Api, stream: str, url: str
    ) -> None:
        texts = [f"{i} " + "x" * 1000 for i in range(3_000)]
        with sse.start("cat", url) as process:
            assert process.stdout
            for i in range(0, len(texts), 500):
                api.append_many(stream, texts[i : i + 500])
            api.complete(stream)
            assert process.stdout.read() == lines_of(texts)
            assert process.wait(TIMEOUT_S) == 0


# ---- Where it stopped


class TestState:
    def test_the_next_run_goes_on_exactly_there(
        self, sse: Command, api: Api, stream: str, url: str, tmp_path: Path
    ) -> None:
        texts = [f"line {i}" for i in range(3_000)]
        state = str(tmp_path / "state")
        output = b""
        for i in range(0, len(texts), 1000):
            with sse.start("cat", "--state", state, url) as process:
                assert process.stdout
                api.append_many(stream, texts[i : i + 1000])
                while not output.endswith(f"{texts[i + 999]}\n".encode()):
                    output += process.stdout.readline()
                process.send_signal(signal.SIGINT)
                output += process.stdout.read()
                assert process.wait(TIMEOUT_S) == 130
        api.append(stream, "last")
        api.complete(stream)
        output += sse("cat", "--state", state, url).stdout
        assert output == lines_of([*texts, "last"])
        assert sse("cat", "--state", state, url).stdout == b""
        assert os.listdir(tmp_path) == ["state"]

    def test_an_interrupt_in_the_middle_loses_and_repeats_nothing(
        self, sse: Command, api: Api, stream: str, url: str, tmp_path: Path
    ) -> None:
        texts = [f"{i} " + "x" * 500 for i in range(5_000)]
        for i in range(0, len(texts), 500):
            api.append_many(stream, texts[i : i + 500])
        api.complete(stream)
        state = str(tmp_path / "state")
        output, runs, status = b"", 0, 130
        while status == 130:
            with sse.start("cat", "--state", state, url) as process:
                assert process.stdout
                output += process.stdout.readline()
                process.send_signal(signal.SIGINT)
                output += process.stdout.read()
                status = process.wait(TIMEOUT_S)
                runs += 1
        assert status == 0 and runs > 1
        assert output == lines_of(texts)

    @pytest.mark.parametrize("saved", [True, False])
    def test_after_a_kill_nothing_is_missing(
        self,
        sse: Command,
        api: Api,
        stream: str,
        url: str,
        tmp_path: Path,
        saved: bool,
    ) -> None:
        """A run that had the time to save also repeats nothing."""
        texts = [f"line {i}" for i in range(200)]
        state = tmp_path / "state"
        with sse.start("cat", "--state", str(state), url) as process:
            assert process.stdout
            for text in texts[:100]:
                last_id = api.append(stream, text)
                assert process.stdout.readline().decode() == text + "\n"
            while saved and last_id.encode() not in state.read_bytes():
                time.sleep(0.01)
            process.kill()
        api.append_many(stream, texts[100:])
        api.complete(stream)
        rest = sse("cat", "--state", str(state), url).stdout.decode().split("\n")[:-1]
        assert len(rest) == 100 if saved else len(rest) >= 100
        assert rest == texts[-len(rest) :]

    def test_after_a_broken_pipe_nothing_is_missing(
        self, sse: Command, api: Api, stream: str, url: str, tmp_path: Path
    ) -> None:
        state = str(tmp_path / "state")
        with sse.start("cat", "--state", state, url) as process:
            assert process.stdout
            api.append(stream, "one")
            assert process.stdout.readline() == b"one\n"
            process.stdout.close()
            api.append(stream, "two")
            assert process.wait(TIMEOUT_S) == 1
        api.complete(stream)
        assert sse("cat", "--state", state, url).stdout == b"two\n"

    @pytest.mark.parametrize("damage", ["other bytes", "a bit", "cut", "empty", "url"])
    def test_a_file_that_is_no_position_is_left_alone(
        self,
        sse: Command,
        api: Api,
        stream: str,
        url: str,
        tmp_path: Path,
        damage: str,
    ) -> None:
        api.append(stream, "one")
        api.complete(stream)
        state = tmp_path / "state"
        sse("cat", "--state", str(state), url + ("?a=b" if damage == "url" else ""))
        saved = state.read_bytes()
        damaged = {
            "other bytes": b"important notes\n",
            "a bit": saved[:20] + bytes([saved[20] ^ 1]) + saved[21:],
            "cut": saved[:-1],
            "empty": b"",
            "url": saved,
        }[damage]
        state.write_bytes(damaged)
        done = run(sse, "--state", str(state), url)
        assert done.returncode == 1 and done.stdout == b""
        assert b"holds no position" in done.stderr
        assert state.read_bytes() == damaged

    def test_a_file_that_cannot_be_written_is_told_at_once(
        self, sse: Command, url: str, tmp_path: Path
    ) -> None:
        done = run(sse, "--state", str(tmp_path / "none" / "state"), url)
        assert done.returncode == 1 and done.stderr.startswith(b"sse: cannot write '")
        done = run(sse, "--state", str(tmp_path), url)
        assert done.returncode == 1 and done.stderr.startswith(b"sse: cannot read '")


# ---- What only a server that misbehaves can show


@dataclass
class Answer:
    status: int = 200
    body: str = ""
    after: str = "end"  # then: "end", "cut", or "hold" the connection
    type: str = "text/event-stream"


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
        threading.Thread(
            target=server.serve_forever, args=[0.01], daemon=True
        ).start()
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

    def test_nobody_listens(self, sse: Command, peer: Peer) -> None:
        peer.server_close()
        done = run(sse, "--retry-for", "0", peer.url)
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
        self, sse: Command, api: Api, stream: str, url: str
    ) -> None:
        texts = [f"line {i}" for i in range(2_000)]
        api.append_many(stream, texts)
        api.complete(stream)
        port = int(api.base_url.rpartition(":")[2])
        budgets = [random.randint(1_000, 20_000) for _ in range(4)]
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
        peer.answers = [Answer(status=503), Answer(status=404, type="text/plain")]
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
                api.append(stream, "one")
                terminal.wait_for(f"{re.escape(ERASE)}one\r\n")
                terminal.wait_for("open, 1 event,")
                api.complete(stream)
                assert cat.wait(TIMEOUT_S) == 0
            assert terminal.rest().endswith(ERASE)

    def test_a_dumb_terminal_gets_plain_lines(
        self, sse: Command, peer: Peer
    ) -> None:
        peer.answers = [Answer(status=503)]
        with Terminal(80) as terminal:
            with self.start(sse, terminal, peer.url, term="dumb") as cat:
                assert cat.wait(TIMEOUT_S) == 0
            assert re.fullmatch(r"sse: waiting .*503.*\r\n", terminal.rest())


# ---- Usage


class TestUsage:
    def test_help(self, sse: Command) -> None:
        assert sse("cat", "--help").stdout.startswith(b"Usage: sse cat ")
        assert b"  cat " in sse("--help").stdout

    @pytest.mark.parametrize(
        "args",
        [
            [],
            ["http://h/a", "http://h/b"],
            ["ftp://h/a"],
            ["/api/stream/a"],
            ["http://"],
            ["--nonsense", "http://h/a"],
            ["--json=yes", "http://h/a"],
            ["--profile", "lenient", "http://h/a"],
            ["--stall-ms", "soon", "http://h/a"],
            ["--retry-for", "-1", "http://h/a"],
            ["--until", "a\nb", "http://h/a"],
            ["--last-event-id", "a\nb", "http://h/a"],
            ["-H", "no colon", "http://h/a"],
            ["-H", "A: b\r\nC: d", "http://h/a"],
            ["-H", "Last-Event-ID: 1", "http://h/a"],
            ["-X", "G T", "http://h/a"],
            ["http://h/a", "-d"],
            ["-d", "a", "-d", "b", "http://h/a"],
        ],
    )
    def test_a_wrong_call_is_explained(self, sse: Command, args: list[str]) -> None:
        done = sse("cat", *args, status=2)
        assert b"Usage: sse cat " in done.stderr and not done.stdout

    def test_a_body_that_cannot_be_read(self, sse: Command, tmp_path: Path) -> None:
        done = sse("cat", "-d", f"@{tmp_path}/none", "http://127.0.0.1:1/", status=1)
        assert done.stderr.startswith(b"sse: cannot read '")
