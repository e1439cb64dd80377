"""The `sse` command, as a person at a terminal uses it."""

import json
import signal
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from fault_proxy import hold_port
from suite.api import Api, fresh_id
from suite.waiting import wait_until

pytestmark = pytest.mark.asan

TIMEOUT_S = 60


class Command:
    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __call__(
        self, *args: str, stdin: bytes = b"", status: int = 0
    ) -> subprocess.CompletedProcess[bytes]:
        done = subprocess.run(
            [self.path, *args], input=stdin, capture_output=True, timeout=TIMEOUT_S
        )
        assert done.returncode == status, done
        assert status or not done.stderr, done
        return done

    def start(self, *args: str, **options: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [self.path, *args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            **options,
        )

    def parse(self, stream: bytes, *args: str) -> list[str]:
        out = self("parse", *args, stdin=stream).stdout.decode()
        return out.split("\n")[:-1]  # splitlines() would split at U+2028


@pytest.fixture
def sse(build_dir: Path) -> Command:
    return Command(build_dir / "bin" / "sse")


def event(data: str, type: str = "message", last_id: str = "") -> str:
    fields = {"type": type, "data": data, "lastEventId": last_id}
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))


# ---- Usage


class TestUsage:
    @pytest.mark.parametrize(
        "args",
        [["--help"], ["-h"], *([c, "--help"] for c in ("parse", "pub", "ls", "stop"))],
    )
    def test_help_is_printed_on_standard_output(
        self, sse: Command, args: list[str]
    ) -> None:
        assert sse(*args).stdout.startswith(b"Usage: sse ")

    def test_version(self, sse: Command) -> None:
        assert sse("--version").stdout.startswith(b"sse ")

    @pytest.mark.parametrize(
        "args",
        [
            [],
            ["nonsense"],
            ["--nonsense"],
            ["parse", "--nonsense"],
            ["parse", "-x"],
            ["parse", "operand"],
            ["parse", "--chunk"],
            ["parse", "--chunk", "0"],
            ["parse", "--chunk", "-1"],
            ["parse", "--chunk", "9x"],
            ["parse", "--comments=yes"],
            ["parse", "--last-event-id", "a\nb"],
            ["pub"],
            ["pub", "http://h/api/stream/a", "another"],
            ["pub", "http://h/"],
            ["pub", "ftp://h/api/stream/a"],
            ["pub", "--type", "a\nb", "http://h/api/stream/a"],
            ["pub", "-H", "no colon", "http://h/api/stream/a"],
            ["pub", "-H", "A: b\r\nC: d", "http://h/api/stream/a"],
            ["pub", "--retry-for", "soon", "http://h/api/stream/a"],
            ["ls"],
            ["ls", "http://"],
            ["stop", "http://h"],
        ],
    )
    def test_a_wrong_call_is_explained_on_standard_error(
        self, sse: Command, args: list[str]
    ) -> None:
        done = sse(*args, status=2)
        assert b"Usage: sse " in done.stderr and not done.stdout


# ---- sse parse


