"""From complete series to jobs: which are made, revised, kept waiting or called off, on SQLite and PostgreSQL.

Series are put into the registry as the intake does it; pipelines are only names here, nothing runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from node.assemble import Assembler, AssemblyReport
from node.assemble.rules import Rules, parse_rules
from node.errors import PermanentError
from node.registry.database import Registry
from node.registry.intake import Arrival, register
from node.registry.models import Event, Job, JobInput, Series
from node.registry.planning import job_key
from node.registry.series import end_association
from node.settings import Configuration
from node.storage import LocalStorage
from tests.assemble.objects import NOW, configure

RULES = """
rules:
  - {name: bone, pipeline: bone-scan, priority: 4, match: {Modality: NM, SeriesDescription: "*bone*"}}
  - {name: ribs, pipeline: thorax, priority: 7, destinations: [pacs], match: {SeriesDescription: "*ribs*"}}
  - name: fusion
    pipeline: spect-ct
    match: {Modality: NM, SeriesDescription: "*spect*"}
    companion: {role: ct, match: {Modality: CT}, wait_s: 900}
  - name: strict
    pipeline: strict
    match: {Modality: NM, SeriesDescription: "*strict*"}
    companion: {role: ct, match: {Modality: CT}, wait_s: 60, required: true}
  - {name: absent, pipeline: lumbar, match: {Modality: MR}}
