"""What a person may ask of a job: again, stop, sooner, once more with the series as they are now.

The dashboard and the command line call these; each checks the table of states, writes an event, and leaves the
broker to whoever called (`node.jobs.enqueue`) or to the next sweep. None of them commits.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, cast

from sqlalchemy import CursorResult, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from node.errors import PermanentError
from node.registry.events import add_event
from node.registry.jobs import move_job
from node.registry.models import Job, JobInput, Series
from node.registry.states import OPEN_JOB_STATES, JobState

URGENT, RELAXED = 0, 9
"""Priorities as the broker knows them: 0 runs first."""


def retry_job(session: Session, job_id: int, now: datetime) -> None:
    """Queue a failed or cancelled job again, with all its attempts.

    Raises
    ------
    PermanentError
        If it is in another state, or a later revision has taken its place: its results would come after those that
        supersede them.
    """
    job = _existing(session, job_id)
    later = session.scalar(select(Job.revision).where(Job.key == job.key, Job.revision > job.revision).limit(1))
    if later is not None:
        raise PermanentError(f"job {job_id} was superseded by revision {later} of the same analysis; look at that one")
    old = JobState(job.state)
    moved = move_job(
        session,
        job_id,
        old,
        JobState.QUEUED,
        attempts=0,
        available_at=now,
        queued_at=now,
        wait_until=None,
        finished_at=None,
        reason="",
        error="",
        traceback="",
        cancel_requested=False,
        progress=0.0,
        progress_text="",
    )
    _insist(moved, job_id, old)
    add_event(session, now, "job.retried", "Queued again by a person.", study_id=job.study_id, job_id=job_id)


def cancel_job(session: Session, job_id: int, now: datetime) -> JobState:
    """Cancel a job: at once if nobody works on it, else by asking its worker (which stops at its next step).

    Returns
    -------
    JobState
        CANCELLED, or RUNNING where the worker was asked.
    """
    job = _existing(session, job_id)
    old = JobState(job.state)
    if old is JobState.RUNNING:
        asked = session.execute(
            update(Job)
            .where(Job.id == job_id, Job.state == old.value)
            .values(cancel_requested=True, reason="Cancelled by a person.")
            .execution_options(synchronize_session=False)
        )
        _insist(cast(CursorResult[Any], asked).rowcount == 1, job_id, old)
        add_event(
            session,
            now,
            "job.cancel_requested",
            "A person asked for the job to stop.",
            study_id=job.study_id,
            job_id=job_id,
        )
        return JobState.RUNNING
    moved = move_job(session, job_id, old, JobState.CANCELLED, finished_at=now, reason="Cancelled by a person.")
    _insist(moved, job_id, old)
    add_event(session, now, "job.cancelled", "Cancelled by a person.", study_id=job.study_id, job_id=job_id)
    return JobState.CANCELLED


def set_priority(session: Session, job_id: int, priority: int, now: datetime) -> None:
    """Change how soon an open job runs: 0 first, 9 last. A message already sent keeps its place in the broker."""
    if not URGENT <= priority <= RELAXED:
        raise PermanentError(f"a priority lies between {URGENT} (first) and {RELAXED} (last), not {priority}")
    job = _existing(session, job_id)
    if JobState(job.state) not in OPEN_JOB_STATES:
        raise PermanentError(f"job {job_id} is {job.state}; only an open job has a priority to change")
    session.execute(
        update(Job).where(Job.id == job_id).values(priority=priority).execution_options(synchronize_session=False)
    )
    add_event(session, now, "job.priority", f"Priority set to {priority}.", study_id=job.study_id, job_id=job_id)


def rerun_as_new_revision(session: Session, job_id: int, now: datetime) -> int:
    """Queue the same analysis again, on the series as they are now, as a revision that supersedes the latest.

    Returns
    -------
    int
        Id of the new job.

    Raises
    ------
    PermanentError
        If there is no such job, or a revision of it is still open.
    """
    job = _existing(session, job_id)
    latest = session.execute(select(Job).where(Job.key == job.key).order_by(Job.revision.desc()).limit(1)).scalar_one()
    if JobState(latest.state) in OPEN_JOB_STATES:
        raise PermanentError(f"job {latest.id} (revision {latest.revision}) is still {latest.state}; cancel it first")
    again = Job(
        key=job.key,
        revision=latest.revision + 1,
        supersedes_id=latest.id,
        study_id=job.study_id,
        pipeline=job.pipeline,
        rule=job.rule,
        modality=job.modality,
        source_aet=job.source_aet,
        trace=job.trace,
        destinations=job.destinations,
        priority=job.priority,
        state=JobState.QUEUED.value,
        available_at=now,
        created_at=now,
        queued_at=now,
    )
    session.add(again)
    try:
        session.flush()
    except IntegrityError as error:
        raise PermanentError(f"revision {again.revision} was just asked for by somebody else") from error
    inputs = session.execute(
        select(JobInput.series_id, JobInput.role, Series.content_revision)
        .join(Series, Series.id == JobInput.series_id)
        .where(JobInput.job_id == latest.id)
    )
    for series_id, role, content_revision in inputs:
        session.add(JobInput(job_id=again.id, series_id=series_id, role=role, content_revision=content_revision))
    add_event(
        session,
        now,
        "job.rerun",
        f"Revision {again.revision} asked for by a person; it supersedes job {latest.id}.",
        study_id=job.study_id,
        job_id=again.id,
    )
    return again.id


def _existing(session: Session, job_id: int) -> Job:
    job = session.get(Job, job_id)
    if job is None:
        raise PermanentError(f"there is no job {job_id}")
    return job


def _insist(changed: bool, job_id: int, old: JobState) -> None:
    if not changed:
        raise PermanentError(f"job {job_id} was {old} a moment ago and has just changed; look again")
