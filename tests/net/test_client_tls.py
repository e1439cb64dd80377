"""https: who is trusted, and who is not."""

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from client_driver import NEVER, Driver
from script_server import ScriptServer

pytestmark = pytest.mark.asan

QUICK: dict[str, Any] = {"retry_floor_ms": 1, "max_attempts": NEVER}


@dataclass
class Identity:
    cert: Path
    key: Path

    def server(self, client: "Identity | None" = None) -> ssl.SSLContext:
        """`client` is the one that must show itself."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.cert, self.key)
        if client:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(client.cert)
        return context


def identity(folder: Path, name: str, host: str) -> Identity:
    made = Identity(folder / f"{name}.crt", folder / f"{name}.key")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"]
        + ["-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", f"/CN={name}"]
        + ["-addext", f"subjectAltName={host}"]
        + ["-keyout", str(made.key), "-out", str(made.cert)],
        check=True,
        capture_output=True,
    )
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tls")


@pytest.fixture(scope="module")
def server_id(folder: Path) -> Identity:
    return identity(folder, "server", "IP:127.0.0.1")


@pytest.fixture(scope="module")
def other_id(folder: Path) -> Identity:
    return identity(folder, "other", "DNS:elsewhere.example")


def test_a_server_that_is_trusted(driver: Driver, server_id: Identity) -> None:
    with ScriptServer(tls=server_id.server()) as script:
        settings = {"ca_file": str(server_id.cert)}
        client = driver.start(script.url(), set=settings, **QUICK)
        for n in range(3):
            exchange = script.next()
            exchange.stream()
            exchange.send_pieces(b"id: %d\ndata: %d\n\n" % (n, n), 1)
            client.wait("event", data=str(n))
            exchange.close()


def test_a_server_that_is_not(
    driver: Driver, server_id: Identity, other_id: Identity
) -> None:
    """It learns nothing: neither whom we know, nor what we ask for."""
    with ScriptServer(tls=server_id.server()) as script:
        for settings in ({}, {"ca_file": str(other_id.cert)}):
            client = driver.start(script.url(), set=settings, **QUICK)
            for _ in range(3):
                client.wait("error", cause="network")
            client.do("free")
        assert script.waiting() == 0


def test_a_server_with_another_name(driver: Driver, other_id: Identity) -> None:
    with ScriptServer(tls=other_id.server()) as script:
        settings = {"ca_file": str(other_id.cert)}
        client = driver.start(script.url(), set=settings, **QUICK)
        client.wait("error", cause="network")
        assert script.waiting() == 0


def test_any_server_will_do(driver: Driver, other_id: Identity) -> None:
    with ScriptServer(tls=other_id.server()) as script:
        client = driver.start(script.url(), flags=["insecure"], **QUICK)
        script.next().stream(b"data: x\n\n")
        client.wait("event", data="x")


def test_a_client_that_shows_itself(
    driver: Driver, server_id: Identity, other_id: Identity
) -> None:
    with ScriptServer(tls=server_id.server(client=other_id)) as script:
        settings = {"ca_file": str(server_id.cert)}
        stranger = driver.start(script.url(), set=settings, **QUICK)
        stranger.wait("error", cause="network")
        stranger.do("free")
        assert script.waiting() == 0
        settings["cert_file"] = str(other_id.cert)
        settings["key_file"] = str(other_id.key)
        client = driver.start(script.url(), set=settings, **QUICK)
        script.next().stream(b"data: x\n\n")
        client.wait("event", data="x")


def test_no_redirect_leads_out_of_it(
    driver: Driver, script: ScriptServer, server_id: Identity
) -> None:
    with ScriptServer(tls=server_id.server()) as safe:
        settings = {"ca_file": str(server_id.cert)}
        client = driver.start(safe.url(), set=settings, **QUICK)
        safe.next().answer(302, b"", ("Location", script.url()))
        client.wait("error", cause="redirect")
        client.wait("end", cause="redirect")
    assert script.waiting() == 0
