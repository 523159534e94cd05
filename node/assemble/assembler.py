"""The assembler: open series become complete, complete series are routed, and routing makes jobs.

    open series --judge--> complete --route--> plan per rule that fires --plan_job--> queued --enqueue--> broker
                                                    |  companion missing
                                                    +--> waiting --it came, or the wait is over--> queued

Completion, routing and jobs of one series are one transaction, so a crash leaves either all of it or none. A series
whose turn raises is tried again later, and the others go on. The broker is told afterwards; if that is lost, the sweep
of `node.jobs` finds the queued job. The loop that calls `step` is that room's; several processes may step at once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import structlog
from sqlalchemy.orm import Session

from node.assemble.companion import find_companion
from node.assemble.completion import judge
from node.assemble.conditions import check
from node.assemble.planner import Planner, called
from node.assemble.rule_book import RuleBook
from node.assemble.rules import Rules
from node.assemble.setbacks import Setbacks
from node.registry.database import Registry
from node.registry.events import add_event
from node.registry.planning import (
    PlannedJob,
    WaitingJob,
    call_off,
    call_off_others,
    due_waiting,
    stop_waiting,
)
from node.registry.series import (
    SeriesFacts,
    SeriesSnapshot,
    complete_series,
    force_complete,
    lock_study,
    open_series,
    series_of_study,
)
from node.registry.states import SeriesState
from node.settings import Configuration
from node.storage import Storage
from pipelines.contract.pipeline import iter_pipeline_names

log = structlog.get_logger(__name__)

MAX_PER_STEP = 1000
"""Series or jobs looked at in one step, those silent or due for longest first; the next step takes the rest."""

Enqueue = Callable[[int, int], None]
"""Called with (job id, priority) after the job is committed; may fail, because the sweep enqueues what was not."""


@dataclass(frozen=True)
class AssemblyReport:
    """What one step did."""

    completed: int = 0
    queued: int = 0
    waiting: int = 0

    def __bool__(self) -> bool:
        """Whether anything changed."""
        return bool(self.completed or self.queued or self.waiting)

    def __add__(self, other: AssemblyReport) -> AssemblyReport:
        return AssemblyReport(
            self.completed + other.completed, self.queued + other.queued, self.waiting + other.waiting
        )


class Assembler:
    """Completes series, routes them and plans their jobs.

    Parameters
    ----------
    storage
        Taken as `Ingest` and `Retention` take it; routing looks at headers only, so it is not used.
    enqueue
        Wakes a worker up for a queued job.
    rules, installed
        For tests; None follows the configuration's rules as they change and asks for the installed pipelines.
    """

    def __init__(
        self,
        configuration: Configuration,
        registry: Registry,
        storage: Storage,
        enqueue: Enqueue,
        *,
        rules: Rules | None = None,
        installed: Collection[str] | None = None,
    ) -> None:
        self._configuration = configuration
        self._registry = registry
        self._enqueue = enqueue
        self._book = RuleBook(configuration, rules)
        self._installed = frozenset(iter_pipeline_names() if installed is None else installed)
        self._held_series, self._held_jobs = Setbacks("series"), Setbacks("job")

    def step(self, now: datetime) -> AssemblyReport:
        """Complete and route what is due; queue waiting jobs whose companion did not come.

        Raises
        ------
        sqlalchemy.exc.OperationalError, InterfaceError
            If the database cannot be reached.
        """
        if self._book.refresh():
            self._book.tell(self._registry, now)
        with self._registry.reading() as session:
            candidates = open_series(session, MAX_PER_STEP + len(self._held_series))
        completed = 0
        planned: list[PlannedJob] = []
        for snapshot in candidates:
            if not self._held_series.is_due(snapshot.id, now):
                continue
            with self._held_series.guard(snapshot.id, now, partial(self._tell_setback, snapshot, now)):
                completion = judge(snapshot, self._configuration.settings.completion, now)
                if completion.complete:
                    jobs = self._complete(snapshot, completion.by, now)
                    completed += jobs is not None
                    planned += jobs or []
        planned += self._stop_waiting(now)
        self._wake(planned)
        queued = sum(job.queued for job in planned)
        return AssemblyReport(completed, queued, len(planned) - queued)

    @property
    def _rules(self) -> Rules:
        return self._book.rules

    @property
    def _planner(self) -> Planner:
        """By the rules as they are now."""
        return Planner(self._rules, self._installed, self._configuration.settings.completion.companion_wait_s)

    def force_complete(self, series_uid: str, now: datetime) -> None:
        """Take a series as complete at the next step; PermanentError if there is none, or it is complete."""
        with self._registry.transaction() as session:
            force_complete(session, series_uid, now)

    def _complete(self, snapshot: SeriesSnapshot, by: str, now: datetime) -> list[PlannedJob] | None:
        with self._registry.transaction() as session:
            series = complete_series(session, snapshot, by, now)
            if series is None:
                return None  # something came meanwhile; the next step judges again
            planned = self._route(session, series, now)
            for primary in self._primaries_beside(session, series):
                # Undone alone: a series whose companion this may be does not keep it from being complete.
                with self._held_series.guard(primary.id, now), session.begin_nested():
                    planned += self._route(session, primary, now)
        log.info("series.complete", series_uid=series.series_uid, by=by, instances=series.instance_count)
        return planned

    def _primaries_beside(self, session: Session, series: SeriesFacts) -> list[SeriesFacts]:
        """Complete series of the study for which `series` may be a companion."""
        wanted = [rule.companion for rule in self._rules.rules if rule.enabled and rule.companion]
        if not any(check(companion.match, series.headers).matched for companion in wanted):
            return []
        study = series_of_study(session, series.study_id)
        return [other for other in study if other.id != series.id and other.state is SeriesState.COMPLETE]

    def _route(self, session: Session, series: SeriesFacts, now: datetime) -> list[PlannedJob]:
        """Route one complete series and plan what its rules ask for; the study is locked."""
        plan = self._planner.plan(session, series, now)
        reason = plan.together or "The series changed, and no rule asks for this any more."
        call_off_others(session, series.id, [job.key for job in plan.jobs], reason, now)
        if not plan.trace.fired:
            add_event(
                session, now, "series.not_routed", plan.trace.summary, study_id=series.study_id, series_id=series.id
            )
        return plan.planned

    def _stop_waiting(self, now: datetime) -> list[PlannedJob]:
        """Queue, or call off, waiting jobs whose time is up, but for those whose companion is just arriving."""
        with self._registry.reading() as session:
            due = due_waiting(session, now, MAX_PER_STEP + len(self._held_jobs))
        planned = []
        for waiting in due:
            if not self._held_jobs.is_due(waiting.job_id, now):
                continue
            with self._held_jobs.guard(waiting.job_id, now), self._registry.transaction() as session:
                job = self._end_wait(session, waiting, now)
                if job is not None:
                    planned.append(job)
        return planned

    def _end_wait(self, session: Session, waiting: WaitingJob, now: datetime) -> PlannedJob | None:
        lock_study(session, waiting.study_id)
        study = series_of_study(session, waiting.study_id)
        primary = next((series for series in study if series.id == waiting.series_id), None)
        rule = self._rules.by_name.get(waiting.rule)
        wanted = rule.companion if rule else None
        if primary is None or wanted is None:
            return stop_waiting(session, waiting.job_id, "Its rule no longer asks for a companion.", now)
        if find_companion(wanted, primary, study).arriving:
            return None
        missing = f"No {called(wanted)} series of the study came within {self._planner.wait_s(wanted):g} s"
        if wanted.required:
            call_off(session, waiting.job_id, f"{missing}, and rule '{waiting.rule}' requires one.", now)
            return None
        return stop_waiting(session, waiting.job_id, f"{missing}; the analysis runs without it.", now)

    def _tell_setback(self, snapshot: SeriesSnapshot, now: datetime, error: Exception) -> None:
        with self._registry.transaction() as session:
            add_event(session, now, "series.setback", f"It could not be completed and routed ({type(error).__name__}); "
                      "this is tried again, and the log says more.", level="error", study_id=snapshot.study_id,
                      series_id=snapshot.id)  # fmt: skip

    def _wake(self, planned: list[PlannedJob]) -> None:
        for job in planned:
            if not job.queued:
                continue
            try:
                self._enqueue(job.id, job.priority)
            except Exception as error:  # whatever the broker's client raises: the sweep enqueues what was not
                log.warning("assemble.not_enqueued", job_id=job.id, error=type(error).__name__)
