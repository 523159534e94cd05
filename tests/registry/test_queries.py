"""Pages show what the registry holds, newest first, on both databases, and never who the patient is."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from node.registry import queries
from node.registry.database import Registry
from node.registry.deliveries import NEVER
from node.registry.events import add_event
from node.registry.intake import register
from node.registry.models import Delivery, Job, JobInput, Result, Series, Study, Worker
from tests.registry.arrivals import NOW, arrival


def job(session: Any, study: int, state: str = "done", minutes: int = 0, **more: Any) -> Job:
    """A job of a study (by its number), made some minutes after NOW."""
    series = session.scalars(select(Series).where(Series.series_uid == f"1.{study}.1")).one()
    at = NOW + timedelta(minutes=minutes)
    made = Job(key=f"k{study}", study_id=series.study_id, pipeline="bone-scan", rule="bone", state=state,
               available_at=at, created_at=at, queued_at=at, **more)  # fmt: skip
    session.add(made)
    session.flush()
    session.add(JobInput(job_id=made.id, series_id=series.id, content_revision=1))
    return made


def result(session: Any, made: Job, kind: str, *states: str) -> None:
    row = Result(job_id=made.id, kind=kind, sop_uid=f"2.25.{made.id}.{kind}", sop_class_uid="1.2", series_uid="2.25.9",
                 storage_key=f"results/{made.id}.{kind}", sha256="x", byte_count=1, created_at=NOW)  # fmt: skip
    session.add(row)
    session.flush()
    for number, state in enumerate(states):
        session.add(
            Delivery(result_id=row.id, destination=f"d{number}", state=state, next_attempt_at=NOW, created_at=NOW)
        )


@pytest.fixture
def filled(registry: Registry) -> Registry:
    """Three studies, the last one with three jobs."""
    with registry.transaction() as session:
        for study in (1, 2, 3):
            at = NOW + timedelta(minutes=study)
            register(session, [arrival(n, 1, study, received_at=at) for n in range(1, study + 1)], at)
        first = job(session, 1)
        result(session, first, "seg", "sent", "failed")
        result(session, first, "sr", "sent", "pending")
        result(session, first, "png")
        job(session, 3, "queued", 5, revision=1)
        job(session, 3, "queued", 2, revision=2)
        job(session, 3, "running", 9, revision=3, progress=0.5, progress_text="infer", supersedes_id=None)
        session.add(Worker(name="w", kind="infer", host="h", pid=7, started_at=NOW, heartbeat_at=NOW))
        add_event(session, NOW, "job.done", "Done.", study_id=first.study_id, job_id=first.id, data={"n": 1})
    return registry


def test_an_empty_registry_has_an_overview(registry: Registry) -> None:
    with registry.reading() as session:
        overview = queries.overview(session, NOW)
    assert (overview.jobs, overview.instances, overview.oldest_queued_s, overview.recent_jobs) == ({}, 0, 0.0, ())


def test_the_overview_counts_and_lists_what_is_there(filled: Registry) -> None:
    with filled.reading() as session:
        overview = queries.overview(session, NOW + timedelta(minutes=20))
    assert overview.series == {"receiving": 3}
    assert overview.jobs == {"done": 1, "queued": 2, "running": 1}
    assert overview.deliveries == {"sent": 2, "failed": 1, "pending": 1}
    assert (overview.instances, overview.queue_depth, overview.oldest_queued_s) == (6, 2, 18 * 60)
    assert [(row.study_uid, row.revision) for row in overview.recent_jobs] == [
        ("1.3", 3),
        ("1.3", 1),
        ("1.3", 2),
        ("1.1", 1),
    ]
    assert overview.recent_jobs[-1].deliveries == {"sent": 2, "failed": 1, "pending": 1}
    assert [row.series_uid for row in overview.recent_series] == ["1.3.1", "1.2.1", "1.1.1"]
    assert [(worker.name, worker.pid) for worker in overview.workers] == [("w", 7)]
    assert overview.recent_events[0].message == "Done."


def test_a_study_shows_its_series_jobs_deliveries_and_events(filled: Registry) -> None:
    with filled.reading() as session:
        view = queries.study_view(session, "1.1")
        assert queries.study_view(session, "9.9") is None
    assert view is not None
    (made,) = view.jobs
    assert (made.state, made.series) == ("done", {"primary": ["1.1.1"]})
    assert [(d.destination, d.kind, d.state) for d in made.deliveries] == [
        ("d0", "seg", "sent"), ("d0", "sr", "sent"), ("d1", "seg", "failed"), ("d1", "sr", "pending"),
    ]  # fmt: skip
    assert [row.series_uid for row in view.series] == ["1.1.1"]
    assert view.routing == {"1.1.1": None}
    assert [event.kind for event in view.events] == ["series.opened", "job.done"]


def test_a_delivery_that_waits_for_nothing_shows_no_next_attempt(filled: Registry) -> None:
    with filled.transaction() as session:
        session.execute(update(Delivery).where(Delivery.state == "sent").values(next_attempt_at=NEVER))
    with filled.reading() as session:
        view = queries.study_view(session, "1.1")
    assert view is not None
    assert {(row.state, row.next_attempt_at is None) for row in view.jobs[0].deliveries} == {
        ("sent", True), ("failed", False), ("pending", False),
    }  # fmt: skip


def test_nothing_that_pages_read_names_the_patient(filled: Registry) -> None:
    with filled.reading() as session:
        assert session.scalars(select(Study.patient_name)).first() == "SECRET^NAME"
        everything: list[Any] = [asdict(queries.overview(session, NOW))]
        everything += [asdict(row) for row in queries.studies_page(session)]
        everything += [asdict(view) for uid in ("1.1", "1.3") if (view := queries.study_view(session, uid))]
    text = json.dumps(everything, default=str)
    assert "1.3.1" in text
    assert "SECRET" not in text


def test_studies_come_page_by_page_newest_first_each_once(filled: Registry) -> None:
    with filled.transaction() as session:  # three more at one and the same moment
        register(session, [arrival(1, 1, study) for study in (7, 8, 9)], NOW + timedelta(minutes=3))
    seen = []
    before = None
    with filled.reading() as session:
        for _ in range(3):
            page = queries.studies_page(session, 2, before)
            seen += [row.study_uid for row in page]
            before = (page[-1].created_at, page[-1].id)
        assert queries.studies_page(session, 2, before) == ()
    assert seen == ["1.9", "1.8", "1.7", "1.3", "1.2", "1.1"]
    with filled.reading() as session:
        row = queries.studies_page(session, 4)[3]
    assert (row.modalities, row.series_count, row.instance_count) == (("NM",), 1, 3)
    assert row.jobs == {"queued": 2, "running": 1}


def test_a_picture_is_found_until_retention_deletes_it(filled: Registry) -> None:
    with filled.transaction() as session:
        job_id = session.scalars(select(Job.id).where(Job.state == "done")).one()
        assert queries.picture_key(session, job_id) == f"results/{job_id}.png"
        for row in session.scalars(select(Result)):
            row.files_deleted_at = NOW
        session.flush()
        assert queries.picture_key(session, job_id) is None
