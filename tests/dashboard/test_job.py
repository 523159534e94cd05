"""A job's page over a job that really ran: its way, measurements, slices, downloads, buttons, log lines.

The tiny pipeline analyses a stored scan through the worker's own code; pictures are compared with the scan's pixels.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import structlog
from fastapi.testclient import TestClient
from PIL import Image
from pydicom import dcmread
from sqlalchemy import select

from node.jobs.app import Enqueuer, create_app
from node.jobs.heartbeat import Heartbeat, utc_now
from node.jobs.infer import JobRunner, Outcome
from node.logs import configure_logging
from node.registry.account_models import AuditEntry
from node.registry.database import Registry
from node.registry.deliveries import claim_deliveries, try_again
from node.registry.models import Delivery, Job, Result, Series, Study
from node.registry.roles import Role
from node.registry.workers import WorkerStatus
from node.settings.model import LogSettings
from node.storage import LocalStorage
from tests.dashboard.conftest import Site, post
from tests.fixtures.queue import MadeJob, configuration, make_job
from tests.jobs.tiny_pipeline import TinyPipeline

BRIGHT = (slice(5, 7), slice(4, 7))
"""Where the tiny scan is bright on its anterior view (tests.fixtures.queue.tiny_scan)."""


def run(site: Site, folder: Path, description: str = "", **more: object) -> MadeJob:
    """Queue a job on a new scan and have a worker's runner bring it to its end."""
    storage = LocalStorage(folder)
    made = make_job(site.registry, storage, folder / "arriving", description, **more)  # type: ignore[arg-type]
    settings = configuration(folder)
    status = WorkerStatus("tester@here:1", "infer", "here", os.getpid(), "CPU", utc_now(), 0, None)
    heartbeat = Heartbeat(Registry(site.registry.url), status)
    runner = JobRunner(settings, site.registry, storage, heartbeat, Enqueuer(create_app(settings)), status.name,
                       lambda _name: TinyPipeline)  # fmt: skip
    assert runner.run(made.job_id).outcome is not Outcome.NOTHING
    heartbeat.stop()
    site.clock.now = utc_now()
    return made


