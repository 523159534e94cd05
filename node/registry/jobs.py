"""Jobs in the registry: who may work on one, for how long, and how it ends.

    queued --claim--> running --complete / reject / fail / cancelled--> an end
       ^                 |
       +--retry_later, wait_in_queue, give_back, expire_leases (worker lost)

A claim is one UPDATE that names the state it expects, so of any number of workers exactly one gets the job. The
winner holds a lease under a token of its own and must renew it; whatever it writes at the end carries the token in
its WHERE, so a worker that lost its lease cannot publish. Functions take the session of the caller's transaction and
the time; none of them commits, talks to the broker or looks at files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import ColumnElement, CursorResult, func, select, update
from sqlalchemy.orm import Session

from node.errors import OsteonError
from node.registry.deliveries import PlannedDelivery, end_superseded, plan_deliveries, superseded_deliveries
from node.registry.events import add_event
from node.registry.models import Delivery, Job, Result
from node.registry.states import JOB_MOVES, DeliveryState, JobState, check_move
from node.registry.text import storable

_SWEEP_LIMIT = 500  # rows per sweep: a transaction stays short, and the next sweep is seconds away


class LeaseLost(OsteonError):
    """The job is no longer this worker's; its outcome must be thrown away."""


@dataclass(frozen=True)
class ClaimedJob:
    """A job in the hands of one worker; `token` proves it, `attempt` counts from 1.

    wait_until: where the store held it up before, how long that is waited for.
    """

    id: int
    token: str
    key: str
    revision: int
    supersedes_id: int | None
    study_id: int
    pipeline: str
    rule: str
    destinations: tuple[str, ...]
    priority: int
    attempt: int
    created_at: datetime
    wait_until: datetime | None


@dataclass(frozen=True)
class NewResult:
    """A result file that lies in the store already and is about to be registered.

    `source_modality` of a segmentation decides where it goes, and is not kept.
    """

    kind: str
    sop_uid: str
    sop_class_uid: str
    series_uid: str
    storage_key: str
    sha256: str
    byte_count: int
    source_modality: str = ""


@dataclass(frozen=True)
class ExpiredLeases:
    """What a sweep did with jobs whose worker is gone."""

    queued: tuple[int, ...] = ()
    failed: tuple[int, ...] = ()
    cancelled: tuple[int, ...] = ()


def move_job(
    session: Session, job_id: int, old: JobState, new: JobState, *conditions: ColumnElement[bool], **values: Any
) -> bool:
    """One atomic change of state; False if the job was not (any longer) as expected."""
    check_move(JOB_MOVES, old, new)
    statement = (
        update(Job)
        .where(Job.id == job_id, Job.state == old.value, *conditions)
        .values(state=new.value, **values)
        .execution_options(synchronize_session=False)
    )
    return cast(CursorResult[Any], session.execute(statement)).rowcount == 1


def claim_job(session: Session, job_id: int, token: str, now: datetime, lease_s: float) -> ClaimedJob | None:
    """Take a queued, due job, or learn that it is not to be had (None).

    Parameters
    ----------
    token
        Unique to this claim (worker name and a random part).
    """
    won = move_job(
        session,
        job_id,
        JobState.QUEUED,
        JobState.RUNNING,
        Job.available_at <= now,
        lease_owner=token,
        lease_until=now + timedelta(seconds=lease_s),
        attempts=Job.attempts + 1,
        started_at=now,
        finished_at=None,
        progress=0.0,
        progress_text="",
        reason="",
        cancel_requested=False,
    )
    if not won:
        return None
    job = session.execute(select(Job).where(Job.id == job_id).execution_options(populate_existing=True)).scalar_one()
    add_event(
        session,
        now,
        "job.started",
        f"Attempt {job.attempts} started.",
        study_id=job.study_id,
        job_id=job_id,
        data={"worker": token},
    )
    return ClaimedJob(
        id=job.id,
        token=token,
        key=job.key,
        revision=job.revision,
        supersedes_id=job.supersedes_id,
        study_id=job.study_id,
        pipeline=job.pipeline,
        rule=job.rule,
        destinations=tuple(str(name) for name in job.destinations),
        priority=job.priority,
        attempt=job.attempts,
        created_at=job.created_at,
        wait_until=job.wait_until,
    )


def renew_job(session: Session, claim: ClaimedJob, now: datetime, lease_s: float, progress: float, text: str) -> bool:
    """Prolong the lease and write the progress; False if the lease is lost."""
    statement = (
        update(Job)
        .where(Job.id == claim.id, Job.state == JobState.RUNNING.value, Job.lease_owner == claim.token)
        .values(lease_until=now + timedelta(seconds=lease_s), progress=progress, progress_text=storable(text[:200]))
        .execution_options(synchronize_session=False)
    )
    return cast(CursorResult[Any], session.execute(statement)).rowcount == 1


