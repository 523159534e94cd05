"""Overview, study, JSON, health and metrics over a real registry; patients' names only for those who may see them."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from node.registry import credentials
from node.registry.database import Registry
from node.registry.models import Delivery, Job, Result, Series, Study, Worker
from node.registry.roles import Role
from tests.dashboard.conftest import NOW, TESTER, Site

STUDY_UID = "1.2.826.0.1.3680043.8.498.1"
PATIENT = "SECRET^<script>alert(2)</script>"
PATIENT_NUMBER = "SECRET-4711"


@pytest.fixture
def client(viewer: TestClient) -> TestClient:
    return viewer


@pytest.fixture
def seeded(sqlite_registry: Registry) -> Registry:
    registry = sqlite_registry
    with registry.transaction() as session:
        study = Study(study_uid=STUDY_UID, patient_id=PATIENT_NUMBER, patient_name=PATIENT, created_at=NOW)
        session.add(study)
        session.flush()
        session.add(
            Series(
                study_id=study.id,
                series_uid=STUDY_UID + ".1",
                modality="NM",
                description="<script>alert(1)</script>",
                instance_count=1,
                byte_count=524288,
                first_received_at=NOW,
                last_received_at=NOW,
            )
        )
        job = Job(
            key="k" * 64,
            study_id=study.id,
            pipeline="bone-scan",
            rule="whole-body bone scan",
            state="queued",
            created_at=NOW - timedelta(minutes=3),
            queued_at=NOW - timedelta(seconds=90),
            available_at=NOW,
        )
        session.add(job)
        session.flush()
        result = Result(
            job_id=job.id,
            kind="seg",
            sop_uid="2.25.1",
            sop_class_uid="1.2.840.10008.5.1.4.1.1.66.4",
            series_uid="2.25.2",
            storage_key="results/x",
            sha256="0" * 64,
            byte_count=1,
            created_at=NOW,
        )
        session.add(result)
        session.flush()
        for destination, state in (("pacs", "sent"), ("research", "pending")):
            session.add(
                Delivery(result_id=result.id, destination=destination, state=state, next_attempt_at=NOW, created_at=NOW)
            )
        for kind in ("infer", "deliver", "upkeep"):
            session.add(
                Worker(name=f"w-{kind}", kind=kind, host="h", pid=1, started_at=NOW, heartbeat_at=NOW, rss_bytes=1)
            )
    return registry


def test_an_empty_node_shows_its_page_and_says_what_is_missing(client: TestClient) -> None:
    page = client.get("/")
    assert page.status_code == 200
    assert "send a study to this node" in page.text
    health = client.get("/healthz")
    assert health.status_code == 503
    assert health.json()["problems"] == [
        "no infer worker is alive",
        "no deliver worker is alive",
        "no upkeep worker is alive",
    ]


def test_the_page_shows_jobs_with_partial_delivery_as_partial(client: TestClient, seeded: Registry) -> None:
    page = client.get("/").text
    assert "bone-scan" in page
    assert "sent 1<" in page
    assert "pending 1<" in page
    assert client.get("/healthz").json()["ok"] is True


def test_what_arrived_and_is_not_registered_is_told(
    client: TestClient, seeded: Registry, site: Site, tmp_path: Path
) -> None:
    inbox = site.app.state.desk.configuration.data_dir / "spool" / "inbox"
    inbox.mkdir(parents=True, exist_ok=True)
    for number, age_s in enumerate((10, 400, 4000)):
        file = inbox / f"{number}.dcm"
        file.write_bytes(b"")
        os.utime(file, (NOW.timestamp() - age_s,) * 2)
    health = client.get("/healthz").json()
    assert health["ok"], "nothing is lost yet"
    assert health["problems"] == ["2 received instances have waited over 5 minutes to be registered"]


PATHS = ("/", f"/studies/{STUDY_UID}", "/api/v1/overview", f"/api/v1/studies/{STUDY_UID}", "/metrics", "/healthz")


def test_a_viewer_finds_no_patient_on_any_page(site: Site, client: TestClient, seeded: Registry) -> None:
    token = _token(site)
    for path in PATHS:
        headers = {"Authorization": f"Bearer {token}"} if path == "/metrics" else {}
        answer = client.get(path, headers=headers)
        assert answer.status_code == 200, path
        assert "SECRET" not in answer.text, path


def test_names_are_shown_to_the_roles_that_the_settings_name_and_are_text(
    operator: TestClient, seeded: Registry
) -> None:
    for path in PATHS[:2]:
        page = operator.get(path).text
        assert "SECRET &lt;script&gt;alert(2)&lt;/script&gt;" in page
        assert PATIENT_NUMBER in page
        assert "<script>alert" not in page


def test_a_setting_hides_names_from_everybody(make_site: Callable[..., Site], seeded: Registry) -> None:
    site = make_site(patient_names="[]")
    site.add("ada", Role.ADMIN)
    browser = site.logged_in("ada")
    assert all("SECRET" not in browser.get(path).text for path in PATHS[:2])


def test_a_hostile_series_description_is_text_and_not_markup(client: TestClient, seeded: Registry) -> None:
    page = client.get("/").text
    assert "<script>alert" not in page
    assert "&lt;script&gt;" in page


def test_the_study_as_json_tells_job_and_deliveries(client: TestClient, seeded: Registry) -> None:
    study = client.get(f"/api/v1/studies/{STUDY_UID}").json()
    (job,) = study["jobs"]
    assert job["state"] == "queued"
    assert job["created_at"] == "2026-03-01T11:57:00Z"
    assert {(d["destination"], d["state"]) for d in job["deliveries"]} == {("pacs", "sent"), ("research", "pending")}


def test_an_unknown_study_and_a_job_without_a_picture_are_404(client: TestClient, seeded: Registry) -> None:
    assert client.get("/studies/1.2.3").status_code == 404
    assert client.get("/jobs/1/picture.png").status_code == 404


@pytest.mark.parametrize(
    ("settings", "status"),
    [
        ({}, 200),
        ({"metrics_from_loopback": "false"}, 401),
        ({"public_url": "https://osteon.hospital.example"}, 401),
        ({"trusted_proxies": "[127.0.0.1]"}, 401),
    ],
)
def test_prometheus_on_this_host_needs_no_token_unless_the_settings_speak_of_a_proxy(
    make_site: Callable[..., Site], settings: dict[str, str], status: int
) -> None:
    site = make_site(**settings)
    with TestClient(site.app, base_url="http://127.0.0.1:8080", client=("127.0.0.1", 5)) as prometheus:
        assert prometheus.get("/metrics").status_code == status
        token = {"Authorization": f"Bearer {_token(site)}"}
        assert prometheus.get("/metrics", headers=token).status_code == 200


def test_prometheus_reads_the_metrics_with_a_token(site: Site, seeded: Registry) -> None:
    browser = site.browser()
    assert browser.get("/metrics").status_code == 401
    text = browser.get("/metrics", headers={"Authorization": f"Bearer {_token(site)}"}).text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    jobs = {sample.labels["state"]: sample.value for sample in families["osteon_jobs"].samples}
    assert jobs == {"queued": 1}
    assert families["osteon_oldest_queued_seconds"].samples[0].value == 90
    assert families["osteon_disk_free_bytes"].samples[0].value > 0


@pytest.mark.parametrize("method", ["post", "put", "delete", "patch"])
def test_the_overview_cannot_be_written(client: TestClient, method: str) -> None:
    assert getattr(client, method)("/").status_code == 405


def test_a_fragment_is_one_block_of_the_page(client: TestClient, seeded: Registry) -> None:
    fragment = client.get("/", params={"fragment": "jobs"}).text
    assert "bone-scan" in fragment
    assert "<html" not in fragment
    assert fragment in client.get("/").text
    assert client.get("/", params={"fragment": "nothing"}).status_code == 404


def _token(site: Site) -> str:
    with site.registry.transaction() as session:
        return credentials.add_token(session, TESTER, "prometheus", Role.VIEWER, None, NOW)
