"""The heartbeat of a worker: leases renewed, progress written, the workers' table kept, wishes heard.

    main thread                              heartbeat thread (a database connection of its own)
    with heartbeat.hold(lease) as held: ---> renews the lease, writes progress and the worker's row,
        work; held.progress(0.3, "...") <--- reads whether the lease is lost or the job is to stop
    heartbeat.drain(20 s)               ---> when the time is up: gives the leases back, ends the process

Inference blocks the main thread for minutes, so the lease must not depend on it; and the main thread never waits
for the database to say how far it is. What holds a lease is its `Lease`: a job, or a batch of deliveries.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

import psutil
import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from node.errors import OsteonError
from node.logs import describe_exception
from node.registry.database import Registry
from node.registry.jobs import LeaseLost
from node.registry.workers import WorkerStatus, forget_worker, write_status

TICK_S = 1.0
"""How often a running worker looks whether its job is to stop, and writes progress that has changed."""

RENEWALS_PER_LEASE = 4
"""Renewals within one lease: two may fail (a locked or restarting database) before the lease is in danger."""

STATUS_INTERVAL_S = 10.0

GRACE_S = 20.0
"""What running work may take to end after SIGTERM; below the 30 s after which most supervisors kill."""

STALLED_AFTER_S = 3600.0
"""Work that has not said for so long how far it is will never end: its process is ended and the work given to another.
A heartbeat alone would keep the lease of a worker that hangs in a driver for ever."""

log = structlog.get_logger(__name__)


def utc_now() -> datetime:
    """The time now, in UTC."""
    return datetime.now(UTC)


class Cancelled(OsteonError):
    """A person asked for the job to stop."""


class Lease(Protocol):
    """What a worker holds while it works."""

    @property
    def job_id(self) -> int | None:
        """The job shown beside the worker."""
        ...

    def renew(self, session: Session, now: datetime, lease_s: float, progress: float, text: str) -> bool:
        """Prolong it; False if it is lost."""
        ...

    def stop_wanted(self, session: Session) -> bool:
        """True if a person asked for the work to stop."""
        ...

    def give_back(self, session: Session, now: datetime) -> None:
        """Let somebody else do the work; LeaseLost if somebody else has it already."""
        ...


@dataclass(eq=False)
class Held:
    """A lease in the hands of the heartbeat; the working thread reports to it and learns from it."""

    lease: Lease
    lease_s: float
    renewed_at: float
    prolong: Callable[[Held], None] = field(repr=False)
    steps: int = 0
    seen_steps: int = 0
    stepped_at: float = 0.0
    fraction: float = 0.0
    text: str = ""
    lost: bool = False
    cancelled: bool = False
    changed: bool = field(default=False, repr=False)
    finished: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def progress(self, fraction: float, text: str) -> None:
        """Report how far the work is; raises LeaseLost or Cancelled where it is in vain."""
        self.check()
        self.fraction, self.text, self.changed = min(max(fraction, 0.0), 1.0), text, True
        self.steps += 1

    def confirm(self) -> None:
        """Renew the lease now, and raise LeaseLost or Cancelled if there is no point in going on."""
        with self.lock:
            self.prolong(self)
        self.check()

    @contextmanager
    def finishing(self) -> Iterator[None]:
        """Write the outcome of the work inside this block; the heartbeat stands aside, and for good if it succeeds."""
        with self.lock:
            yield
            self.finished = True

    def check(self) -> None:
        """Raise LeaseLost or Cancelled if there is no point in going on."""
        if self.lost:
            raise LeaseLost("the lease ran out; another worker may have the work by now")
        if self.cancelled:
            raise Cancelled("a person asked for the job to stop")


class Heartbeat:
    """The heartbeat thread of one worker process.

    Parameters
    ----------
    registry
        The thread's own, so that its connection is never busy with somebody else's transaction.
    status
        The worker as it starts; memory and job are filled in at every beat.
    clock, monotonic
        For tests.
    end_process
        What ends the process when it was told to stop and the work did not end in time.
    """

    def __init__(
        self,
        registry: Registry,
        status: WorkerStatus,
        clock: Callable[[], datetime] = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
        end_process: Callable[[int], object] = os._exit,
    ) -> None:
        self._registry = registry
        self._status = status
        self._clock = clock
        self._monotonic = monotonic
        self._end_process = end_process
        self._lock = threading.Lock()
        self._held: list[Held] = []
        self._stop = threading.Event()
        self._drain_until: float | None = None
        self._last_status = float("-inf")
        self._status_due = True
        self._process = psutil.Process(status.pid)
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Write the worker's row and start beating."""
        self.beat()
        self._thread.start()

    def stop(self) -> None:
        """Stop beating and take the worker's row away."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        with suppress(SQLAlchemyError), self._registry.transaction() as session:
            forget_worker(session, self._status.name)
        self._registry.dispose()

    @contextmanager
    def hold(self, lease: Lease, lease_s: float) -> Iterator[Held]:
        """Keep `lease`, just claimed, alive while the block runs."""
        held = Held(lease, lease_s, self._monotonic(), self._prolong, stepped_at=self._monotonic())
        with self._lock:
            self._held.append(held)
            self._status_due = True
        try:
            yield held
        finally:
            with self._lock:
                self._held.remove(held)
                self._status_due = True

    def drain(self, grace_s: float) -> None:
        """The worker was told to stop: what is not done in `grace_s` seconds is given back and the process ended."""
        self._drain_until = self._monotonic() + grace_s

    @property
    def draining(self) -> bool:
        """True once the worker was told to stop: it must not start anything new."""
        return self._drain_until is not None

    def beat(self) -> None:
        """One beat: renew what is due, hear wishes, write the worker's row, end the process if its time is up."""
        with self._lock:
            holding = list(self._held)
        if self._drain_until is not None and self._monotonic() >= self._drain_until:
            self._hand_over(holding)  # first, because a database that is away must not keep the process
            return
        for held in holding:
            with held.lock:
                self._keep(held)
        if self._status_due or self._monotonic() - self._last_status >= STATUS_INTERVAL_S:
            self._write_status(holding)

    def _run(self) -> None:
        while not self._stop.wait(self._pause_s()):
            try:
                self.beat()
            except Exception as error:  # whatever it is: without a heartbeat every lease of this worker would run out
                log.warning("heartbeat.failed", error=describe_exception(error))

    def _pause_s(self) -> float:
        with self._lock:
            shortest = min((held.lease_s for held in self._held), default=float("inf"))
        return min(TICK_S, shortest / (2 * RENEWALS_PER_LEASE))

    def _keep(self, held: Held) -> None:
        if held.lost or held.finished:
            return
        if self._has_stalled(held):
            held.lost = True
            self._end_process(1)
            return
        due = self._monotonic() - held.renewed_at >= held.lease_s / RENEWALS_PER_LEASE
        if due or held.changed:
            self._prolong(held)
        if not held.cancelled:
            with self._registry.reading() as session:
                held.cancelled = held.lease.stop_wanted(session)

    def _has_stalled(self, held: Held) -> bool:
        """Whether the work hangs; its lease is then over."""
        now = self._monotonic()
        if held.steps != held.seen_steps:
            held.seen_steps, held.stepped_at = held.steps, now
        if now - held.stepped_at < STALLED_AFTER_S:
            return False
        log.error("work.stalled", job=held.lease.job_id, last=held.text, silent_s=round(now - held.stepped_at))
        with suppress(SQLAlchemyError), self._registry.transaction() as session:
            held.lease.renew(session, self._clock(), 0.0, held.fraction, held.text)  # the next sweep takes it
        return True

    def _prolong(self, held: Held) -> None:
        held.changed = False
        with self._registry.transaction() as session:
            kept = held.lease.renew(session, self._clock(), held.lease_s, held.fraction, held.text)
        held.renewed_at = self._monotonic()
        if not kept:
            held.lost = True
            log.warning("lease.lost", job=held.lease.job_id)

    def _write_status(self, holding: list[Held]) -> None:
        self._status_due = False
        first = holding[0].lease.job_id if holding else None
        with self._registry.transaction() as session:
            status = WorkerStatus(
                name=self._status.name,
                kind=self._status.kind,
                host=self._status.host,
                pid=self._status.pid,
                device=self._status.device,
                started_at=self._status.started_at,
                rss_bytes=self._process.memory_info().rss,
                job_id=first,
            )
            write_status(session, status, self._clock())
        self._last_status = self._monotonic()

    def _hand_over(self, holding: list[Held]) -> None:
        for held in holding:
            with held.lock, suppress(LeaseLost, SQLAlchemyError):
                if not held.finished:
                    with self._registry.transaction() as session:
                        held.lease.give_back(session, self._clock())
                    log.info("lease.given_back", job=held.lease.job_id)
        with suppress(SQLAlchemyError), self._registry.transaction() as session:
            forget_worker(session, self._status.name)
        self._end_process(0)
