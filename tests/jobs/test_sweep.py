"""The sweep and the wake-ups, with a real Redis: whatever Redis loses is told again, and it is never flooded."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update

from node.jobs.app import COOL_DOWN_S, DELIVER, INFER, UPKEEP, Enqueuer, create_app
from node.jobs.embedded_redis import connect, embedded_url
from node.jobs.sweep import REPEAT_S, WAKE_LIMIT, Sweeper
from node.registry import jobs
from node.registry.database import Registry
from node.registry.models import Delivery, Job, Result
from tests.fixtures.queue import MadeJob, configuration, running_redis

Queue = Callable[..., MadeJob]


class Seconds:
    """A monotonic clock that stands still until the test moves it."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def registry(sqlite_registry: Registry) -> Registry:
    return sqlite_registry


@pytest.fixture
def redis_folder(tmp_path: Path) -> Iterator[Path]:
    with running_redis(tmp_path):
        yield tmp_path


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


@pytest.fixture
def enqueuer(redis_folder: Path) -> Enqueuer:
    return Enqueuer(create_app(configuration(redis_folder)))


@pytest.fixture
def sweeper(redis_folder: Path, registry: Registry, enqueuer: Enqueuer, seconds: Seconds) -> Sweeper:
    return Sweeper(configuration(redis_folder).settings, registry, enqueuer, seconds)


def now(seconds: float = 0) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


def test_a_message_holds_the_job_id_and_nothing_else(enqueuer: Enqueuer, redis_folder: Path) -> None:
    assert enqueuer.job(17, priority=3)
    client = connect(embedded_url(redis_folder))
    (message,) = client.lrange("infer\x06\x163", 0, -1)  # each priority has a list of its own
    envelope = json.loads(message)
    args, kwargs, _embedded = json.loads(base64.b64decode(envelope["body"]))
    assert (args, kwargs) == ([17], {})
    assert envelope["content-type"] == "application/json"


def test_what_redis_lost_is_told_again_once(
    sweeper: Sweeper, enqueuer: Enqueuer, queue_job: Queue, redis_folder: Path, seconds: Seconds
) -> None:
    for _ in range(3):
        made = queue_job()
        enqueuer.job(made.job_id, 5)
    assert sweeper.step(now()).woken == 0, "three messages for three jobs: nothing is missing"
    connect(embedded_url(redis_folder)).flushall()
    assert sweeper.step(now()).woken == 3
    assert enqueuer.depth(INFER) == 3
    connect(embedded_url(redis_folder)).flushall()
    assert sweeper.step(now()).woken == 0, "told a moment ago"
    seconds.now = REPEAT_S
    assert sweeper.step(now()).woken == 3


def test_a_long_queue_does_not_flood_redis(
    registry: Registry, sweeper: Sweeper, enqueuer: Enqueuer, queue_job: Queue, seconds: Seconds
) -> None:
    first = queue_job()
    with registry.transaction() as session:
        template = session.scalars(select(Job).where(Job.id == first.job_id)).one()
        for number in range(3 * WAKE_LIMIT):
            session.add(
                Job(
                    key=f"{number}",
                    study_id=template.study_id,
                    pipeline="tiny",
                    state="queued",
                    priority=5,
                    available_at=now(),
                    created_at=now(),
                    destinations=[],
                )
            )
    assert sweeper.step(now()).woken == WAKE_LIMIT
    for _ in range(20):  # nobody works: without a limit each round would add all again
        seconds.now += REPEAT_S
        sweeper.step(now())
    depth = enqueuer.depth(INFER)
    assert depth is not None and depth <= 4 * WAKE_LIMIT


def test_questions_that_nobody_asks_do_not_flood_redis(
    sweeper: Sweeper, enqueuer: Enqueuer, registry: Registry, queue_job: Queue, seconds: Seconds
) -> None:
    job = queue_job()
    with registry.transaction() as session:
        result = Result(job_id=job.job_id, kind="seg", sop_class_uid="1", sop_uid="1.2", series_uid="1.3",
                        storage_key="k", byte_count=1, sha256="0" * 64, created_at=now())  # fmt: skip
        session.add(result)
        session.flush()
        session.add_all(
            Delivery(
                result_id=result.id, destination=f"pacs-{n}", state="sent", next_attempt_at=now(-1), created_at=now()
            )
            for n in range(5)
        )
    for _ in range(4):
        sweeper.step(now())
        seconds.now += REPEAT_S + 1
        assert enqueuer.depth(UPKEEP) == 5


def test_the_most_urgent_are_told_first(sweeper: Sweeper, queue_job: Queue, redis_folder: Path) -> None:
    for priority in (9, 0, 4):
        queue_job(priority=priority)
    sweeper.step(now())
    client = connect(embedded_url(redis_folder))
    lengths = {key: client.llen(key) for key in sorted(client.keys("infer*"))}
    assert list(lengths) == [b"infer", b"infer\x06\x164", b"infer\x06\x169"]  # priority 0 has no suffix
    assert set(lengths.values()) == {1}


def test_a_job_whose_worker_was_lost_is_told_again(
    registry: Registry, sweeper: Sweeper, enqueuer: Enqueuer, queue_job: Queue
) -> None:
    made = queue_job()
    with registry.transaction() as session:
        assert jobs.claim_job(session, made.job_id, "killed/1", now(), 2)
    assert not sweeper.step(now())
    swept = sweeper.step(now(3))
    assert (swept.jobs_back, swept.woken) == (1, 1)
    assert enqueuer.depth(INFER) == 1


def test_a_job_that_waits_for_its_next_attempt_is_told_when_it_is_due(
    registry: Registry, sweeper: Sweeper, queue_job: Queue
) -> None:
    queue_job()
    with registry.transaction() as session:
        session.execute(update(Job).values(available_at=now(30)))
    assert sweeper.step(now()).woken == 0
    assert sweeper.step(now(31)).woken == 1


def test_the_depth_of_a_queue_that_was_never_used_is_zero(enqueuer: Enqueuer) -> None:
    assert enqueuer.depth(DELIVER) == 0


def test_without_redis_a_sweep_still_brings_lost_work_back(
    registry: Registry, tmp_path: Path, queue_job: Queue
) -> None:
    chosen = configuration(tmp_path)
    made = queue_job()
    with registry.transaction() as session:
        jobs.claim_job(session, made.job_id, "killed/1", now(), 2)
    swept = Sweeper(chosen.settings, registry, Enqueuer(create_app(chosen))).step(now(3))
    assert (swept.jobs_back, swept.woken) == (1, 0)


@pytest.mark.slow
def test_a_redis_that_swallows_everything_holds_a_producer_up_once(tmp_path: Path, seconds: Seconds) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and never answers
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        enqueuer = Enqueuer(create_app(configuration(tmp_path, queue={"url": url})), monotonic=seconds)

        def called() -> int:
            count = 0
            silent.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    silent.accept()[0].close()
                    count += 1
            return count

        assert not enqueuer.job(1, 5)
        assert called() >= 1
        assert not enqueuer.job(2, 5)
        assert enqueuer.depth(INFER) is None
        assert called() == 0, "nobody tries during the cool-down"
        seconds.now = COOL_DOWN_S
        assert not enqueuer.job(3, 5)
        assert called() >= 1