def cancel_requested(session: Session, claim: ClaimedJob) -> bool:
    """True if a person, or a newer revision, asked for this running job to stop."""
    return bool(session.scalar(select(Job.cancel_requested).where(Job.id == claim.id)))


def _release(session: Session, claim: ClaimedJob, new: JobState, **values: Any) -> None:
    """Move a running job on, if it is still this claim's."""
    if not move_job(
        session,
        claim.id,
        JobState.RUNNING,
        new,
        Job.lease_owner == claim.token,
        lease_owner="",
        lease_until=None,
        **values,
    ):
        raise LeaseLost(f"job {claim.id} is no longer held by this worker; its outcome is thrown away")


def complete_job(
    session: Session,
    claim: ClaimedJob,
    now: datetime,
    results: Sequence[NewResult],
    deliveries: Sequence[PlannedDelivery],
    summary: dict[str, Any],
) -> list[int] | None:
    """End a job well: results, deliveries and state in this one transaction; one that is to stop is cancelled.

    What older revisions have not delivered yet is superseded in it too.

    Returns
    -------
    list of int, or None
        Ids of the new deliveries; None if the job was cancelled, and nothing registered.

    Raises
    ------
    LeaseLost
        If another worker may have the job by now; nothing must be committed.
    """
    # Locked until the end of the transaction: whoever asks for a stop after this finds the job done.
    session.execute(select(Job.id).where(Job.id == claim.id).with_for_update())
    if cancel_requested(session, claim):
        stop_cancelled(session, claim, now)
        return None
    _release(
        session,
        claim,
        JobState.DONE,
        finished_at=now,
        wait_until=None,
        progress=1.0,
        progress_text="",
        error="",
        traceback="",
        reason="",
        summary=summary,
    )
    rows = {}
    for result in results:
        rows[result.sop_uid] = Result(
            job_id=claim.id,
            kind=result.kind,
            sop_uid=result.sop_uid,
            sop_class_uid=result.sop_class_uid,
            series_uid=result.series_uid,
            storage_key=result.storage_key,
            sha256=result.sha256,
            byte_count=result.byte_count,
            created_at=now,
        )
    session.add_all(rows.values())
    session.flush()
    ids = plan_deliveries(session, {uid: row.id for uid, row in rows.items()}, deliveries, now)
    unsent = Delivery.state.in_([DeliveryState.PENDING.value, DeliveryState.FAILED.value])
    end_superseded(session, superseded_deliveries(session, Job.key == claim.key, unsent), now)
    add_event(
        session,
        now,
        "job.done",
        f"Done: {len(rows)} results, {len(ids)} deliveries.",
        study_id=claim.study_id,
        job_id=claim.id,
    )
    return ids


def reject_job(session: Session, claim: ClaimedJob, now: datetime, reason: str) -> None:
    """End a job because the content is not what the pipeline was made for; `reason` says what to do about it."""
    _release(session, claim, JobState.REJECTED, finished_at=now, reason=storable(reason), error="", traceback="")
    add_event(session, now, "job.rejected", reason, level="warning", study_id=claim.study_id, job_id=claim.id)


def fail_job(session: Session, claim: ClaimedJob, now: datetime, reason: str, error: str, traceback: str) -> None:
    """End a job that further attempts cannot help; `error` may quote the content, `reason` must not."""
    texts = {"reason": storable(reason), "error": storable(error), "traceback": storable(traceback)}
    _release(session, claim, JobState.FAILED, finished_at=now, **texts)
    add_event(session, now, "job.failed", reason, level="error", study_id=claim.study_id, job_id=claim.id)


def retry_later(
    session: Session, claim: ClaimedJob, now: datetime, available_at: datetime, reason: str, error: str, traceback: str
) -> None:
    """Put a job back after an attempt that failed, due again at `available_at`; one that is to stop is cancelled."""
    if cancel_requested(session, claim):
        return stop_cancelled(session, claim, now)
    _release(
        session,
        claim,
        JobState.QUEUED,
        available_at=available_at,
        queued_at=now,
        wait_until=None,
        reason=storable(reason),
        error=storable(error),
        traceback=storable(traceback),
    )
    add_event(session, now, "job.retry", reason, level="warning", study_id=claim.study_id, job_id=claim.id)


