"""Results that wait to be delivered, as a finished job leaves them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from node.jobs.app import Enqueuer, create_app
from node.jobs.heartbeat import Heartbeat, utc_now
from node.jobs.infer import JobRunner, Outcome
from node.registry.database import Registry
from node.registry.workers import WorkerStatus
from node.settings.model import Destination
from node.storage import LocalStorage
from tests.fixtures.queue import MadeJob, configuration, make_job
from tests.fixtures.registry import sqlite_registry
from tests.jobs.tiny_pipeline import TinyPipeline

__all__ = ["sqlite_registry"]


@pytest.fixture
def registry(sqlite_registry: Registry) -> Registry:
    return sqlite_registry


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path)


@pytest.fixture
def heartbeat(registry: Registry) -> Iterator[Heartbeat]:
    status = WorkerStatus("deliverer@here:1", "deliver", "here", os.getpid(), "", utc_now(), 0, None)
    beating = Heartbeat(Registry(registry.url), status)
    beating.start()
    yield beating
    beating.stop()


@pytest.fixture
def finish_job(
    tmp_path: Path, registry: Registry, storage: LocalStorage, heartbeat: Heartbeat
) -> Callable[..., MadeJob]:
    """Run a job to its end, so that SEG, SR and SC wait for the given destinations."""

    def finish(*destinations: Destination, wanted: tuple[str, ...] = ()) -> MadeJob:
        chosen = configuration(tmp_path, destinations)
        made = make_job(registry, storage, tmp_path / "arriving", destinations=wanted)
        enqueuer = Enqueuer(create_app(chosen))  # no Redis runs: the tests call the tasks' bodies themselves
        runner = JobRunner(
            chosen, registry, storage, heartbeat, enqueuer, "w@h:1", load_class={"tiny": TinyPipeline}.__getitem__
        )
        assert runner.run(made.job_id).outcome is Outcome.DONE
        return made

    return finish
