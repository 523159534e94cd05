"""A job's way from the first byte to the last delivery, step by step, with the time each step took. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from node.dashboard.i18n import Text
from node.registry.queries_job import JobDetail

ATTEMPT_ENDS = {"job.retry", "job.waits", "job.given_back", "job.worker_lost", "job.retried"}


@dataclass(frozen=True)
class Step:
    """Something that happened; `after_s` seconds after the step before, None for the first."""

    at: datetime
    what: Text
    after_s: float | None = None
    level: str = "info"


def timeline(detail: JobDetail) -> list[Step]:
    """The steps in the order of time."""
    steps = [*_receiving(detail), *_working(detail), *_delivering(detail)]
    ordered = sorted(steps, key=lambda step: step.at)
    before: datetime | None = None
    told = []
    for step in ordered:
        told.append(Step(step.at, step.what, (step.at - before).total_seconds() if before else None, step.level))
        before = step.at
    return told


def total_s(steps: list[Step]) -> float:
    """Seconds from the first step to the last."""
    return (steps[-1].at - steps[0].at).total_seconds() if steps else 0.0


def _receiving(detail: JobDetail) -> list[Step]:
    steps = []
    for row in detail.inputs:
        series = row.series
        name = series.description or series.modality or row.role
        steps.append(Step(series.first_received_at, Text("First image of '{name}' came in.", name=name)))
        if series.instance_count > 1:
            steps.append(Step(series.last_received_at, Text("Last image of '{name}' came in.", name=name)))
        if series.completed_at:
            text = Text("'{name}' was complete ({by}).", name=name, by=series.completed_by)
            steps.append(Step(series.completed_at, text))
    return steps


def _working(detail: JobDetail) -> list[Step]:
    job = detail.job
    steps = [Step(job.created_at, Text("The job was made by rule '{rule}'.", rule=job.rule))]
    for event in detail.events:
        if event.kind == "job.started":
            steps.append(Step(event.at, Text("A worker took it.")))
        elif event.kind in ATTEMPT_ENDS:
            steps.append(Step(event.at, Text(event.message), level=event.level))
    if job.finished_at:
        ends = {
            "done": Text("The results were ready."),
            "failed": Text("It failed."),
            "rejected": Text("The content was refused."),
            "cancelled": Text("It was cancelled."),
        }
        level = "error" if job.state == "failed" else "info"
        steps.append(Step(job.finished_at, ends.get(job.state, Text("It ended.")), level=level))
    return steps


def _delivering(detail: JobDetail) -> list[Step]:
    steps = []
    for tale in detail.deliveries:
        one = tale.delivery
        what = {"kind": one.kind.upper(), "destination": one.destination}
        if one.sent_at:
            steps.append(Step(one.sent_at, Text("{kind} was delivered to {destination}.", **what)))
        if one.verified_at:
            steps.append(Step(one.verified_at, Text("{destination} confirmed that it has the {kind}.", **what)))
    return steps
