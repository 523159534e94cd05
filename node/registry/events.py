"""Writing events: what happened, in order, for timelines and for a person who asks why.

Called inside the transaction that makes the thing happen, so that an event is there exactly if its cause is.
Messages are sentences without patient data; figures and UIDs go to `data`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from node.registry.models import Event
from node.registry.text import storable


def add_event(
    session: Session,
    now: datetime,
    kind: str,
    message: str,
    *,
    level: str = "info",
    study_id: int | None = None,
    series_id: int | None = None,
    job_id: int | None = None,
    delivery_id: int | None = None,
    data: dict[str, Any] | None = None,
) -> None:
    """Add one event to the session's transaction.

    Parameters
    ----------
    kind
        What happened, as `thing.verb` ("job.done", "delivery.failed").
    level
        "info", "warning" or "error".
    """
    session.add(
        Event(
            at=now,
            kind=kind,
            level=level,
            message=storable(message),
            study_id=study_id,
            series_id=series_id,
            job_id=job_id,
            delivery_id=delivery_id,
            data=data,
        )
    )
