"""Only what is processed and delivered is ever deleted, by age or under pressure, oldest first, and it is logged."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from node.assemble import Ingest, Retention
from node.assemble.retention import Decision, deletable
from node.assemble.rules import Rules
from node.registry.database import Registry
from node.registry.models import Delivery, Event, Instance, Job, JobInput, Result, Series, Study
from node.registry.retention import JobSnapshot, StudySnapshot
from node.registry.states import DELIVERY_MOVES, JobState
from node.settings.model import RetentionSettings
from node.storage import LocalStorage
from tests.assemble.objects import NOW, Inbox, configure, data_set

SETTINGS = RetentionSettings(days=14, pressure_free_bytes=1000)
PLENTY, SCARCE = 10_000, 10
OLD = NOW - timedelta(days=15)
YOUNG = NOW - timedelta(days=13)


def job(
    state: JobState = JobState.DONE, *deliveries: str, key: str = "k", revision: int = 1, results: int = 1
) -> JobSnapshot:
    return JobSnapshot(revision, key, revision, state, results, deliveries)


def study(*jobs: JobSnapshot, at: datetime = OLD, receiving: int = 0) -> StudySnapshot:
    return StudySnapshot(1, "1.2", receiving, at, jobs)


SENT = job(JobState.DONE, "sent", "verified")
FINISHED = {
    "delivered": study(SENT),
    "no rule wanted it": study(),
    "rejected": study(job(JobState.REJECTED, results=0)),
    "cancelled by a person": study(job(JobState.CANCELLED, results=0)),
    "done without objects": study(job(JobState.DONE, results=0)),
    "a failed revision superseded by a delivered one": study(
        job(JobState.FAILED, results=0), job(JobState.DONE, "sent", revision=2)
    ),
    "deliveries that a delivered revision superseded": study(
        job(JobState.DONE, "sent", "superseded"), job(JobState.DONE, "sent", revision=2)
    ),
    "a failed delivery that a person set aside": study(job(JobState.DONE, "sent", "dismissed")),
    "a failed delivery superseded by a delivered revision": study(
        job(JobState.DONE, "failed"), job(JobState.DONE, "sent", revision=2)
    ),
}
UNFINISHED = {
    "being received": (study(SENT, receiving=1), "still being received"),
    "waiting": (study(SENT, job(JobState.WAITING, key="other", results=0)), "is waiting"),
    "queued": (study(job(JobState.QUEUED, results=0)), "is queued"),
    "running": (study(job(JobState.RUNNING, results=0)), "is running"),
    "an old revision that still runs": (study(job(JobState.RUNNING), replace(SENT, revision=2)), "is running"),
    "failed": (study(job(JobState.FAILED, results=0)), "has failed and waits for a person"),
    "a delivery pending": (study(job(JobState.DONE, "sent", "pending")), "still being delivered"),
    "a delivery on its way": (study(job(JobState.DONE, "sending")), "still being delivered"),
    "a delivery failed": (study(job(JobState.DONE, "sent", "failed")), "a delivery of job 1 has failed"),
    "an old revision's delivery pending": (
        study(job(JobState.DONE, "pending"), job(JobState.DONE, "sent", revision=2)),
        "still being delivered",
    ),
    "a delivery failed before a cancelled revision": (
        study(job(JobState.DONE, "failed"), job(JobState.CANCELLED, revision=2, results=0)),
        "a delivery of job 1 has failed",
    ),
    "another pipeline's job failed": (study(SENT, job(JobState.FAILED, key="other", results=0)), "has failed"),
}


@pytest.mark.parametrize("case", FINISHED)
def test_a_finished_study_goes_by_age_or_under_pressure_and_stays_otherwise(case: str) -> None:
    snapshot = FINISHED[case]
    young = replace(snapshot, last_activity_at=YOUNG)
    assert deletable(snapshot, SETTINGS, NOW, PLENTY).delete
    assert deletable(young, SETTINGS, NOW, SCARCE).delete
    assert deletable(young, SETTINGS, NOW, PLENTY).why == "younger than 14 days"


def test_what_came_just_now_stays_under_pressure_since_its_companion_may_be_on_its_way() -> None:
    assert not deletable(study(at=NOW - timedelta(minutes=50)), SETTINGS, NOW, SCARCE).delete
    assert deletable(study(at=NOW - timedelta(minutes=70)), SETTINGS, NOW, SCARCE).delete


@pytest.mark.parametrize("case", UNFINISHED)
def test_an_unfinished_study_stays_however_old_it_is_and_however_full_the_disk(case: str) -> None:
    snapshot, why = UNFINISHED[case]
    decision = deletable(replace(snapshot, last_activity_at=OLD - timedelta(days=999)), SETTINGS, NOW, 0)
    assert not decision.delete
    assert why in decision.why


def test_results_without_a_destination_go_by_age_alone_and_later_than_delivered_ones() -> None:
    here = study(job(JobState.DONE))
    aged = {days: replace(here, last_activity_at=NOW - timedelta(days=days)) for days in (89, 91)}
    assert not deletable(aged[89], SETTINGS, NOW, 0).delete, "not even on a full disk"
    assert "nowhere else" in deletable(aged[89], SETTINGS, NOW, 0).why
    assert deletable(aged[91], SETTINGS, NOW, PLENTY) == Decision(
        True, "processed more than 90 days ago, with no destination configured for the results"
    )


def test_results_that_were_set_aside_everywhere_stay_as_long_as_those_without_a_destination() -> None:
    here = study(job(JobState.DONE, "dismissed", "dismissed"))
    aged = {days: replace(here, last_activity_at=NOW - timedelta(days=days)) for days in (89, 91)}
    assert "nowhere else" in deletable(aged[89], SETTINGS, NOW, 0).why
    assert deletable(aged[91], SETTINGS, NOW, PLENTY).delete


def test_results_without_a_destination_are_kept_for_ever_where_the_site_says_so() -> None:
    ever = SETTINGS.model_copy(update={"undelivered_days": None})
    ancient = study(job(JobState.DONE), at=OLD - timedelta(days=9999))
    assert "has no destination" in deletable(ancient, ever, NOW, 0).why
    assert not deletable(ancient, ever, NOW, 0).delete


def test_of_results_without_a_destination_none_goes_sooner_than_delivered_ones() -> None:
    soon = SETTINGS.model_copy(update={"undelivered_days": 1.0})
    assert not deletable(study(job(JobState.DONE), at=YOUNG), soon, NOW, PLENTY).delete
    assert deletable(study(job(JobState.DONE), at=OLD), soon, NOW, PLENTY).delete


@given(
    st.lists(
        st.tuples(
            st.sampled_from(list(JobState)),
            st.sampled_from("ab"),
            st.lists(st.sampled_from([str(state) for state in DELIVERY_MOVES]), max_size=3),
            st.integers(0, 2),
        ),
        max_size=4,
    ),
    st.booleans(),
)
def test_no_combination_of_states_deletes_what_is_open_or_the_newest_that_was_not_delivered(
    jobs: list[tuple[JobState, str, list[str], int]], receiving: bool
) -> None:
    snapshots = [
        JobSnapshot(number, key, number, state, results, tuple(deliveries))
        for number, (state, key, deliveries, results) in enumerate(jobs, start=1)
    ]
    if not deletable(study(*snapshots, receiving=int(receiving)), SETTINGS, NOW, 0).delete:
        return
    assert not receiving
    for snapshot in snapshots:
        assert snapshot.state not in ("waiting", "queued", "running")
        assert not {"pending", "sending"} & set(snapshot.deliveries)
        if snapshot.revision == max(s.revision for s in snapshots if s.key == snapshot.key):
            assert snapshot.state != "failed"
            assert set(snapshot.deliveries) <= {"sent", "verified", "dismissed"}
            assert set(snapshot.deliveries) & {"sent", "verified"} or not snapshot.results


class Disk(LocalStorage):
    """A store that says how much room it has."""

    free = PLENTY
    freed_per_file = 0

    def free_bytes(self) -> int:
        return self.free

    def delete(self, key: str) -> None:
        super().delete(key)
        self.free += self.freed_per_file


class Archive:
    """Received, processed and delivered studies with real files."""

    def __init__(self, tmp_path: Path, registry: Registry) -> None:
        environment = {"OSTEON__RETENTION__PRESSURE_FREE_BYTES": "1000"}
        self.configuration = configure(tmp_path, **environment)
        self.registry = registry
        self.disk = Disk(self.configuration.data_dir)
        self.retention = Retention(self.configuration, registry, self.disk)

    def add(self, number: int, at: datetime, state: str = "done", delivery: str = "sent") -> None:
        """One study of two instances, with a job and its result."""
        inbox = Inbox.of(self.configuration)
        for sop in (1, 2):
            inbox.put(data_set(sop, 1, number))
        Ingest(self.configuration, self.registry, self.disk, Rules((), Path())).step(at)
        source = self.configuration.data_dir / "made.dcm"
        source.write_bytes(b"result")
        key = f"results/j{number}/r1/x.seg.dcm"
        self.disk.adopt(source, key)
        with self.registry.transaction() as session:
            series = session.scalars(select(Series).order_by(Series.id.desc())).first()
            assert series is not None
            series.state = "complete"
            made = Job(key=f"j{number}", study_id=series.study_id, pipeline="p", state=state, available_at=at,
                       created_at=at, finished_at=at)  # fmt: skip
            session.add(made)
            session.flush()
            session.add(JobInput(job_id=made.id, series_id=series.id))
            row = Result(job_id=made.id, kind="seg", sop_uid=f"2.25.{number}", sop_class_uid="1.2", series_uid="2.25.9",
                         storage_key=key, sha256="x", byte_count=6, created_at=at)  # fmt: skip
            session.add(row)
            session.flush()
            session.add(Delivery(result_id=row.id, destination="d", state=delivery, next_attempt_at=at, created_at=at,
                                 sent_at=at))  # fmt: skip

    def files(self) -> list[str]:
        """Storage keys that are in the store, of all that the registry knows."""
        with self.registry.reading() as session:
            keys = [*session.scalars(select(Instance.storage_key)), *session.scalars(select(Result.storage_key))]
        return [key for key in keys if self.disk.exists(key)]

    def gone(self) -> list[bool]:
        """For each study, oldest row first, whether its files are said to be deleted."""
        with self.registry.reading() as session:
            statement = select(Series.files_deleted_at).join(Study).order_by(Study.id)
            return [at is not None for at in session.scalars(statement)]

    def events(self) -> list[Any]:
        with self.registry.reading() as session:
            return list(session.scalars(select(Event).where(Event.kind == "study.files_deleted")))


@pytest.fixture
def archive(tmp_path: Path, sqlite_registry: Registry) -> Archive:
    return Archive(tmp_path, sqlite_registry)


def test_old_finished_studies_lose_their_files_and_keep_their_rows(archive: Archive) -> None:
    archive.add(1, OLD)
    archive.add(2, YOUNG)
    report = archive.retention.step(NOW)
    assert (report.studies, report.files) == (1, 3)
    assert archive.gone() == [True, False]
    assert len(archive.files()) == 3
    with archive.registry.reading() as session:
        assert len(session.scalars(select(Instance)).all()) == 4
        assert [row.files_deleted_at for row in session.scalars(select(Result).order_by(Result.id))] == [NOW, None]
    (event,) = archive.events()
    assert event.message == "3 files were deleted: processed and delivered more than 14 days ago."
    assert not archive.retention.step(NOW)


def test_the_folders_of_a_deleted_study_go_too(archive: Archive) -> None:
    archive.add(1, OLD)
    archive.retention.step(NOW)
    assert [path for path in (archive.configuration.data_dir / "store").rglob("*") if path.is_file()] == []
    assert not list((archive.configuration.data_dir / "store").glob("received/*"))


def test_under_pressure_the_oldest_go_first_and_only_until_there_is_room(archive: Archive) -> None:
    for number, days in ((1, 3), (2, 1), (3, 2)):
        archive.add(number, NOW - timedelta(days=days))
    archive.disk.free, archive.disk.freed_per_file = 400, 200
    assert archive.retention.step(NOW).studies == 1
    assert archive.gone() == [True, False, False]
    archive.disk.free = 400
    assert archive.retention.step(NOW).studies == 1
    assert archive.gone() == [True, False, True]


@pytest.mark.parametrize(("state", "delivery"), [("failed", "sent"), ("running", "sent"), ("done", "pending")])
def test_unfinished_studies_stay_even_on_a_full_disk_and_do_not_hide_finished_ones(
    archive: Archive, state: str, delivery: str
) -> None:
    archive.add(1, OLD - timedelta(days=1), state, delivery)
    archive.add(2, OLD)
    archive.disk.free = 0
    assert archive.retention.step(NOW).studies == 1
    assert archive.gone() == [False, True]


def test_more_kept_studies_than_one_step_looks_at_do_not_hide_those_behind_them(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    from node.assemble import retention

    monkeypatch.setattr(retention, "MAX_SERIES_PER_STEP", 2)
    for number in (1, 2, 3):
        archive.add(number, OLD - timedelta(days=9 - number), "failed")
    archive.add(4, OLD)
    steps = [archive.retention.step(NOW).studies for _ in range(3)]
    assert sum(steps) == 1
    assert archive.gone() == [False, False, False, True]


def test_a_crash_in_mid_deletion_is_finished_by_the_next_step(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.add(1, OLD)
    delete = Disk.delete
    calls = []

    def die_at_the_second(self: Disk, key: str) -> None:
        calls.append(key)
        if len(calls) == 2:
            raise KeyboardInterrupt
        delete(self, key)

    monkeypatch.setattr(Disk, "delete", die_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        archive.retention.step(NOW)
    assert archive.gone() == [False]
    monkeypatch.setattr(Disk, "delete", delete)
    assert Retention(archive.configuration, archive.registry, archive.disk).step(NOW).studies == 1
    assert archive.files() == []
    assert archive.gone() == [True]


def test_a_study_that_is_sent_again_lives_its_whole_time_again(archive: Archive) -> None:
    archive.add(1, OLD)
    archive.retention.step(NOW)
    inbox = Inbox.of(archive.configuration)
    for sop in (1, 2):
        inbox.put(data_set(sop, 1, 1))
    Ingest(archive.configuration, archive.registry, archive.disk, Rules((), Path())).step(NOW)
    with archive.registry.transaction() as session:
        session.scalars(select(Series)).one().state = "complete"
    assert not archive.retention.step(NOW + timedelta(days=13))
    assert archive.retention.step(NOW + timedelta(days=15)).studies == 1
    assert archive.files() == []
