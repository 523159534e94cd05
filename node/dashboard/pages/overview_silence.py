"""Silence alarms: who used to be heard at hours like these and is not.

    hours with something in them --the habit of each kind of hour--> chance of a silence as long as this one --> alarm

A fixed time-out would cry every night and miss a morning. So each source (and each rule) has its habits: how often
something came in an hour of this kind (hour of the day; Monday to Friday, Saturday or Sunday) within the last weeks.
The chance that the present silence is nothing but chance is the product over its complete hours; below `CHANCE`, it is
an alarm. Pure; holidays do set it off.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from node.registry.queries_overview import Activity

LOOK_BACK = timedelta(days=28)
LEAST_HOURS = 20
"""Hours with something in them, below which nothing is known of habits."""

CHANCE = 0.002
HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Silence:
    """A silence that is no chance. usual: share of the silent hours in which something usually came, 0 to 1."""

    name: str
    last_at: datetime
    hours: int
    usual: float


def silences(found: Iterable[Activity], now: datetime) -> list[Silence]:
    """The alarms among these, the longest silence first."""
    alarms = [alarm for activity in found if (alarm := silence(activity, now)) is not None]
    return sorted(alarms, key=lambda alarm: alarm.last_at)


def silence(activity: Activity, now: datetime) -> Silence | None:
    """The alarm about one source or rule; None if it is heard as usual, or too little is known of it."""
    if len(activity.hours) < LEAST_HOURS:
        return None
    first, last = min(activity.hours), max(activity.hours)
    known = Counter(_kind(hour) for hour in _hours(first, last + HOUR))
    heard = Counter(_kind(hour) for hour in activity.hours)
    silent = list(_hours(last + HOUR, now - HOUR + timedelta(microseconds=1)))
    chance, usual = 1.0, 0.0
    for hour in silent:
        kind = _kind(hour)
        habit = heard[kind] / (known[kind] + 1)  # never quite 1: a few hours prove no law
        chance *= 1.0 - habit
        usual += habit
    if chance >= CHANCE:
        return None
    return Silence(activity.name, activity.last_at, len(silent), usual / len(silent))


def _hours(start: datetime, end: datetime) -> Iterable[datetime]:
    """`start` and every hour after it, before `end`."""
    hour = start
    while hour < end:
        yield hour
        hour += HOUR


def _kind(hour: datetime) -> tuple[int, int]:
    return max(hour.weekday() - 4, 0), hour.hour
