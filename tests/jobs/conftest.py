"""Both databases, and one worker's surroundings without its process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from node.jobs.app import Enqueuer, create_app
from node.jobs.heartbeat import Heartbeat, utc_now
from node.registry.database import Registry
from node.registry.workers import WorkerStatus
from node.storage import LocalStorage
from tests.fixtures.postgres import postgres_server, postgres_url
from tests.fixtures.queue import MadeJob, configuration, make_job
from tests.fixtures.registry import registry, sqlite_registry

__all__ = ["postgres_server", "postgres_url", "registry", "sqlite_registry"]


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path)


@pytest.fixture
def queue_job(registry: Registry, storage: LocalStorage, tmp_path: Path) -> Callable[..., MadeJob]:
    """Queue a job for the tiny pipeline on a scan of its own; arguments as `make_job`'s."""
    return lambda description="", **more: make_job(registry, storage, tmp_path / "arriving", description, **more)


@pytest.fixture
def heartbeat(registry: Registry) -> Iterator[Heartbeat]:
    """A running heartbeat on a connection of its own."""
    import os

    status = WorkerStatus("tester@here:1", "infer", "here", os.getpid(), "CPU", utc_now(), 0, None)
    beating = Heartbeat(Registry(registry.url), status)
    beating.start()
    yield beating
    beating.stop()


@pytest.fixture
def deaf_enqueuer(tmp_path: Path) -> Enqueuer:
    """An enqueuer whose Redis is not running: nothing that matters may depend on it."""
    return Enqueuer(create_app(configuration(tmp_path)))
