"""The inbox is emptied into registry and store: nothing that was acknowledged is lost, nothing is there twice.

Run on SQLite; what only a database can get wrong (conflicts, lengths, odd characters) is tested on both in
tests/registry. Crashes are simulated in test_ingest_crash.py.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from node.assemble import Ingest, IngestReport
from node.assemble.instance_file import digest_file
from node.registry.database import Registry
from node.registry.models import Event, Instance, OpenAssociation, Series, Study
from node.settings import Configuration
from node.storage import LocalStorage
from node.storage.spool import AssociationEnd
from tests.assemble.objects import NOW, ROOT, Inbox, configure, data_set, part10


@pytest.fixture
def configuration(tmp_path: Path) -> Configuration:
    return configure(tmp_path)


@pytest.fixture
def storage(configuration: Configuration) -> LocalStorage:
    return LocalStorage(configuration.data_dir)


@pytest.fixture
def inbox(configuration: Configuration) -> Inbox:
    return Inbox.of(configuration)


@pytest.fixture
def ingest(configuration: Configuration, sqlite_registry: Registry, storage: LocalStorage) -> Ingest:
    return Ingest(configuration, sqlite_registry, storage)


def instances(registry: Registry) -> list[Instance]:
    with registry.reading() as session:
        return list(session.scalars(select(Instance).order_by(Instance.id)))


def the_series(registry: Registry) -> Series:
    with registry.reading() as session:
        return session.scalars(select(Series)).one()


def events(registry: Registry) -> list[str]:
    with registry.reading() as session:
        return list(session.scalars(select(Event.kind).order_by(Event.id)))


def test_an_instance_becomes_a_row_and_its_file_moves_to_the_store(
    ingest: Ingest, inbox: Inbox, storage: LocalStorage, sqlite_registry: Registry
) -> None:
    content = part10(data_set())
    inbox.put(content, "a1")
    assert ingest.step(NOW) == IngestReport(new=1)
    assert inbox.left() == ["a1.assoc"]
    (row,) = instances(sqlite_registry)
    assert (row.sop_uid, row.version, row.current) == (f"{ROOT}.1.1.1", 1, True)
    with storage.local_path(row.storage_key) as path:
        assert path.read_bytes() == content
        assert row.sha256 == digest_file(path).sha256
    series = the_series(sqlite_registry)
    assert (series.modality, series.description, series.source_aet, series.called_aet) == (
        "NM", "WB BONE", "SCANNER", "OSTEON",
    )  # fmt: skip
    assert (series.instance_count, series.content_revision, series.byte_count) == (1, 1, len(content))
    assert series.headers["CallingAET"] == "SCANNER"


def test_an_empty_inbox_is_no_work(ingest: Ingest) -> None:
    assert not ingest.step(NOW)


def test_an_identical_resend_by_another_node_is_dropped_and_changes_nothing(
    ingest: Ingest, inbox: Inbox, sqlite_registry: Registry
) -> None:
    inbox.put(part10(data_set(), "SCANNER"), "a1")
    ingest.step(NOW)
    inbox.put(part10(data_set(), "PACS"), "a2")
    assert ingest.step(NOW + timedelta(seconds=9)) == IngestReport(identical=1)
    assert len(instances(sqlite_registry)) == 1
    assert the_series(sqlite_registry).content_revision == 1
    assert not [name for name in inbox.left() if name.endswith(".dcm")]


def test_other_bytes_under_the_same_uid_are_a_new_version_and_the_old_one_is_kept(
    ingest: Ingest, inbox: Inbox, storage: LocalStorage, sqlite_registry: Registry
) -> None:
    inbox.put(data_set())
    ingest.step(NOW)
    inbox.put(data_set(SeriesDescription="corrected"))
    assert ingest.step(NOW) == IngestReport(new_versions=1)
    old, new = instances(sqlite_registry)
    assert [(old.version, old.current), (new.version, new.current)] == [(1, False), (2, True)]
    assert storage.exists(old.storage_key)
    assert storage.exists(new.storage_key)
    series = the_series(sqlite_registry)
    assert (series.instance_count, series.content_revision, series.description) == (1, 2, "corrected")
    assert "instance.new_version" in events(sqlite_registry)


def test_an_old_version_that_comes_again_does_not_replace_the_newer_one(
    ingest: Ingest, inbox: Inbox, sqlite_registry: Registry
) -> None:
    for description in ("first", "second", "first"):
        inbox.put(data_set(SeriesDescription=description))
        ingest.step(NOW)
    assert [(row.version, row.current) for row in instances(sqlite_registry)] == [(1, False), (2, True)]
    assert the_series(sqlite_registry).description == "second"


def test_versions_and_copies_within_one_batch_are_told_apart_in_their_order(
    ingest: Ingest, inbox: Inbox, sqlite_registry: Registry
) -> None:
    for description in ("first", "first", "second", "second", "third"):
        inbox.put(data_set(SeriesDescription=description))
    assert ingest.step(NOW) == IngestReport(new=1, identical=2, new_versions=2)
    assert [(row.version, row.current) for row in instances(sqlite_registry)] == [(1, False), (2, False), (3, True)]


def test_the_same_sop_uid_in_another_series_is_kept_apart(
    ingest: Ingest, inbox: Inbox, sqlite_registry: Registry
) -> None:
    inbox.put(data_set(1, 1, SOPInstanceUID="1.2.3"))
    inbox.put(data_set(1, 2, SOPInstanceUID="1.2.3"))
    assert ingest.step(NOW) == IngestReport(new=2)
    keys = {row.storage_key for row in instances(sqlite_registry)}
    assert keys == {f"received/{ROOT}.1/{ROOT}.1.{n}/1.2.3.v1.dcm" for n in (1, 2)}


def test_a_series_that_claims_another_study_is_put_aside_so_that_patients_do_not_mix(
    ingest: Ingest, inbox: Inbox, sqlite_registry: Registry
) -> None:
    inbox.put(data_set())
    inbox.put(data_set(2, 1, StudyInstanceUID="1.9.9"))
    assert ingest.step(NOW) == IngestReport(new=1, refused=1)
    inbox.put(data_set(3, 1, StudyInstanceUID="1.9.9"))
    assert ingest.step(NOW) == IngestReport(refused=1)
    with sqlite_registry.reading() as session:
        assert list(session.scalars(select(Study.study_uid))) == [f"{ROOT}.1"]
    reasons = [json.loads(path.read_text())["reason"] for path in inbox.folders.refused.glob("*.reason.json")]
    assert len(reasons) == 2
    assert all("two patients may be mixed up" in reason for reason in reasons)


def test_a_late_instance_reopens_a_complete_series(ingest: Ingest, inbox: Inbox, sqlite_registry: Registry) -> None:
    inbox.put(data_set(1))
    ingest.step(NOW)
    with sqlite_registry.transaction() as session:
        series = session.scalars(select(Series)).one()
        series.state, series.completed_at, series.completed_by = "complete", NOW, "quiet"
    inbox.put(data_set(1))
    ingest.step(NOW)
    assert the_series(sqlite_registry).state == "complete"  # a copy reopens nothing
    inbox.put(data_set(2))
    ingest.step(NOW)
    series = the_series(sqlite_registry)
    assert (series.state, series.content_revision, series.completed_at) == ("receiving", 2, None)
    assert "series.reopened" in events(sqlite_registry)


def test_what_cannot_be_registered_is_put_aside_with_a_reason_and_an_event(
    ingest: Ingest, inbox: Inbox, sqlite_registry: Registry
) -> None:
    garbage = inbox.put(b"no DICOM at all" * 50).name
    homeless = inbox.put(part10(data_set(StudyInstanceUID=None)), sop_uid="1.2.9").name
    stranger = inbox.path / "dropped by hand.dcm"
    stranger.write_bytes(b"x")
    inbox.put(data_set())
    assert ingest.step(NOW) == IngestReport(new=1, refused=3)
    refused = inbox.folders.refused
    assert {path.name for path in refused.glob("*.dcm")} == {garbage, homeless, stranger.name}
    reason = json.loads((refused / f"{homeless}.reason.json").read_text())
    assert "it names no study" in reason["reason"]
    assert events(sqlite_registry).count("instance.refused") == 3
    assert not ingest.step(NOW)


def test_every_odd_and_fuzzed_file_is_registered_or_put_aside_and_none_is_left(
    ingest: Ingest, inbox: Inbox, sqlite_registry: Registry, shared_data: Path
) -> None:
    sources = sorted((shared_data / "fuzz").iterdir())[::6] + sorted((shared_data / "odd").iterdir())
    for number, source in enumerate(sources):
        inbox.put(source.read_bytes(), "fuzz", f"1.2.{number + 1}")
    inbox.put(data_set())
    report = ingest.step(NOW)
    while report.backlog:
        report += ingest.step(NOW)
    kept = list(inbox.folders.refused.glob("*.dcm"))
    assert report.new + report.identical + report.new_versions + len(kept) == len(sources) + 1
    assert not list(inbox.path.glob("*.dcm"))
    good = [row for row in instances(sqlite_registry) if row.sop_uid == f"{ROOT}.1.1.1"]
    assert len(good) == 1


def test_hostile_lengths_and_characters_are_cut_to_what_the_database_takes(
    ingest: Ingest, inbox: Inbox, sqlite_registry: Registry
) -> None:
    dataset = data_set(PatientName="N" * 5000, PatientID="P" * 5000, SeriesDescription="d\x07" * 400, Modality="M" * 90)
    inbox.put(dataset)
    assert ingest.step(NOW) == IngestReport(new=1)
    series = the_series(sqlite_registry)
    assert (len(series.modality), len(series.description)) == (32, 256)
    assert "\x07" not in series.description
    with sqlite_registry.reading() as session:
        study = session.scalars(select(Study)).one()
    assert (len(study.patient_id), len(study.patient_name)) == (128, 512)


def test_series_are_open_until_every_association_that_sent_to_them_is_over(
    ingest: Ingest, inbox: Inbox, sqlite_registry: Registry
) -> None:
    inbox.put(data_set(1), "a1")
    inbox.put(data_set(2), "a2")
    ingest.step(NOW)
    assert the_series(sqlite_registry).association_released_at is None
    inbox.end("a1")
    assert ingest.step(NOW + timedelta(seconds=1)) == IngestReport(associations_ended=1)
    assert the_series(sqlite_registry).association_released_at is None
    inbox.end("a2")
    ingest.step(NOW + timedelta(seconds=2))
    assert the_series(sqlite_registry).association_released_at == NOW + timedelta(seconds=2)
    assert inbox.left() == []


def test_a_lost_association_does_not_release_its_series_and_the_series_tells_so(
    ingest: Ingest, inbox: Inbox, sqlite_registry: Registry
) -> None:
    inbox.put(data_set(1), "a1")
    inbox.end("a1", AssociationEnd.LOST)
    assert ingest.step(NOW) == IngestReport(new=1, associations_ended=1)
    assert the_series(sqlite_registry).association_released_at is None
    assert events(sqlite_registry) == ["series.opened", "series.broken_off"]
    assert inbox.left() == []


def test_an_empty_mark_of_an_older_version_ends_the_association_without_releasing_its_series(
    ingest: Ingest, inbox: Inbox, sqlite_registry: Registry
) -> None:
    inbox.put(data_set(1), "a1")
    (inbox.path / "a1.end").touch()
    assert ingest.step(NOW) == IngestReport(new=1, associations_ended=1)
    assert the_series(sqlite_registry).association_released_at is None
    with sqlite_registry.reading() as session:
        assert not session.scalars(select(OpenAssociation)).all()
    assert inbox.left() == []


def test_of_two_ends_found_at_once_the_later_one_decides(
    ingest: Ingest, inbox: Inbox, sqlite_registry: Registry
) -> None:
    """Names are no order: here the attempt that was released comes first by name and last by time."""
    for series, ends in ((1, {"b1": AssociationEnd.LOST, "a1": AssociationEnd.RELEASED}),
                         (2, {"c1": AssociationEnd.RELEASED, "d1": AssociationEnd.LOST})):  # fmt: skip
        for later, (token, how) in enumerate(ends.items()):
            inbox.put(data_set(later + 1, series), token)
            inbox.end(token, how)
            os.utime(inbox.path / f"{token}.end", (later, later))
    ingest.step(NOW)
    with sqlite_registry.reading() as session:
        released = session.scalars(select(Series.association_released_at).order_by(Series.series_uid)).all()
    assert released == [NOW, None]


def test_an_association_ends_only_after_its_last_instance_is_registered(
    ingest: Ingest, inbox: Inbox, sqlite_registry: Registry
) -> None:
    for number in range(3):
        inbox.put(data_set(number + 1), "a1")
    inbox.end("a1")
    assert ingest.step(NOW, limit=2) == IngestReport(new=2, backlog=True)
    assert the_series(sqlite_registry).association_released_at is None
    assert ingest.step(NOW, limit=2) == IngestReport(new=1, associations_ended=1)
    assert the_series(sqlite_registry).association_released_at == NOW
    with sqlite_registry.reading() as session:
        assert not session.scalars(select(OpenAssociation)).all()


def test_an_association_that_ends_while_the_inbox_is_listed_is_not_over_before_its_last_instance(
    ingest: Ingest, inbox: Inbox, sqlite_registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The listener writes its last instance and the end right after the listing: the end waits for the next step."""
    inbox.put(data_set(1), "a1")
    listing = Ingest._entries

    def list_and_then_end(self: Ingest) -> object:
        found = listing(self)
        inbox.put(data_set(2), "a1")
        inbox.end("a1")
        return found

    monkeypatch.setattr(Ingest, "_entries", list_and_then_end)
    assert ingest.step(NOW) == IngestReport(new=1)
    assert the_series(sqlite_registry).association_released_at is None
    monkeypatch.undo()
    assert ingest.step(NOW) == IngestReport(new=1, associations_ended=1)
    assert {row.source_aet for row in instances(sqlite_registry)} == {"SCANNER"}


