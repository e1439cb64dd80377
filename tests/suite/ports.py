"""Ports for programs that cannot be asked which one they were given."""

from __future__ import annotations

import random
import socket
from pathlib import Path

FIRST = 10_000  # above those that known services have
OUTGOING = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_port() -> int:
    """One that stays free while nobody listens on it.

    The system gives none of these to an outgoing connection; one of the others
    it could, before a server listens on it, or while that server is restarted.
    """
    end = int(OUTGOING.read_text().split()[0])
    if end <= FIRST:
        end = 1 << 16
    while True:
        port = random.SystemRandom().randrange(FIRST, end)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
