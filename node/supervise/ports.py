"""Ports, looked at before anything starts: a busy one is a sentence, not a part that dies again and again."""

from __future__ import annotations

import errno
import socket
import time

from node.errors import OsteonError

PORT_WAIT_S = 5.0
"""How long a predecessor that is just ending may take to let go of its port."""


def claim_port(host: str, port: int, setting: str, wait_s: float = PORT_WAIT_S) -> int:
    """The port to use: `port` if it can be opened, a free one where it is 0.

    Raises
    ------
    OsteonError
        If another program has the port, or this machine has no such address.
    """
    deadline = time.monotonic() + wait_s
    while True:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            family, address = found[0][0], found[0][4]
            with socket.create_server(address[:2], family=family) as probe:
                return int(probe.getsockname()[1])
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise OsteonError(
                    f"port {port} on {host} cannot be opened: {error.strerror or error}; change {setting}"
                ) from error
            if time.monotonic() >= deadline:
                raise OsteonError(
                    f"port {port} on {host} is in use by another program (another osteon?); stop it or change {setting}"
                ) from error
        time.sleep(0.1)


def reachable(host: str) -> str:
    """Where on this machine something answers that listens at `host`: loopback for one that listens everywhere."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)


def answers(host: str, port: int) -> bool:
    """True if somebody accepts connections there."""
    try:
        with socket.create_connection((reachable(host), port), timeout=1.0):
            return True
    except OSError:
        return False
