"""The dashboard as a new user walks through it: a real browser, a real node, real jobs sent by DCMTK.

`osteon serve` --storescu--> jobs by the shipped networks --> storescp; Chromium looks on. The node starts with a past
of two weeks, so that lists and charts are not empty. One walk, in order, because each step is what the person sees
after the one before; then a tour of every page in both themes and languages, judged by axe-core.

Not here: looks (screenshots are taken with OSTEON_SCREENSHOTS=folder and looked at by people), the pages' own rules
(the other modules of this folder).
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pydicom
import pytest

from node.bench.seed import Plan, seed
from node.loopback import free_port
from node.registry.database import Registry
from node.registry.migrate import upgrade
from pipelines.phantoms import generate
from tests.dashboard.browsing import Visitor
from tests.fixtures.programs import find_program, need_program
from tests.fixtures.running_node import RunningNode, running_node, wait_for

pytestmark = [pytest.mark.peer, pytest.mark.slow, pytest.mark.timeout(900)]

NAME, PASSWORD = "ada", "walks through every page"
HOSTILE = "SYNTHETIC^<script>alert(1)</script><img src=x onerror=alert(2)>"
JOB_S = 180.0
"""How long one study may take on a machine that does other things, too."""

PAGES = ("/", "/jobs", "/studies", "/series", "/routing", "/routing/edit", "/destinations", "/models", "/trends",
         "/users", "/users/1", "/audit", "/account", "/api/docs")  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium; for one module only, because playwright occupies the thread's event loop while it runs."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = find_program("chromium") or find_program("chromium-browser")
    if chromium is None:
        pytest.skip("chromium is not installed")
    with playwright.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=str(chromium), args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three scans; the first of a patient whose name is an attack, the others of one patient, a year apart."""
    need_program("storescu")
    paths = generate(3, 700, tmp_path_factory.mktemp("scans"))
    for path, name, number, date in zip(
        paths, (HOSTILE, "SYNTHETIC^Wu", "SYNTHETIC^Wu"), ("S-1", "S-2", "S-2"), ("20260301", "20250301", "20260301"),
        strict=True,
    ):  # fmt: skip
        dataset = pydicom.dcmread(path)
        dataset.PatientName, dataset.PatientID, dataset.StudyDate = name, number, date
        dataset.SeriesDescription = "WB <b>bone</b>"
        dataset.save_as(path)
    return paths


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    folder = tmp_path_factory.mktemp("node")
    registry = Registry(f"sqlite:///{folder}/data/registry.sqlite")
    upgrade(registry)
    past = datetime.now(UTC) - timedelta(minutes=20)
    seed(registry, Plan(instances=1800, jobs=600, now=past, days=14, patients=160, open_work=False))
    registry.dispose()
    port, received = free_port(), folder / "pacs"
    received.mkdir()
    archive = subprocess.Popen(
        [need_program("storescp"), "--fork", "--promiscuous", "--output-directory", str(received), str(port)],
        env={**os.environ, "TCP_NODELAY": "1"},
    )
    # One attempt only: a job whose worker is killed fails, and waits for a person.
    settings = {
        "retention": {"days": 4000},
        "worker": {"max_attempts": 1},
        "dashboard": {"viewer_url": "https://viewer.example/?uid={study_uid}"},
    }
    try:
        with running_node(
            folder, [{"name": "pacs", "host": "127.0.0.1", "port": port, "ae_title": "PACS"}], settings
        ) as node:
            yield node
    finally:
        for process in (*psutil.Process(archive.pid).children(), archive):
            process.terminate()
        archive.wait(timeout=10)


@pytest.fixture(scope="module")
def visitor(browser: Any, node: RunningNode) -> Iterator[Visitor]:
    visitor = Visitor(browser, f"http://127.0.0.1:{node.http_port}", locale="en-GB")
    yield visitor
    assert visitor.complaints == []


def send(node: RunningNode, path: Path) -> str:
    """Send a scan as a scanner would; returns its study's UID."""
    subprocess.run(
        [need_program("storescu"), "-aet", "GAMMA2", "-aec", "OSTEON", "127.0.0.1", str(node.dicom_port), str(path)],
        check=True,
        capture_output=True,
        timeout=60,
        env={**os.environ, "TCP_NODELAY": "1"},
    )
    return str(pydicom.dcmread(path, stop_before_pixels=True).StudyInstanceUID)


def job_of(node: RunningNode, study_uid: str, state: str) -> dict[str, Any]:
    """The study's job once it is in that state."""

    def found() -> dict[str, Any] | None:
        return next((job for job in node.jobs(study_uid) if job["state"] == state), None)

    return wait_for(f"a job in state {state}", found, JOB_S)


