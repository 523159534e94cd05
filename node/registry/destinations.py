"""Destinations as people handle them: paused, resumed, and what went wrong there last.

    pause --> row in paused_destinations --> no claim and no question for it (node.registry.deliveries, confirmations)
    resume --> the row goes --> the next sweep wakes the delivery workers, within seconds

While a destination is paused its results wait as `pending`; nothing of them fails or is given up, because attempts are
counted and not days. What a worker has in its hands when the pause comes is still sent (at most one batch). Both are
audited, and both may be asked for twice. How much waits where is told by `node.registry.queries_overview`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from node.registry.audit import Actor, audited
from node.registry.delivery_requests import dismiss_failed, resend_failed
from node.registry.events import add_event
from node.registry.models import Delivery, Event, PausedDestination, Result
from node.registry.states import DeliveryState

_ERROR_STATES = (DeliveryState.PENDING, DeliveryState.FAILED)


@dataclass(frozen=True)
class Pause:
    """Since when a destination is paused, and by whom."""

    since: datetime
    by: str


@dataclass(frozen=True)
class DeliveryProblem:
    """The newest result that a destination did not take; `at` is None where the event of it is gone."""

    state: str
    kind: str
    job_id: int
    sentence: str
    at: datetime | None


def paused(session: Session) -> dict[str, Pause]:
    """Name -> pause, of all destinations that are paused."""
    rows = session.scalars(select(PausedDestination).order_by(PausedDestination.name))
    return {row.name: Pause(row.paused_at, row.paused_by) for row in rows}


def pause(session: Session, who: Actor, name: str, now: datetime) -> bool:
    """Send nothing more to a destination until it is resumed; False if it is paused already."""
    if session.get(PausedDestination, name) is not None:
        return False
    session.add(PausedDestination(name=name, paused_at=now, paused_by=who.name[:128]))
    _tell(session, who, name, now, "pause", before=False)
    return True


def resume(session: Session, who: Actor, name: str, now: datetime) -> bool:
    """Send again what waits for a destination; False if it is not paused."""
    row = session.get(PausedDestination, name)
    if row is None:
        return False
    session.delete(row)
    _tell(session, who, name, now, "resume", before=True)
    return True


def resend_all_failed(session: Session, who: Actor, name: str, now: datetime) -> int:
    """Send everything again that failed at a destination and was not superseded; returns how much that is."""
    ids = resend_failed(session, name, now)
    if ids:
        audited(session, who, "destination.resend", f"destination {name}", after={"deliveries": len(ids)}, now=now)
    return len(ids)


def dismiss_all_failed(session: Session, who: Actor, name: str, now: datetime) -> int:
    """Set aside everything that failed at a destination; returns how much that is."""
    ids = dismiss_failed(session, name, now)
    if ids:
        audited(session, who, "destination.dismiss", f"destination {name}", after={"deliveries": len(ids)}, now=now)
    return len(ids)


def last_problem(session: Session, name: str) -> DeliveryProblem | None:
    """The newest result that waits or failed at a destination with an error."""
    found: list[Any] = []
    for state in _ERROR_STATES:
        newest = (
            select(Delivery.id, Delivery.created_at, Delivery.state, Delivery.last_error, Result.kind, Result.job_id)
            .join(Result, Result.id == Delivery.result_id)
            .where(Delivery.destination == name, Delivery.state == state.value, Delivery.last_error != "")
            .order_by(Delivery.sent_at.desc(), Delivery.created_at.desc())
            .limit(1)
        )
        found += session.execute(newest).all()
    if not found:
        return None
    row = max(found, key=lambda one: (one.created_at, one.id))
    told = select(func.max(Event.at)).where(
        Event.job_id == row.job_id, Event.delivery_id == row.id, Event.message == row.last_error
    )
    return DeliveryProblem(row.state, row.kind, row.job_id, row.last_error, session.scalar(told))


def _tell(session: Session, who: Actor, name: str, now: datetime, verb: str, before: bool) -> None:
    audited(
        session,
        who,
        f"destination.{verb}",
        f"destination {name}",
        before={"paused": before},
        after={"paused": not before},
        now=now,
    )
    said = "paused; results for it wait" if verb == "pause" else "resumed"
    add_event(
        session, now, f"delivery.destination_{verb}d", f"Destination {name} was {said}.", data={"destination": name}
    )
