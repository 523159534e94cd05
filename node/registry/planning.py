"""Jobs as routing makes them: new, revised when their input changes, waiting for a companion, or called off.

    routing --plan_job--> waiting --companion came, or stop_waiting--> queued --> (node.registry.jobs)
                      \\-> queued

A job's key stays the same for the same pipeline on the same primary series, so a changed input makes a new revision of
the same job, and result UIDs tell what supersedes what. Planning the same input again changes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from sqlalchemy import CursorResult, delete, select, update
from sqlalchemy.orm import Session

from node.registry.events import add_event
from node.registry.job_files import PRIMARY_ROLE
from node.registry.models import Job, JobInput, Series
from node.registry.states import JOB_MOVES, OPEN_JOB_STATES, JobState, check_move


@dataclass(frozen=True)
class PlannedInput:
    """A series that a job is to read, in the content it has now."""

    series_id: int
    role: str
    content_revision: int


@dataclass(frozen=True)
class JobPlan:
    """What routing wants done. wait_until: with a companion missing, how long to wait; None to start at once."""

    key: str
    study_id: int
    pipeline: str
    rule: str
    trace: dict[str, Any]
    destinations: tuple[str, ...]
    priority: int
    inputs: tuple[PlannedInput, ...]
    wait_until: datetime | None = None
    reason: str = ""


@dataclass(frozen=True)
class PlannedJob:
    """A job that planning made or changed; `queued` says that a worker may have it now."""

    id: int
    revision: int
    priority: int
    queued: bool


@dataclass(frozen=True)
class WaitingJob:
    """A job that waits for a companion; `series_id` is its primary series, `rule` the name of its rule."""

    job_id: int
    study_id: int
    series_id: int
    rule: str


def job_key(pipeline: str, primary_series_uids: Collection[str]) -> str:
    """The identity of an analysis: sha256 (hex) over pipeline and primary series; companions do not count."""
    return hashlib.sha256("\n".join([pipeline, *sorted(primary_series_uids)]).encode()).hexdigest()


def plan_job(session: Session, plan: JobPlan, now: datetime) -> PlannedJob | None:
    """Make the job of a plan, or its next revision if the input changed; None if nothing is to be done.

    The caller holds the study's lock. A waiting job takes the new input over; one that is queued or running is
    called off and superseded; one that has ended is superseded.
    """
    latest = session.scalars(
        select(Job)
        .where(Job.key == plan.key)
        .order_by(Job.revision.desc())
        .limit(1)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one_or_none()
    if latest is None:
        return _insert(session, plan, 1, None, now)
    if latest.state == JobState.WAITING:
        return _replan_waiting(session, latest, plan, now)
    if _inputs(session, latest.id) == set(plan.inputs):
        return None
    _call_off(session, latest, f"Superseded by revision {latest.revision + 1}: its input changed.", now)
    return _insert(session, plan, latest.revision + 1, latest.id, now)


def latest_of(session: Session, key: str) -> tuple[int, int, JobState] | None:
    """(id, revision, state) of the latest revision of a job; None if there is none of that key."""
    latest = select(Job.id, Job.revision, Job.state).where(Job.key == key).order_by(Job.revision.desc()).limit(1)
    found = session.execute(latest).one_or_none()
    return None if found is None else (found.id, found.revision, JobState(found.state))


def companion_in_use(session: Session, key: str, role: str) -> int | None:
    """The series that the latest revision of a job has in a role; None if it has none, or still waits for it."""
    return session.scalars(
        select(JobInput.series_id)
        .join(Job, Job.id == JobInput.job_id)
        .where(
            JobInput.role == role,
            Job.state != JobState.WAITING.value,
            Job.id == select(Job.id).where(Job.key == key).order_by(Job.revision.desc()).limit(1).scalar_subquery(),
        )
    ).one_or_none()


def due_waiting(session: Session, now: datetime, limit: int) -> list[WaitingJob]:
    """Waiting jobs whose time is up, longest due first."""
    rows = session.execute(
        select(Job.id, Job.study_id, JobInput.series_id, Job.rule)
        .join(JobInput, JobInput.job_id == Job.id)
        .where(Job.state == JobState.WAITING.value, Job.wait_until <= now, JobInput.role == PRIMARY_ROLE)
        .order_by(Job.wait_until)
        .limit(limit)
    )
    return [WaitingJob(*row) for row in rows]


def stop_waiting(session: Session, job_id: int, reason: str, now: datetime) -> PlannedJob | None:
    """Queue a waiting job as it is; None if it no longer waits. The trace keeps the reason beyond the job's start."""
    check_move(JOB_MOVES, JobState.WAITING, JobState.QUEUED)
    moved = session.execute(
        update(Job)
        .where(Job.id == job_id, Job.state == JobState.WAITING.value)
        .values(state=JobState.QUEUED.value, reason=reason, wait_until=None, available_at=now, queued_at=now)
        .execution_options(synchronize_session=False)
    )
    if cast(CursorResult[Any], moved).rowcount != 1:
        return None
    job = session.scalars(select(Job).where(Job.id == job_id).execution_options(populate_existing=True)).one()
    if reason:
        job.trace = {**job.trace, "companion": reason}
    add_event(session, now, "job.queued", reason or "Its companion came.", study_id=job.study_id, job_id=job.id)
    return PlannedJob(job.id, job.revision, job.priority, queued=True)


