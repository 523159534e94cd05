"""What the first page asks: what runs, what waits, how much was done, who has gone quiet.

Every question reads an index over a bounded stretch of time or of states; none reads an archive from end to end.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Select, and_, func, or_, select
from sqlalchemy.orm import Session

from node.registry.dialect import hour_text, minute_text, seconds_between
from node.registry.models import Delivery, Event, Job, Series, Study, Worker
from node.registry.queries import event_rows, view_of
from node.registry.states import DeliveryState, JobState
from node.registry.views import EventRow, WorkerRow

RUNNING_SHOWN = 50
EVENTS_LOOKED_AT = 2000
"""The newest events among which lost workers are looked for."""

LOSSES_SHOWN = 5


@dataclass(frozen=True)
class RunningJob:
    """A job in a worker's hands; `lease_until` is when it is taken back if the worker stays silent."""

    id: int
    study_uid: str
    pipeline: str
    progress: float
    progress_text: str
    attempts: int
    started_at: datetime
    lease_owner: str
    lease_until: datetime | None

    @property
    def worker(self) -> str:
        return self.lease_owner.rpartition("/")[0]


@dataclass(frozen=True)
class QueueRow:
    """What waits in a queue; `part` is a pipeline or a destination."""

    queue: str
    part: str
    depth: int
    oldest_at: datetime | None


@dataclass(frozen=True)
class DestinationRow:
    """How a destination is doing: results that wait for it or failed there, and its last success."""

    name: str
    pending: int
    oldest_pending_at: datetime | None
    failed: int
    last_success_at: datetime | None


@dataclass(frozen=True)
class Activity:
    """When a source or a rule was active: the hours (their starts) with anything in them, and the very last time."""

    name: str
    hours: frozenset[datetime]
    last_at: datetime


def running_jobs(session: Session) -> tuple[RunningJob, ...]:
    """Jobs in workers' hands, those running longest first."""
    rows = session.execute(
        select(Job, Study.study_uid)
        .join(Study, Study.id == Job.study_id)
        .where(Job.state == JobState.RUNNING.value)
        .order_by(Job.created_at, Job.id)
        .limit(RUNNING_SHOWN)
    )
    return tuple(view_of(RunningJob, job, study_uid=study_uid) for job, study_uid in rows)


def open_states(session: Session) -> dict[str, int]:
    """State -> number of jobs, of the states that somebody may have to do something about."""
    return {
        state.value: session.scalar(select(func.count()).where(Job.state == state.value)) or 0
        for state in (JobState.WAITING, JobState.QUEUED, JobState.RUNNING, JobState.FAILED)
    }


def queued_by_pipeline(session: Session) -> list[QueueRow]:
    """Jobs that wait for a worker."""
    rows = session.execute(
        select(Job.pipeline, func.count(), func.min(Job.queued_at))
        .where(Job.state == JobState.QUEUED.value)
        .group_by(Job.pipeline)
        .order_by(Job.pipeline)
    )
    return [QueueRow("infer", pipeline, count, oldest) for pipeline, count, oldest in rows]


def questions_waiting(session: Session, now: datetime) -> int:
    """Results that a destination is due to be asked about."""
    due = select(func.count()).where(Delivery.state == DeliveryState.SENT.value, Delivery.next_attempt_at <= now)
    return session.scalar(due) or 0


def destination_names(session: Session) -> list[str]:
    """Every destination that a result was ever meant for; the index is hopped through, not read."""
    return [str(name) for name in distinct_values(session, Delivery.destination)]


def distinct_values(session: Session, column: Any, most: int = 200) -> list[Any]:
    """The different values of an index's first column, in order."""
    found: list[Any] = []
    value = session.scalar(select(func.min(column)))
    while value is not None and len(found) < most:
        found.append(value)
        value = session.scalar(select(func.min(column)).where(column > value))
    return found


def destinations(session: Session, configured: Collection[str]) -> list[DestinationRow]:
    """Those that are configured, and those that results were meant for."""
    names = sorted({*configured, *destination_names(session)})
    return [_destination(session, name) for name in names]


def _destination(session: Session, name: str) -> DestinationRow:
    def asked(what: Any, state: DeliveryState) -> Any:
        return session.scalar(select(what).where(Delivery.destination == name, Delivery.state == state.value))

    sent = [asked(func.max(Delivery.sent_at), state) for state in (DeliveryState.SENT, DeliveryState.VERIFIED)]
    return DestinationRow(
        name=name,
        pending=asked(func.count(), DeliveryState.PENDING),
        oldest_pending_at=asked(func.min(Delivery.created_at), DeliveryState.PENDING),
        failed=asked(func.count(), DeliveryState.FAILED),
        last_success_at=max((at for at in sent if at), default=None),
    )


def workers(session: Session) -> tuple[WorkerRow, ...]:
    """Every worker that has a row."""
    return tuple(view_of(WorkerRow, row) for row in session.scalars(select(Worker).order_by(Worker.kind, Worker.name)))


def lost_workers(session: Session, since: datetime) -> tuple[EventRow, ...]:
    """Events that tell of workers lost in the middle of a job or delivery, newest first."""
    newest = session.scalar(select(func.max(Event.id))) or 0
    statement = (
        select(Event)
        .where(Event.id > newest - EVENTS_LOOKED_AT, Event.at >= since)
        .where(
            or_(
                Event.kind.in_(["job.worker_lost", "delivery.worker_lost"]),
                and_(Event.kind == "job.failed", Event.message.startswith("The worker was lost")),
            )
        )
        .order_by(Event.id.desc())
        .limit(LOSSES_SHOWN)
    )
    return event_rows(session, statement)


def newest_events(session: Session, count: int) -> tuple[EventRow, ...]:
    """What happened last."""
    return event_rows(session, select(Event).order_by(Event.id.desc()).limit(count))


def finished_since(session: Session, since: datetime, by_minute: bool) -> list[tuple[datetime, str, float]]:
    """Jobs that ended since then: (hour or minute of the end, state, seconds from its making to its end)."""
    stretch = minute_text if by_minute else hour_text
    rows = session.execute(
        select(
            stretch(session, Job.finished_at),
            Job.state,
            seconds_between(session, Job.finished_at, Job.created_at),
        ).where(Job.finished_at >= since)
    )
    known: dict[str, datetime] = {}
    found = []
    for text, state, seconds in rows:
        if text not in known:
            known[text] = _time(text)
        found.append((known[text], state, float(seconds)))
    return found


def source_activity(session: Session, since: datetime) -> list[Activity]:
    """When each source AE began to send a series."""
    return _activity(
        session,
        select(Series.source_aet, hour_text(session, Series.first_received_at), func.max(Series.first_received_at))
        .where(Series.first_received_at >= since)
        .group_by(Series.source_aet, hour_text(session, Series.first_received_at)),
    )


def rule_activity(session: Session, since: datetime) -> list[Activity]:
    """When each rule asked for a job."""
    return _activity(
        session,
        select(Job.rule, hour_text(session, Job.created_at), func.max(Job.created_at))
        .where(Job.created_at >= since)
        .group_by(Job.rule, hour_text(session, Job.created_at)),
    )


def _activity(session: Session, statement: Select[str, str, datetime]) -> list[Activity]:
    hours: dict[str, set[datetime]] = defaultdict(set)
    last: dict[str, datetime] = {}
    for name, hour, newest in session.execute(statement):
        hours[name].add(_time(hour))
        last[name] = max(newest, last.get(name, newest))
    return [Activity(name, frozenset(hours[name]), last[name]) for name in sorted(hours) if name]


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text if ":" in text else f"{text}:00").replace(tzinfo=UTC)
