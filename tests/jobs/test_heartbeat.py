"""The heartbeat: leases outlive the work by themselves, and the worker hears when it works in vain.

Beats are called by hand with a clock that the test moves; one test runs the thread.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.exc import OperationalError

from node.jobs.heartbeat import GRACE_S, STALLED_AFTER_S, Cancelled, Heartbeat
from node.jobs.infer import JobLease
from node.registry import job_requests, jobs
from node.registry.database import Registry
from node.registry.jobs import ClaimedJob, LeaseLost
from node.registry.models import Job, Worker
from node.registry.workers import WorkerStatus
from tests.fixtures.queue import MadeJob
from tests.fixtures.running_node import wait_for

LEASE_S = 60.0


class Clock:
    """Wall clock and monotonic clock that stand still until the test moves them."""

    def __init__(self) -> None:
        self.start = datetime.now(UTC)
        self.seconds = 0.0

    def now(self) -> datetime:
        return self.start + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def registry(sqlite_registry: Registry) -> Registry:
    return sqlite_registry


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ended() -> list[int]:
    """Exit codes with which the heartbeat wanted to end the process."""
    return []


@pytest.fixture
def beating(registry: Registry, clock: Clock, ended: list[int]) -> Iterator[Heartbeat]:
    status = WorkerStatus("w@h:1", "infer", "h", os.getpid(), "CPU", clock.now(), 0, None)
    heartbeat = Heartbeat(Registry(registry.url), status, clock.now, clock.monotonic, ended.append)
    yield heartbeat
    heartbeat.stop()


@pytest.fixture
def claimed(registry: Registry, queue_job: Callable[..., MadeJob], clock: Clock) -> ClaimedJob:
    made = queue_job()
    with registry.transaction() as session:
        session.execute(update(Job).values(available_at=clock.now()))
        claim = jobs.claim_job(session, made.job_id, "w@h:1/abc", clock.now(), LEASE_S)
    assert claim is not None
    return claim


def row(registry: Registry, job_id: int) -> Job:
    with registry.reading() as session:
        return session.scalars(select(Job).where(Job.id == job_id)).one()


def test_a_lease_is_renewed_while_the_work_says_nothing(
    registry: Registry, beating: Heartbeat, claimed: ClaimedJob, clock: Clock
) -> None:
    with beating.hold(JobLease(claimed), LEASE_S):
        for _ in range(10):
            clock.seconds += LEASE_S / 3
            beating.beat()
    until = row(registry, claimed.id).lease_until
    assert until is not None and until > clock.now()


def test_progress_reaches_the_registry_and_bounds_are_kept(
    registry: Registry, beating: Heartbeat, claimed: ClaimedJob
) -> None:
    with beating.hold(JobLease(claimed), LEASE_S) as held:
        held.progress(1.7, "over the top")
        beating.beat()
    assert (row(registry, claimed.id).progress, row(registry, claimed.id).progress_text) == (1.0, "over the top")


def test_the_work_hears_that_its_lease_is_lost(
    registry: Registry, beating: Heartbeat, claimed: ClaimedJob, clock: Clock
) -> None:
    with beating.hold(JobLease(claimed), LEASE_S) as held:
        clock.seconds = LEASE_S + 1
        with registry.transaction() as session:
            jobs.expire_leases(session, clock.now(), max_attempts=3)
        beating.beat()
        with pytest.raises(LeaseLost):
            held.progress(0.5, "in vain")


def test_confirming_asks_the_registry_at_once(
    registry: Registry, beating: Heartbeat, claimed: ClaimedJob, clock: Clock
) -> None:
    with beating.hold(JobLease(claimed), LEASE_S) as held:
        held.confirm()
        with registry.transaction() as session:
            jobs.expire_leases(session, clock.now() + timedelta(seconds=LEASE_S + 1), max_attempts=3)
        with pytest.raises(LeaseLost):
            held.confirm()


def test_the_work_hears_that_it_is_to_stop(registry: Registry, beating: Heartbeat, claimed: ClaimedJob) -> None:
    with beating.hold(JobLease(claimed), LEASE_S) as held:
        held.check()
        with registry.transaction() as session:
            job_requests.cancel_job(session, claimed.id, datetime.now(UTC))
        beating.beat()
        with pytest.raises(Cancelled):
            held.check()


def test_a_drained_worker_gives_its_work_back_when_the_time_is_up(
    registry: Registry, beating: Heartbeat, claimed: ClaimedJob, clock: Clock, ended: list[int]
) -> None:
    beating.beat()
    with beating.hold(JobLease(claimed), LEASE_S):
        beating.drain(GRACE_S)
        clock.seconds = GRACE_S - 1
        beating.beat()
        assert not ended and row(registry, claimed.id).state == "running"
        clock.seconds = GRACE_S
        beating.beat()
    assert ended == [0]
    assert (row(registry, claimed.id).state, row(registry, claimed.id).attempts) == ("queued", 0)
    with registry.reading() as session:
        assert session.scalars(select(Worker)).all() == []


def test_work_that_says_nothing_for_an_hour_is_taken_from_its_process(
    registry: Registry, beating: Heartbeat, claimed: ClaimedJob, clock: Clock, ended: list[int]
) -> None:
    with beating.hold(JobLease(claimed), LEASE_S) as held:
        for _ in range(3):  # slow, but it moves
            clock.seconds += STALLED_AFTER_S - 1
            held.progress(0.5, "the long step")
            beating.beat()
        assert ended == []
        clock.seconds += STALLED_AFTER_S
        beating.beat()
    assert ended == [1]
    with registry.transaction() as session:
        assert jobs.expire_leases(session, clock.now(), max_attempts=3).queued == (claimed.id,)


def break_database(registry: Registry) -> None:
    """What a database that is away looks like to whoever asks it."""
    with registry.engine.begin() as connection:
        for table in ("deliveries", "results", "job_inputs", "jobs", "workers"):
            connection.execute(text(f"DROP TABLE {table}"))


def test_a_worker_told_to_stop_ends_in_its_time_even_if_the_database_is_away(
    registry: Registry, beating: Heartbeat, claimed: ClaimedJob, clock: Clock, ended: list[int]
) -> None:
    with beating.hold(JobLease(claimed), LEASE_S):
        beating.drain(GRACE_S)
        break_database(registry)
        clock.seconds = GRACE_S
        beating.beat()
    assert ended == [0]


def test_work_that_hangs_is_ended_even_if_the_database_is_away(
    registry: Registry, beating: Heartbeat, claimed: ClaimedJob, clock: Clock, ended: list[int]
) -> None:
    with beating.hold(JobLease(claimed), LEASE_S):
        break_database(registry)
        clock.seconds = STALLED_AFTER_S
        with pytest.raises(OperationalError):
            beating.beat()
    assert ended == [1]


def test_one_beat_that_fails_in_whatever_way_is_not_the_last(heartbeat: Heartbeat) -> None:
    class Odd:
        """A lease whose first renewal meets an error that no database raises."""

        job_id = None
        renewals = 0

        def renew(self, *_: object) -> bool:
            self.renewals += 1
            if self.renewals == 1:
                raise RuntimeError
            return True

        def stop_wanted(self, session: object) -> bool:
            return False

        def give_back(self, session: object, now: object) -> None: ...

    lease = Odd()
    with heartbeat.hold(lease, 0.4):
        wait_for("another renewal", lambda: lease.renewals > 1, 20)


def test_an_outcome_that_is_being_written_is_not_given_back(
    registry: Registry, beating: Heartbeat, claimed: ClaimedJob, clock: Clock, ended: list[int]
) -> None:
    with beating.hold(JobLease(claimed), LEASE_S) as held:
        with held.finishing(), registry.transaction() as session:
            jobs.complete_job(session, claimed, clock.now(), [], [], {})
        beating.drain(0.0)
        beating.beat()
    assert ended == [0]
    assert row(registry, claimed.id).state == "done"


def test_the_running_thread_shows_the_worker_and_its_job(
    registry: Registry, heartbeat: Heartbeat, claimed: ClaimedJob
) -> None:
    def shown() -> list[Worker]:
        with registry.reading() as session:
            return list(session.scalars(select(Worker)))

    assert [worker.job_id for worker in shown()] == [None]
    with heartbeat.hold(JobLease(claimed), 2.0):
        wait_for("the job beside the worker", lambda: shown()[0].job_id == claimed.id, 10)
    wait_for("the worker idle again", lambda: shown()[0].job_id is None, 10)
    assert shown()[0].rss_bytes > 1_000_000
