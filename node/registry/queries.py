"""What pages, metrics and the command line read; nothing here writes.

Everything comes as `node.registry.views`: plain values, without patient data. Each query reads an index and a bounded
number of rows; counts by state read an index only.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import fields
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Select, func, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from node.registry.deliveries import NEVER
from node.registry.models import Delivery, Event, Instance, Job, Result, Series, Study, Worker
from node.registry.states import JobState
from node.registry.views import (
    DeliveryRow,
    EventRow,
    JobRow,
    JobView,
    Overview,
    SeriesRow,
    StudyRow,
    StudyView,
    WorkerRow,
)

__all__ = [
    "JobRow",
    "JobView",
    "Overview",
    "SeriesRow",
    "StudyRow",
    "StudyView",
    "counts_by_state",
    "delivery_rows",
    "event_rows",
    "job_rows",
    "job_view",
    "newest_jobs",
    "newest_series",
    "newest_studies",
    "overview",
    "picture_key",
    "state_counts",
    "studies_page",
    "study_rows",
    "study_view",
    "view_of",
]

RECENT = 20
"""Rows in each list of the overview."""

MAX_STUDY_EVENTS = 500
"""Events shown with one study, the newest."""

PICTURE_KIND = "png"

V = TypeVar("V")


def overview(session: Session, now: datetime) -> Overview:
    """The node at a glance, at `now`."""
    jobs = counts_by_state(session, Job.state)
    oldest = session.scalar(select(func.min(Job.queued_at)).where(Job.state == JobState.QUEUED.value))
    return Overview(
        series=counts_by_state(session, Series.state),
        jobs=jobs,
        deliveries=counts_by_state(session, Delivery.state),
        instances=session.scalar(select(func.max(Instance.id))) or 0,
        queue_depth=jobs.get(JobState.QUEUED, 0),
        oldest_queued_s=max(0.0, (now - oldest).total_seconds()) if oldest else 0.0,
        recent_jobs=job_rows(session, newest_jobs(RECENT)),
        recent_series=tuple(
            view_of(SeriesRow, row, study_uid=study_uid) for row, study_uid in session.execute(newest_series(RECENT))
        ),
        workers=tuple(view_of(WorkerRow, row) for row in session.scalars(select(Worker).order_by(Worker.name))),
        recent_events=event_rows(session, select(Event).order_by(Event.id.desc()).limit(RECENT)),
    )


def study_view(session: Session, study_uid: str) -> StudyView | None:
    """Everything about one study; None if there is none of that UID."""
    study = session.scalars(select(Study).where(Study.study_uid == study_uid)).one_or_none()
    if study is None:
        return None
    series = session.scalars(select(Series).where(Series.study_id == study.id).order_by(Series.id)).all()
    jobs = session.scalars(select(Job).where(Job.study_id == study.id).order_by(Job.id.desc())).all()
    deliveries = delivery_rows(session, [job.id for job in jobs])
    events = select(Event).where(Event.study_id == study.id).order_by(Event.id.desc()).limit(MAX_STUDY_EVENTS)
    return StudyView(
        study_uid=study.study_uid,
        created_at=study.created_at,
        series=tuple(view_of(SeriesRow, row, study_uid=study_uid) for row in series),
        routing={row.series_uid: row.routing for row in series},
        jobs=tuple(job_view(job, deliveries[job.id]) for job in jobs),
        events=tuple(reversed(event_rows(session, events))),
    )


def studies_page(session: Session, limit: int = 50, before: tuple[datetime, int] | None = None) -> tuple[StudyRow, ...]:
    """Studies, newest first; `before` is (created_at, id) of the last row of the page above."""
    return study_rows(session, newest_studies(limit, before))


def study_rows(session: Session, statement: Select[int, str, datetime]) -> tuple[StudyRow, ...]:
    """Studies in a list, each with its series and jobs counted; the statement gives (id, study_uid, created_at)."""
    studies = session.execute(statement).all()
    ids = [row.id for row in studies]
    found: dict[int, list[tuple[str, int]]] = defaultdict(list)
    for study_id, modality, count in session.execute(
        select(Series.study_id, Series.modality, Series.instance_count).where(Series.study_id.in_(ids))
    ):
        found[study_id].append((modality, count))
    jobs: dict[int, dict[str, int]] = defaultdict(dict)
    for study_id, state, count in session.execute(
        select(Job.study_id, Job.state, func.count()).where(Job.study_id.in_(ids)).group_by(Job.study_id, Job.state)
    ):
        jobs[study_id][state] = count
    return tuple(
        StudyRow(
            id=row.id,
            study_uid=row.study_uid,
            created_at=row.created_at,
            modalities=tuple(sorted({modality for modality, _ in found[row.id] if modality})),
            series_count=len(found[row.id]),
            instance_count=sum(count for _, count in found[row.id]),
            jobs=jobs[row.id],
        )
        for row in studies
    )


def picture_key(session: Session, job_id: int) -> str | None:
    """Storage key of a job's first picture; None if it has none, or retention deleted it."""
    return session.scalars(
        select(Result.storage_key)
        .where(Result.job_id == job_id, Result.kind == PICTURE_KIND, Result.files_deleted_at.is_(None))
        .order_by(Result.id)
        .limit(1)
    ).one_or_none()


