"""Ports for programs that cannot be asked which one they were given."""

from __future__ import annotations

import random
import socket
from pathlib import Path

_claims: list[socket.socket] = []

FIRST = 11_000  # above those that known services have, and that browsers refuse
OUTGOING = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_port() -> int:
    """One that stays free while nobody listens on it.

    The system gives none of these to an outgoing connection; one of the others
    it could, before a server listens on it, or while that server is restarted.
    Nor does another process get it here: until this one ends, it holds the UDP
    port of the same number, which says that it is taken.
    """
    end = int(OUTGOING.read_text().split()[0])
    if end <= FIRST:
        end = 1 << 16
    while True:
        port = random.SystemRandom().randrange(FIRST, end)
        claim = socket.socket(type=socket.SOCK_DGRAM)
        with socket.socket() as probe:
            try:
                claim.bind(("127.0.0.1", port))
                probe.bind(("127.0.0.1", port))
            except OSError:
                claim.close()
                continue
        _claims.append(claim)
        return port
