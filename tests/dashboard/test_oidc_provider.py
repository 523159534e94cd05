"""Login against a certified OpenID provider that others wrote (npm: oidc-provider), in a process of its own.

Its sign-in and consent forms are filled in as a browser would. Skipped by name without Node or npm.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import pytest
import requests
from fastapi.testclient import TestClient

from node.dashboard.security.oidc import CALLBACK
from node.loopback import free_port
from tests.dashboard.conftest import Site
from tests.fixtures.programs import need_program

pytestmark = [pytest.mark.peer, pytest.mark.slow]

VERSION = "9.13.3"
CACHE = Path(os.environ.get("OSTEON_PEERS", Path(__file__).resolve().parents[2] / ".peers"))
HERE, CLIENT, SECRET = "http://testserver", "osteon", "a secret between the two of us"


@pytest.fixture(scope="module")
def modules() -> Path:
    """The folder in which npm has put the provider and what it needs."""
    folder = CACHE.resolve() / f"oidc-provider-{VERSION}"
    if not (folder / "node_modules" / "oidc-provider").is_dir():
        npm = shutil.which("npm")
        if npm is None:
            pytest.skip("npm is not installed")
        folder.mkdir(parents=True, exist_ok=True)
        got = subprocess.run(
            [npm, "install", f"oidc-provider@{VERSION}", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"],
            cwd=folder, capture_output=True, text=True, timeout=240, check=False,
        )  # fmt: skip
        if got.returncode != 0:
            pytest.skip("npm could not fetch oidc-provider")
    return folder


@pytest.fixture
def provider(modules: Path) -> Iterator[str]:
    node = need_program("node")
    port = free_port()
    script = Path(__file__).resolve().parents[1] / "fixtures" / "oidc_provider.mjs"
    process = subprocess.Popen(
        [node, str(script), str(modules), str(port), CLIENT, SECRET, HERE + CALLBACK],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        lines = iter(process.stdout.readline, "")
        assert any("ready" in line for line in lines), "the provider did not start"
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.communicate(timeout=10)


def sign_in(start: str, name: str) -> str:
    """Fill in the provider's forms; the address that it sends the browser back to."""
    browser = requests.Session()
    where = start
    with browser:
        for _ in range(12):
            answer = browser.get(where, allow_redirects=False, timeout=10)
            while answer.status_code == 200:
                form = re.search(r'action="([^"]+)"', answer.text)
                prompt = re.search(r'name="prompt" value="(\w+)"', answer.text)
                assert form and prompt, answer.text[:400]
                fields = {"prompt": prompt[1], "login": name, "password": "any"}
                where = urljoin(answer.url, form[1])
                answer = browser.post(where, data=fields, allow_redirects=False, timeout=10)
            assert answer.is_redirect, (answer.status_code, answer.text[:400])
            where = urljoin(answer.url, answer.headers["location"])
            if where.startswith(HERE):
                return where
    raise AssertionError("the provider never sent the browser back")


def back(browser: TestClient, name: str) -> requests.Response:
    leaving = browser.get("/login/oidc", params={"next": "/jobs"})
    assert leaving.status_code == 303, leaving.text
    parts = urlsplit(sign_in(leaving.headers["location"], name))
    return browser.get(f"{parts.path}?{parts.query}")


def test_people_of_a_certified_provider_come_in_by_their_groups(make_site: Callable[..., Site], provider: str) -> None:
    site = make_site(
        public_url=HERE, oidc__issuer=provider, oidc__client_id=CLIENT, oidc__client_secret=SECRET,
        oidc__roles="{admin: [it], viewer: [physics]}",
    )  # fmt: skip
    site.clock.now = datetime.now(UTC)
    jane, paul, mallory = site.browser(), site.browser(), site.browser()
    assert back(jane, "jane.it").headers["location"] == "/jobs"
    assert jane.get("/users").status_code == 200 and "paul" not in jane.get("/users").text
    assert back(paul, "paul.physics").status_code == 303
    assert paul.get("/users").status_code == 403
    assert "paul.physics" in jane.get("/users").text
    refused = back(mallory, "mallory.sales")
    assert refused.status_code == 403 and "none of your groups" in refused.text
