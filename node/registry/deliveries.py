"""Deliveries in the registry: one row per result and destination, and how far each one has come.

    pending --claim--> sending --sent--> sent --verified--> verified
       ^                  |
       +--try_again, give_back_deliveries, expire_deliveries (worker lost)      --fail_delivery--> failed
    pending or failed --a newer revision of its job is done--> superseded, and never sent

Claims and leases work as for jobs (`node.registry.jobs`): one UPDATE per claim, a token of its own, and every
outcome is written only where the token still stands. `next_attempt_at` is the next attempt to send while pending,
and the next time the destination is asked whether it has the result while sent; NEVER otherwise, which keeps
finished rows out of the way of the index that is asked all the time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from sqlalchemy import ColumnElement, CursorResult, and_, case, func, select, update
from sqlalchemy.orm import Session, aliased

from node.registry.events import add_event
from node.registry.models import Delivery, Job, PausedDestination, Result, Study
from node.registry.states import DELIVERY_MOVES, DeliveryState, JobState, check_move
from node.registry.text import storable

NEVER = datetime(9999, 1, 1, tzinfo=UTC)
"""`next_attempt_at` of a delivery that waits for nothing."""

_KIND_ORDER = case({"seg": 0, "sr": 1}, value=Result.kind, else_=2)
"""A report that points at a segmentation arrives after it."""

CLAIM_ROWS = (
    select(
        Delivery.id,
        Delivery.lease_owner.label("token"),
        Delivery.destination,
        Delivery.attempts.label("attempt"),
        Result.kind,
        Result.sop_uid,
        Result.sop_class_uid,
        Result.series_uid,
        Result.storage_key,
        Result.job_id,
        Job.study_id,
        Study.study_uid,
        Delivery.sent_at,
        Result.files_deleted_at,
    )
    .join(Result, Result.id == Delivery.result_id)
    .join(Job, Job.id == Result.job_id)
    .join(Study, Study.id == Job.study_id)
)
"""Everything a sender has to know of a delivery, named as in `ClaimedDelivery`."""

NOT_PAUSED = Delivery.destination.not_in(select(PausedDestination.name))
"""What a paused destination is to get waits, and nothing is asked of it (see `node.registry.destinations`)."""

_SWEEP_LIMIT = 500  # rows per sweep: a transaction stays short, and the next sweep is seconds away


@dataclass(frozen=True)
class PlannedDelivery:
    """A result (by SOP instance UID) that is to go to a destination."""

    sop_uid: str
    destination: str


@dataclass(frozen=True)
class ClaimedDelivery:
    """A delivery in the hands of one worker; `attempt` counts from 1."""

    id: int
    token: str
    destination: str
    attempt: int
    kind: str
    sop_uid: str
    sop_class_uid: str
    series_uid: str
    storage_key: str
    job_id: int
    study_id: int
    study_uid: str
    sent_at: datetime | None
    files_deleted_at: datetime | None


@dataclass(frozen=True)
class SupersededDelivery:
    """A delivery whose result the finished revision `by_revision` of the same analysis has replaced."""

    id: int
    state: DeliveryState
    destination: str
    job_id: int
    study_id: int
    by_revision: int


def plan_deliveries(
    session: Session, result_ids: Mapping[str, int], planned: Sequence[PlannedDelivery], now: datetime
) -> list[int]:
    """Add pending deliveries of results that were just registered (SOP instance UID -> result id)."""
    rows = [
        Delivery(
            result_id=result_ids[plan.sop_uid],
            destination=plan.destination,
            state=DeliveryState.PENDING.value,
            next_attempt_at=now,
            created_at=now,
        )
        for plan in planned
    ]
    session.add_all(rows)
    session.flush()
    return [row.id for row in rows]


def move_delivery(
    session: Session,
    delivery_id: int,
    old: DeliveryState,
    new: DeliveryState,
    *conditions: ColumnElement[bool],
    **values: Any,
) -> bool:
    """One atomic change of state; False if the delivery was not (any longer) as expected."""
    check_move(DELIVERY_MOVES, old, new)
    statement = (
        update(Delivery)
        .where(Delivery.id == delivery_id, Delivery.state == old.value, *conditions)
        .values(state=new.value, **values)
        .execution_options(synchronize_session=False)
    )
    return cast(CursorResult[Any], session.execute(statement)).rowcount == 1


def superseded_deliveries(session: Session, *which: ColumnElement[bool]) -> list[SupersededDelivery]:
    """Those deliveries, of `Delivery` and its `Job`, of whose job a newer revision is done; in the order of their ids.

    One that failed, was refused or called off replaces nothing.
    """
    newer = aliased(Job)
    rows = session.execute(
        select(*(Delivery.id, Delivery.state, Delivery.destination, Job.id, Job.study_id), func.max(newer.revision))
        .join(Result, Result.id == Delivery.result_id)
        .join(Job, Job.id == Result.job_id)
        .join(newer, and_(newer.key == Job.key, newer.revision > Job.revision, newer.state == JobState.DONE.value))
        .where(*which)
        .group_by(Delivery.id, Job.id)
        .order_by(Delivery.id)
    )
    return [SupersededDelivery(row[0], DeliveryState(row[1]), *row[2:]) for row in rows]


def end_superseded(session: Session, superseded: Iterable[SupersededDelivery], now: datetime) -> None:
    """End deliveries that wait or failed without sending them: the archive's newest object must not be outdated."""
    for one in superseded:
        reason = f"Superseded by revision {one.by_revision}, so it is not sent."
        values = {"next_attempt_at": NEVER, "last_error": reason}
        if move_delivery(session, one.id, one.state, DeliveryState.SUPERSEDED, **values):
            add_event(session, now, "delivery.superseded", reason, study_id=one.study_id, job_id=one.job_id,
                      delivery_id=one.id, data={"destination": one.destination})  # fmt: skip


