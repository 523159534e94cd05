"""A patient's tumour burden over studies as the page and the API show it, with the change from study to study.

Who may see patients' names sees them here; everybody else sees a pseudonym (`node.registry.trends`), and no address
holds a patient's number: a patient is reached by the UID of a study.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from node.registry.trends import Measurement, PatientTrend

SMALLEST = 0.0005
"""A change below this rounds to 0.000 and is told as none."""


@dataclass(frozen=True)
class TrendPoint:
    """A measured study. change: against the last measured study before, None for the first; `since` is its date.

    same_networks: False where other networks measured that study.
    """

    measurement: Measurement
    change: float | None
    since: str
    same_networks: bool


@dataclass(frozen=True)
class TrendView:
    """The measurements of a patient in order of date."""

    study_uid: str
    pseudonym: str
    points: tuple[TrendPoint, ...]


def trend_view(found: PatientTrend) -> TrendView:
    """The measurements with their changes."""
    points: list[TrendPoint] = []
    last: Measurement | None = None
    for one in found.measurements:
        if last is None or last.value is None or one.value is None:
            points.append(TrendPoint(one, None, "", True))
        else:
            points.append(TrendPoint(one, one.value - last.value, last.date, one.models == last.models))
        last = one if one.value is not None else last
    return TrendView(found.study_uid, found.pseudonym, tuple(points))


def positions(measurements: Sequence[Measurement]) -> list[float]:
    """Where the studies stand on an axis of time, from 0 to 1."""
    days = [date.fromisoformat(one.date).toordinal() for one in measurements]
    span = max(days, default=0) - min(days, default=0)
    return [(day - days[0]) / span if span else 0.5 for day in days]