class TestParse:
    @pytest.mark.parametrize("chunk", ["1", "2", "3", "7", "1000000"])
    def test_events_are_lines_of_json(self, sse: Command, chunk: str) -> None:
        stream = (
            "\ufeffdata: first\n\n"
            "event: add\rdata: two\rdata: lines\r\r"
            "id: 7\r\ndata:€ 😀\r\n\r\n"
            ": a comment\nid\nretry: 10\ndata\n\n"
            "data: unfinished\n"
        )
        assert sse.parse(stream.encode(), "--chunk", chunk) == [
            event("first"),
            event("two\nlines", "add"),
            event("€ 😀", last_id="7"),
            event(""),
        ]

    def test_strings_are_escaped_as_a_browser_does(self, sse: Command) -> None:
        text = "".join(map(chr, range(0x100))).replace("\n", "").replace("\r", "")
        text += "\u2028\u2029\ufeff\U0010ffff" + 'a"' * 20 + "\\"
        assert sse.parse(f"data:{text}\n\n".encode()) == [event(text)]

    def test_broken_utf8_becomes_the_replacement_character(self, sse: Command) -> None:
        assert sse.parse(b"data:\xff\xe2\x82.\xed\xa0\x80\n\n") == [
            event("\ufffd\ufffd.\ufffd\ufffd\ufffd")
        ]

    def test_comments_and_retry_fields_keep_their_places(self, sse: Command) -> None:
        stream = b":one\ndata:a\n: two\n\nretry:5\ndata:b\n\nretry:x\n:\n"
        assert sse.parse(stream, "--comments", "--retry") == [
            '{"comment":"one"}',
            '{"comment":" two"}',
            event("a"),
            '{"retry":5}',
            event("b"),
            '{"comment":""}',
        ]

    def test_a_last_event_id_can_be_given(self, sse: Command) -> None:
        stream = b"data:a\n\nid:8\ndata:b\n\n"
        assert sse.parse(stream, "--last-event-id", "é7") == [
            event("a", last_id="é7"),
            event("b", last_id="8"),
        ]

    def test_events_are_printed_when_the_input_pauses(self, sse: Command) -> None:
        with sse.start("parse") as process:
            assert process.stdin and process.stdout
            for text in ("one", "two"):
                process.stdin.write(f"data: {text}\n\n".encode())
                assert process.stdout.readline().decode() == event(text) + "\n"
            process.stdin.close()
            assert process.wait(TIMEOUT_S) == 0

    def test_a_long_event_comes_whole(self, sse: Command) -> None:
        text = 'long "é" ' * 200_000
        assert sse.parse(f"data: {text}\n\n".encode()) == [event(text)]

    def test_a_line_without_an_end_is_an_error(self, sse: Command) -> None:
        stream = b"data: fine\n\ndata: " + b"x" * (17 << 20)
        done = sse("parse", stdin=stream, status=1)
        assert done.stdout.decode() == event("fine") + "\n"
        assert done.stderr.startswith(b"sse: ")

    @pytest.mark.parametrize("ignored", [False, True])
    def test_a_broken_pipe_ends_it_quietly(self, sse: Command, ignored: bool) -> None:
        with sse.start("parse", restore_signals=not ignored) as process:
            assert process.stdin and process.stdout and process.stderr
            process.stdout.close()
            process.stdin.write(b"data: x\n\n")
            assert process.stderr.read() == b""
            assert process.wait(TIMEOUT_S) == (1 if ignored else -signal.SIGPIPE)

    def test_a_full_disk_is_an_error(self, sse: Command) -> None:
        with open("/dev/full", "wb") as full:
            done = subprocess.run(
                [sse.path, "parse"],
                input=b"data: x\n\n",
                stdout=full,
                stderr=subprocess.PIPE,
                timeout=TIMEOUT_S,
            )
        assert done.returncode == 1 and done.stderr.startswith(b"sse: cannot write: ")


# ---- sse pub, ls, stop with a server


@pytest.fixture
def stream(api: Api) -> str:
    return fresh_id()


@pytest.fixture
def url(api: Api, stream: str) -> str:
    return f"{api.base_url}/api/stream/{stream}"


def texts(api: Api, stream: str) -> list[str]:
    """The data of all events but the terminal one, which must be the last."""
    *events, last = api.events(stream)
    assert last.type == "completed", last
    return [event.data for event in events]


