"""`sse cat`: a stream at a terminal, whole, whatever happens on the way."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from suite.api import Api, fresh_id
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