def counts_by_state(session: Session, state: InstrumentedAttribute[str]) -> dict[str, int]:
    """State -> number of rows, states without any left out."""
    counts: dict[str, int] = {}
    for name, count in session.execute(state_counts(state)):
        counts[name] = count
    return counts


def state_counts(state: InstrumentedAttribute[str]) -> Select[str, int]:
    """The statement behind `counts_by_state`."""
    return select(state, func.count()).group_by(state)


def newest_studies(limit: int, before: tuple[datetime, int] | None = None) -> Select[int, str, datetime]:
    """The statement behind `studies_page`: (id, study_uid, created_at)."""
    statement = select(Study.id, Study.study_uid, Study.created_at)
    if before is not None:
        at, study_id = before
        statement = statement.where(Study.created_at <= at).where(or_(Study.created_at < at, Study.id < study_id))
    return statement.order_by(Study.created_at.desc(), Study.id.desc()).limit(limit)


def newest_jobs(limit: int) -> Select[Job, str]:
    """The jobs made last, with their study's UID."""
    statement = select(Job, Study.study_uid).join(Study, Study.id == Job.study_id)
    return statement.order_by(Job.created_at.desc(), Job.id.desc()).limit(limit)


def newest_series(limit: int) -> Select[Series, str]:
    """The series whose first instance came last, with their study's UID."""
    statement = select(Series, Study.study_uid).join(Study, Study.id == Series.study_id)
    return statement.order_by(Series.first_received_at.desc(), Series.id.desc()).limit(limit)


def job_rows(session: Session, statement: Select[Job, str]) -> tuple[JobRow, ...]:
    """Jobs in a list, each with what has become of its results; the statement gives (Job, study UID)."""
    rows = session.execute(statement).all()
    deliveries: dict[int, dict[str, int]] = defaultdict(dict)
    for job_id, state, count in session.execute(
        select(Result.job_id, Delivery.state, func.count())
        .join(Delivery, Delivery.result_id == Result.id)
        .where(Result.job_id.in_([job.id for job, _ in rows]))
        .group_by(Result.job_id, Delivery.state)
    ):
        deliveries[job_id][state] = count
    return tuple(view_of(JobRow, job, study_uid=uid, deliveries=deliveries[job.id]) for job, uid in rows)


def delivery_rows(session: Session, job_ids: Collection[int]) -> dict[int, list[DeliveryRow]]:
    """Job id -> deliveries of its results."""
    found: dict[int, list[DeliveryRow]] = defaultdict(list)
    for delivery, result in session.execute(
        select(Delivery, Result)
        .join(Result, Result.id == Delivery.result_id)
        .where(Result.job_id.in_(job_ids))
        .order_by(Delivery.destination, Result.id)
    ):
        due = None if delivery.next_attempt_at == NEVER else delivery.next_attempt_at
        found[result.job_id].append(
            view_of(DeliveryRow, delivery, kind=result.kind, sop_uid=result.sop_uid, next_attempt_at=due)
        )
    return found


def job_view(job: Job, deliveries: list[DeliveryRow]) -> JobView:
    """A job with all that is known of it."""
    series: dict[str, list[str]] = defaultdict(list)
    for item in job.inputs:
        series[item.role].append(item.series.series_uid)
    return view_of(JobView, job, series=dict(series), deliveries=tuple(deliveries))


def event_rows(session: Session, statement: Select[Event]) -> tuple[EventRow, ...]:
    """Events in the order of the statement."""
    return tuple(view_of(EventRow, row) for row in session.scalars(statement))


def view_of(view: type[V], row: Any, /, **more: Any) -> V:
    """A view filled from the attributes of the same name, and `more`."""
    names = {field.name for field in fields(view)} - set(more)  # type: ignore[arg-type]
    return view(**{name: getattr(row, name) for name in names}, **more)
