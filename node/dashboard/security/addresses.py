"""Where a request comes from, believing forwarding headers of configured proxies only.

A proxy that is not named in `dashboard.trusted_proxies` is itself taken for the client: its headers could be anyone's.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

FORWARDING = ("x-forwarded-for", "forwarded", "x-real-ip", "via")

Networks = Sequence[IPv4Network | IPv6Network]


def client_address(request: HTTPConnection, trusted: Networks) -> str:
    """The nearest address that is not a trusted proxy's."""
    peer = request.client.host if request.client else ""
    chain = [part.strip() for part in request.headers.get("x-forwarded-for", "").split(",") if part.strip()]
    address = peer
    while chain and _within(address, trusted):
        address = chain.pop()
    return address[:64]


def is_https(request: HTTPConnection, trusted: Networks, public_url: str) -> bool:
    """Whether the browser came over TLS."""
    if public_url:
        return public_url.startswith("https:")
    peer = request.client.host if request.client else ""
    if _within(peer, trusted) and "x-forwarded-proto" in request.headers:
        return request.headers["x-forwarded-proto"].split(",")[-1].strip() == "https"
    return request.url.scheme in ("https", "wss")


def is_from_this_host(request: HTTPConnection) -> bool:
    """Whether a program on this host asks by itself, not a proxy for somebody else, as far as a request can tell.

    A proxy betrays itself by a forwarding header, by the name that the browser asked for, or by HTTP/1.0, which nginx
    speaks to what is behind it unless told otherwise. One that does none of this looks like a program of this host:
    where the settings speak of a proxy, this must not be asked.
    """
    peer = request.client.host if request.client else ""
    forwarded = any(name in request.headers for name in FORWARDING) or request.scope.get("http_version") == "1.0"
    return not forwarded and _within(peer, LOOPBACK) and _asks_for_loopback(request.headers.get("host", ""))


def _asks_for_loopback(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    return name == "localhost" or _within(name, LOOPBACK)


LOOPBACK: Networks = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))


def _within(address: str, networks: Networks) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return any((mapped or found) in network for network in networks)