class TestPub:
    def test_a_line_is_an_event(
        self, sse: Command, api: Api, stream: str, url: str
    ) -> None:
        done = sse("pub", url, stdin=b'one\ntwo "\xe2\x82\xac"\r\n\n  spaces \nlast')
        assert done.stdout == b""
        assert texts(api, stream) == ["one", 'two "€"', "", "  spaces ", "last"]

    def test_empty_input_is_a_completed_stream(
        self, sse: Command, api: Api, stream: str, url: str
    ) -> None:
        sse("pub", url)
        assert texts(api, stream) == []

    def test_events_can_have_a_type(
        self, sse: Command, api: Api, stream: str, url: str
    ) -> None:
        sse("pub", "--type", 'log "x"', url, stdin=b"one\n")
        assert api.events(stream)[0].type == 'log "x"'

    def test_odd_bytes_are_published_too(
        self, sse: Command, api: Api, stream: str, url: str
    ) -> None:
        sse("pub", url, stdin=b"a\0b\tc\x1b\n\xff\xe2\x82\n10%\r20%\n")
        assert texts(api, stream) == ["a\0b\tc\x1b", "\ufffd\ufffd", "10%\n20%"]

    def test_a_line_goes_out_as_it_comes(
        self, sse: Command, api: Api, stream: str, url: str
    ) -> None:
        with sse.start("pub", "--verbose", url) as process:
            assert process.stdin and process.stderr
            created = process.stderr.readline().decode()
            assert created == f"sse: created stream {stream}\n"
            with api.subscribe(stream) as reader:
                for text in ("one", "two"):
                    process.stdin.write(text.encode() + b"\n")
                    assert reader.event().data == text
                process.stdin.close()
                assert reader.event().type == "completed"
            assert process.wait(TIMEOUT_S) == 0

    def test_many_lines_come_whole_and_in_order(
        self, sse: Command, api: Api, stream: str, url: str
    ) -> None:
        lines = [f"line {i} " + "x" * (i % 200) for i in range(9_000)]
        sse("pub", url, stdin="\n".join(lines).encode())
        assert texts(api, stream) == lines

    def test_a_long_line_comes_whole(
        self, sse: Command, api: Api, stream: str, url: str
    ) -> None:
        line = "é" * 300_000
        sse("pub", url, stdin=f"before\n{line}\nafter\n".encode())
        assert texts(api, stream) == ["before", line, "after"]

    def test_a_stream_that_is_there_is_gone_on_with(
        self, sse: Command, api: Api, stream: str, url: str
    ) -> None:
        api.new_stream(streamId=stream)
        api.append(stream, "zero")
        sse("pub", url, stdin=b"one\n")
        assert texts(api, stream) == ["zero", "one"]

    def test_a_line_above_the_limit_fails_the_stream(
        self, sse: Command, api: Api, stream: str, url: str
    ) -> None:
        lines = b"one\ntwo\n" + b"x" * (2 << 20) + b"\nfour\n"
        done = sse("pub", url, stdin=lines, status=1)
        assert done.stderr == b"sse: line 3 is longer than the server allows\n"
        one, two, last = api.events(stream)
        assert (one.data, two.data, last.type) == ("one", "two", "failed")
        assert json.loads(last.data) == {"reason": "error"}

    @pytest.mark.parametrize("signo", [signal.SIGINT, signal.SIGTERM])
    def test_a_signal_fails_the_stream(
        self, sse: Command, api: Api, stream: str, url: str, signo: signal.Signals
    ) -> None:
        with sse.start("pub", url) as process:
            assert process.stdin
            process.stdin.write(b"one\n")
            wait_for_stream(api, stream)
            with api.subscribe(stream) as reader:
                assert reader.event().data == "one"
                process.send_signal(signo)
                last = reader.event()
            assert process.wait(TIMEOUT_S) == 128 + signo
        assert last.type == "failed"
        assert json.loads(last.data) == {"reason": "interrupted"}

    def test_a_stream_that_was_stopped_takes_no_more(
        self, sse: Command, api: Api, stream: str, url: str
    ) -> None:
        with sse.start("pub", "-v", url) as process:
            assert process.stdin and process.stderr
            process.stderr.readline()
            sse("stop", url)
            with api.subscribe(stream) as reader:
                assert reader.event().type == "cancelled"
            process.stdin.write(b"late\n")
            assert process.wait(TIMEOUT_S) == 1
            assert b"(409)" in process.stderr.read()


def wait_for_stream(api: Api, stream: str) -> None:
    while api.recover(stream).status == 404:
        pass


class TestList:
    def test_a_table_for_people(self, sse: Command, own_api: Api) -> None:
        own_api.new_stream(streamId="a", streamType="chat", userId="Zoë\n\x1b[2J")
        own_api.new_stream(streamId="longer-name")
        own_api.complete("longer-name")
        head, *rows = sse("ls", own_api.base_url).stdout.decode().splitlines()
        assert head.split()[:4] == ["STREAM", "STATE", "TYPE", "USER"]
        newest, oldest = rows
        assert newest.split()[:4] == ["longer-name", "completed", "-", "-"]
        assert oldest.split()[:4] == ["a", "active", "chat", "Zoë??[2J"]
        assert {row.find("active") for row in rows} <= {-1, head.find("STATE")}

    def test_no_streams(self, sse: Command, own_api: Api) -> None:
        assert sse("ls", own_api.base_url).stdout.count(b"\n") == 1
        assert sse("ls", "--json", own_api.base_url + "/api/stream").stdout == b""

    def test_the_streams_of_a_user(self, sse: Command, own_api: Api) -> None:
        own_api.new_stream(streamId="a", userId="me & you")
        own_api.new_stream(streamId="b", userId="me")
        lines = sse("ls", "--json", "--user", "me & you", own_api.base_url).stdout
        assert [json.loads(line)["streamId"] for line in lines.splitlines()] == ["a"]


