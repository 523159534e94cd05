"""What a person may ask of deliveries: to be sent again, one of them or all that failed at a destination, or set aside.

The results of a revision that a newer one has superseded are not sent again: in the archive they would be the newest
objects, and outdated. The dashboard and the command line call these; none of them commits.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, cast

from sqlalchemy import CursorResult, select, update
from sqlalchemy.orm import Session

from node.errors import PermanentError
from node.registry.deliveries import end_superseded, move_delivery, superseded_deliveries
from node.registry.events import add_event
from node.registry.models import Delivery
from node.registry.states import DeliveryState


def resend(session: Session, delivery_id: int, now: datetime) -> None:
    """Send a delivery (again), with all its attempts.

    Raises
    ------
    PermanentError
        If there is none, it is being sent right now, or a newer revision has taken its result's place.
    """
    row = session.get(Delivery, delivery_id)
    if row is None:
        raise PermanentError(f"there is no delivery {delivery_id}")
    for superseded in superseded_deliveries(session, Delivery.id == delivery_id):
        raise PermanentError(
            f"the result of delivery {delivery_id} was superseded by revision {superseded.by_revision} of the same "
            "analysis; send that one's results again"
        )
    old = DeliveryState(row.state)
    fresh = {"attempts": 0, "next_attempt_at": now, "last_error": ""}
    if old is DeliveryState.PENDING:
        statement = update(Delivery).where(Delivery.id == delivery_id, Delivery.state == old.value).values(**fresh)
        changed = cast(CursorResult[Any], session.execute(statement)).rowcount == 1
    else:
        if old is DeliveryState.SENDING:
            raise PermanentError(f"delivery {delivery_id} is being sent right now; wait for its outcome")
        changed = move_delivery(
            session, delivery_id, old, DeliveryState.PENDING, sent_at=None, verified_at=None, **fresh
        )
    if not changed:
        raise PermanentError(f"delivery {delivery_id} was {old} a moment ago and has just changed; look again")
    add_event(
        session,
        now,
        "delivery.resend",
        f"A person asked to send it to {row.destination} again.",
        job_id=row.result.job_id,
        delivery_id=delivery_id,
    )


def resend_failed(session: Session, destination: str, now: datetime) -> list[int]:
    """Send everything again that failed at a destination, but for what was superseded meanwhile; returns the ids."""
    failed = (Delivery.state == DeliveryState.FAILED.value, Delivery.destination == destination)
    end_superseded(session, superseded_deliveries(session, *failed), now)
    ids = list(session.scalars(select(Delivery.id).where(*failed).order_by(Delivery.id)))
    for delivery_id in ids:
        resend(session, delivery_id, now)
    return ids


def dismiss_failed(session: Session, destination: str, now: datetime) -> list[int]:
    """Set aside what failed at a destination: it stays unsent, is no failure any more and holds up no deleting.

    `resend` of one undoes it. Returns the ids.
    """
    failed = select(Delivery).where(Delivery.state == DeliveryState.FAILED.value, Delivery.destination == destination)
    dismissed = []
    for row in session.scalars(failed.order_by(Delivery.id)):
        if move_delivery(session, row.id, DeliveryState.FAILED, DeliveryState.DISMISSED):
            reason = f"A person set it aside; it is not sent to {destination}."
            add_event(session, now, "delivery.dismissed", reason, job_id=row.result.job_id, delivery_id=row.id)
            dismissed.append(row.id)
    return dismissed
