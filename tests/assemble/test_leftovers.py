"""What nobody will ever ask for is deleted, and nothing else: results without a row, files put aside long ago."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update

from node.assemble import Ingest
from node.assemble.orphans import Orphans
from node.assemble.refused import Refused
from node.assemble.rules import Rules
from node.registry.database import Registry
from node.registry.models import Event, Job, Result, Study
from node.storage import LocalStorage, result_key
from tests.assemble.objects import NOW, Inbox, configure, data_set


class Store:
    """A store with results of one job, registered or not, written at chosen times."""

    def __init__(self, tmp_path: Path, registry: Registry) -> None:
        self.data_dir = tmp_path
        self.registry = registry
        self.storage = LocalStorage(tmp_path)
        self.orphans = Orphans(registry, self.storage)
        with registry.transaction() as session:
            study = Study(study_uid="1.1", created_at=NOW)
            session.add(study)
            session.flush()
            job = Job(key="known", study_id=study.id, pipeline="p", state="failed", available_at=NOW, created_at=NOW)
            session.add(job)
            session.flush()
            self.job_id = job.id

    def put(self, name: str, age: timedelta = timedelta(days=2), job: str = "known", registered: bool = False) -> str:
        source = self.data_dir / "made"
        source.write_bytes(b"result")
        written = (NOW - age).timestamp()
        os.utime(source, (written, written))
        key = result_key(job, 1, name)
        self.storage.adopt(source, key)
        if registered:
            with self.registry.transaction() as session:
                session.add(Result(job_id=self.job_id, kind="seg", sop_uid=name, sop_class_uid="1", series_uid="1",
                                   storage_key=key, sha256="x", byte_count=6, created_at=NOW))  # fmt: skip
        return key

    def set_state(self, state: str) -> None:
        with self.registry.transaction() as session:
            session.execute(update(Job).values(state=state))

    def sweep(self) -> None:
        while self.orphans.step(NOW):
            continue

    def left(self) -> set[str]:
        return {file.key for file in self.storage.files("results")}

    def events(self, kind: str) -> list[Event]:
        with self.registry.reading() as session:
            return list(session.scalars(select(Event).where(Event.kind == kind)))


@pytest.fixture
def store(tmp_path: Path, sqlite_registry: Registry) -> Store:
    return Store(tmp_path, sqlite_registry)


@pytest.mark.parametrize("state", ["failed", "cancelled", "rejected", "done"])
def test_results_of_an_attempt_that_died_for_good_go_and_registered_ones_stay(store: Store, state: str) -> None:
    kept = store.put("1.dcm", registered=True)
    store.put("2.dcm")
    store.put("overlay-1.png")
    store.set_state(state)
    store.sweep()
    assert store.left() == {kept}
    (event,) = store.events("result.orphans_deleted")
    assert event.job_id == store.job_id
    assert event.message == "Deleted: 2 files that an unfinished attempt had stored."
    store.sweep()
    assert len(store.events("result.orphans_deleted")) == 1


@pytest.mark.parametrize("state", ["waiting", "queued", "running"])
def test_results_of_a_job_that_is_still_open_stay(store: Store, state: str) -> None:
    key = store.put("1.dcm")
    store.set_state(state)
    store.sweep()
    assert store.left() == {key}


def test_young_results_and_those_of_a_job_that_the_registry_does_not_know_stay(store: Store) -> None:
    keys = {store.put("1.dcm", timedelta(hours=23)), store.put("1.dcm", job="unknown")}
    store.sweep()
    assert store.left() == keys


def test_received_files_are_never_looked_at(store: Store) -> None:
    source = store.data_dir / "made"
    source.write_bytes(b"image")
    os.utime(source, (0, 0))
    store.storage.adopt(source, "received/1/2/3.v1.dcm")
    store.sweep()
    assert store.storage.exists("received/1/2/3.v1.dcm")


def test_a_job_that_is_tried_again_between_the_look_and_the_deletion_keeps_its_results(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = store.put("1.dcm")
    transaction = Registry.transaction

    def retried_first(registry: Registry):
        monkeypatch.undo()
        store.set_state("running")
        return transaction(registry)

    monkeypatch.setattr(Registry, "transaction", retried_first)
    store.sweep()
    assert store.left() == {key}


def test_more_results_than_one_step_looks_at_are_all_seen(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from node.assemble import orphans

    monkeypatch.setattr(orphans, "FILES_PER_STEP", 2)
    for number in range(5):
        store.put(f"{number}.dcm")
    assert [store.orphans.step(NOW) for _ in range(3)] == [True, True, False]
    assert store.left() == set()


def refuse_one(tmp_path: Path, registry: Registry, **environment: str) -> tuple[Refused, Path]:
    """A file that was put aside now, though it was received long ago."""
    configuration = configure(tmp_path, **environment)
    inbox = Inbox.of(configuration)
    inbox.put(data_set(StudyInstanceUID=None), at=NOW - timedelta(days=200))
    Ingest(configuration, registry, LocalStorage(configuration.data_dir), Rules((), Path())).step(NOW)
    for note in inbox.folders.refused.glob("*.json"):
        os.utime(note, (NOW.timestamp(), NOW.timestamp()))
    return Refused(configuration, registry), inbox.folders.refused


def test_files_put_aside_are_kept_for_their_time_and_then_deleted_with_their_notes(
    tmp_path: Path, sqlite_registry: Registry
) -> None:
    refused, folder = refuse_one(tmp_path, sqlite_registry)
    (name,) = [path.name for path in folder.glob("*.dcm")]
    assert refused.step(NOW + timedelta(days=89)) == 0
    assert len(list(folder.iterdir())) == 2
    assert refused.step(NOW + timedelta(days=91)) == 1
    assert list(folder.iterdir()) == []
    with sqlite_registry.reading() as session:
        event = session.scalars(select(Event).where(Event.kind == "refused.deleted")).one()
    assert event.message == "Deleted: 1 file put aside in spool/refused more than 90 days ago."
    assert event.data == {"files": [name]}
    assert refused.step(NOW + timedelta(days=92)) == 0


def test_files_put_aside_stay_for_ever_where_the_site_says_so(tmp_path: Path, sqlite_registry: Registry) -> None:
    refused, folder = refuse_one(tmp_path, sqlite_registry, OSTEON__RETENTION__REFUSED_DAYS="~")
    assert refused.step(NOW + timedelta(days=9999)) == 0
    assert len(list(folder.iterdir())) == 2
