"""Throughput and turnaround over the last hour, day or week, as series for charts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import median

from node.dashboard.i18n import N_
from node.registry.states import JobState


@dataclass(frozen=True)
class Window:
    """A stretch of time and the steps it is cut into; `label` formats a step's start (UTC)."""

    name: str
    span: timedelta
    step: timedelta
    label: str

    @property
    def by_minute(self) -> bool:
        return self.step < timedelta(hours=1)


WINDOWS = {
    "hour": Window(N_("last hour"), timedelta(hours=1), timedelta(minutes=5), "%H:%M"),
    "day": Window(N_("last day"), timedelta(days=1), timedelta(hours=1), "%H:%M"),
    "week": Window(N_("last week"), timedelta(days=7), timedelta(hours=6), "%m-%d %H:%M"),
}


@dataclass(frozen=True)
class Throughput:
    """One value for each step, the last of which is still going on; minutes is None where nothing was done."""

    labels: tuple[str, ...]
    done: tuple[int, ...]
    failed: tuple[int, ...]
    minutes: tuple[float | None, ...]


def start_of(window: Window, now: datetime) -> datetime:
    """When the window's first step begins, on a whole step."""
    step_s = window.step.total_seconds()
    last = datetime.fromtimestamp(now.timestamp() // step_s * step_s, UTC)
    return last - window.span + window.step


def throughput(window: Window, now: datetime, finished: Iterable[tuple[datetime, str, float]]) -> Throughput:
    """Count what `queries_overview.finished_since` found from `start_of` on."""
    start = start_of(window, now)
    count = round(window.span / window.step)
    done, failed = [0] * count, [0] * count
    taken: list[list[float]] = [[] for _ in range(count)]
    for at, state, seconds in finished:
        index = (at - start) // window.step
        if not 0 <= index < count:
            continue
        if state == JobState.DONE:
            done[index] += 1
            taken[index].append(seconds / 60.0)
        elif state == JobState.FAILED:
            failed[index] += 1
    return Throughput(
        labels=tuple((start + number * window.step).strftime(window.label) for number in range(count)),
        done=tuple(done),
        failed=tuple(failed),
        minutes=tuple(round(median(values), 2) if values else None for values in taken),
    )
