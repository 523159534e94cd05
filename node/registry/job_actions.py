"""What a person may do about a job, each with its line in the audit trail; dashboard, API and command line call these.

    retry, cancel, re-run, priority     node.registry.job_requests
    resend                              node.registry.delivery_requests
    complete a series                   node.registry.series

All that failed at a destination is `node.registry.destinations`' to resend, a series `node.assemble.route_again`'s to
route again.

None of them talks to the broker: the sweep of the node finds what is queued within seconds.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from node.errors import PermanentError
from node.registry import delivery_requests, job_requests
from node.registry.audit import Actor, audited
from node.registry.models import Delivery, Job, Result
from node.registry.series import force_complete
from node.registry.states import DeliveryState, JobState

BULK_MOST = 500
"""Jobs retried at once: one transaction must not hold up the workers."""


@dataclass(frozen=True)
class Retried:
    """What became of a bulk retry."""

    queued: tuple[int, ...]
    left_out: tuple[int, ...]


def retry(session: Session, who: Actor, job_id: int, now: datetime) -> None:
    """Queue a failed or cancelled job again."""
    before = _state(session, job_id)
    job_requests.retry_job(session, job_id, now)
    audited(session, who, "job.retry", f"job {job_id}", {"state": before}, {"state": "queued"}, now=now)


def retry_all(session: Session, who: Actor, job_ids: Iterable[int], now: datetime) -> Retried:
    """Queue those that can be queued again; superseded and open ones are left as they are."""
    queued, left_out = [], []
    for job_id in job_ids:
        try:
            with session.begin_nested():
                retry(session, who, job_id, now)
            queued.append(job_id)
        except PermanentError:
            left_out.append(job_id)
    return Retried(tuple(queued), tuple(left_out))


def cancel(session: Session, who: Actor, job_id: int, now: datetime) -> JobState:
    """Cancel a job, or ask its worker to stop."""
    before = _state(session, job_id)
    state = job_requests.cancel_job(session, job_id, now)
    after = "cancelled" if state is JobState.CANCELLED else "asked to stop"
    audited(session, who, "job.cancel", f"job {job_id}", {"state": before}, {"state": after}, now=now)
    return state


def rerun(session: Session, who: Actor, job_id: int, now: datetime) -> int:
    """Queue a new revision; returns its id."""
    new = job_requests.rerun_as_new_revision(session, job_id, now)
    audited(session, who, "job.rerun", f"job {job_id}", None, {"job": new}, now=now)
    return new


def set_priority(session: Session, who: Actor, job_id: int, priority: int, now: datetime) -> None:
    """Change how soon an open job runs."""
    before = session.scalar(select(Job.priority).where(Job.id == job_id))
    job_requests.set_priority(session, job_id, priority, now)
    audited(session, who, "job.priority", f"job {job_id}", {"priority": before}, {"priority": priority}, now=now)


def resend(session: Session, who: Actor, delivery_id: int, now: datetime) -> int:
    """Send one result again; returns its job's id."""
    found = session.execute(
        select(Delivery.state, Delivery.destination, Result.job_id)
        .join(Result, Result.id == Delivery.result_id)
        .where(Delivery.id == delivery_id)
    ).one_or_none()
    if found is None:
        raise PermanentError(f"there is no delivery {delivery_id}")
    delivery_requests.resend(session, delivery_id, now)
    after = {"state": "pending", "destination": found.destination}
    audited(session, who, "delivery.resend", f"delivery {delivery_id}", {"state": found.state}, after, now=now)
    return int(found.job_id)


def resend_job(session: Session, who: Actor, job_id: int, now: datetime) -> int:
    """Send all results of a job again, but those that are on their way right now; returns how many."""
    ids = session.scalars(
        select(Delivery.id)
        .join(Result, Result.id == Delivery.result_id)
        .where(Result.job_id == job_id, Delivery.state != DeliveryState.SENDING.value)
        .order_by(Delivery.id)
    ).all()
    for delivery_id in ids:
        resend(session, who, delivery_id, now)
    return len(ids)


def complete_series(session: Session, who: Actor, series_uid: str, now: datetime) -> None:
    """Have a series taken as complete that is still being received."""
    force_complete(session, series_uid, now)
    audited(session, who, "series.complete", f"series {series_uid}", None, {"forced": True}, now=now)


def _state(session: Session, job_id: int) -> str:
    state = session.scalar(select(Job.state).where(Job.id == job_id))
    if state is None:
        raise PermanentError(f"there is no job {job_id}")
    return state