def claim_deliveries(
    session: Session, delivery_id: int, token: str, now: datetime, lease_s: float, limit: int
) -> list[ClaimedDelivery]:
    """Take a due delivery, and with it others that are due at the same destination, for one association.

    What a newer revision has superseded meanwhile is ended instead.

    Returns
    -------
    list of ClaimedDelivery
        At most `limit`, segmentations of a job before its reports; empty if that delivery is not to be had.
    """
    first = session.get(Delivery, delivery_id)
    if first is None:
        return []
    due = (
        select(Delivery.id)
        .join(Result, Result.id == Delivery.result_id)
        .where(
            Delivery.state == DeliveryState.PENDING.value,
            Delivery.next_attempt_at <= now,
            Delivery.destination == first.destination,
            NOT_PAUSED,
        )
        # The one that was asked for and its job's come first; then whatever waits longest.
        .order_by(Delivery.id != delivery_id, Delivery.next_attempt_at, Result.job_id, _KIND_ORDER)
        .limit(limit)
    )
    candidates = list(session.scalars(due))
    if delivery_id not in candidates:
        return []
    superseded = {one.id: one for one in superseded_deliveries(session, Delivery.id.in_(candidates))}
    for candidate in sorted(candidates):  # always in one order, or two workers could deadlock on PostgreSQL
        if candidate in superseded:
            end_superseded(session, [superseded[candidate]], now)
            continue
        move_delivery(
            session,
            candidate,
            DeliveryState.PENDING,
            DeliveryState.SENDING,
            Delivery.next_attempt_at <= now,
            lease_owner=token,
            lease_until=now + timedelta(seconds=lease_s),
            attempts=Delivery.attempts + 1,
        )
    won = session.execute(
        CLAIM_ROWS.where(Delivery.id.in_(candidates), Delivery.lease_owner == token).order_by(
            Result.job_id, _KIND_ORDER, Result.id
        )
    )
    return [ClaimedDelivery(**row._mapping) for row in won]


def renew_deliveries(session: Session, claims: Sequence[ClaimedDelivery], now: datetime, lease_s: float) -> bool:
    """Prolong the leases of a batch; False if none of them is held any more."""
    statement = (
        update(Delivery)
        .where(
            Delivery.id.in_([c.id for c in claims]),
            Delivery.state == DeliveryState.SENDING.value,
            Delivery.lease_owner == claims[0].token,
        )
        .values(lease_until=now + timedelta(seconds=lease_s))
        .execution_options(synchronize_session=False)
    )
    return cast(CursorResult[Any], session.execute(statement)).rowcount > 0


def _release(session: Session, claim: ClaimedDelivery, new: DeliveryState, **values: Any) -> bool:
    return move_delivery(
        session,
        claim.id,
        DeliveryState.SENDING,
        new,
        Delivery.lease_owner == claim.token,
        lease_owner="",
        lease_until=None,
        **values,
    )


def mark_sent(session: Session, claim: ClaimedDelivery, now: datetime, ask_at: datetime = NEVER) -> bool:
    """The destination acknowledged it; False (and nothing written) if the lease is lost.

    `ask_at` is when the destination is to be asked whether it really has the result.
    """
    done = _release(session, claim, DeliveryState.SENT, sent_at=now, last_error="", next_attempt_at=ask_at)
    if done:
        say(session, claim, now, "delivery.sent", f"{claim.kind.upper()} sent to {claim.destination}.", "info")
    return done


