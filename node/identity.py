"""How this node names itself in what it writes."""

from __future__ import annotations

from node import __version__
from node.results.context import NodeIdentity

DEFAULT_STATION = "OSTEON"


def identity(station_name: str = DEFAULT_STATION) -> NodeIdentity:
    """The node's identity.

    The serial follows from the AE title and not from the host, because a job that is repeated by a worker on another
    host has to write the same bytes; two nodes of one hospital have two AE titles.
    """
    serial = f"osteon-{station_name}"
    return NodeIdentity(station_name=station_name, device_serial=serial, software_version=__version__)
