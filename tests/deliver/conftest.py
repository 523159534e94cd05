"""Results that wait to be delivered, as a finished job leaves them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from pydicom import Dataset
from sqlalchemy import select

from node.jobs.app import Enqueuer, create_app
from node.jobs.heartbeat import Heartbeat, utc_now
from node.jobs.infer import JobRunner, Outcome
from node.jobs.publish import planned_deliveries
from node.registry.database import Registry
from node.registry.job_requests import rerun_as_new_revision
from node.registry.jobs import NewResult, claim_job, complete_job
from node.registry.migrate import upgrade
from node.registry.models import Result
from node.registry.workers import WorkerStatus
from node.settings.model import Destination
from node.storage import LocalStorage
from tests.deliver.archive import Archive, running_archive
from tests.deliver.sending import Sender
from tests.fixtures.queue import MadeJob, configuration, make_job, tiny_scan
from tests.fixtures.registry import sqlite_registry
from tests.jobs.tiny_pipeline import TinyPipeline

__all__ = ["sqlite_registry"]

JOBS = 2
"""More than that no test finishes."""


@pytest.fixture
def registry(sqlite_registry: Registry) -> Registry:
    return sqlite_registry


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path)


@pytest.fixture
def heartbeat(registry: Registry) -> Iterator[Heartbeat]:
    beating = Heartbeat(Registry(registry.url), status())
    beating.start()
    yield beating
    beating.stop()


def status() -> WorkerStatus:
    return WorkerStatus("deliverer@here:1", "deliver", "here", os.getpid(), "", utc_now(), 0, None)


@dataclass(frozen=True)
class Analysed:
    """A scan and the results that a job on it made, with their files below `store`."""

    scan: Dataset
    results: tuple[NewResult, ...]
    store: Path


@pytest.fixture(scope="session")
def analysed(tmp_path_factory: pytest.TempPathFactory) -> list[Analysed]:
    """Jobs that were really run, once for all tests of this room: writing SEG and SR takes its time."""
    folder = tmp_path_factory.mktemp("analysed")
    chosen = configuration(folder)
    registry = Registry(chosen.database_url)
    upgrade(registry)
    storage = LocalStorage(folder)
    heartbeat = Heartbeat(Registry(registry.url), status())
    heartbeat.start()
    enqueuer = Enqueuer(create_app(chosen))  # no Redis runs: the tests call the tasks' bodies themselves
    runner = JobRunner(
        chosen, registry, storage, heartbeat, enqueuer, "w@h:1", load_class={"tiny": TinyPipeline}.__getitem__
    )
    found = []
    for _ in range(JOBS):
        scan = tiny_scan()
        made = make_job(registry, storage, folder / "arriving", scan=scan)
        assert runner.run(made.job_id).outcome is Outcome.DONE
        with registry.reading() as session:
            rows = session.scalars(select(Result).where(Result.job_id == made.job_id).order_by(Result.id)).all()
        results = [
            NewResult(
                *(row.kind, row.sop_uid, row.sop_class_uid, row.series_uid),
                *(row.storage_key, row.sha256, row.byte_count),
            )
            for row in rows
        ]
        found.append(Analysed(scan, tuple(results), folder / "store"))
    heartbeat.stop()
    registry.dispose()
    return found


@pytest.fixture
def finish_job(
    tmp_path: Path, registry: Registry, storage: LocalStorage, analysed: list[Analysed]
) -> Callable[..., MadeJob]:
    """Finish a job, so that SEG, SR and SC wait for the given destinations."""
    left = list(analysed)

    def finish(*destinations: Destination, wanted: tuple[str, ...] = (), revises: MadeJob | None = None) -> MadeJob:
        done = left.pop(0)
        made = make_job(registry, storage, tmp_path / "arriving", destinations=wanted, scan=done.scan)
        now = datetime.now(UTC)
        if revises is not None:
            with registry.transaction() as session:
                made = replace(made, job_id=rerun_as_new_revision(session, revises.job_id, now))
        for result in done.results:
            copy = shutil.copyfile(done.store / result.storage_key, tmp_path / "copy")
            storage.adopt(copy, result.storage_key)
        with registry.transaction() as session:
            claim = claim_job(session, made.job_id, "w@h:1/1", now, 60)
            assert claim is not None
            planned = planned_deliveries(done.results, wanted, destinations)
            complete_job(session, claim, now, done.results, planned, {})
        return made

    return finish


@pytest.fixture(scope="session")
def one_archive() -> Iterator[Archive]:
    with running_archive(Archive()) as running:
        yield running


@pytest.fixture
def archive(one_archive: Archive) -> Archive:
    """An archive that is up, as new; starting and ending one takes a second."""
    one_archive.forget()
    return one_archive


@pytest.fixture
def sender(tmp_path: Path, registry: Registry, storage: LocalStorage, heartbeat: Heartbeat) -> Callable[..., Sender]:
    return partial(Sender, tmp_path, registry, storage, heartbeat)
