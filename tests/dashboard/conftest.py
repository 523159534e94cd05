"""A dashboard over a real registry, with an account of each role, and browsers that are logged in."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from httpx2 import Response

from node.dashboard.app import create_app
from node.dashboard.security.passwords import hash_password
from node.registry import accounts
from node.registry.audit import Actor
from node.registry.database import Registry
from node.registry.roles import Role
from node.settings import load_configuration
from node.settings.load import REPOSITORY_CONFIG
from tests.fixtures.postgres import postgres_server, postgres_url
from tests.fixtures.registry import registry, sqlite_registry

__all__ = ["postgres_server", "postgres_url", "registry", "sqlite_registry"]

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
PASSWORD = "a sentence nobody guesses"
TESTER = Actor("tester", "console")


@functools.cache
def hashed_password() -> str:
    """Hashing costs a tenth of a second; once is enough."""
    return hash_password(PASSWORD)


@dataclass
class TestClock:
    """A clock that a test sets."""

    __test__ = False
    now: datetime = NOW

    def __call__(self) -> datetime:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@dataclass
class Site:
    """One dashboard under test."""

    app: FastAPI
    registry: Registry
    clock: TestClock
    browsers: list[TestClient] = field(default_factory=list)

    def browser(self) -> TestClient:
        """A browser that nobody is logged in with; it follows no redirect by itself."""
        browser = TestClient(self.app, follow_redirects=False)
        self.browsers.append(browser)
        return browser

    def add(self, name: str, role: Role) -> None:
        with self.registry.transaction() as session:
            accounts.add_user(session, TESTER, name, role, hashed_password(), self.clock())

    def logged_in(self, name: str) -> TestClient:
        browser = self.browser()
        answer = log_in(browser, name)
        assert answer.status_code == 303, answer.text
        return browser


def csrf(browser: TestClient, path: str = "/login") -> str:
    """The CSRF token in a form of that page."""
    found = re.search(r'name="csrf" value="([0-9a-f]{64})"', browser.get(path).text)
    assert found, f"{path} has no form"
    return found[1]


def post(browser: TestClient, path: str, page: str = "/account", **fields: str) -> Response:
    """Send a form as the page `page` would."""
    return browser.post(path, data={"csrf": csrf(browser, page), **fields})


def log_in(browser: TestClient, name: str, password: str = PASSWORD, **fields: str) -> Response:
    return post(browser, "/login", page="/login", name=name, password=password, **fields)


@pytest.fixture
def make_site(sqlite_registry: Registry, tmp_path: Path) -> Iterator[Callable[..., Site]]:
    """A dashboard with these settings (`OSTEON__DASHBOARD__...`), of this configuration folder; no account yet."""
    made: list[Site] = []

    def make(config_dir: Path = REPOSITORY_CONFIG, **settings: str) -> Site:
        environment = {"OSTEON__SPOOL__MIN_FREE_BYTES": "0"}
        environment |= {f"OSTEON__DASHBOARD__{name.upper()}": value for name, value in settings.items()}
        configuration = load_configuration(config_dir, tmp_path, environment)
        clock = TestClock()
        site = Site(create_app(configuration, sqlite_registry, clock), sqlite_registry, clock)
        made.append(site)
        return site

    yield make
    for site in made:
        for browser in site.browsers:
            browser.close()


@pytest.fixture
def site(make_site: Callable[..., Site]) -> Site:
    """A dashboard with the accounts vera (viewer), otto (operator) and ada (admin)."""
    site = make_site()
    for name, role in (("vera", Role.VIEWER), ("otto", Role.OPERATOR), ("ada", Role.ADMIN)):
        site.add(name, role)
    return site


@pytest.fixture
def viewer(site: Site) -> TestClient:
    return site.logged_in("vera")


@pytest.fixture
def operator(site: Site) -> TestClient:
    return site.logged_in("otto")


@pytest.fixture
def admin(site: Site) -> TestClient:
    return site.logged_in("ada")
