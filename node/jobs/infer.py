"""One job from claim to outcome: the body of the task `infer.run`.

    claim --> files of the series --> pipeline: check, run --> objects written, adopted by the store
          --> one transaction: results + deliveries + `done` --> wake-ups for the deliveries

Every way out ends in a state of the table: content refused -> rejected; an error that repetition cannot help -> failed;
any other -> queued again with a back-off, until the attempts are spent; a store that is away or full -> queued again
for a day, with no attempt spent; cancelled by a person -> cancelled. A worker that lost its lease writes nothing.
Results are adopted before the transaction; their names and UIDs come from job key and revision, so an attempt that dies
in between is repaired by the next one writing the same names.

It knows no broker but the `Enqueuer`, and what a pipeline computes it never looks at.
"""

from __future__ import annotations

import traceback as tracebacks
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from node.errors import PermanentError, RetriableError, StoreUnavailable
from node.jobs.app import Enqueuer
from node.jobs.device import compute_options
from node.jobs.heartbeat import Cancelled, Heartbeat, Held, utc_now
from node.jobs.job_log import JobLog
from node.jobs.publish import Publication, publish
from node.logs import describe_exception
from node.registry import jobs
from node.registry.database import Registry
from node.registry.job_files import input_files
from node.registry.job_logs import append_lines
from node.registry.jobs import ClaimedJob, LeaseLost
from node.settings import Configuration
from node.storage import Storage
from pipelines.contract import (
    ContentRefused,
    DeviceError,
    InputSeries,
    Pipeline,
    PipelineInputs,
    WeightsError,
    load_pipeline_class,
)

MAX_RETRY_BACKOFF_S = 3600.0
"""The longest pause between two attempts at a job; physicians wait for it."""

STORE_WAIT_S = 86400.0
"""How long a job waits for a store that is away or full; within a day somebody will have seen to it."""

STORE_PAUSE_S = (15.0, 300.0)
"""Shortest and longest pause of that wait. The intake looks after a file that it could not move every 30 s."""

MAX_TRACEBACK_CHARACTERS = 20_000

RUN_SHARE = 0.9
"""The part of the progress bar that the pipeline has; the rest is writing."""

log = structlog.get_logger(__name__)


class Outcome(StrEnum):
    """How a wake-up ended."""

    NOTHING = "nothing to claim"
    DONE = "done"
    REJECTED = "rejected"
    FAILED = "failed"
    RETRY = "queued again"
    CANCELLED = "cancelled"
    LOST = "lease lost"


@dataclass(frozen=True)
class Ended:
    """How a wake-up ended, and whether this process can be trusted with another one."""

    outcome: Outcome
    process_is_broken: bool = False


@dataclass(frozen=True)
class JobLease:
    """The lease on a job, for the heartbeat; the job's log lines leave with its renewals."""

    claim: ClaimedJob
    log: JobLog = field(default_factory=JobLog)

    @property
    def job_id(self) -> int | None:
        return self.claim.id

    def renew(self, session: Session, now: datetime, lease_s: float, progress: float, text: str) -> bool:
        append_lines(session, self.claim.id, self.log.take())
        return jobs.renew_job(session, self.claim, now, lease_s, progress, text)

    def stop_wanted(self, session: Session) -> bool:
        return jobs.cancel_requested(session, self.claim)

    def give_back(self, session: Session, now: datetime) -> None:
        jobs.give_back(session, self.claim, now)


def retry_pause_s(attempt: int, first_s: float) -> float:
    """Seconds until the attempt after `attempt` (1, 2, ...): doubling, at most MAX_RETRY_BACKOFF_S."""
    return float(min(first_s * 2.0 ** min(attempt - 1, 30), MAX_RETRY_BACKOFF_S))


def store_pause_s(waited_s: float) -> float:
    """Seconds until a job is tried again that the store has held up for `waited_s`."""
    shortest, longest = STORE_PAUSE_S
    return min(max(waited_s / 4.0, shortest), longest)


def breaks_the_process(error: BaseException) -> bool:
    """True where the process must not take another job: a CUDA context does not recover from a fault in a kernel."""
    return isinstance(error, DeviceError) or (isinstance(error, RuntimeError) and "CUDA error" in str(error))