class TestStop:
    def test_it_asks_the_stream_to_stop(
        self, sse: Command, api: Api, stream: str, url: str
    ) -> None:
        api.new_stream(streamId=stream)
        assert sse("stop", url).stdout == b""
        assert api.events(stream)[-1].type == "cancelled"

    def test_a_stream_that_is_not_there(self, sse: Command, url: str) -> None:
        done = sse("stop", url, status=1)
        assert done.stderr.startswith(b"sse: the server says: ")
        assert done.stderr.endswith(b"(404)\n")


# ---- What only a server that misbehaves can show


class Peer(ThreadingHTTPServer):
    """A server of one stream. Each append has the next of its `faults`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _PeerHandler)
        self.url = f"http://127.0.0.1:{self.server_port}/api/stream/x"
        self.faults: list[str] = []
        self.events: list[dict[str, str]] = []
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.state = ""
        self.max_lines = 10_000
        self.forgets = False  # what stands in the log
        self.listing = b""
        self.connections = 0

    def data(self) -> list[str]:
        return [event["data"] for event in self.events]

    def last_id(self) -> str | None:
        return self.events[-1]["id"] if self.events else None

    def append(self, body: bytes) -> list[str]:
        for line in body.splitlines():
            event = {"type": "message", **json.loads(line)}
            self.events.append({"id": f"{len(self.events) + 1}-0a", **event})
        return [event["id"] for event in self.events[-body.count(b"\n") :]]

    def after(self, cursor: str) -> list[dict[str, str | None]]:
        known = len(self.events) if cursor == "$" else int(cursor.split("-")[0])
        if self.forgets:
            return [{"id": None, "type": "gap", "data": "{}"}]
        return list(self.events[known:])

    def handle_error(self, *_: object) -> None:
        pass


class _PeerHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # an answer goes out in one piece
    server: Peer

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, status: int, value: object, **headers: str) -> None:
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, text in headers.items():
            self.send_header(name.replace("_", "-"), text)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        peer = self.server
        peer.requests.append((self.path, dict(self.headers)))
        if not self.path.startswith("/api/stream/x/recover?after="):
            self.answer(200, peer.listing)
            return
        events = peer.after(self.path.partition("=")[2].replace("%24", "$"))
        self.answer(200, {"lastEventId": peer.last_id(), "events": events})

    def do_POST(self) -> None:
        peer = self.server
        body = self.rfile.read(int(self.headers["Content-Length"]))
        peer.requests.append((self.path, dict(self.headers)))
        if self.path == "/api/stream":
            known = bool(peer.state)
            peer.state = "active"
            self.answer(409 if known else 201, {"error": "exists", "message": "x"})
        elif self.path.endswith("/events"):
            self.append(body, peer.faults.pop(0) if peer.faults else "")
        elif peer.state == "active":
            peer.state = self.path.rpartition("/")[2]
            self.answer(200, {"id": "9-0a", "state": peer.state})
        else:
            self.answer(409, {"error": "ended", "message": "the stream has ended"})

    def append(self, body: bytes, fault: str) -> None:
        peer = self.server
        if fault == "cut":
            self.close_connection = True
        elif fault == "take, cut":
            peer.append(body)
            self.close_connection = True
        elif fault == "take, join, cut":
            peer.append(b'{"data":"of another"}\n' + body + b'{"data":"of another"}\n')
            self.close_connection = True
        elif fault == "take, 502":
            peer.append(body)
            self.answer(502, b"<h1>Bad gateway</h1>")
        elif fault:
            self.answer(int(fault), {"message": "come back"}, Retry_After="1")
        elif body.count(b"\n") > peer.max_lines:
            self.answer(413, {"error": "too_large", "message": "too large"})
        else:
            self.answer(202, {"ids": peer.append(body)})


@pytest.fixture
def peer() -> Iterator[Peer]:
    with Peer() as server:
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        yield server
        server.shutdown()


class TestTrouble:
    @pytest.mark.parametrize(
        "faults",
        [
            ["503"],
            ["429"],
            ["cut"],
            ["cut", "cut", "503", "cut"],
            ["take, cut"],
            ["take, 502"],
            ["502", "take, 502"],
            ["", "cut"],
            ["", "take, cut"],
            ["", "cut", "take, cut", "", "503"],
        ],
        ids=" then ".join,
    )
    def test_each_line_arrives_once(
        self, sse: Command, peer: Peer, faults: list[str]
    ) -> None:
        peer.faults = faults
        lines = [f"line {i}" for i in range(2_000)]  # four batches
        sse("pub", peer.url, stdin="\n".join(lines).encode())
        assert peer.data() == lines
        assert peer.state == "complete" and not peer.faults

    def test_a_lone_line_on_a_used_connection_arrives_once(
        self, sse: Command, peer: Peer
    ) -> None:
        peer.faults = ["", "take, cut", "", "cut", ""]
        with sse.start("pub", "-v", peer.url) as process:
            assert process.stdin and process.stderr
            for text in (b"same", b"same", b"carriage\rreturn", b"\xff", b""):
                process.stdin.write(text + b"\n")
                while b" events, the last is " not in process.stderr.readline():
                    pass
            process.stdin.close()
            assert process.wait(TIMEOUT_S) == 0
        assert peer.data() == ["same", "same", "carriage\rreturn", "\ufffd", ""]

    def test_the_events_of_other_writers_are_told_apart(
        self, sse: Command, peer: Peer
    ) -> None:
        peer.state = "active"
        peer.append(b'{"data":"one"}\n')
        peer.faults = ["take, join, cut"]
        sse("pub", peer.url, stdin=b"one\ntwo\n")
        assert peer.data() == ["one", "of another", "one", "two", "of another"]

    def test_what_cannot_be_told_is_not_sent_twice(
        self, sse: Command, peer: Peer
    ) -> None:
        peer.faults = ["take, cut"]
        peer.forgets = True
        done = sse("pub", peer.url, stdin=b"one\n", status=1)
        assert b"may have arrived" in done.stderr
        assert peer.data() == ["one"]

    def test_it_gives_up_after_a_time(self, sse: Command, peer: Peer) -> None:
        peer.faults = ["503"] * 1_000
        done = sse("pub", "--retry-for", "1", peer.url, stdin=b"one\n", status=1)
        assert done.stderr == b"sse: the server says: come back (503)\n"
        assert len(peer.faults) < 999

    def test_nobody_listens(self, sse: Command) -> None:
        with hold_port() as place:
            url = f"http://127.0.0.1:{place.getsockname()[1]}/api/stream/x"
            for args in (["pub", "--retry-for", "0"], ["ls"], ["stop"]):
                assert sse(*args, url, status=1).stderr.startswith(b"sse: ")

    def test_an_interrupt_ends_the_waiting(self, sse: Command, peer: Peer) -> None:
        peer.faults = ["503"] * 1_000
        with sse.start("pub", "-v", peer.url) as process:
            assert process.stdin and process.stderr
            process.stdin.write(b"one\n")
            while b"trying again" not in process.stderr.readline():
                pass
            process.send_signal(signal.SIGINT)
            assert process.wait(TIMEOUT_S) == 130
        wait_until(lambda: peer.state == "fail")  # it may not wait for the answer

    def test_a_batch_that_is_too_large_is_halved(
        self, sse: Command, peer: Peer
    ) -> None:
        peer.max_lines = 7
        lines = [f"line {i}" for i in range(1_001)]
        sse("pub", peer.url, stdin="\n".join(lines).encode())
        assert peer.data() == lines

    def test_it_uses_one_connection_and_the_headers_given(
        self, sse: Command, peer: Peer
    ) -> None:
        lines = b"".join(b"%d\n" % i for i in range(3_000))
        sse("pub", peer.url, "-H", "Authorization: Bearer t", "-HX-A:b", stdin=lines)
        assert peer.connections == 1
        for _, headers in peer.requests:
            assert headers["Authorization"] == "Bearer t" and headers["X-A"] == "b"
            assert "Expect" not in headers

    def test_a_query_is_kept(self, sse: Command, peer: Peer) -> None:
        sse("stop", peer.url + "?key=a%26b", status=1)
        assert peer.requests[0][0] == "/api/stream/x/stop?key=a%26b"

    def test_a_listing_is_printed_byte_for_byte(self, sse: Command, peer: Peer) -> None:
        one = '{ "streamId":"a","metadata":{"n":12345678901234567890,"s":"\\u0000é"} }'
        peer.listing = (
            '{"a":[{"streams":0}],"streams": [' + one + ' ,\n{"x":\n[1,\r\n{}]}\n]}'
        ).encode()
        lines = sse("ls", "--json", peer.url).stdout.decode().splitlines()
        assert lines == [one, '{"x":[1,{}]}']

    @pytest.mark.parametrize("answer", [b"", b"<html>", b"[]", b'{"streams":{}}'])
    def test_an_answer_that_is_no_listing(
        self, sse: Command, peer: Peer, answer: bytes
    ) -> None:
        peer.listing = answer
        assert sse("ls", peer.url, status=1).stderr.startswith(b"sse: ")
