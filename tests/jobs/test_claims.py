"""Claims and leases: exactly one worker gets a job, keeps it while it renews, and publishes only while it holds it.

On SQLite and on a real PostgreSQL. The race is run by real processes; time is passed in everywhere else.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update

from node.errors import PermanentError
from node.registry import job_requests, jobs
from node.registry.database import Registry
from node.registry.deliveries import PlannedDelivery
from node.registry.jobs import ClaimedJob, LeaseLost, NewResult
from node.registry.models import Delivery, Event, Job, JobInput, Result, Series
from tests.fixtures.queue import MadeJob
from tests.fixtures.running_node import REPOSITORY, wait_for

LEASE_S = 60.0
RACERS = 5
JOBS = 24

Queue = Callable[..., MadeJob]


def later(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


def claim(registry: Registry, job_id: int, token: str = "a/1", at: datetime | None = None) -> ClaimedJob | None:
    with registry.transaction() as session:
        return jobs.claim_job(session, job_id, token, at or later(0), LEASE_S)


def must_claim(registry: Registry, job_id: int, token: str = "a/1") -> ClaimedJob:
    claimed = claim(registry, job_id, token)
    assert claimed is not None
    return claimed


def job(registry: Registry, job_id: int) -> Job:
    with registry.reading() as session:
        return session.execute(select(Job).where(Job.id == job_id)).scalar_one()


def event_kinds(registry: Registry, job_id: int) -> list[str]:
    with registry.reading() as session:
        return list(session.scalars(select(Event.kind).where(Event.job_id == job_id).order_by(Event.id)))


@pytest.mark.slow
def test_of_many_processes_that_claim_the_same_jobs_exactly_one_gets_each(
    registry: Registry, queue_job: Queue, tmp_path: Path
) -> None:
    ids = [queue_job().job_id for _ in range(JOBS)]
    go = tmp_path / "go"
    racers = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.jobs.claimer", registry.url, f"racer{n}", str(go), *map(str, ids)],
            stdout=subprocess.PIPE,
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        )
        for n in range(RACERS)
    ]
    try:
        wait_for("all racers at the line", lambda: len(list(tmp_path.glob("go.racer*"))) == RACERS, 60)
        go.touch()
        won = [json.loads(racer.communicate(timeout=60)[0]) for racer in racers]
    finally:
        for racer in racers:
            racer.kill()
            racer.wait(timeout=10)
    assert Counter(job_id for ids_won in won for job_id in ids_won) == Counter(ids)
    for number, ids_won in enumerate(won):
        assert all(job(registry, job_id).lease_owner == f"racer{number}/1" for job_id in ids_won)
        assert all(job(registry, job_id).attempts == 1 for job_id in ids_won)


def test_a_job_is_not_claimed_before_its_time(registry: Registry, queue_job: Queue) -> None:
    made = queue_job()
    assert claim(registry, made.job_id, at=later(-3600)) is None
    assert claim(registry, made.job_id) is not None


def test_a_renewed_lease_does_not_expire_and_a_silent_one_does(registry: Registry, queue_job: Queue) -> None:
    quiet, lively = (must_claim(registry, queue_job().job_id) for _ in range(2))
    with registry.transaction() as session:
        assert jobs.renew_job(session, lively, later(LEASE_S), LEASE_S, 0.5, "half way")
        expired = jobs.expire_leases(session, later(LEASE_S + 1), max_attempts=3)
    assert expired.queued == (quiet.id,)
    assert (job(registry, quiet.id).state, job(registry, lively.id).state) == ("queued", "running")
    assert job(registry, lively.id).progress == 0.5
    assert event_kinds(registry, quiet.id) == ["job.started", "job.worker_lost"]


def test_the_worker_that_lost_its_lease_can_neither_publish_nor_renew(registry: Registry, queue_job: Queue) -> None:
    made = queue_job()
    late = must_claim(registry, made.job_id, "late/1")
    with registry.transaction() as session:
        jobs.expire_leases(session, later(LEASE_S + 1), max_attempts=3)
    after = later(LEASE_S + 2)
    winner = claim(registry, made.job_id, "winner/1", at=after)
    assert winner is not None and winner.attempt == 2
    result = NewResult("seg", "1.2.3", "1.2", "1.4", "results/x/1.2.3.seg.dcm", "0" * 64, 10)
    with registry.transaction() as session:
        assert not jobs.renew_job(session, late, after, LEASE_S, 0.9, "")
    with pytest.raises(LeaseLost), registry.transaction() as session:
        jobs.complete_job(session, late, after, [result], [], {})
    with registry.transaction() as session:
        jobs.complete_job(session, winner, after, [result], [PlannedDelivery("1.2.3", "pacs")], {"n": 1})
    with registry.reading() as session:
        assert len(session.scalars(select(Result).where(Result.job_id == made.job_id)).all()) == 1
        assert len(session.scalars(select(Delivery)).all()) == 1
    assert job(registry, made.job_id).summary == {"n": 1}


def test_after_the_last_attempt_a_lost_worker_fails_the_job_with_a_sentence(
    registry: Registry, queue_job: Queue
) -> None:
    made = queue_job()
    for attempt in (1, 2):
        claimed = must_claim(registry, made.job_id)
        assert claimed.attempt == attempt
        with registry.transaction() as session:
            expired = jobs.expire_leases(session, later(LEASE_S + 1), max_attempts=2)
        with registry.transaction() as session:
            session.execute(update(Job).values(available_at=later(0)))
    assert expired.failed == (made.job_id,)
    failed = job(registry, made.job_id)
    assert failed.state == "failed" and "lost in each of 2 attempts" in failed.reason
    assert failed.finished_at is not None and failed.lease_owner == ""


def test_a_job_given_back_does_not_lose_an_attempt(registry: Registry, queue_job: Queue) -> None:
    claimed = must_claim(registry, queue_job().job_id)
    with registry.transaction() as session:
        jobs.give_back(session, claimed, later(0))
    again = must_claim(registry, claimed.id, "b/1")
    assert again.attempt == 1


def test_the_leases_of_a_dead_worker_can_be_ended_at_once_and_nobody_elses(
    registry: Registry, queue_job: Queue
) -> None:
    mine, other = (queue_job().job_id for _ in range(2))
    must_claim(registry, mine, "infer_1@h:1/abc")
    must_claim(registry, other, "inferX1@h:1/abc")  # "_" is a wildcard in LIKE
    with registry.transaction() as session:
        assert jobs.expire_holders(session, "infer_1@h:1/", later(0)) == 1
        assert jobs.expire_leases(session, later(0.1), max_attempts=3).queued == (mine,)


def test_a_queued_job_is_cancelled_at_once_and_a_running_one_by_its_worker(
    registry: Registry, queue_job: Queue
) -> None:
    queued, running = queue_job().job_id, queue_job().job_id
    claimed = must_claim(registry, running)
    with registry.transaction() as session:
        assert job_requests.cancel_job(session, queued, later(0)) == "cancelled"
        assert job_requests.cancel_job(session, running, later(0)) == "running"
        assert jobs.cancel_requested(session, claimed)
    with registry.transaction() as session:
        jobs.stop_cancelled(session, claimed, later(0))
    assert [job(registry, n).state for n in (queued, running)] == ["cancelled", "cancelled"]
    assert job(registry, running).reason == "Cancelled by a person."


@pytest.mark.parametrize("way", ["the attempt failed", "the worker was stopped", "the worker was lost"])
def test_a_job_that_is_to_stop_is_never_queued_again(registry: Registry, queue_job: Queue, way: str) -> None:
    claimed = must_claim(registry, queue_job().job_id)
    with registry.transaction() as session:
        job_requests.cancel_job(session, claimed.id, later(0))
    with registry.transaction() as session:
        if way == "the attempt failed":
            jobs.retry_later(session, claimed, later(0), later(1), "why", "error", "traceback")
        elif way == "the worker was stopped":
            jobs.give_back(session, claimed, later(0))
        else:
            jobs.expire_leases(session, later(LEASE_S + 1), max_attempts=3)
    assert job(registry, claimed.id).state == "cancelled"


def test_a_job_that_is_to_stop_publishes_nothing_however_far_it_came(registry: Registry, queue_job: Queue) -> None:
    claimed = must_claim(registry, queue_job().job_id)
    result = NewResult("seg", "1.2.3", "1.2", "1.4", "results/x/1.2.3.seg.dcm", "0" * 64, 10)
    with registry.transaction() as session:
        job_requests.cancel_job(session, claimed.id, later(0))
    with registry.transaction() as session:
        planned = [PlannedDelivery("1.2.3", "pacs")]
        assert jobs.complete_job(session, claimed, later(0), [result], planned, {}) is None
    assert (job(registry, claimed.id).state, job(registry, claimed.id).reason) == (
        "cancelled",
        "Cancelled by a person.",
    )
    with registry.reading() as session:
        assert not session.scalars(select(Result)).all()
        assert not session.scalars(select(Delivery)).all()


def test_retry_gives_a_failed_job_all_its_attempts_and_refuses_a_done_one(registry: Registry, queue_job: Queue) -> None:
    failed, done = (must_claim(registry, queue_job().job_id) for _ in range(2))
    with registry.transaction() as session:
        jobs.fail_job(session, failed, later(0), "why", "error", "traceback")
        jobs.complete_job(session, done, later(0), [], [], {})
    with registry.transaction() as session:
        job_requests.retry_job(session, failed.id, later(0))
    assert must_claim(registry, failed.id).attempt == 1
    with pytest.raises(PermanentError, match="done cannot become queued"), registry.transaction() as session:
        job_requests.retry_job(session, done.id, later(0))


def test_a_superseded_revision_is_not_queued_again(registry: Registry, queue_job: Queue) -> None:
    first = queue_job().job_id
    with registry.transaction() as session:
        job_requests.cancel_job(session, first, later(0))
        job_requests.rerun_as_new_revision(session, first, later(0))
    with pytest.raises(PermanentError, match="superseded by revision 2"), registry.transaction() as session:
        job_requests.retry_job(session, first, later(0))
    assert job(registry, first).state == "cancelled"


@pytest.mark.parametrize("odd", ["'1.5\0' is no number", "half a pair: \ud800"])
def test_an_outcome_is_written_whatever_characters_its_error_quotes(
    registry: Registry, queue_job: Queue, odd: str
) -> None:
    job_id = queue_job().job_id
    claimed = must_claim(registry, job_id)
    with registry.transaction() as session:
        assert jobs.renew_job(session, claimed, later(0), LEASE_S, 0.5, odd)
        jobs.retry_later(session, claimed, later(0), later(-1), odd, odd, odd)
    assert job(registry, job_id).state == "queued"
    claimed = must_claim(registry, job_id, "a/2")
    with registry.transaction() as session:
        jobs.fail_job(session, claimed, later(0), odd, odd, odd)
    failed = job(registry, job_id)
    assert failed.state == "failed"
    assert failed.error[:4] == odd[:4]


def test_a_rerun_is_a_new_revision_on_the_series_as_they_are_now(registry: Registry, queue_job: Queue) -> None:
    first = must_claim(registry, queue_job().job_id)
    with pytest.raises(PermanentError, match="still running"), registry.transaction() as session:
        job_requests.rerun_as_new_revision(session, first.id, later(0))
    with registry.transaction() as session:
        jobs.reject_job(session, first, later(0), "not a bone scan")
        session.execute(update(Series).values(content_revision=7))
    with registry.transaction() as session:
        again = job_requests.rerun_as_new_revision(session, first.id, later(0))
    new = job(registry, again)
    assert (new.key, new.revision, new.supersedes_id, new.state) == (first.key, 2, first.id, "queued")
    with registry.reading() as session:
        assert session.scalars(select(JobInput.content_revision).where(JobInput.job_id == again)).one() == 7
    with pytest.raises(PermanentError, match="revision 2"), registry.transaction() as session:
        job_requests.rerun_as_new_revision(session, first.id, later(0))


def test_due_jobs_come_most_urgent_first_and_priorities_can_be_changed(registry: Registry, queue_job: Queue) -> None:
    relaxed, urgent, normal = (queue_job(priority=p).job_id for p in (9, 0, 5))
    with registry.transaction() as session:
        job_requests.set_priority(session, relaxed, 1, later(0))
        with pytest.raises(PermanentError, match="between 0"):
            job_requests.set_priority(session, relaxed, 10, later(0))
        assert jobs.due_jobs(session, later(0), 10) == [(urgent, 0), (relaxed, 1), (normal, 5)]
        assert jobs.count_due_jobs(session, later(0)) == 3
        assert jobs.due_jobs(session, later(-3600), 10) == []