class JobRunner:
    """Runs jobs in this process, one at a time; keeps the pipelines it has loaded.

    Parameters
    ----------
    worker
        Name of the worker, the first part of its claims' tokens.
    load_class
        Finds a pipeline's class by its name.
    clock
        The time now, in UTC.
    """

    def __init__(
        self,
        configuration: Configuration,
        registry: Registry,
        storage: Storage,
        heartbeat: Heartbeat,
        enqueuer: Enqueuer,
        worker: str,
        load_class: Callable[[str], type[Pipeline]] = load_pipeline_class,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._configuration = configuration
        self._settings = configuration.settings.worker
        self._registry = registry
        self._storage = storage
        self._heartbeat = heartbeat
        self._enqueuer = enqueuer
        self._worker = worker
        self._load_class = load_class
        self._clock = clock
        self._pipelines: dict[str, Pipeline] = {}

    def run(self, job_id: int) -> Ended:
        """Claim the job and bring it to an outcome; a job that is not to be had is no error."""
        if self._heartbeat.draining:
            return Ended(Outcome.NOTHING)
        token = f"{self._worker}/{uuid.uuid4().hex[:12]}"
        with self._registry.transaction() as session:
            claim = jobs.claim_job(session, job_id, token, self._clock(), self._settings.lease_s)
        if claim is None:
            return Ended(Outcome.NOTHING)
        bound = log.bind(job=claim.id, pipeline=claim.pipeline, attempt=claim.attempt)
        lines = JobLog()
        with lines.listening():
            bound.info("job.started")
            with self._heartbeat.hold(JobLease(claim, lines), self._settings.lease_s) as held:
                ended = self._outcome(claim, held)
            bound.info("job.ended", outcome=ended.outcome.value)
        self._keep_log(claim, lines)
        return ended

    def _keep_log(self, claim: ClaimedJob, lines: JobLog) -> None:
        try:
            with self._registry.transaction() as session:
                append_lines(session, claim.id, lines.take())
        except SQLAlchemyError as error:  # the outcome is written; lines that are lost change nothing
            log.warning("job.log_not_kept", job=claim.id, error=type(error).__name__)

    def _outcome(self, claim: ClaimedJob, held: Held) -> Ended:
        try:
            return self._attempt(claim, held)
        except LeaseLost:
            return Ended(Outcome.LOST)
        except Exception as error:
            if not isinstance(error, Cancelled | ContentRefused):
                log.warning("job.error", job=claim.id, error=describe_exception(error))
            try:
                return self._record(claim, held, error)
            except LeaseLost:
                return Ended(Outcome.LOST, breaks_the_process(error))

    def _attempt(self, claim: ClaimedJob, held: Held) -> Ended:
        with ExitStack() as files:
            inputs = self._inputs(claim, files)
            held.progress(0.0, "checking the content")
            pipeline = self._pipeline(claim.pipeline)
            pipeline.check(inputs)
            findings = pipeline.run(inputs, lambda fraction, text: held.progress(RUN_SHARE * fraction, text))
            held.progress(RUN_SHARE, "writing results")
            publication = publish(self._configuration, self._registry, self._storage, claim, findings, held)
        deliveries = self._complete(claim, held, publication)
        if deliveries is None:
            return Ended(Outcome.CANCELLED)
        self._enqueuer.deliveries(deliveries, claim.priority)
        return Ended(Outcome.DONE)

    def _complete(self, claim: ClaimedJob, held: Held, publication: Publication) -> list[int] | None:
        with held.finishing(), self._registry.transaction() as session:
            return jobs.complete_job(
                session, claim, self._clock(), publication.results, publication.deliveries, publication.summary
            )

    def _inputs(self, claim: ClaimedJob, files: ExitStack) -> PipelineInputs:
        with self._registry.reading() as session:
            series = input_files(session, claim)
        try:
            return PipelineInputs(
                tuple(
                    InputSeries(
                        one.series_uid,
                        tuple(files.enter_context(self._storage.local_path(key)) for key in one.storage_keys),
                        one.role,
                    )
                    for one in series
                ),
                claim.rule,
            )
        except FileNotFoundError as error:
            # Not for good: the store may be away, or the intake not yet able to move the file there.
            raise StoreUnavailable(
                f"{error}, although the registry knows it; if it stays so, send the series again"
            ) from error
        except OSError as error:
            raise StoreUnavailable(f"the store cannot be read: {error.strerror or type(error).__name__}") from error

    def _pipeline(self, name: str) -> Pipeline:
        if name not in self._pipelines:
            try:
                pipeline = self._load_class(name)()
            except KeyError as error:
                raise PermanentError(str(error.args[0])) from error
            pipeline.load(compute_options(self._configuration))
            self._pipelines[name] = pipeline
        return self._pipelines[name]

    def _record(self, claim: ClaimedJob, held: Held, error: Exception) -> Ended:
        """Write what became of an attempt that raised."""
        now = self._clock()
        text = "".join(tracebacks.format_exception(error))[-MAX_TRACEBACK_CHARACTERS:]
        quoted = f"{type(error).__name__}: {error}"
        broken = breaks_the_process(error)
        with held.finishing(), self._registry.transaction() as session:
            if isinstance(error, Cancelled):
                jobs.stop_cancelled(session, claim, now)
                return Ended(Outcome.CANCELLED)
            if isinstance(error, ContentRefused):
                jobs.reject_job(session, claim, now, str(error))
                return Ended(Outcome.REJECTED)
            if isinstance(error, PermanentError | WeightsError):
                jobs.fail_job(session, claim, now, str(error), quoted, text)
                return Ended(Outcome.FAILED)
            if isinstance(error, StoreUnavailable):
                return _wait_for_store(session, claim, now, error, quoted, text)
            ours = isinstance(error, DeviceError | RetriableError)  # only our own sentences hold no patient data
            why = str(error) if ours else f"{type(error).__name__} in the pipeline's work"
            if claim.attempt >= self._settings.max_attempts:
                jobs.fail_job(session, claim, now, f"{why}; {claim.attempt} attempts were made.", quoted, text)
                return Ended(Outcome.FAILED, broken)
            pause_s = retry_pause_s(claim.attempt, self._settings.retry_backoff_s)
            reason = f"{why}; attempt {claim.attempt + 1} of {self._settings.max_attempts} in {pause_s:.0f} s."
            jobs.retry_later(session, claim, now, now + timedelta(seconds=pause_s), reason, quoted, text)
            return Ended(Outcome.RETRY, broken)


def _wait_for_store(
    session: Session, claim: ClaimedJob, now: datetime, error: StoreUnavailable, quoted: str, text: str
) -> Ended:
    until = claim.wait_until or now + timedelta(seconds=STORE_WAIT_S)
    left_s = (until - now).total_seconds()
    if left_s <= 0:
        jobs.fail_job(session, claim, now, f"{error}; it was waited for {STORE_WAIT_S / 3600:.0f} h.", quoted, text)
        return Ended(Outcome.FAILED)
    pause_s = store_pause_s(STORE_WAIT_S - left_s)
    reason = f"{error}. Tried again in {pause_s:.0f} s."
    jobs.wait_in_queue(session, claim, now, now + timedelta(seconds=pause_s), until, reason)
    return Ended(Outcome.RETRY)
