"""A job and the second series it wants (the CT of a SPECT/CT): found, waited for, come late or never."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path

from node.assemble import Assembler, AssemblyReport
from node.assemble.rules import Rules
from node.storage import LocalStorage
from tests.assemble.assembling import INSTALLED, QUIET, Node
from tests.assemble.objects import configure


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


def test_of_several_companions_in_one_frame_the_rules_preferences_decide_before_the_number_of_images(
    node: Node,
) -> None:
    for series, kernel, thickness in ((2, "B31s", "3"), (3, "B70s", "1"), (4, "B70s", "3")):
        for sop in range(5 - series):
            node.ct(series, sop + 1, ConvolutionKernel=kernel, SliceThickness=thickness)
    node.receive(1, description="spect")
    node.step()
    assert node.inputs(node.jobs()[0].id)["ct"][0] == "1.1.4"


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


def test_two_assemblers_at_once_make_one_job_with_its_companion(node: Node, tmp_path: Path, rules: Rules) -> None:
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
