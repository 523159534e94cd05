"""A real archive, a real viewer and a real browser; what is missing skips the tests by its name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.ohif.fetch import OhifUnavailable, fetch_ohif
from deploy.ohif.serve import OhifServer
from deploy.orthanc.run import OrthancProcess, find_orthanc, find_plugins, start_orthanc
from tests.fixtures.programs import find_program
from tests.viewer.ohif_page import OhifPage

REPOSITORY = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("OSTEON_PEERS", REPOSITORY / ".peers"))

CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
]
"""WebGL without a graphics card, and without the sandbox that a container does not allow."""

VIEWPORT = {"width": 1400, "height": 1000}


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OrthancProcess]:
    if find_orthanc() is None:
        pytest.skip("Orthanc is not installed")
    if not find_plugins():
        pytest.skip("Orthanc's DICOMweb plugin is not installed")
    with start_orthanc(tmp_path_factory.mktemp("orthanc")) as running:
        yield running


@pytest.fixture(scope="session")
def viewer(archive: OrthancProcess) -> Iterator[OhifServer]:
    try:
        ohif = fetch_ohif(CACHE)
    except OhifUnavailable as error:
        pytest.skip(f"OHIF: {error}")
    with OhifServer(ohif, archive.url) as server:
        yield server


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    """Chromium; for one module only, because playwright occupies the thread's event loop while it runs."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = find_program("chromium") or find_program("chromium-browser")
    if chromium is None:
        pytest.skip("chromium is not installed")
    with playwright.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=str(chromium), args=CHROMIUM_ARGUMENTS)
        yield opened
        opened.close()


@pytest.fixture
def ohif(viewer: OhifServer, browser, tmp_path: Path) -> Iterator[OhifPage]:
    """A fresh page of the viewer; its last screenshot is left in the test's folder."""
    page = browser.new_page(viewport=VIEWPORT)
    opened = OhifPage(page, viewer)
    yield opened
    page.screenshot(path=tmp_path / "last.png")
    page.close()
