"""How this node names itself in what it writes."""

from __future__ import annotations

import socket

from node import __version__
from node.results.context import NodeIdentity

DEFAULT_STATION = "OSTEON"


def identity(station_name: str = DEFAULT_STATION) -> NodeIdentity:
    """The node's identity; its serial is the host's name, which tells two nodes of one hospital apart."""
    return NodeIdentity(station_name=station_name, device_serial=socket.gethostname(), software_version=__version__)
