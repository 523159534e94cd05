"""What the pages, the JSON and the metrics ask of the registry; reading only.

Counts by state scan an index on the state column alone; lists take the newest rows through an index and no more, so
that a page costs the same with a million instances as with ten.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session, selectinload

from node.registry.models import Delivery, Event, Instance, Job, Result, Series, Study, Worker
from node.registry.states import JobState

RECENT_JOBS = 25
RECENT_SERIES = 15
RECENT_EVENTS = 15


@dataclass(frozen=True)
class JobRow:
    """A job as a list shows it; `delivered` and `results` count DICOM results times destinations."""

    id: int
    study_uid: str
    pipeline: str
    rule: str
    revision: int
    state: str
    reason: str
    progress: float
    progress_text: str
    attempts: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    deliveries: dict[str, int]


@dataclass(frozen=True)
class SeriesRow:
    """A series as a list shows it; `rules` are those that fired, `why` says what became of it."""

    study_uid: str
    series_uid: str
    modality: str
    description: str
    state: str
    instance_count: int
    byte_count: int
    source_aet: str
    first_received_at: datetime
    last_received_at: datetime
    completed_by: str
    routing: dict[str, Any] | None


@dataclass(frozen=True)
class WorkerRow:
    """A worker process as it last said of itself."""

    name: str
    kind: str
    device: str
    started_at: datetime
    heartbeat_at: datetime
    rss_bytes: int
    job_id: int | None


@dataclass(frozen=True)
class EventRow:
    """One event."""

    at: datetime
    kind: str
    level: str
    message: str
    job_id: int | None


@dataclass(frozen=True)
class Overview:
    """The node at a glance: counts by state, the oldest queued job's age, the newest of everything."""

    series: dict[str, int]
    jobs: dict[str, int]
    deliveries: dict[str, int]
    instances: int
    oldest_queued_s: float
    workers: tuple[WorkerRow, ...]
    recent_jobs: tuple[JobRow, ...]
    recent_series: tuple[SeriesRow, ...]
    recent_events: tuple[EventRow, ...]


@dataclass(frozen=True)
class DeliveryRow:
    """One result on its way to one destination."""

    destination: str
    kind: str
    sop_uid: str
    state: str
    attempts: int
    next_attempt_at: datetime
    last_error: str
    sent_at: datetime | None


@dataclass(frozen=True)
class JobView:
    """A job with everything a person asks about it."""

    id: int
    pipeline: str
    rule: str
    revision: int
    state: str
    reason: str
    progress: float
    progress_text: str
    attempts: int
    created_at: datetime
    queued_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    error: str
    summary: dict[str, Any] | None
    results: tuple[dict[str, str], ...]
    deliveries: tuple[DeliveryRow, ...]


@dataclass(frozen=True)
class StudyView:
    """A study: its series, its jobs (newest first), its events."""

    study_uid: str
    series: tuple[SeriesRow, ...]
    jobs: tuple[JobView, ...]
    events: tuple[EventRow, ...]


def overview(session: Session, now: datetime) -> Overview:
    """The node at a glance."""
    oldest = session.scalar(select(func.min(Job.queued_at)).where(Job.state == JobState.QUEUED.value))
    series = session.scalars(
        select(Series)
        .options(selectinload(Series.study))
        .order_by(Series.first_received_at.desc())
        .limit(RECENT_SERIES)
    )
    return Overview(
        series=_counts(session, Series),
        jobs=_counts(session, Job),
        deliveries=_counts(session, Delivery),
        # The highest number given, not a count of rows: counting a million rows takes a second on SQLite.
        instances=session.scalar(select(func.max(Instance.id))) or 0,
        oldest_queued_s=max((now - oldest).total_seconds(), 0.0) if oldest else 0.0,
        workers=tuple(_worker(worker) for worker in session.scalars(select(Worker).order_by(Worker.kind, Worker.name))),
        recent_jobs=_recent_jobs(session),
        recent_series=tuple(_series(one) for one in series),
        recent_events=_events(session, RECENT_EVENTS),
    )


