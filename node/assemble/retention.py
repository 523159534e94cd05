"""Retention: which studies' files may be deleted, and the deleting.

    oldest study with files --deletable?--> its files, then its rows are marked --> event
                             \\-> kept, and why

A study goes when it is processed and delivered and older than `retention.days`, or earlier, oldest first, while the
disk has less than `retention.pressure_free_bytes` left. What is not processed or not delivered stays, however full the
disk gets; the listener then refuses new instances instead. Results that have nowhere to go lie here alone, so their
study goes by age only, after `retention.undelivered_days`. Rows stay for ever.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from node.registry.database import Registry
from node.registry.retention import (
    Cursor,
    JobSnapshot,
    StudySnapshot,
    mark_deleted,
    series_with_files,
    stored_files,
    study_snapshot,
)
from node.registry.states import OPEN_DELIVERY_STATES, OPEN_JOB_STATES, DeliveryState, JobState
from node.settings import Configuration
from node.settings.model import RetentionSettings
from node.storage import Storage

log = structlog.get_logger(__name__)

MAX_STUDIES_PER_STEP = 100
MAX_SERIES_PER_STEP = 2000
"""Series looked at in one step; the next step goes on behind them, so that kept studies do not hide deletable ones."""

LEAST_AGE = timedelta(hours=1)
"""Under pressure, too, what came in the last hour stays: a CT that no rule asked for is the companion of a SPECT that
is still on its way, and a person may be looking at results that were just sent."""

_DELIVERED = (DeliveryState.SENT, DeliveryState.VERIFIED)


@dataclass(frozen=True)
class Decision:
    """Whether a study's files may be deleted, and why or why not."""

    delete: bool
    why: str


@dataclass(frozen=True)
class RetentionReport:
    """What one step deleted."""

    studies: int = 0
    files: int = 0
    byte_count: int = 0

    def __bool__(self) -> bool:
        """Whether anything was deleted."""
        return self.studies > 0


def deletable(study: StudySnapshot, settings: RetentionSettings, now: datetime, free_bytes: int) -> Decision:
    """Decide about one study.

    Parameters
    ----------
    free_bytes
        What the store has left.
    """
    hindrance = _hindrance(study)
    if hindrance:
        return Decision(False, hindrance)
    age = now - study.last_activity_at
    kept_here = _without_destination(study)
    if kept_here is not None:
        return _nowhere_to_go(kept_here, settings, age)
    if age >= timedelta(days=settings.days):
        return Decision(True, f"processed and delivered more than {settings.days:g} days ago")
    if free_bytes < settings.pressure_free_bytes and age >= LEAST_AGE:
        return Decision(True, "processed and delivered, and the disk is nearly full")
    return Decision(False, f"younger than {settings.days:g} days")


def _nowhere_to_go(job: JobSnapshot, settings: RetentionSettings, age: timedelta) -> Decision:
    """Decide about a study with results that no destination was configured for, never for want of room."""
    if settings.undelivered_days is None:
        return Decision(False, f"the results of job {job.id} were never delivered, because it has no destination")
    days = max(settings.days, settings.undelivered_days)
    if age >= timedelta(days=days):
        return Decision(True, f"processed more than {days:g} days ago, with no destination configured for the results")
    return Decision(False, f"younger than {days:g} days, and the results of job {job.id} are nowhere else")


def _newest(study: StudySnapshot) -> list[JobSnapshot]:
    """The newest revision of each job; a cancelled one supersedes nothing, so it comes beside the one before it."""
    newest: dict[tuple[str, bool], JobSnapshot] = {}
    for job in sorted(study.jobs, key=lambda job: job.revision):
        newest[job.key, job.state is JobState.CANCELLED] = job
    return list(newest.values())


def _without_destination(study: StudySnapshot) -> JobSnapshot | None:
    """A job whose results are nowhere else: they have no destination, or were set aside for every one they had."""
    for job in _newest(study):
        if job.results and all(state == DeliveryState.DISMISSED for state in job.deliveries):
            return job
    return None


def _hindrance(study: StudySnapshot) -> str:
    """Why a study is not finished; "" if it is."""
    if study.receiving:
        return "a series of it is still being received"
    for job in study.jobs:
        if job.state in OPEN_JOB_STATES:
            return f"job {job.id} is {job.state}"
        if any(state in OPEN_DELIVERY_STATES for state in job.deliveries):
            return f"results of job {job.id} are still being delivered"
    # Of what was superseded only that must be over; that it succeeded is asked of the newest revision.
    for job in _newest(study):
        if job.state is JobState.FAILED:
            return f"job {job.id} has failed and waits for a person"
        if any(state not in (*_DELIVERED, DeliveryState.DISMISSED) for state in job.deliveries):
            return f"a delivery of job {job.id} has failed and waits for a person"
    return ""


class Retention:
    """Deletes files of finished studies, one bounded step at a time."""

    def __init__(self, configuration: Configuration, registry: Registry, storage: Storage) -> None:
        self._settings = configuration.settings.retention
        self._registry = registry
        self._storage = storage
        self._cursor: Cursor | None = None

    def step(self, now: datetime) -> RetentionReport:
        """Delete what may go, oldest first, up to a bound; the next step goes on where this one stopped."""
        pressed = self._storage.free_bytes() < self._settings.pressure_free_bytes
        before = None if pressed else now - timedelta(days=self._settings.days)
        with self._registry.reading() as session:
            rows = session.execute(series_with_files(before, self._cursor, MAX_SERIES_PER_STEP)).all()
        report = RetentionReport()
        seen: set[int] = set()
        for series_id, received_at, study_id in rows:
            if report.studies >= MAX_STUDIES_PER_STEP:
                return report
            self._cursor = (received_at, series_id)
            if study_id in seen:
                continue
            seen.add(study_id)
            report = self._consider(study_id, now, report)
        if len(rows) < MAX_SERIES_PER_STEP:
            self._cursor = None  # the end: the next step begins with the oldest again
        return report

    def _consider(self, study_id: int, now: datetime, report: RetentionReport) -> RetentionReport:
        """Delete one study if it may go, in one transaction.

        Files go before the rows are marked: after a crash in between the next step finds the study deletable again
        and finishes. The rows are locked meanwhile, so nothing can come for the study.
        """
        with self._registry.transaction() as session:
            study = study_snapshot(session, study_id)
            decision = deletable(study, self._settings, now, self._storage.free_bytes())
            if not decision.delete:
                return report
            files = stored_files(session, study_id)
            for key, _ in files:
                self._storage.delete(key)
            byte_count = sum(size for _, size in files)
            mark_deleted(session, study_id, len(files), byte_count, decision.why, now)
        log.info("retention.deleted", study_uid=study.study_uid, files=len(files), bytes=byte_count, why=decision.why)
        return RetentionReport(report.studies + 1, report.files + len(files), report.byte_count + byte_count)