def wait_in_queue(
    session: Session, claim: ClaimedJob, now: datetime, available_at: datetime, wait_until: datetime, reason: str
) -> None:
    """Put a job back that cannot be done now through no fault of its own; the attempt does not count."""
    if cancel_requested(session, claim):
        return stop_cancelled(session, claim, now)
    _release(
        session,
        claim,
        JobState.QUEUED,
        available_at=available_at,
        wait_until=wait_until,
        attempts=Job.attempts - 1,
        progress=0.0,
        progress_text="",
        reason=storable(reason),
    )
    add_event(session, now, "job.waits", reason, level="warning", study_id=claim.study_id, job_id=claim.id)


def give_back(session: Session, claim: ClaimedJob, now: datetime) -> None:
    """Put a job back because this worker is being stopped; the attempt does not count."""
    if cancel_requested(session, claim):
        return stop_cancelled(session, claim, now)
    _release(session, claim, JobState.QUEUED, available_at=now, queued_at=now, attempts=Job.attempts - 1, progress=0.0)
    add_event(
        session,
        now,
        "job.given_back",
        "The worker was stopped and gave the job back.",
        study_id=claim.study_id,
        job_id=claim.id,
    )


def stop_cancelled(session: Session, claim: ClaimedJob, now: datetime) -> None:
    """End a running job that is to stop; why stands in its reason, put there by whoever asked."""
    _release(session, claim, JobState.CANCELLED, finished_at=now, progress_text="")
    add_event(session, now, "job.cancelled", "Stopped while running.", study_id=claim.study_id, job_id=claim.id)


def expire_leases(session: Session, now: datetime, max_attempts: int) -> ExpiredLeases:
    """Put back every running job whose lease ran out; after `max_attempts` lost workers it fails."""
    stale = session.execute(
        select(Job.id, Job.lease_owner, Job.attempts, Job.cancel_requested, Job.reason, Job.study_id)
        .where(Job.state == JobState.RUNNING.value, Job.lease_until <= now)
        .order_by(Job.lease_until)
        .limit(_SWEEP_LIMIT)
    ).all()
    queued: list[int] = []
    failed: list[int] = []
    cancelled: list[int] = []
    for job_id, owner, attempts, cancel, why, study_id in stale:
        new, reason, level, ids = JobState.QUEUED, "The worker was lost; the job is queued again.", "warning", queued
        if cancel:
            new, reason, level, ids = JobState.CANCELLED, why, "info", cancelled
        elif attempts >= max_attempts:
            reason = (
                f"The worker was lost in each of {attempts} attempts (killed, out of memory or cut off). "
                "Look at the workers' log and memory, then retry the job."
            )
            new, level, ids = JobState.FAILED, "error", failed
        times = {"available_at": now, "queued_at": now} if new is JobState.QUEUED else {"finished_at": now}
        unchanged = (Job.lease_owner == owner, Job.lease_until <= now)
        if move_job(
            session, job_id, JobState.RUNNING, new, *unchanged, lease_owner="", lease_until=None, reason=reason, **times
        ):
            ids.append(job_id)
            kind = f"job.{'worker_lost' if new is JobState.QUEUED else new.value}"
            add_event(session, now, kind, reason, level=level, study_id=study_id, job_id=job_id, data={"worker": owner})
    return ExpiredLeases(tuple(queued), tuple(failed), tuple(cancelled))


def due_jobs(session: Session, now: datetime, limit: int) -> list[tuple[int, int]]:
    """(id, priority) of queued jobs whose time has come, most urgent first."""
    rows = session.execute(
        select(Job.id, Job.priority)
        .where(Job.state == JobState.QUEUED.value, Job.available_at <= now)
        .order_by(Job.priority, Job.available_at, Job.id)
        .limit(limit)
    )
    return [(row[0], row[1]) for row in rows]


def count_due_jobs(session: Session, now: datetime) -> int:
    """How many queued jobs could be claimed now."""
    due = select(func.count()).select_from(Job).where(Job.state == JobState.QUEUED.value, Job.available_at <= now)
    return session.scalar(due) or 0


def expire_holders(session: Session, prefix: str, now: datetime) -> int:
    """End the job leases of workers known to be dead, so that the next sweep takes the work back at once.

    `prefix` is what their tokens begin with: a worker's name and "/", or what the names of a whole node begin with.
    """
    statement = (
        update(Job)
        .where(Job.state == JobState.RUNNING.value, Job.lease_owner.startswith(prefix, autoescape=True))
        .values(lease_until=now)
        .execution_options(synchronize_session=False)
    )
    return cast(CursorResult[Any], session.execute(statement)).rowcount