def test_instances_whose_association_left_no_record_are_registered_all_the_same(
    ingest: Ingest, inbox: Inbox, sqlite_registry: Registry
) -> None:
    inbox.put(data_set(), "a1")
    (inbox.path / "a1.assoc").unlink()
    assert ingest.step(NOW) == IngestReport(new=1)
    assert the_series(sqlite_registry).source_aet == ""


def test_only_one_process_empties_an_inbox(
    ingest: Ingest, inbox: Inbox, configuration: Configuration, sqlite_registry: Registry
) -> None:
    inbox.put(data_set())
    with (configuration.data_dir / "spool" / "ingest.lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert ingest.step(NOW) == IngestReport()
    assert ingest.step(NOW) == IngestReport(new=1)


class FullStorage(LocalStorage):
    """A store whose disk is full until somebody makes room."""

    full = True

    def adopt(self, source: Path, key: str) -> None:
        if self.full:
            raise OSError(28, "No space left on device")
        super().adopt(source, key)


def test_a_full_store_keeps_files_in_the_inbox_until_there_is_room(
    inbox: Inbox, configuration: Configuration, sqlite_registry: Registry
) -> None:
    storage = FullStorage(configuration.data_dir)
    ingest = Ingest(configuration, sqlite_registry, storage)
    inbox.put(data_set())
    inbox.end()
    assert ingest.step(NOW) == IngestReport(deferred=1)
    assert not ingest.step(NOW + timedelta(seconds=1))  # left alone for a while, not hashed again and again
    storage.full = False
    report = ingest.step(NOW + timedelta(seconds=60))
    assert (report.identical, report.associations_ended) == (1, 1)
    (row,) = instances(sqlite_registry)
    assert storage.exists(row.storage_key)
    assert inbox.left() == []


def test_a_database_that_is_away_stops_the_step_and_loses_nothing(
    inbox: Inbox, configuration: Configuration, storage: LocalStorage, tmp_path: Path
) -> None:
    registry = Registry(f"sqlite:///{tmp_path / 'never migrated.sqlite'}")
    inbox.put(data_set())
    with pytest.raises(OperationalError):
        Ingest(configuration, registry, storage).step(NOW)
    assert len([name for name in inbox.left() if name.endswith(".dcm")]) == 1
    registry.dispose()


def test_a_series_deleted_by_retention_comes_back_when_it_is_sent_again(
    ingest: Ingest, inbox: Inbox, storage: LocalStorage, sqlite_registry: Registry
) -> None:
    inbox.put(data_set())
    ingest.step(NOW)
    (row,) = instances(sqlite_registry)
    storage.delete(row.storage_key)
    with sqlite_registry.transaction() as session:
        series = session.scalars(select(Series)).one()
        series.state, series.files_deleted_at = "complete", NOW
    inbox.put(data_set())
    assert ingest.step(NOW + timedelta(days=30)) == IngestReport(identical=1)
    series = the_series(sqlite_registry)
    assert (series.state, series.files_deleted_at, series.content_revision) == ("receiving", None, 1)
    assert storage.exists(row.storage_key)


def test_the_header_of_a_real_study_is_kept_for_the_rules(
    ingest: Ingest, inbox: Inbox, sqlite_registry: Registry, shared_data: Path
) -> None:
    for number, source in enumerate(sorted((shared_data / "mr_lspine_axial").iterdir())):
        path = inbox.put(b"", "mr", f"1.2.{number + 1}")
        shutil.copyfile(source, path)
    assert ingest.step(NOW).new == 12
    series = the_series(sqlite_registry)
    assert (series.instance_count, series.expected_count) == (12, 16)
    assert series.headers["Orientation"] == "axial"
    assert series.headers["EchoTime"] == 99.24


def test_absurd_numbers_in_a_header_do_not_hold_up_the_inbox(
    ingest: Ingest, inbox: Inbox, sqlite_registry: Registry
) -> None:
    inbox.put(data_set(1, ImageOrientationPatient=["1e100", "0", "0", "0", "1e100", "0"]))
    inbox.put(data_set(2))
    assert ingest.step(NOW) == IngestReport(new=2)
    assert "Orientation" not in the_series(sqlite_registry).headers


def test_a_header_that_nobody_thought_of_is_put_aside_and_the_others_go_on(
    ingest: Ingest, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    from node.assemble import ingest as module

    read = module.read_instance

    def deep(path: Path, *arguments: object, **more: object) -> object:
        if path == bad:
            raise RecursionError
        return read(path, *arguments, **more)

    bad = inbox.put(data_set(1))
    inbox.put(data_set(2))
    monkeypatch.setattr(module, "read_instance", deep)
    assert ingest.step(NOW) == IngestReport(new=1, refused=1)
    (note,) = inbox.folders.refused.glob("*.json")
    assert json.loads(note.read_text())["reason"] == "its header cannot be understood (RecursionError)"