def call_off(session: Session, job_id: int, reason: str, now: datetime) -> None:
    """Cancel an open job, or ask its worker to stop; a job that has ended stays as it is."""
    _call_off(session, session.scalars(select(Job).where(Job.id == job_id)).one(), reason, now)


def call_off_others(session: Session, series_id: int, keys: Collection[str], reason: str, now: datetime) -> list[int]:
    """Call off the open jobs that read a series as primary and are not among `keys`; returns their ids."""
    jobs = session.scalars(
        select(Job)
        .join(JobInput, JobInput.job_id == Job.id)
        .where(
            JobInput.series_id == series_id,
            JobInput.role == PRIMARY_ROLE,
            Job.state.in_([state.value for state in OPEN_JOB_STATES]),
            Job.key.not_in(list(keys)),
        )
        .execution_options(populate_existing=True)
    ).all()
    for job in jobs:
        _call_off(session, job, reason, now)
    return [job.id for job in jobs]


def _inputs(session: Session, job_id: int) -> set[PlannedInput]:
    rows = session.execute(
        select(JobInput.series_id, JobInput.role, JobInput.content_revision).where(JobInput.job_id == job_id)
    )
    return {PlannedInput(*row) for row in rows}


def _write_inputs(session: Session, job_id: int, plan: JobPlan) -> None:
    session.execute(delete(JobInput).where(JobInput.job_id == job_id))
    for item in plan.inputs:
        session.add(
            JobInput(job_id=job_id, series_id=item.series_id, role=item.role, content_revision=item.content_revision)
        )
    session.flush()


def _insert(session: Session, plan: JobPlan, revision: int, supersedes: int | None, now: datetime) -> PlannedJob:
    queued = plan.wait_until is None
    primary = next((item.series_id for item in plan.inputs if item.role == PRIMARY_ROLE), None)
    described = session.execute(select(Series.modality, Series.source_aet).where(Series.id == primary)).one_or_none()
    modality, source_aet = described or ("", "")
    job = Job(
        key=plan.key,
        revision=revision,
        supersedes_id=supersedes,
        study_id=plan.study_id,
        pipeline=plan.pipeline,
        rule=plan.rule,
        modality=modality,
        source_aet=source_aet,
        trace=plan.trace,
        destinations=list(plan.destinations),
        priority=plan.priority,
        state=(JobState.QUEUED if queued else JobState.WAITING).value,
        reason=plan.reason,
        available_at=now,
        wait_until=plan.wait_until,
        created_at=now,
        queued_at=now if queued else None,
    )
    session.add(job)
    session.flush()
    _write_inputs(session, job.id, plan)
    what = f"Rule '{plan.rule}' asks for pipeline '{plan.pipeline}' (revision {revision})."
    add_event(session, now, "job.queued" if queued else "job.waiting", f"{what} {plan.reason}".strip(),
              study_id=plan.study_id, job_id=job.id)  # fmt: skip
    return PlannedJob(job.id, revision, plan.priority, queued)


def _replan_waiting(session: Session, job: Job, plan: JobPlan, now: datetime) -> PlannedJob | None:
    _write_inputs(session, job.id, plan)
    job.rule, job.trace, job.destinations, job.priority = plan.rule, plan.trace, list(plan.destinations), plan.priority
    session.flush()
    if plan.wait_until is not None:
        return None  # it goes on waiting, until the time that was set first
    return stop_waiting(session, job.id, plan.reason, now)


def _call_off(session: Session, job: Job, reason: str, now: datetime) -> None:
    waiting = (JobState.WAITING.value, JobState.QUEUED.value)
    for old in waiting:
        check_move(JOB_MOVES, JobState(old), JobState.CANCELLED)
    cancelled = session.execute(
        update(Job)
        .where(Job.id == job.id, Job.state.in_(waiting))
        .values(state=JobState.CANCELLED.value, reason=reason, finished_at=now, wait_until=None)
        .execution_options(synchronize_session=False)
    )
    if cast(CursorResult[Any], cancelled).rowcount == 1:
        add_event(session, now, "job.cancelled", reason, study_id=job.study_id, job_id=job.id)
        return
    asked = session.execute(
        update(Job)
        .where(Job.id == job.id, Job.state == JobState.RUNNING.value)
        .values(cancel_requested=True, reason=reason)
        .execution_options(synchronize_session=False)
    )
    if cast(CursorResult[Any], asked).rowcount == 1:
        add_event(session, now, "job.cancel_requested", reason, study_id=job.study_id, job_id=job.id)