def test_first_start_asks_for_an_account_with_the_code_of_the_console(node: RunningNode, visitor: Visitor) -> None:
    visitor.open("/")
    assert visitor.page.url.endswith("/setup")
    assert visitor.violations() == []
    visitor.shoot("setup")
    code = re.search(r"\b([0-9a-f]{4}(?:-[0-9a-f]{4}){3})\b", node.log())
    assert code is not None, "the console shows no set-up code"
    visitor.fill(code="0000-0000-0000-0000", name=NAME, password=PASSWORD, again=PASSWORD)
    visitor.press("Make the account")
    visitor.sees("The set-up code is not right")
    visitor.fill(code=code[1], password=PASSWORD, again=PASSWORD)
    visitor.press("Make the account")
    visitor.sees("Running now")
    visitor.press("Log out", within="header")
    visitor.sees("Password")
    visitor.shoot("login")
    assert visitor.violations() == []
    visitor.fill(name=NAME, password="not the right one at all")
    visitor.press("Log in")
    visitor.sees("Name or password is not right")
    visitor.fill(name=NAME, password=PASSWORD)
    visitor.press("Log in")
    visitor.sees("live", within="#live")


def test_a_study_arrives_and_finishes_before_the_eyes(node: RunningNode, visitor: Visitor, scans: list[Path]) -> None:
    visitor.open("/")
    visitor.page.evaluate("window.notReloaded = true")
    study_uid = send(node, scans[0])
    visitor.sees("GAMMA2", within="#live-series")
    visitor.sees("bone-scan", within="#live-running table", timeout_s=60)
    job = job_of(node, study_uid, "done")
    row = visitor.page.locator("#live-jobs tr", has=visitor.page.locator(f"a[href='/jobs/{job['id']}']"))
    row.filter(has_text="done").filter(has_text="sent 3").wait_for(timeout=30_000)
    assert visitor.page.evaluate("window.notReloaded") is True
    assert "<script>alert(1)</script>" in row.inner_text()
    row.locator(f"a[href='/jobs/{job['id']}']").click()
    visitor.sees("The way of this job")


def test_the_job_shows_the_overlay_over_its_source(visitor: Visitor) -> None:
    page = visitor.page
    page.locator("[data-tools]").wait_for()
    for selector in ("[data-layers] [data-source]", "[data-layer='1']"):
        assert visitor.painted(selector) > 100, selector
    frame = page.locator("[data-layers] [data-source]").get_attribute("src")
    page.locator("[data-frame]").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("[data-layers] [data-source]").get_attribute("src") != frame
    page.locator("[data-segment='1']").uncheck()
    assert page.locator("[data-layer='1']").is_hidden()
    page.locator("[data-segment='1']").check()
    page.locator("[data-frame]").fill("0")
    link = page.get_by_role("link", name="Open in the viewer").get_attribute("href")
    assert link is not None and link.startswith("https://viewer.example/?uid=2.25.")
    for text in ("Bone scan tumour burden index", "sent", "rule 'bone-scan'", "Log lines of this job"):
        visitor.sees(text)
    with page.expect_download() as download:
        page.get_by_role("link", name="SEG", exact=True).click()
    assert pydicom.dcmread(download.value.path()).Modality == "SEG"


def test_a_killed_worker_is_said_and_its_failed_job_is_retried(
    node: RunningNode, visitor: Visitor, scans: list[Path]
) -> None:
    visitor.open("/")
    study_uid = send(node, scans[1])
    job_of(node, study_uid, "running")
    victims = node.children("worker", "infer") or node.children("worker")
    for victim in victims:
        victim.kill()
    psutil.wait_procs(victims, timeout=10)
    visitor.sees("worker was lost", within="#live-workers", timeout_s=90)
    visitor.shoot("overview-lost-worker")
    job = job_of(node, study_uid, "failed")
    visitor.open(f"/jobs/{job['id']}")
    visitor.sees("failed", within="h1")
    visitor.sees("worker was lost")
    visitor.shoot("job-failed")
    assert visitor.violations() == []
    visitor.press("Retry")
    visitor.sees(f"Job {job['id']} is queued again.")
    visitor.sees("done", within="h1", timeout_s=JOB_S)
    visitor.sees("sent", within="#live-deliveries", timeout_s=60)


def test_results_wait_while_their_destination_is_paused(node: RunningNode, visitor: Visitor, scans: list[Path]) -> None:
    visitor.open("/destinations")
    visitor.press("Test with C-ECHO")
    visitor.sees("It accepts:")
    visitor.shoot("destinations-test")
    visitor.press("Pause")
    visitor.sees("pacs is paused; results for it wait.")
    study_uid = send(node, scans[2])
    job = job_of(node, study_uid, "done")
    waiting = visitor.page.locator("#live-destinations dt:has-text('waiting') + dd")
    waiting.filter(has_text=re.compile(r"^3\b")).wait_for(timeout=20_000)
    assert {row["state"] for row in node.jobs(study_uid)[0]["deliveries"]} == {"pending"}
    visitor.press("Resume")
    waiting.filter(has_text=re.compile(r"^0\b")).wait_for(timeout=30_000)
    visitor.open(f"/jobs/{job['id']}")
    visitor.sees("Change of the bone scan tumour burden index")