def study_view(session: Session, study_uid: str) -> StudyView | None:
    """One study, or None if the node has never seen it."""
    study = session.scalar(select(Study).where(Study.study_uid == study_uid).options(selectinload(Study.series)))
    if study is None:
        return None
    jobs = session.scalars(
        select(Job)
        .where(Job.study_id == study.id)
        .order_by(Job.id.desc())
        .options(selectinload(Job.results).selectinload(Result.deliveries))
    )
    events = session.scalars(select(Event).where(Event.study_id == study.id).order_by(Event.id))
    return StudyView(
        study_uid=study_uid,
        series=tuple(_series(one) for one in sorted(study.series, key=lambda one: one.id)),
        jobs=tuple(_job_view(job) for job in jobs),
        events=tuple(_event(event) for event in events),
    )


def picture_key(session: Session, job_id: int) -> str | None:
    """Storage key of a job's first overlay picture, or None."""
    return session.scalar(
        select(Result.storage_key).where(Result.job_id == job_id, Result.kind == "png").order_by(Result.id).limit(1)
    )


def _counts(session: Session, table: type[Series] | type[Job] | type[Delivery]) -> dict[str, int]:
    rows = session.execute(select(table.state, func.count()).group_by(table.state))
    return {str(state): int(count) for state, count in rows}


def _recent_jobs(session: Session) -> tuple[JobRow, ...]:
    jobs = session.scalars(
        select(Job).options(selectinload(Job.study)).order_by(Job.created_at.desc(), Job.id.desc()).limit(RECENT_JOBS)
    ).all()
    states: dict[int, dict[str, int]] = {job.id: {} for job in jobs}
    counted = session.execute(
        select(Result.job_id, Delivery.state, func.count())
        .join(Delivery, Delivery.result_id == Result.id)
        .where(Result.job_id.in_(states))
        .group_by(Result.job_id, Delivery.state)
    )
    for job_id, state, count in counted:
        states[job_id][state] = count
    return tuple(
        JobRow(
            id=job.id,
            study_uid=job.study.study_uid,
            pipeline=job.pipeline,
            rule=job.rule,
            revision=job.revision,
            state=job.state,
            reason=job.reason,
            progress=job.progress,
            progress_text=job.progress_text,
            attempts=job.attempts,
            created_at=job.created_at,
            started_at=job.started_at,
            finished_at=job.finished_at,
            deliveries=states[job.id],
        )
        for job in jobs
    )


def _events(session: Session, count: int) -> tuple[EventRow, ...]:
    return tuple(_event(event) for event in session.scalars(select(Event).order_by(Event.id.desc()).limit(count)))


def _event(event: Event) -> EventRow:
    return EventRow(event.at, event.kind, event.level, event.message, event.job_id)


def _worker(worker: Worker) -> WorkerRow:
    return WorkerRow(
        name=worker.name,
        kind=worker.kind,
        device=worker.device,
        started_at=worker.started_at,
        heartbeat_at=worker.heartbeat_at,
        rss_bytes=worker.rss_bytes,
        job_id=worker.job_id,
    )


def _series(series: Series) -> SeriesRow:
    return SeriesRow(
        study_uid=series.study.study_uid,
        series_uid=series.series_uid,
        modality=series.modality,
        description=series.description,
        state=series.state,
        instance_count=series.instance_count,
        byte_count=series.byte_count,
        source_aet=series.source_aet,
        first_received_at=series.first_received_at,
        last_received_at=series.last_received_at,
        completed_by=series.completed_by,
        routing=series.routing,
    )


def _job_view(job: Job) -> JobView:
    deliverable = [result for result in job.results if result.sop_class_uid]
    return JobView(
        id=job.id,
        pipeline=job.pipeline,
        rule=job.rule,
        revision=job.revision,
        state=job.state,
        reason=job.reason,
        progress=job.progress,
        progress_text=job.progress_text,
        attempts=job.attempts,
        created_at=job.created_at,
        queued_at=job.queued_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        error=job.error,
        summary=job.summary,
        results=tuple({"kind": r.kind, "sop_instance_uid": r.sop_uid} for r in deliverable),
        deliveries=tuple(
            DeliveryRow(
                destination=delivery.destination,
                kind=result.kind,
                sop_uid=result.sop_uid,
                state=delivery.state,
                attempts=delivery.attempts,
                next_attempt_at=delivery.next_attempt_at,
                last_error=delivery.last_error,
                sent_at=delivery.sent_at,
            )
            for result in deliverable
            for delivery in sorted(result.deliveries, key=lambda one: one.id)
        ),
    )
