"""A person has a complete series routed again, as after the rules were mended: what is missing is made, nothing twice.

    dashboard, API, command line --route_again--> study held --> rules as they are now --> jobs queued --> the sweep

Any process may do it while upkeep runs: whoever plans for a study holds its lock, and planning the same input again
changes nothing. No worker is woken up here; the sweep finds what is queued within seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from node.assemble.planner import Plan, Planner
from node.assemble.stored_headers import with_stored_headers
from node.registry.audit import Actor, audited
from node.registry.events import add_event
from node.registry.planning import latest_of
from node.registry.series import SeriesFacts, add_headers, hold_for_routing, series_of_study
from node.registry.states import JobState, SeriesState
from node.storage import Storage


@dataclass(frozen=True)
class AskedJob:
    """The job that a rule asks for. made: now; False where it was there before, on the same input."""

    id: int
    revision: int
    pipeline: str
    rule: str
    state: JobState
    made: bool


@dataclass(frozen=True)
class RoutedAgain:
    """What came of it.

    summary: the sentence of the trace. joined_to: UID of the series whose job reads this one, too; its jobs are among
    `jobs`, and "" means that there is none.
    """

    series_uid: str
    summary: str
    jobs: tuple[AskedJob, ...]
    joined_to: str = ""


def route_again(
    session: Session, who: Actor, planner: Planner, storage: Storage, series_uid: str, now: datetime
) -> RoutedAgain:
    """Ask the rules once more about a series, and plan what is missing; with its line in the audit trail.

    An analysis whose input the rules now put together otherwise (a companion, say) gets a new revision. A series that
    is read together with an earlier one has that one routed, too. Open jobs of rules that no longer ask go on: to
    cancel them is another decision.

    Raises
    ------
    PermanentError
        If there is no such series, it is still being received, or its files are deleted.
    """
    series = hold_for_routing(session, series_uid)
    # Kept, too: else upkeep, which reads no files, would take the jobs back when the study's next series comes.
    for one in series_of_study(session, series.study_id):
        full = with_stored_headers(session, storage, planner.rules, one)
        added = {name: value for name, value in full.headers.items() if name not in one.headers}
        if added:
            add_headers(session, one.id, added)
        series = full if one.id == series.id else series
    plan = planner.plan(session, series, now)
    jobs = _asked(session, plan)
    if plan.joined_to is not None and plan.joined_to.state is SeriesState.COMPLETE:
        jobs += _asked(session, planner.plan(session, plan.joined_to, now))
    done = RoutedAgain(
        series_uid=series_uid,
        summary=f"{plan.trace.summary} {plan.together}".rstrip(),
        jobs=jobs,
        joined_to=plan.joined_to.series_uid if plan.joined_to else "",
    )
    _tell(session, who, series, done, now)
    return done


def _asked(session: Session, plan: Plan) -> tuple[AskedJob, ...]:
    """The jobs of a plan as they stand now."""
    pipelines = {rule.rule: rule.pipeline for rule in plan.trace.fired}
    found = []
    for job in plan.jobs:
        latest = latest_of(session, job.key)
        if latest is not None:
            found.append(AskedJob(*latest[:2], pipelines[job.rule], job.rule, latest[2], job.planned is not None))
    return tuple(found)


def _tell(session: Session, who: Actor, series: SeriesFacts, done: RoutedAgain, now: datetime) -> None:
    made = [job.id for job in done.jobs if job.made]
    add_event(session, now, "series.routed_again", f"A person had it routed again: {done.summary}",
              study_id=series.study_id, series_id=series.id, data={"jobs": made})  # fmt: skip
    after = {"jobs": made, "summary": done.summary}
    audited(session, who, "series.route", f"series {series.series_uid}", None, after, now=now)
