"""What an edited set of rules would have done with the series of the last days, beside what the rules in force do.

    complete series (headers from the registry) --route by old and by new rules--> the series that would fare otherwise

Headers that only the new rules ask for were not kept; they are read from the first stored file of a series, for the
newest of them. Nothing is written and no job is made; a companion's presence is not looked at.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from node.assemble.routing import Trace, route
from node.assemble.rules import Rules
from node.assemble.stored_headers import stored_headers
from node.registry.models import Series, Study
from node.registry.states import SeriesState
from node.storage import Storage

MAX_SERIES = 5000
MAX_FILES = 200
"""Stored files that are opened for attributes that were not kept."""

BUDGET_S = 15.0
SHOWN = 200
"""Changed series that are listed; all of them are counted."""


@dataclass(frozen=True)
class Change:
    """A series that would fare otherwise. before, after: 'rule -> pipeline' of what fires; why: the new summary."""

    study_uid: str
    series_uid: str
    modality: str
    description: str
    received_at: datetime
    before: tuple[str, ...]
    after: tuple[str, ...]
    why: str


@dataclass(frozen=True)
class DryRun:
    """What would change.

    series: how many were asked. complete: False if there were more than could be asked, the newest were. unread: series
    whose headers lack what only the new rules ask for. count: series that change; `changes` are the newest of them.
    jobs_before, jobs_after: how many jobs each set of rules asks for.
    """

    series: int
    complete: bool
    unread: int
    count: int
    jobs_before: int
    jobs_after: int
    changes: tuple[Change, ...]


def dry_run(
    session: Session,
    storage: Storage,
    old: Rules,
    new: Rules,
    since: datetime,
    installed: Collection[str],
    clock: Callable[[], float] = time.monotonic,
) -> DryRun:
    """Route every complete series that began to arrive after `since` by both sets of rules, newest first."""
    added = new.attributes() - old.attributes()
    ends_at = clock() + BUDGET_S
    asked = unread = opened = count = jobs_before = jobs_after = 0
    complete = True
    changes: list[Change] = []
    rows = session.execute(
        select(
            Series.id,
            Series.headers,
            Series.instance_count,
            Series.series_uid,
            Series.first_received_at,
            Study.study_uid,
        )
        .join(Study, Study.id == Series.study_id)
        .where(Series.first_received_at >= since, Series.state == SeriesState.COMPLETE.value)
        .order_by(Series.first_received_at.desc(), Series.id.desc())
        .limit(MAX_SERIES + 1)
    )
    for series_id, kept, instances, series_uid, received_at, study_uid in rows:
        if asked == MAX_SERIES or clock() > ends_at:
            complete = False
            break
        asked += 1
        headers = {**kept, "InstanceCount": instances}
        missing = added - set(headers)
        if missing and opened < MAX_FILES:
            opened += 1
            more = stored_headers(session, storage, series_id, missing)
            unread += more is None
            headers |= more or {}
        elif missing:
            unread += 1
        before, after = route(headers, old, installed), route(headers, new, installed)
        jobs_before, jobs_after = jobs_before + len(before.fired), jobs_after + len(after.fired)
        if _fired(before) == _fired(after):
            continue
        count += 1
        if len(changes) < SHOWN:
            said = headers.get("SeriesDescription", "")
            changes.append(
                Change(study_uid, series_uid, str(headers.get("Modality", "")), str(said), received_at,
                       _fired(before), _fired(after), after.summary)
            )  # fmt: skip
    return DryRun(asked, complete, unread, count, jobs_before, jobs_after, tuple(changes))


def _fired(trace: Trace) -> tuple[str, ...]:
    return tuple(f"{rule.rule} → {rule.pipeline}" for rule in trace.fired)
