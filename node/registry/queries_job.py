"""One job with everything around it: its series, results, attempts at delivery, revisions, events and log."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from node.registry.job_logs import log_lines
from node.registry.models import Event, Instance, Job, JobInput, Result, Series
from node.registry.queries import delivery_rows, job_view, view_of
from node.registry.states import JobState
from node.registry.views import DeliveryRow, EventRow, JobView, SeriesRow

MOST_EVENTS = 400
DELIVERY_EVENT = "delivery."


@dataclass(frozen=True)
class InputRow:
    """A series that a job reads; `routing` is the trace of its last routing."""

    role: str
    series: SeriesRow
    routing: dict[str, Any] | None


@dataclass(frozen=True)
class ResultRow:
    """A file that a job made."""

    id: int
    kind: str
    sop_uid: str
    series_uid: str
    byte_count: int
    created_at: datetime
    files_deleted_at: datetime | None


@dataclass(frozen=True)
class DeliveryTale:
    """A delivery and what became of every attempt, oldest first."""

    delivery: DeliveryRow
    attempts: tuple[EventRow, ...]


@dataclass(frozen=True)
class JobDetail:
    """A job with all around it. revisions: (id, revision, state) of the same analysis, newest first."""

    job: JobView
    study_uid: str
    cancel_requested: bool
    lease_owner: str
    lease_until: datetime | None
    error: str
    traceback: str
    inputs: tuple[InputRow, ...]
    results: tuple[ResultRow, ...]
    deliveries: tuple[DeliveryTale, ...]
    revisions: tuple[tuple[int, int, str], ...]
    events: tuple[EventRow, ...]
    log: tuple[dict[str, Any], ...]

    @property
    def is_open(self) -> bool:
        return self.job.state in (JobState.WAITING, JobState.QUEUED, JobState.RUNNING)

    @property
    def is_latest(self) -> bool:
        return self.revisions[0][0] == self.job.id


def job_detail(session: Session, job_id: int) -> JobDetail | None:
    """Everything about a job; None if there is none of that number."""
    job = session.get(Job, job_id) if 0 < job_id < 2**63 else None
    if job is None:
        return None
    study_uid = job.study.study_uid
    inputs = session.execute(
        select(JobInput.role, Series).join(Series, Series.id == JobInput.series_id).where(JobInput.job_id == job_id)
    ).all()
    results = session.scalars(select(Result).where(Result.job_id == job_id).order_by(Result.id))
    deliveries = delivery_rows(session, [job_id])[job_id]
    tales: dict[int, list[EventRow]] = defaultdict(list)
    newest = select(Event).where(Event.job_id == job_id).order_by(Event.id.desc()).limit(MOST_EVENTS)
    events = list(reversed(session.scalars(newest).all()))
    for event in events:
        if event.delivery_id is not None and event.kind.startswith(DELIVERY_EVENT):
            tales[event.delivery_id].append(view_of(EventRow, event))
    revisions = session.execute(
        select(Job.id, Job.revision, Job.state).where(Job.key == job.key).order_by(Job.revision.desc())
    )
    return JobDetail(
        job=job_view(job, deliveries),
        study_uid=study_uid,
        cancel_requested=job.cancel_requested,
        lease_owner=job.lease_owner,
        lease_until=job.lease_until,
        error=job.error,
        traceback=job.traceback,
        inputs=tuple(
            InputRow(role, view_of(SeriesRow, row, study_uid=study_uid), row.routing)
            for role, row in sorted(inputs, key=lambda item: (item[0] != "primary", item[0]))
        ),
        results=tuple(view_of(ResultRow, row) for row in results),
        deliveries=tuple(DeliveryTale(row, tuple(tales[row.id])) for row in deliveries),
        revisions=tuple((one.id, one.revision, one.state) for one in revisions),
        events=tuple(view_of(EventRow, event) for event in events),
        log=tuple(log_lines(session, job_id)),
    )


def result_file(session: Session, job_id: int, result_id: int) -> tuple[ResultRow, str] | None:
    """A result of a job and its storage key; None if it has none of that number, or its file was deleted."""
    if not 0 < result_id < 2**63:
        return None
    row = session.get(Result, result_id)
    if row is None or row.job_id != job_id or row.files_deleted_at is not None:
        return None
    return view_of(ResultRow, row), row.storage_key


def instance_keys(session: Session, job_id: int) -> dict[str, str]:
    """SOP instance UID -> storage key, of the current instances of the series that a job reads."""
    rows = session.execute(
        select(Instance.sop_uid, Instance.storage_key)
        .join(JobInput, JobInput.series_id == Instance.series_id)
        .join(Series, Series.id == Instance.series_id)
        .where(JobInput.job_id == job_id, Instance.current.is_(True), Series.files_deleted_at.is_(None))
    )
    return {row.sop_uid: row.storage_key for row in rows}
