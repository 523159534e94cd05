"""When a delivery is tried again: a pure function of how often it was tried."""

from __future__ import annotations

import random
from datetime import datetime, timedelta

from node.settings.model import DeliverySettings

JITTER = 0.2
"""Each pause is lengthened by up to this part of itself, so that a hundred results do not return in one moment."""


ASK_FOR_S = 86400.0
"""How long a destination is asked about a result it acknowledged; then a person has to look."""


def pause_s(settings: DeliverySettings, attempts: int) -> float:
    """Seconds between attempt number `attempts` (1, 2, ...) and the next: first_retry_s * 2^n, capped."""
    doublings = min(attempts - 1, 60)  # beyond, the cap holds for certain and the power overflows nothing
    return float(min(settings.first_retry_s * 2.0**doublings, settings.max_backoff_s))


def next_attempt_at(
    now: datetime, settings: DeliverySettings, attempts: int, jitter: float | None = None
) -> datetime | None:
    """When to try again after `attempts` failed attempts; None where it is time to give up.

    The time spent is counted in pauses, not by the calendar: a node that was switched off for a week has not tried
    for a week. Because jitter only lengthens, attempts go on for at least `give_up_after_s`.

    Parameters
    ----------
    jitter
        Between 0 and 1; None draws one.
    """
    spent = sum(pause_s(settings, n) for n in range(1, attempts))
    if spent >= settings.give_up_after_s:
        return None
    drawn = random.random() if jitter is None else jitter
    return now + timedelta(seconds=pause_s(settings, attempts) * (1.0 + JITTER * drawn))


def next_question_at(now: datetime, sent_at: datetime, settings: DeliverySettings) -> datetime | None:
    """When to ask again whether a destination has what it acknowledged; None after a day.

    The pause is as long as the result has been waiting, so that it doubles from question to question.
    """
    age_s = (now - sent_at).total_seconds()
    if age_s >= ASK_FOR_S:
        return None
    return now + timedelta(seconds=min(max(age_s, settings.first_retry_s), settings.max_backoff_s))
