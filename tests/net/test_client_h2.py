"""HTTP/2, where libcurl and the server have it."""

import shutil
import subprocess
from pathlib import Path

import pytest

from client_driver import Driver
from test_client_tls import Identity, identity

pytestmark = pytest.mark.asan

SERVER = Path(__file__).with_name("h2_server.mjs")
EVENTS = 50


def run_server(who: Identity) -> "subprocess.Popen[str]":
    node = shutil.which("node") or shutil.which("nodejs")
    assert node, "node is missing"
    return subprocess.Popen(
        [node, str(SERVER), str(who.key), str(who.cert), str(EVENTS)],
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_stream_over_http_2(driver: Driver, tmp_path: Path) -> None:
    """The server ends each answer after ten events, and keeps the connection."""
    who = identity(tmp_path, "server", "IP:127.0.0.1")
    server = run_server(who)
    assert server.stdout
    try:
        port = int(server.stdout.readline())
        settings = {"ca_file": str(who.cert)}
        url = f"https://127.0.0.1:{port}/"
        client = driver.start(url, set=settings, retry_floor_ms=1)
        client.wait("end", cause="terminal")
        wanted = [f"event {n}" for n in range(1, EVENTS + 1)]
        assert client.datas() == wanted + [""]
        requests = [server.stdout.readline().split() for _ in range(5)]
        assert requests == [["2.0", str(10 * n), "1"] for n in range(5)]
    finally:
        server.kill()
        server.wait()
