"""The sweep: finds what nobody holds and what nobody was told of.

    leases that ran out          -> queued or pending again, or failed when the attempts are spent
    queued, due, perhaps unheard -> a wake-up

The broker may lose everything at any time, and nothing says so. The sweep compares: if fewer messages wait in a queue
than jobs are due, some are missing. Then the most urgent due jobs are told again, each at most once in REPEAT_S, a
limited number per sweep. Surplus messages find nothing to claim, so telling too often costs little and telling too
rarely costs only time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import structlog

from node.deliver.backoff import next_attempt_at
from node.jobs.app import DELIVER, INFER, UPKEEP, Enqueuer
from node.registry.confirmations import due_questions
from node.registry.database import Registry
from node.registry.deliveries import count_due_deliveries, due_deliveries, expire_deliveries
from node.registry.jobs import count_due_jobs, due_jobs, expire_leases
from node.registry.workers import forget_silent_workers
from node.settings import Settings

REPEAT_S = 10.0
"""A due job is told again at most this often; well above what an idle worker needs to claim it."""

WAKE_LIMIT = 100
"""Wake-ups per queue and sweep."""

SILENT_WORKER_S = 3600.0
"""Rows of workers that were killed are shown for this long."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Swept:
    """What one sweep did."""

    jobs_back: int = 0
    jobs_failed: int = 0
    deliveries_back: int = 0
    deliveries_failed: int = 0
    woken: int = 0

    def __bool__(self) -> bool:
        """Whether anything was found."""
        return any((self.jobs_back, self.jobs_failed, self.deliveries_back, self.deliveries_failed, self.woken))


class Sweeper:
    """Sweeps when told to; remembers what it has told whom.

    Parameters
    ----------
    settings
        Attempts of jobs, back-off of deliveries.
    monotonic
        Seconds, for the repetition of wake-ups.
    """

    def __init__(
        self,
        settings: Settings,
        registry: Registry,
        enqueuer: Enqueuer,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._enqueuer = enqueuer
        self._monotonic = monotonic
        self._told: dict[tuple[str, int], float] = {}

    def step(self, now: datetime) -> Swept:
        """One sweep; safe to run in several processes at once."""
        with self._registry.transaction() as session:
            expired = expire_leases(session, now, self._settings.worker.max_attempts)
            back, failed = expire_deliveries(session, now, partial(next_attempt_at, now, self._settings.delivery))
            forget_silent_workers(session, now, SILENT_WORKER_S)
        swept = Swept(
            jobs_back=len(expired.queued),
            jobs_failed=len(expired.failed),
            deliveries_back=len(back),
            deliveries_failed=len(failed),
            woken=self._wake(now),
        )
        if expired.queued or expired.failed or back or failed:
            log.warning("sweep.leases_expired", jobs=expired.queued, failed=expired.failed, deliveries=tuple(back))
        return swept

    def _wake(self, now: datetime) -> int:
        with self._registry.reading() as session:
            job_count = count_due_jobs(session, now)
            delivery_count = count_due_deliveries(session, now)
            jobs = due_jobs(session, now, WAKE_LIMIT) if job_count else []
            deliveries = due_deliveries(session, now, WAKE_LIMIT) if delivery_count else []
            questions = due_questions(session, now, WAKE_LIMIT)
        self._forget_old()
        woken = self._tell(INFER, jobs, job_count, self._enqueuer.job)
        woken += self._tell(DELIVER, deliveries, delivery_count, self._enqueuer.delivery)
        return woken + self._tell(UPKEEP, [(one, 0) for one in questions], len(questions), self._ask)

    def _ask(self, delivery_id: int, _priority: int) -> bool:
        return self._enqueuer.confirmation(delivery_id)

    def _tell(self, queue: str, due: Sequence[tuple[int, int]], count: int, send: Callable[[int, int], bool]) -> int:
        if not due:
            return 0
        waiting = self._enqueuer.depth(queue)
        if waiting is None or waiting >= count:
            return 0
        woken = 0
        for number, priority in due:
            if not self._is_due((queue, number)):
                continue
            if not send(number, priority):
                break
            self._note((queue, number))
            woken += 1
        return woken

    def _is_due(self, what: tuple[str, int]) -> bool:
        return self._monotonic() - self._told.get(what, float("-inf")) >= REPEAT_S

    def _note(self, what: tuple[str, int]) -> None:
        self._told[what] = self._monotonic()

    def _forget_old(self) -> None:
        self._told = {what: at for what, at in self._told.items() if self._monotonic() - at < REPEAT_S}
