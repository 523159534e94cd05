"""Opening the listener's port."""

from __future__ import annotations

import errno
import socket
import time

from node.errors import ConfigurationError

BACKLOG = 128
"""Connections that the kernel keeps while all processes are busy."""

PORT_WAIT_S = 5.0
"""How long a port may stay busy after a restart, until the predecessor's processes have let go of it."""


def open_port(host: str, port: int) -> socket.socket:
    """A listening socket; processes that are forked afterwards share it.

    One socket for all processes, rather than one each with SO_REUSEPORT: what the kernel has queued is not lost with a
    process that is killed, and no connection waits for a process that hangs while another is idle.

    Raises
    ------
    ConfigurationError
        If the port is taken, not allowed, or the host has no such address.
    """
    deadline = time.monotonic() + PORT_WAIT_S
    while True:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            family, address = found[0][0], found[0][4]
            # "::" means every address, IPv4 included, whatever the system's default for IPv6 sockets is.
            both = host == "::" and socket.has_dualstack_ipv6()
            return socket.create_server(address[:2], family=family, backlog=BACKLOG, dualstack_ipv6=both)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                raise ConfigurationError(
                    [f"osteon.yaml: listen: {host}:{port} cannot be opened: {error.strerror or error}"]
                ) from error
        time.sleep(0.1)