"""
INSTALLED = ("bone-scan", "thorax", "spect-ct", "strict")
QUIET = timedelta(seconds=61)


class Node:
    """The assembler over one registry, with a clock that tests move and a broker that remembers."""

    def __init__(self, registry: Registry, configuration: Configuration, rules: Rules) -> None:
        self.registry = registry
        self.woken: list[tuple[int, int]] = []
        self.now = NOW
        self.assembler = Assembler(
            configuration,
            registry,
            LocalStorage(configuration.data_dir),
            lambda job_id, priority: self.woken.append((job_id, priority)),
            rules=rules,
            installed=INSTALLED,
        )

    def receive(self, series: int, sop: int = 1, description: str = "bone", **more: Any) -> str:
        """One instance of a series of study 1; returns the series UID."""
        headers = {"Modality": "NM", "SeriesDescription": description} | more.pop("headers", {})
        arrival = Arrival(
            study_uid="1.1",
            series_uid=f"1.1.{series}",
            sop_uid=f"1.1.{series}.{sop}",
            sop_class_uid="1.2",
            transfer_syntax_uid="1.2",
            sha256=f"{series}-{sop}",
            byte_count=10,
            received_at=self.now,
            modality=headers["Modality"],
            series_description=description,
            headers=headers,
            association="a1",
        )
        with self.registry.transaction() as session:
            register(session, [replace(arrival, **more)], self.now)
        return arrival.series_uid

    def ct(self, series: int, sop: int = 1, **headers: Any) -> str:
        return self.receive(series, sop, "CT", headers={"Modality": "CT", **headers})

    def step(self, after: timedelta = QUIET) -> AssemblyReport:
        """Let time pass, then step."""
        self.now += after
        return self.assembler.step(self.now)

    def jobs(self) -> list[Job]:
        with self.registry.reading() as session:
            return list(session.scalars(select(Job).order_by(Job.id)))

    def set_state(self, job_id: int, state: str) -> None:
        with self.registry.transaction() as session:
            session.execute(update(Job).where(Job.id == job_id).values(state=state))

    def inputs(self, job_id: int) -> dict[str, tuple[str, int]]:
        """Role -> (series UID, content revision)."""
        with self.registry.reading() as session:
            rows = session.execute(
                select(JobInput.role, Series.series_uid, JobInput.content_revision)
                .join(Series, Series.id == JobInput.series_id)
                .where(JobInput.job_id == job_id)
            )
            return {role: (uid, revision) for role, uid, revision in rows}

    def series(self, uid: str) -> Series:
        with self.registry.reading() as session:
            return session.scalars(select(Series).where(Series.series_uid == uid)).one()

    def events(self) -> list[str]:
        with self.registry.reading() as session:
            return list(session.scalars(select(Event.kind).order_by(Event.id)))


@pytest.fixture(scope="module")
def rules() -> Rules:
    return parse_rules(RULES, Path("routing.yaml"), ["pacs"])


@pytest.fixture
def node(registry: Registry, tmp_path: Path, rules: Rules) -> Iterator[Node]:
    yield Node(registry, configure(tmp_path), rules)


def test_a_series_is_completed_routed_and_queued_and_the_worker_woken_after_the_commit(node: Node) -> None:
    uid = node.receive(1)
    assert not node.step(timedelta(seconds=59))
    assert node.step(timedelta(seconds=1)) == AssemblyReport(completed=1, queued=1)
    (job,) = node.jobs()
    assert (job.state, job.pipeline, job.rule, job.priority, job.revision) == ("queued", "bone-scan", "bone", 4, 1)
    assert job.key == job_key("bone-scan", [uid])
    assert job.destinations == []  # the default ones, looked up when there are results
    assert node.woken == [(job.id, 4)]
    assert node.inputs(job.id) == {"primary": (uid, 1)}
    series = node.series(uid)
    assert (series.state, series.completed_by, series.completed_at) == ("complete", "quiet", node.now)
    assert series.routing is not None
    assert series.routing["fired"] == ["bone"]
    assert job.trace["conditions"]["matched"] is True
    assert node.events() == ["series.opened", "series.complete", "job.queued"]
    assert not node.step()


def test_a_released_association_completes_sooner(node: Node) -> None:
    node.receive(1)
    with node.registry.transaction() as session:
        end_association(session, "a1", node.now)
    assert not node.step(timedelta(seconds=4))
    assert node.step(timedelta(seconds=1)).completed == 1


def test_several_rules_may_fire_each_with_its_own_destinations(node: Node) -> None:
    node.receive(1, description="bone and ribs")
    assert node.step() == AssemblyReport(completed=1, queued=2)
    assert {job.pipeline: job.destinations for job in node.jobs()} == {"bone-scan": [], "thorax": ["pacs"]}


def test_a_series_that_no_rule_wants_is_complete_without_a_job_and_says_why(node: Node) -> None:
    uid = node.receive(1, description="flood")
    assert node.step() == AssemblyReport(completed=1)
    assert node.jobs() == []
    assert "No rule matched" in str(node.series(uid).routing)
    assert "series.not_routed" in node.events()


def test_a_rule_for_a_pipeline_that_is_not_installed_makes_no_job(node: Node) -> None:
    uid = node.receive(1, headers={"Modality": "MR"})
    assert node.step() == AssemblyReport(completed=1)
    assert node.jobs() == []
    assert "pipeline 'lumbar' is not installed in this node" in str(node.series(uid).routing)


def test_results_that_come_back_are_not_routed_again(node: Node) -> None:
    node.receive(1, headers={"MadeByOsteon": True})
    assert node.step() == AssemblyReport(completed=1)
    assert node.jobs() == []


def test_a_late_instance_makes_a_new_revision_of_the_same_job_that_supersedes_the_old_one(node: Node) -> None:
    uid = node.receive(1, 1)
    node.step()
    (first,) = node.jobs()
    node.set_state(first.id, "done")
    node.receive(1, 2)
    assert node.series(uid).state == "receiving"
    assert node.step() == AssemblyReport(completed=1, queued=1)
    old, new = node.jobs()
    assert (new.key, new.revision, new.supersedes_id, new.state) == (old.key, 2, old.id, "queued")
    assert node.inputs(new.id) == {"primary": (uid, 2)}
    assert old.state == "done"
    assert node.woken[-1] == (new.id, 4)


@pytest.mark.parametrize(("state", "then", "asked"), [("queued", "cancelled", False), ("running", "running", True)])
def test_an_older_revision_that_is_still_open_is_called_off(node: Node, state: str, then: str, asked: bool) -> None:
    node.receive(1, 1)
    node.step()
    node.set_state(node.jobs()[0].id, state)
    node.receive(1, 2)
    node.step()
    old, new = node.jobs()
    assert (old.state, old.cancel_requested) == (then, asked)
    assert old.reason == "Superseded by revision 2: its input changed."
    assert (new.state, new.revision) == ("queued", 2)


def test_a_resend_of_the_same_content_makes_no_second_job(node: Node) -> None:
    uid = node.receive(1)
    node.step()
    with node.registry.transaction() as session:
        session.execute(update(Series).values(state="receiving"))  # as after a restore of deleted files
    assert node.step() == AssemblyReport(completed=1)
    assert len(node.jobs()) == 1
    node.assembler.reroute(uid, node.now)
    assert len(node.jobs()) == 1


def test_a_correction_that_belongs_to_no_rule_any_more_calls_the_job_off(node: Node) -> None:
    node.receive(1)
    node.step()
    node.receive(1, description="flood", sha256="corrected")
    node.step()
    (job,) = node.jobs()
    assert (job.state, job.reason) == ("cancelled", "The series changed, and no rule asks for this any more.")


def test_something_that_comes_between_judging_and_completing_keeps_the_series_open(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    from node.assemble import assembler

    uid = node.receive(1, 1)
    judge = assembler.judge

    def judge_late(*arguments: Any) -> Any:
        node.receive(1, 2)
        return judge(*arguments)

    monkeypatch.setattr(assembler, "judge", judge_late)
    assert node.step() == AssemblyReport()
    monkeypatch.undo()
    assert node.series(uid).state == "receiving"
    assert node.step() == AssemblyReport(completed=1, queued=1)


def test_a_person_may_force_a_series_and_only_that_one(node: Node) -> None:
    forced, other = node.receive(1), node.receive(2)
    node.assembler.force_complete(forced, node.now)
    assert node.step(timedelta(seconds=1)).completed == 1
    assert (node.series(forced).completed_by, node.series(other).state) == ("forced", "receiving")
    node.assembler.force_complete(forced, node.now)  # once more changes nothing
    assert node.series(forced).state == "complete"
    with pytest.raises(PermanentError, match=r"there is no series 9\.9"):
        node.assembler.force_complete("9.9", node.now)


def test_a_broker_that_is_away_stops_nothing(node: Node, tmp_path: Path, rules: Rules) -> None:
    def away(job_id: int, priority: int) -> None:
        raise ConnectionError("no Redis")

    configuration = configure(tmp_path)
    storage = LocalStorage(configuration.data_dir)
    assembler = Assembler(configuration, node.registry, storage, away, rules=rules, installed=INSTALLED)
    node.receive(1)
    assert assembler.step(node.now + QUIET).queued == 1
    assert node.jobs()[0].state == "queued"  # the sweep finds it


# Companions ---------------------------------------------------------------------------------------------------------


def test_a_job_waits_for_its_companion_and_starts_with_it(node: Node) -> None:
    spect = node.receive(1, description="spect")
    assert node.step() == AssemblyReport(completed=1, waiting=1)
    (job,) = node.jobs()
    assert (job.state, job.wait_until, node.woken) == ("waiting", node.now + timedelta(seconds=900), [])
    assert "Waiting for a CT series" in job.reason
    ct = node.ct(2)
    assert node.step() == AssemblyReport(completed=1, queued=1)
    (job,) = node.jobs()
    assert (job.state, job.revision, job.wait_until) == ("queued", 1, None)
    assert node.inputs(job.id) == {"primary": (spect, 1), "ct": (ct, 1)}
    assert job.trace["companion"] == f"ct: series {ct}"
    assert node.woken == [(job.id, 5)]


def test_a_companion_that_is_there_already_is_not_waited_for(node: Node) -> None:
    node.ct(2)
    node.step()
    node.receive(1, description="spect")
    assert node.step() == AssemblyReport(completed=1, queued=1)
    assert set(node.inputs(node.jobs()[0].id)) == {"primary", "ct"}


def test_without_a_companion_the_job_falls_back_after_the_wait_and_says_so(node: Node) -> None:
    node.receive(1, description="spect")
    node.step()
    assert not node.step(timedelta(seconds=899))
    assert node.step(timedelta(seconds=1)) == AssemblyReport(queued=1)
    (job,) = node.jobs()
    assert job.state == "queued"
    assert job.reason == "No CT series of the study came within 900 s; the analysis runs without it."
    assert job.trace["companion"] == job.reason  # still there once the job has started
    assert set(node.inputs(job.id)) == {"primary"}


def test_a_required_companion_that_does_not_come_ends_the_job(node: Node) -> None:
    node.receive(1, description="strict")
    node.step()
    node.step(timedelta(seconds=61))
    (job,) = node.jobs()
    assert (job.state, node.woken) == ("cancelled", [])
    assert job.reason == "No CT series of the study came within 60 s, and rule 'strict' requires one."


def test_a_companion_that_is_just_arriving_when_the_wait_ends_is_waited_for(node: Node) -> None:
    node.receive(1, description="spect")
    node.step()
    node.now += timedelta(seconds=890)
    ct = node.ct(2)
    assert not node.step(timedelta(seconds=15))
    assert node.step() == AssemblyReport(completed=1, queued=1)
    assert node.inputs(node.jobs()[0].id)["ct"] == (ct, 1)


def test_a_companion_that_comes_after_the_fall_back_makes_a_new_revision(node: Node) -> None:
    node.receive(1, description="spect")
    node.step()
    node.step(timedelta(seconds=900))
    node.set_state(node.jobs()[0].id, "done")
    node.ct(2)
    assert node.step() == AssemblyReport(completed=1, queued=1)
    old, new = node.jobs()
    assert (new.revision, new.supersedes_id, old.state) == (2, old.id, "done")
    assert set(node.inputs(new.id)) == {"primary", "ct"}


def test_further_reconstructions_of_the_ct_do_not_run_the_study_again(node: Node) -> None:
    node.ct(2)
    node.step()
    node.receive(1, description="spect")
    node.step()
    node.set_state(node.jobs()[0].id, "done")
    for sop in range(5):
        node.ct(3, sop + 1)
    node.step()
    assert len(node.jobs()) == 1


def test_of_several_companions_the_one_in_the_same_frame_of_reference_is_taken(node: Node) -> None:
    node.ct(2, 1)
    node.ct(2, 2)
    node.ct(3, 1, FrameOfReferenceUID="7.7")
    node.receive(1, description="spect", headers={"FrameOfReferenceUID": "7.7"})
    node.step()
    assert node.inputs(node.jobs()[0].id)["ct"][0] == "1.1.3"


def test_a_late_slice_of_the_companion_makes_a_new_revision(node: Node) -> None:
    ct = node.ct(2, 1)
    node.receive(1, description="spect")
    node.step()
    node.set_state(node.jobs()[-1].id, "done")
    node.ct(2, 2)
    node.step()
    assert [job.revision for job in node.jobs()] == [1, 2]
    assert node.inputs(node.jobs()[-1].id)["ct"] == (ct, 2)


def test_primary_and_companion_in_one_step_make_one_job(node: Node) -> None:
    node.receive(1, description="spect")
    node.ct(2)
    node.step()
    queued = [job for job in node.jobs() if job.state == "queued"]
    assert len(node.jobs()) == len(queued) == 1
    assert set(node.inputs(queued[0].id)) == {"primary", "ct"}


def test_two_assemblers_at_once_make_one_job_with_its_companion(
    node: Node, tmp_path: Path, rules: Rules, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On PostgreSQL both really run; the study's lock makes each see what the other completed."""
    configuration = configure(tmp_path)
    storage = LocalStorage(configuration.data_dir)
    woken: list[int] = []
    others = [
        Assembler(configuration, node.registry, storage, lambda job_id, _: woken.append(job_id), rules=rules,
                  installed=INSTALLED)
        for _ in range(4)
    ]  # fmt: skip
    for round_ in range(5):
        node.receive(10 * round_ + 1, description="spect", study_uid=f"5.{round_}", series_uid=f"5.{round_}.1")
        node.receive(10 * round_ + 2, study_uid=f"5.{round_}", series_uid=f"5.{round_}.2", headers={"Modality": "CT"})
    then: datetime = node.now + QUIET
    with ThreadPoolExecutor(len(others)) as pool:
        reports = list(pool.map(lambda assembler: assembler.step(then), others))
    assert sum(report.completed for report in reports) == 10
    jobs = node.jobs()
    assert [job.state for job in jobs] == ["queued"] * 5
    assert all(set(node.inputs(job.id)) == {"primary", "ct"} for job in jobs)
    assert sorted(woken) == sorted(job.id for job in jobs)
