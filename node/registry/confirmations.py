"""Confirmation of deliveries: asking a destination, after it acknowledged a result, whether it really has it.

    sent --question due, asked--> verified, or sent still (asked again later, in the end no more)

A question needs no lease: asking twice does no harm, and taking one already sets when it would be asked next.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, cast

from sqlalchemy import CursorResult, select, update
from sqlalchemy.orm import Session

from node.registry.deliveries import CLAIM_ROWS, NEVER, NOT_PAUSED, ClaimedDelivery, move_delivery, say
from node.registry.models import Delivery
from node.registry.states import DeliveryState
from node.registry.text import storable


def due_questions(session: Session, now: datetime, limit: int) -> list[int]:
    """Ids of sent deliveries whose destination is to be asked now whether it has the result."""
    rows = session.scalars(
        select(Delivery.id)
        .where(Delivery.state == DeliveryState.SENT.value, Delivery.next_attempt_at <= now, NOT_PAUSED)
        .order_by(Delivery.next_attempt_at)
        .limit(limit)
    )
    return list(rows)


def claim_question(session: Session, delivery_id: int, now: datetime, next_at: datetime) -> ClaimedDelivery | None:
    """Take the asking of a sent delivery, by setting when it would be asked next; None if it is not due."""
    statement = (
        update(Delivery)
        .where(
            Delivery.id == delivery_id,
            Delivery.state == DeliveryState.SENT.value,
            Delivery.next_attempt_at <= now,
            NOT_PAUSED,
        )
        .values(next_attempt_at=next_at)
        .execution_options(synchronize_session=False)
    )
    if cast(CursorResult[Any], session.execute(statement)).rowcount != 1:
        return None
    row = session.execute(CLAIM_ROWS.where(Delivery.id == delivery_id)).one()
    return ClaimedDelivery(**row._mapping)


def mark_verified(session: Session, claim: ClaimedDelivery, now: datetime) -> bool:
    """The destination says that it has the result; False if a person asked for a resend meanwhile."""
    done = move_delivery(
        session,
        claim.id,
        DeliveryState.SENT,
        DeliveryState.VERIFIED,
        verified_at=now,
        next_attempt_at=NEVER,
        last_error="",
    )
    if done:
        say(session, claim, now, "delivery.verified", f"{claim.destination} has the {claim.kind.upper()}.", "info")
    return done


def note_unverified(session: Session, claim: ClaimedDelivery, now: datetime, next_at: datetime, reason: str) -> None:
    """The destination did not confirm; the delivery stays `sent`, with the reason, and is asked again at `next_at`."""
    session.execute(
        update(Delivery)
        .where(Delivery.id == claim.id, Delivery.state == DeliveryState.SENT.value)
        .values(next_attempt_at=next_at, last_error=storable(reason))
        .execution_options(synchronize_session=False)
    )
    if next_at == NEVER:
        say(session, claim, now, "delivery.unverified", reason, "warning")