@pytest.fixture(autouse=True)
def log_stream(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Logging as a worker has it, taken back afterwards."""
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", list(root.handlers))
    for module, name in ((sys, "excepthook"), (threading, "excepthook"), (warnings, "showwarning")):
        monkeypatch.setattr(module, name, getattr(module, name))
    monkeypatch.setattr(logging, "raiseExceptions", True)
    level = root.level
    configure_logging(LogSettings(format="json"), "infer")
    yield
    structlog.reset_defaults()
    root.setLevel(level)


@pytest.fixture
def done(site: Site, tmp_path: Path) -> MadeJob:
    return run(site, tmp_path, destinations=("pacs",))


def results(registry: Registry, job_id: int) -> dict[str, int]:
    with registry.reading() as session:
        rows = session.execute(select(Result.kind, Result.id).where(Result.job_id == job_id))
        return {row.kind: row.id for row in rows}


def picture(browser: TestClient, address: str) -> np.ndarray:
    answer = browser.get(address)
    assert answer.status_code == 200, answer.text
    return np.asarray(Image.open(BytesIO(answer.content)).convert("RGBA"))


def test_the_page_of_a_job_that_ran_tells_its_way_and_offers_its_results(site: Site, done: MadeJob) -> None:
    operator = site.logged_in("otto")
    page = operator.get(f"/jobs/{done.job_id}").text
    for said in ("First image of", "A worker took it.", "The results were ready.", "Bright pixels were counted."):
        assert said in page
    assert f"/jobs/{done.job_id}/pictures/" in page
    assert "job.started" in page
    found = results(site.registry, done.job_id)
    file = operator.get(f"/jobs/{done.job_id}/results/{found['seg']}")
    assert "attachment" in file.headers["content-disposition"]
    assert dcmread(BytesIO(file.content)).Modality == "SEG"
    assert operator.get(f"/jobs/{done.job_id}/summary.json").json()["pipeline"] == "tiny"


def test_dicom_files_are_for_those_who_may_see_names(site: Site, done: MadeJob) -> None:
    viewer = site.logged_in("vera")
    found = results(site.registry, done.job_id)
    assert viewer.get(f"/jobs/{done.job_id}/results/{found['sr']}").status_code == 403
    assert viewer.get(f"/jobs/{done.job_id}/results/{found['png']}").status_code == 200


def test_slices_show_the_scan_and_the_mask_where_it_is_bright(site: Site, done: MadeJob) -> None:
    viewer = site.logged_in("vera")
    base = f"/jobs/{done.job_id}/pictures/{results(site.registry, done.job_id)['seg']}"
    page = viewer.get(base).text
    assert "anterior" in page
    assert "bright" in page
    bright = np.zeros((32, 16), bool)
    bright[BRIGHT] = True
    anterior, posterior = (picture(viewer, f"{base}/{n}/segment-1.png") for n in (0, 1))
    assert ((anterior[..., 3] > 0) == bright).all()
    assert (anterior[bright][:, :3] == (255, 0, 0)).all()
    assert not posterior[..., 3].any()
    source = picture(viewer, f"{base}/0/source.png")[..., 0].astype(int)
    assert source[bright].max() < source[~bright].min(), "bone scans are shown dark where they are hot"
    both = picture(viewer, f"{base}/0/overlay.png").astype(int)
    assert (both[bright][:, 0] > both[bright][:, 2]).all()
    assert (both[~bright][:, 0] == both[~bright][:, 2]).all()


def test_what_is_not_there_is_not_found(site: Site, done: MadeJob) -> None:
    viewer = site.logged_in("vera")
    found = results(site.registry, done.job_id)
    for address in ("/jobs/999", f"/jobs/{done.job_id}/results/999", f"/jobs/{done.job_id}/pictures/{found['sr']}",
                    f"/jobs/{done.job_id}/pictures/{found['seg']}/2/source.png",
                    f"/jobs/{done.job_id}/pictures/{found['seg']}/0/segment-9.png",
                    "/jobs/99999999999999999999"):  # fmt: skip
        assert viewer.get(address).status_code in (404, 422), address


def test_slices_of_images_that_are_gone_say_so(site: Site, done: MadeJob, tmp_path: Path) -> None:
    LocalStorage(tmp_path).delete(done.storage_key)
    page = site.logged_in("vera").get(f"/jobs/{done.job_id}/pictures/{results(site.registry, done.job_id)['seg']}")
    assert page.status_code == 200
    assert "no longer kept" in page.text


def test_the_log_lines_of_a_failed_job_are_kept_and_its_error_is_for_admins(site: Site, tmp_path: Path) -> None:
    made = run(site, tmp_path, "refuse")
    page = site.logged_in("vera").get(f"/jobs/{made.job_id}").text
    assert "this series asks to be refused" in page
    assert "job.ended" in page
    with site.registry.transaction() as session:
        job = session.get_one(Job, made.job_id)
        job.state, job.error, job.traceback = "failed", "ValueError: SECRET", "Traceback: SECRET"
    assert "SECRET" not in site.logged_in("otto").get(f"/jobs/{made.job_id}").text
    assert "Traceback: SECRET" in site.logged_in("ada").get(f"/jobs/{made.job_id}").text


def test_every_attempt_at_a_delivery_is_shown(site: Site, done: MadeJob) -> None:
    now = utc_now()
    with site.registry.transaction() as session:
        first = session.scalars(select(Delivery.id)).first()
        assert first is not None
        (claim, *_others) = claim_deliveries(session, first, "w/1", now, 60, 1)
        try_again(session, claim, now, now, "The destination refused the association.")
    assert "The destination refused the association." in site.logged_in("vera").get(f"/jobs/{done.job_id}").text


def test_the_buttons_act_and_stand_in_the_audit_trail(site: Site, done: MadeJob) -> None:
    operator = site.logged_in("otto")
    answer = post(operator, f"/jobs/{done.job_id}/rerun")
    new = int(answer.headers["location"].rpartition("/")[2])
    post(operator, f"/jobs/{new}/priority", priority="1")
    post(operator, f"/jobs/{new}/cancel")
    post(operator, f"/jobs/{new}/retry")
    post(operator, f"/jobs/{done.job_id}/resend")
    with site.registry.reading() as session:
        job = session.get_one(Job, new)
        assert (job.revision, job.priority, job.state) == (2, 1, "queued")
        actions = [entry.action for entry in session.scalars(select(AuditEntry).where(AuditEntry.who == "otto"))]
    wanted = ["job.rerun", "job.priority", "job.cancel", "job.retry", "delivery.resend"]
    assert [action for action in actions if action in wanted][:4] == wanted[:4]
    assert "delivery.resend" in actions


def test_a_viewer_has_no_buttons_and_cannot_act(site: Site, done: MadeJob) -> None:
    viewer = site.logged_in("vera")
    assert f"/jobs/{done.job_id}/rerun" not in viewer.get(f"/jobs/{done.job_id}").text
    assert post(viewer, f"/jobs/{done.job_id}/rerun").status_code == 403
    assert post(viewer, "/jobs/retry", job=str(done.job_id)).status_code == 403


def test_a_study_opens_in_the_configured_viewer(make_site: Callable[..., Site], tmp_path: Path) -> None:
    site = make_site(viewer_url="http://ohif.example/viewer?StudyInstanceUIDs={study_uid}")
    site.add("vera", Role.VIEWER)
    made = make_job(site.registry, LocalStorage(tmp_path), tmp_path / "arriving")
    link = f"http://ohif.example/viewer?StudyInstanceUIDs={made.study_uid}"
    viewer = site.logged_in("vera")
    assert link in viewer.get(f"/jobs/{made.job_id}").text
    assert link in viewer.get(f"/studies/{made.study_uid}").text


def test_names_of_patients_are_text_and_only_for_those_who_may_see_them(site: Site, done: MadeJob) -> None:
    with site.registry.transaction() as session:
        session.scalars(select(Study)).one().patient_name = "SECRET^<script>alert(1)</script>"
        session.scalars(select(Series)).one().description = "<script>alert(2)</script>"
    for name, sees in (("vera", False), ("otto", True)):
        browser = site.logged_in(name)
        for address in (f"/jobs/{done.job_id}", "/jobs", "/studies", "/series", f"/series/{done.series_uid}"):
            page = browser.get(address).text
            assert ("SECRET" in page) is sees, address
            assert "<script>alert" not in page, address