def test_an_edited_rule_is_tried_before_it_is_saved(visitor: Visitor) -> None:
    visitor.open("/routing")
    visitor.page.get_by_role("link", name="Edit and try").click()
    text = visitor.page.locator("#f-text").input_value()
    changed = re.sub(r"(?m)^( *)(- name: bone-scan\n)", r"\1\2\1  enabled: false\n", text, count=1)
    assert changed != text
    visitor.page.locator("#f-text").fill(changed)
    visitor.press("Check and try")
    visitor.sees("What would change")
    visitor.sees("would fare otherwise")
    assert visitor.violations() == []
    visitor.shoot("routing-tried")
    visitor.open("/routing/edit")
    assert visitor.page.locator("#f-text").input_value() == text, "nothing was saved"


DRESSES = [("light", "English"), ("dark", "中文"), ("dark", "English"), ("light", "中文")]


@pytest.mark.parametrize(("theme", "language"), DRESSES if os.environ.get("OSTEON_SCREENSHOTS") else DRESSES[:2])
def test_every_page_in_every_dress_has_no_serious_barrier(
    node: RunningNode, visitor: Visitor, theme: str, language: str
) -> None:
    page = visitor.page
    visitor.open("/account")
    page.locator(f"header button[name=theme][value={theme}]").click()
    page.locator("header button[name=language]", has_text=language).click()
    tag = f"{'en' if language == 'English' else 'zh'}-{theme}"
    job = newest_job(node)
    study_uid = job["study_uid"]
    for path in (*PAGES, f"/jobs/{job['id']}", f"/studies/{study_uid}", f"/series/{job['series_uid']}",
                 f"/trends/{study_uid}"):  # fmt: skip
        visitor.open(path)
        page.wait_for_load_state("load")
        if path.startswith("/jobs/"):
            page.locator("[data-tools]").wait_for()
        assert visitor.violations() == [], f"{path} {tag}"
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), f"{path} is too wide"
        visitor.shoot(f"{_file_name(path)}-{tag}")


def test_chinese_is_switched_to_and_the_way_out_is_found(visitor: Visitor) -> None:
    page = visitor.page
    visitor.open("/")
    page.locator("header button[name=language]", has_text="中文").click()
    visitor.sees("任务", within="nav")
    assert page.locator("html").get_attribute("lang") == "zh-Hans"
    page.locator("header form[action='/logout'] button").click()
    visitor.sees("登录")
    page.goto(visitor.address + "/jobs")
    assert "/login" in page.url


def test_pages_are_read_and_left_by_keyboard_and_without_scripts(
    browser: Any, node: RunningNode, visitor: Visitor
) -> None:
    plain = Visitor(browser, visitor.address, locale="en-GB", java_script_enabled=False)
    plain.open("/login")
    for text in (NAME, PASSWORD):
        plain.page.keyboard.press("Tab")
        while plain.page.locator("input:focus[name=name], input:focus[name=password]").count() == 0:
            plain.page.keyboard.press("Tab")
        plain.page.keyboard.type(text)
    plain.page.keyboard.press("Enter")
    plain.page.locator("header button[name=language]", has_text="English").click()
    plain.sees("Running now")
    job = newest_job(node)
    plain.open(f"/jobs/{job['id']}")
    plain.sees("Log lines of this job")
    plain.page.get_by_role("link", name="Look through the slices").first.click()
    plain.page.locator(".strip img").first.wait_for()
    plain.open("/destinations")
    plain.press("Pause")
    plain.sees("pacs is paused")
    plain.press("Resume")
    plain.sees("pacs is resumed")
    assert plain.complaints == []


def newest_job(node: RunningNode) -> dict[str, Any]:
    """Id, study and first series of the newest job."""
    from sqlalchemy import select

    from node.registry.models import Job
    from node.settings import load_configuration

    registry = Registry(load_configuration(node.config_dir, node.data_dir, node.environment).database_url)
    try:
        with registry.reading() as session:
            job = session.scalars(select(Job).order_by(Job.id.desc())).first()
            assert job is not None
            return {
                "id": job.id,
                "study_uid": job.study.study_uid,
                "series_uid": job.inputs[0].series.series_uid,
            }
    finally:
        registry.dispose()


def _file_name(path: str) -> str:
    return re.sub(r"/[\d.]+$", "-one", path).strip("/").replace("/", "-") or "overview"
