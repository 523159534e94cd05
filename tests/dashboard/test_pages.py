"""The status page, the JSON, health and metrics over a real registry; read-only, and without patient data."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from node.dashboard.app import create_app
from node.registry.database import Registry
from node.registry.migrate import upgrade
from node.registry.models import Delivery, Job, Result, Series, Study, Worker
from node.settings import load_configuration
from node.settings.load import REPOSITORY_CONFIG

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
STUDY_UID = "1.2.826.0.1.3680043.8.498.1"
PATIENT = "SECRET^PATIENT"
PATIENT_NUMBER = "SECRET-4711"


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    registry = Registry(f"sqlite:///{tmp_path / 'registry.sqlite'}")
    upgrade(registry)
    yield registry
    registry.dispose()


@pytest.fixture
def client(registry: Registry, tmp_path: Path) -> Iterator[TestClient]:
    configuration = load_configuration(REPOSITORY_CONFIG, tmp_path, {"OSTEON__SPOOL__MIN_FREE_BYTES": "0"})
    with TestClient(create_app(configuration, registry, clock=lambda: NOW)) as client:
        yield client


@pytest.fixture
def seeded(registry: Registry) -> Registry:
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
        for kind in ("infer", "deliver"):
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
    assert health.json()["problems"] == ["no infer worker is alive", "no deliver worker is alive"]


def test_the_page_shows_jobs_with_partial_delivery_as_partial(client: TestClient, seeded: Registry) -> None:
    page = client.get("/").text
    assert "bone-scan" in page
    assert "1 sent" in page
    assert "1 pending" in page
    assert client.get("/healthz").json()["ok"] is True


def test_no_page_and_no_figure_carries_patient_data(client: TestClient, seeded: Registry) -> None:
    for path in ("/", f"/studies/{STUDY_UID}", "/api/overview", f"/api/studies/{STUDY_UID}", "/metrics", "/healthz"):
        text = client.get(path).text
        assert "SECRET" not in text, path


def test_a_hostile_series_description_is_text_and_not_markup(client: TestClient, seeded: Registry) -> None:
    page = client.get("/").text
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_the_study_as_json_tells_job_and_deliveries(client: TestClient, seeded: Registry) -> None:
    study = client.get(f"/api/studies/{STUDY_UID}").json()
    (job,) = study["jobs"]
    assert job["state"] == "queued"
    assert job["created_at"] == "2026-03-01T11:57:00+00:00"
    assert {(d["destination"], d["state"]) for d in job["deliveries"]} == {("pacs", "sent"), ("research", "pending")}


def test_an_unknown_study_and_a_job_without_a_picture_are_404(client: TestClient, seeded: Registry) -> None:
    assert client.get("/studies/1.2.3").status_code == 404
    assert client.get("/jobs/1/picture.png").status_code == 404


def test_prometheus_reads_the_metrics(client: TestClient, seeded: Registry) -> None:
    families = {family.name: family for family in text_string_to_metric_families(client.get("/metrics").text)}
    jobs = {sample.labels["state"]: sample.value for sample in families["osteon_jobs"].samples}
    assert jobs == {"queued": 1}
    assert families["osteon_oldest_queued_seconds"].samples[0].value == 90
    assert families["osteon_disk_free_bytes"].samples[0].value > 0


@pytest.mark.parametrize("method", ["post", "put", "delete", "patch"])
def test_nothing_can_be_written(client: TestClient, method: str) -> None:
    assert getattr(client, method)("/").status_code == 405
