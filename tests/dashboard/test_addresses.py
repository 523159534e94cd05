"""Forwarding headers are believed from configured proxies only."""

from __future__ import annotations

import ipaddress

import pytest
from starlette.requests import Request

from node.dashboard.security.addresses import client_address, is_from_this_host, is_https

PROXIES = (ipaddress.ip_network("10.0.0.0/24"), ipaddress.ip_network("127.0.0.1/32"))


def request(peer: str, version: str = "1.1", host: str = "127.0.0.1:8080", **headers: str) -> Request:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in {"host": host, **headers}.items()]
    scope = {"type": "http", "client": (peer, 5), "headers": raw, "scheme": "http", "path": "/", "server": ("h", 80)}
    return Request({**scope, "http_version": version})


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("192.0.2.7", "", "192.0.2.7"),
        ("192.0.2.7", "203.0.113.9", "192.0.2.7"),
        ("10.0.0.5", "203.0.113.9", "203.0.113.9"),
        ("10.0.0.5", "198.51.100.1, 203.0.113.9", "203.0.113.9"),
        ("127.0.0.1", "203.0.113.9, 10.0.0.5", "203.0.113.9"),
        ("::ffff:10.0.0.5", "203.0.113.9", "203.0.113.9"),
        ("10.0.0.5", "nonsense", "nonsense"),
        ("10.0.0.5", "", "10.0.0.5"),
    ],
)
def test_the_address_is_the_nearest_that_is_no_proxy_of_ours(peer: str, forwarded: str, address: str) -> None:
    given = {"x_forwarded_for": forwarded} if forwarded else {}
    assert client_address(request(peer, **given), PROXIES) == address


def test_https_is_believed_from_a_proxy_of_ours_or_the_configured_address() -> None:
    assert is_https(request("10.0.0.5", x_forwarded_proto="https"), PROXIES, "")
    assert not is_https(request("192.0.2.7", x_forwarded_proto="https"), PROXIES, "")
    assert is_https(request("192.0.2.7"), PROXIES, "https://osteon.example")


@pytest.mark.parametrize("name", ["127.0.0.1:8080", "localhost:8080", "LOCALHOST", "[::1]:8080", "127.0.0.2"])
def test_a_program_that_asks_from_loopback_for_loopback_is_of_this_host(name: str) -> None:
    assert is_from_this_host(request("127.0.0.1", host=name))
    assert is_from_this_host(request("::1", host=name))
    assert not is_from_this_host(request("192.0.2.7", host=name))


def test_loopback_counts_as_this_host_only_without_a_proxy_in_between() -> None:
    for header in ("x_forwarded_for", "forwarded", "x_real_ip", "via"):
        assert not is_from_this_host(request("127.0.0.1", **{header: "203.0.113.9"}))
    # nginx with `proxy_pass http://127.0.0.1:8080;` and nothing else: no header tells, HTTP/1.0 does.
    assert not is_from_this_host(request("127.0.0.1", version="1.0"))
    for name in ("osteon.hospital.example", "10.0.0.5:8080", "", "127.0.0.1.evil.example", "[", "localhost.example"):
        assert not is_from_this_host(request("127.0.0.1", host=name)), name