def try_again(session: Session, claim: ClaimedDelivery, now: datetime, next_at: datetime, reason: str) -> bool:
    """The attempt failed and another is due at `next_at`; False if the lease is lost."""
    done = _release(session, claim, DeliveryState.PENDING, next_attempt_at=next_at, last_error=storable(reason))
    if done:
        say(session, claim, now, "delivery.retry", reason, "warning")
    return done


def fail_delivery(session: Session, claim: ClaimedDelivery, now: datetime, reason: str) -> bool:
    """No further attempt will be made unless a person asks; False if the lease is lost."""
    done = _release(session, claim, DeliveryState.FAILED, next_attempt_at=NEVER, last_error=storable(reason))
    if done:
        say(session, claim, now, "delivery.failed", reason, "error")
    return done


def give_back_deliveries(session: Session, claims: Sequence[ClaimedDelivery], now: datetime) -> None:
    """Put a batch back because this worker is being stopped; the attempt does not count."""
    for claim in claims:
        _release(session, claim, DeliveryState.PENDING, next_attempt_at=now, attempts=Delivery.attempts - 1)


def say(session: Session, claim: ClaimedDelivery, now: datetime, kind: str, message: str, level: str) -> None:
    """Add an event about a claimed delivery."""
    add_event(
        session,
        now,
        kind,
        message,
        level=level,
        study_id=claim.study_id,
        job_id=claim.job_id,
        delivery_id=claim.id,
        data={"destination": claim.destination, "attempt": claim.attempt},
    )


def expire_deliveries(
    session: Session, now: datetime, next_attempt: Callable[[int], datetime | None]
) -> tuple[list[int], list[int]]:
    """Put back every delivery whose worker is gone.

    Parameters
    ----------
    next_attempt
        When the next attempt is due after that many; None where there have been enough.

    Returns
    -------
    tuple of two lists of int
        Ids put back, and ids that failed.
    """
    stale = session.execute(
        select(Delivery.id, Delivery.lease_owner, Delivery.attempts, Result.job_id)
        .join(Result, Result.id == Delivery.result_id)
        .where(Delivery.state == DeliveryState.SENDING.value, Delivery.lease_until <= now)
        .order_by(Delivery.id)
        .limit(_SWEEP_LIMIT)
    ).all()
    back: list[int] = []
    failed: list[int] = []
    for delivery_id, owner, attempts, job_id in stale:
        due = next_attempt(attempts)
        if due is not None:
            new, ids, level = DeliveryState.PENDING, back, "warning"
            reason = "The worker was lost while sending; the result is sent again."
        else:
            new, ids, level = DeliveryState.FAILED, failed, "error"
            reason = f"The worker was lost while sending, and after {attempts} attempts no other is made."
        moved = move_delivery(
            session,
            delivery_id,
            DeliveryState.SENDING,
            new,
            Delivery.lease_owner == owner,
            Delivery.lease_until <= now,
            lease_owner="",
            lease_until=None,
            next_attempt_at=due or NEVER,
            last_error=reason,
        )
        if moved:
            ids.append(delivery_id)
            add_event(session, now, "delivery.worker_lost", reason, level=level, job_id=job_id, delivery_id=delivery_id)
    return back, failed


def due_deliveries(session: Session, now: datetime, limit: int) -> list[tuple[int, int]]:
    """(id, priority of the job) of pending deliveries whose time has come, those waiting longest first."""
    rows = session.execute(
        select(Delivery.id, Job.priority)
        .join(Result, Result.id == Delivery.result_id)
        .join(Job, Job.id == Result.job_id)
        .where(Delivery.state == DeliveryState.PENDING.value, Delivery.next_attempt_at <= now, NOT_PAUSED)
        .order_by(Delivery.next_attempt_at, Result.job_id, _KIND_ORDER)
        .limit(limit)
    )
    return [(row[0], row[1]) for row in rows]


def count_due_deliveries(session: Session, now: datetime) -> int:
    """How many pending deliveries could be claimed now."""
    due = (
        select(func.count())
        .select_from(Delivery)
        .where(Delivery.state == DeliveryState.PENDING.value, Delivery.next_attempt_at <= now, NOT_PAUSED)
    )
    return session.scalar(due) or 0


def expire_delivery_holders(session: Session, prefix: str, now: datetime) -> int:
    """End the delivery leases of workers known to be dead; `prefix` as in `node.registry.jobs.expire_holders`."""
    statement = (
        update(Delivery)
        .where(
            Delivery.state == DeliveryState.SENDING.value,
            Delivery.lease_owner.startswith(prefix, autoescape=True),
        )
        .values(lease_until=now)
        .execution_options(synchronize_session=False)
    )
    return cast(CursorResult[Any], session.execute(statement)).rowcount
