"""`osteon worker` as a process of its own, with a real Redis, killed and cut off in every way.

The pipeline is the tiny one, installed as a third party's package would be: through an entry point on PYTHONPATH.
One worker process serves several claims of a test where it can, because each start imports torch.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from sqlalchemy import select

from node.jobs.app import INFER, Enqueuer, create_app
from node.jobs.embedded_redis import connect, embedded_url, is_up
from node.jobs.sweep import Sweeper
from node.loopback import free_port
from node.registry.database import Registry
from node.registry.migrate import upgrade
from node.registry.models import Event, Job, Result, Worker
from node.storage import LocalStorage
from tests.fixtures.programs import need_program
from tests.fixtures.queue import MadeJob, configuration, install_tiny_pipeline, make_job, running_redis
from tests.fixtures.running_node import REPOSITORY, wait_for

pytestmark = pytest.mark.slow

Queue = Callable[..., MadeJob]
LEASE_S = 2
START_TIMEOUT_S = 60


@pytest.fixture
def registry(sqlite_registry: Registry) -> Registry:
    return sqlite_registry


class Bench:
    """A data folder with a registry, and what the tests do with it."""

    def __init__(self, folder: Path, registry: Registry, redis_url: str = "") -> None:
        self.folder = folder
        self.registry = registry
        self.configuration = configuration(folder, queue={"url": redis_url})
        self.enqueuer = Enqueuer(create_app(self.configuration))
        self.sweeper = Sweeper(self.configuration.settings, registry, self.enqueuer)
        self.environment = install_tiny_pipeline(folder / "site")
        config = folder / "config"
        config.mkdir()
        values = {"worker": {"device": "cpu", "lease_s": LEASE_S, "retry_backoff_s": 0}, "log": {"format": "json"}}
        (config / "osteon.yaml").write_text(yaml.safe_dump(values))

    @contextmanager
    def worker(self, name: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
        """A worker process, up and ready; killed at the end if it still runs."""
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "node.cli.main", "worker", "--queue", "infer", "--name", name),
                    *("--config", str(self.folder / "config"), "--data", str(self.folder)),
                ],
                env={**os.environ, **self.environment, **environment},
                cwd=REPOSITORY,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            wait_for("the worker", lambda: process.poll() is not None or name in self.workers(), START_TIMEOUT_S)
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait(timeout=20)

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def workers(self) -> list[str]:
        with self.registry.reading() as session:
            return list(session.scalars(select(Worker.name)))

    def job(self, job_id: int) -> Job:
        with self.registry.reading() as session:
            return session.scalars(select(Job).where(Job.id == job_id)).one()

    def results(self, job_id: int) -> int:
        with self.registry.reading() as session:
            return len(session.scalars(select(Result.id).where(Result.job_id == job_id)).all())

    def wait_state(self, job_id: int, state: str, timeout_s: float = 60, sweep: bool = False) -> None:
        def reached() -> bool:
            if sweep:
                self.sweeper.step(datetime.now(UTC))
            return self.job(job_id).state == state

        wait_for(f"job {job_id} to be {state}", reached, timeout_s)

    def started_in_order(self) -> list[int]:
        with self.registry.reading() as session:
            return list(session.scalars(select(Event.job_id).where(Event.kind == "job.started").order_by(Event.id)))


@pytest.fixture
def bench(tmp_path: Path, registry: Registry, storage: LocalStorage) -> Bench:
    return Bench(tmp_path, registry)


def test_the_more_urgent_job_runs_first_and_sigterm_lets_the_running_one_end(bench: Bench, queue_job: Queue) -> None:
    with running_redis(bench.folder):
        jobs = {priority: queue_job(priority=priority).job_id for priority in (9, 5, 7, 0)}
        last = queue_job("slow 3", priority=9).job_id
        for priority, job_id in jobs.items():
            bench.enqueuer.job(job_id, priority)
        bench.enqueuer.job(last, 9)
        with bench.worker("orderly") as worker:
            bench.wait_state(last, "running")
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(timeout=30) == 0
    assert bench.started_in_order() == [jobs[0], jobs[5], jobs[7], jobs[9], last]
    assert bench.job(last).state == "done" and bench.job(last).attempts == 1
    assert bench.workers() == [], "it signs off"


def test_a_job_whose_worker_is_sigkilled_comes_out_once(bench: Bench, queue_job: Queue) -> None:
    made = queue_job("slow 2")
    with running_redis(bench.folder):
        with bench.worker("victim") as victim:
            bench.enqueuer.job(made.job_id, 5)
            bench.wait_state(made.job_id, "running")
            victim.send_signal(signal.SIGKILL)
            victim.wait(timeout=10)
        assert bench.job(made.job_id).state == "running"
        with bench.worker("heir"):
            bench.wait_state(made.job_id, "done", sweep=True)
    done = bench.job(made.job_id)
    assert (done.attempts, bench.results(made.job_id)) == (2, 4)
    with bench.registry.reading() as session:
        assert "job.worker_lost" in set(session.scalars(select(Event.kind).where(Event.job_id == made.job_id)))


def test_two_workers_told_of_the_same_jobs_run_each_once(bench: Bench, queue_job: Queue) -> None:
    with running_redis(bench.folder), ExitStack() as workers:
        for name in ("left", "right"):
            workers.enter_context(bench.worker(name))
        jobs = [queue_job("slow 0.2").job_id for _ in range(6)]
        for job_id in jobs * 3:  # three messages each
            bench.enqueuer.job(job_id, 5)
        for job_id in jobs:
            bench.wait_state(job_id, "done")
        wait_for("the surplus messages to be read", lambda: bench.enqueuer.depth(INFER) == 0, 20)
    assert sorted(bench.started_in_order()) == sorted(jobs)
    assert {bench.job(job_id).attempts for job_id in jobs} == {1}


def test_a_worker_outlives_redis_and_what_redis_forgot_is_still_done(bench: Bench, queue_job: Queue) -> None:
    running, lost = queue_job("slow 2").job_id, queue_job().job_id
    with bench.worker("patient"):  # Redis is not there yet
        with running_redis(bench.folder) as redis:
            bench.enqueuer.job(running, 5)
            bench.enqueuer.job(lost, 5)
            bench.wait_state(running, "running")
            redis.send_signal(signal.SIGKILL)
            redis.wait(timeout=10)
        with running_redis(bench.folder):
            connect(embedded_url(bench.folder)).flushall()
            bench.wait_state(running, "done")
            bench.wait_state(lost, "done", sweep=True)
    assert (bench.results(running), bench.results(lost)) == (4, 4)


@contextmanager
def redis_on_tcp() -> Iterator[str]:
    """The system's redis-server on a free port of loopback, keeping nothing; yields its URL."""
    program, port = need_program("redis-server"), free_port()
    process = subprocess.Popen(
        [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
        stdout=subprocess.DEVNULL,
    )
    url = f"redis://127.0.0.1:{port}/3"
    try:
        wait_for("redis-server", lambda: is_up(url), 20)
        yield url
    finally:
        process.kill()
        process.wait(timeout=10)


@pytest.mark.peer
def test_a_worker_on_another_host_would_need_only_the_urls_and_the_store(
    postgres_url: str, tmp_path: Path, storage: LocalStorage
) -> None:
    registry = Registry(postgres_url)
    upgrade(registry)
    with redis_on_tcp() as redis:
        bench = Bench(tmp_path, registry, redis)
        urgent, relaxed = (make_job(registry, storage, tmp_path / "arriving", priority=p).job_id for p in (0, 9))
        for job_id, priority in ((relaxed, 9), (urgent, 0)):
            assert bench.enqueuer.job(job_id, priority)
        with bench.worker("remote", OSTEON_DATABASE_URL=postgres_url, OSTEON_REDIS_URL=redis) as worker:
            bench.wait_state(relaxed, "done")
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(timeout=30) == 0
        assert bench.started_in_order() == [urgent, relaxed]
    registry.dispose()


def test_a_worker_with_a_broken_gpu_ends_itself_and_keeps_the_job(bench: Bench, queue_job: Queue) -> None:
    made = queue_job("cuda fault")
    with running_redis(bench.folder), bench.worker("faulty") as worker:
        bench.enqueuer.job(made.job_id, 5)
        assert worker.wait(timeout=30) == 0
    assert bench.job(made.job_id).state == "queued"
    assert "worker.must_restart" in bench.log("faulty")


def test_a_worker_whose_gpu_is_missing_refuses_to_start_and_touches_no_job(bench: Bench, queue_job: Queue) -> None:
    made = queue_job()
    with running_redis(bench.folder):
        bench.enqueuer.job(made.job_id, 5)
        with bench.worker("blind", OSTEON__WORKER__DEVICE="cuda:7") as worker:
            assert worker.wait(timeout=60) == 2
        assert bench.enqueuer.depth(INFER) == 1
    assert "cuda:7" in bench.log("blind") and "No job was touched" in bench.log("blind")
    assert (bench.job(made.job_id).state, bench.job(made.job_id).attempts) == ("queued", 0)
