"""What a complete series asks for: routed by the rules, set beside its companions, planned as jobs.

    complete series --route--> rules that fire --find_companion--> plan_job --> new, next revision, or there already

The assembler plans through here when a series becomes complete, and `route_again` when a person asks, so that both come
to the same. The caller holds the study's lock, commits, and wakes a worker up; open jobs that the rules no longer ask
for are the caller's, too.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from node.assemble.companion import CompanionSearch, find_companion, wants_companion
from node.assemble.routing import RuleTrace, Trace, route
from node.assemble.rules import Companion, Rule, Rules, load_rules
from node.registry.job_files import PRIMARY_ROLE
from node.registry.planning import JobPlan, PlannedInput, PlannedJob, companion_in_use, job_key, plan_job
from node.registry.series import SeriesFacts, series_of_study, write_routing
from node.settings import Configuration
from pipelines.contract.pipeline import iter_pipeline_names


@dataclass(frozen=True)
class RuleJob:
    """The job that a rule asks for. planned: None where it is there already, on the same input."""

    rule: str
    key: str
    planned: PlannedJob | None


@dataclass(frozen=True)
class Plan:
    """What came of one series. joined_to: the series whose job reads this one, too."""

    trace: Trace
    jobs: tuple[RuleJob, ...]
    joined_to: SeriesFacts | None = None

    @property
    def planned(self) -> list[PlannedJob]:
        """The jobs that were made or changed."""
        return [job.planned for job in self.jobs if job.planned is not None]

    @property
    def together(self) -> str:
        """The sentence for a series that another one's job reads; "" for others."""
        return (
            ""
            if self.joined_to is None
            else f"It is read together with series {self.joined_to.series_uid}, by one job."
        )


class Planner:
    """Rules, installed pipelines and how long a companion is waited for (where its rule does not say), put to work."""

    def __init__(self, rules: Rules, installed: Collection[str], companion_wait_s: float) -> None:
        self.rules = rules
        self._installed = frozenset(installed)
        self._companion_wait_s = companion_wait_s

    @classmethod
    def of(cls, configuration: Configuration) -> Planner:
        """By the rules as the file has them now, and the pipelines of this installation.

        Raises
        ------
        ConfigurationError
            If the rules are wrong.
        """
        wait_s = configuration.settings.completion.companion_wait_s
        return cls(load_rules(configuration), frozenset(iter_pipeline_names()), wait_s)

    def plan(self, session: Session, series: SeriesFacts, now: datetime) -> Plan:
        """Route one complete series, keep the trace with it, and plan what its rules ask for; the study is locked."""
        trace = route(series.headers, self.rules, self._installed)
        jobs = []
        joined_to = None
        for fired in trace.fired:
            rule = self.rules.by_name[fired.rule]
            key = job_key(rule.pipeline, [series.series_uid])
            search = self._find_companion(session, series, rule, key)
            if search is not None and search.joined_to is not None:
                joined_to = search.joined_to
                continue
            plan = self._job_plan(series, rule, fired, key, search, now)
            jobs.append(RuleJob(rule.name, key, plan_job(session, plan, now)))
        made = Plan(trace, tuple(jobs), joined_to)
        record = trace.as_record()
        record["summary"] = f"{record['summary']} {made.together}".rstrip()
        write_routing(session, series.id, record)
        return made

    def wait_s(self, companion: Companion) -> float:
        """How long a job waits for this companion."""
        return self._companion_wait_s if companion.wait_s is None else companion.wait_s

    def _find_companion(self, session: Session, series: SeriesFacts, rule: Rule, key: str) -> CompanionSearch | None:
        """What stands beside the series of a job; None if its rule wants nothing there."""
        if rule.companion is None or not wants_companion(rule.companion, series):
            return None
        used = companion_in_use(session, key, rule.companion.role)
        return find_companion(rule.companion, series, series_of_study(session, series.study_id), used)

    def _job_plan(
        self,
        series: SeriesFacts,
        rule: Rule,
        fired: RuleTrace,
        key: str,
        search: CompanionSearch | None,
        now: datetime,
    ) -> JobPlan:
        inputs = [PlannedInput(series.id, PRIMARY_ROLE, series.content_revision)]
        trace = fired.as_json()
        wait_until, reason = None, ""
        if rule.companion is not None and search is not None:
            if search.series is not None:
                inputs.append(PlannedInput(search.series.id, rule.companion.role, search.series.content_revision))
                trace["companion"] = f"{rule.companion.role}: series {search.series.series_uid}"
            else:
                wait_until = now + timedelta(seconds=self.wait_s(rule.companion))
                reason = _waiting_reason(rule.companion, search, wait_until)
        return JobPlan(
            key=key,
            study_id=series.study_id,
            pipeline=rule.pipeline,
            rule=rule.name,
            trace=trace,
            destinations=rule.destination_names,
            priority=rule.priority,
            inputs=tuple(inputs),
            wait_until=wait_until,
            reason=reason,
        )


def called(companion: Companion) -> str:
    """The role for people: modalities in capitals."""
    return companion.role.upper() if len(companion.role) <= 3 else companion.role


def _waiting_reason(companion: Companion, search: CompanionSearch, wait_until: datetime) -> str:
    if search.arriving:
        return f"Waiting until the study's {called(companion)} series is complete."
    return f"Waiting for a {called(companion)} series of the study until {wait_until:%Y-%m-%d %H:%M:%S} UTC."
