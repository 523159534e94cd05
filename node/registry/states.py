"""The states of series, jobs and deliveries, and the moves between them, as tables.

Nothing else in osteon decides whether a state may follow another; `check_move` is called by every change of state.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

from node.errors import PermanentError

S = TypeVar("S", bound=StrEnum)


class SeriesState(StrEnum):
    """A series is `receiving` until it is judged complete; a late instance reopens it."""

    RECEIVING = "receiving"
    COMPLETE = "complete"


class JobState(StrEnum):
    """The way of a job; the last four are ends."""

    WAITING = "waiting"
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    REJECTED = "rejected"
    CANCELLED = "cancelled"


class DeliveryState(StrEnum):
    """The way of one result to one destination."""

    PENDING = "pending"
    SENDING = "sending"
    SENT = "sent"
    VERIFIED = "verified"
    FAILED = "failed"
    SUPERSEDED = "superseded"
    DISMISSED = "dismissed"


SERIES_MOVES: dict[SeriesState, frozenset[SeriesState]] = {
    SeriesState.RECEIVING: frozenset({SeriesState.COMPLETE}),
    SeriesState.COMPLETE: frozenset({SeriesState.RECEIVING}),
}

JOB_MOVES: dict[JobState, frozenset[JobState]] = {
    JobState.WAITING: frozenset({JobState.QUEUED, JobState.CANCELLED}),
    JobState.QUEUED: frozenset({JobState.RUNNING, JobState.CANCELLED}),
    # running -> queued: the lease ran out (worker killed) or a retriable error waits for its next attempt.
    JobState.RUNNING: frozenset(
        {JobState.DONE, JobState.FAILED, JobState.REJECTED, JobState.CANCELLED, JobState.QUEUED}
    ),
    # A person may ask again: failed and cancelled jobs go back to the queue; done and rejected ones get a new revision.
    JobState.FAILED: frozenset({JobState.QUEUED}),
    JobState.CANCELLED: frozenset({JobState.QUEUED}),
    JobState.DONE: frozenset(),
    JobState.REJECTED: frozenset(),
}

DELIVERY_MOVES: dict[DeliveryState, frozenset[DeliveryState]] = {
    # -> superseded: a newer revision of the same analysis is done, so the result is not sent any more.
    DeliveryState.PENDING: frozenset({DeliveryState.SENDING, DeliveryState.FAILED, DeliveryState.SUPERSEDED}),
    # sending -> pending: the attempt failed, or its lease ran out, and another is due later.
    DeliveryState.SENDING: frozenset({DeliveryState.SENT, DeliveryState.PENDING, DeliveryState.FAILED}),
    DeliveryState.SENT: frozenset({DeliveryState.VERIFIED, DeliveryState.PENDING}),
    DeliveryState.VERIFIED: frozenset({DeliveryState.PENDING}),
    # failed -> dismissed: a person wants it neither sent nor counted as a failure any more; sending it again undoes it.
    DeliveryState.FAILED: frozenset({DeliveryState.PENDING, DeliveryState.SUPERSEDED, DeliveryState.DISMISSED}),
    DeliveryState.SUPERSEDED: frozenset(),
    DeliveryState.DISMISSED: frozenset({DeliveryState.PENDING}),
}

OPEN_JOB_STATES = (JobState.WAITING, JobState.QUEUED, JobState.RUNNING)
OPEN_DELIVERY_STATES = (DeliveryState.PENDING, DeliveryState.SENDING)


def check_move(moves: Mapping[S, frozenset[S]], old: S, new: S) -> None:
    """Raise PermanentError unless `new` may follow `old`."""
    if new not in moves[old]:
        allowed = ", ".join(sorted(moves[old])) or "nothing"
        raise PermanentError(f"{type(old).__name__}: {old} cannot become {new}; from {old} it may become {allowed}")
