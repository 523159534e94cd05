"""SPECT/CT through a real node: DCMTK's storescu in front, Orthanc behind, the weights that ship.

CT before SPECT, after it, both mixed in one association, CT missing, CT late; a cardiac SPECT. What the network finds
in these drawn bodies is not asked (`osteon evaluate spect-ct`): only which job ran on what, and what it says.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.orthanc.run import OrthancError, OrthancProcess, start_orthanc
from pipelines.contract import iter_pipeline_names
from tests.fixtures.programs import need_program
from tests.fixtures.running_node import RunningNode, running_node, wait_for
from tests.spect_ct.drawn_study import STUDY, counts, hounsfield, write_ct, write_spect

pytestmark = [pytest.mark.peer, pytest.mark.slow]

STUDY_TIMEOUT_S = 240.0
COMPANION_WAIT_S = 12


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OrthancProcess]:
    try:
        process = start_orthanc(tmp_path_factory.mktemp("orthanc"))
    except OrthancError as error:
        pytest.skip(f"Orthanc: {str(error).splitlines()[0]}")
    with process:
        yield process


@pytest.fixture(scope="module", autouse=True)
def installed() -> None:
    """The node finds pipelines by entry point; one that was added after the last `make setup` is not there yet."""
    if "spect-ct" not in iter_pipeline_names():
        pytest.skip("spect-ct is no installed entry point here: run `make setup` again")


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, orthanc: OrthancProcess) -> Iterator[RunningNode]:
    destination = {"name": "orthanc", "host": "127.0.0.1", "port": orthanc.dicom_port, "ae_title": orthanc.aet}
    settings = {"completion": {"companion_wait_s": COMPANION_WAIT_S}}
    with running_node(tmp_path_factory.mktemp("node"), [destination], settings, switched_on=("spect-ct",)) as node:
        yield node


class Study:
    """One study of its own, written into a folder: the SPECT's file and the CT's."""

    def __init__(self, folder: Path, number: int, **spect: Any) -> None:
        self.uid = f"{STUDY}.{number}"
        values: dict[str, Any] = {"StudyInstanceUID": self.uid, "FrameOfReferenceUID": f"{self.uid}.9"}
        self.spect = write_spect(folder / "nm.dcm", counts(), **values, **spect, **self._own("10", 1))
        self.ct = write_ct(folder / "ct", hounsfield(), study=self.uid, **values)

    def _own(self, series: str, number: int) -> dict[str, str]:
        return {"SeriesInstanceUID": f"{self.uid}.{series}", "SOPInstanceUID": f"{self.uid}.{series}.{number}"}


def send(node: RunningNode, *paths: Path) -> None:
    program, port = need_program("storescu"), str(node.dicom_port)
    done = subprocess.run(
        [program, "-aet", "SCANNER", "-aec", "OSTEON", "127.0.0.1", port, *map(str, paths)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "TCP_NODELAY": "1"},
    )
    assert done.returncode == 0, done.stderr


def finished(node: RunningNode, study: Study, revision: int = 1) -> dict[str, Any]:
    """Wait for a revision's job to be done and sent."""

    def probe() -> dict[str, Any] | None:
        for job in node.jobs(study.uid):
            assert job["state"] not in ("failed", "rejected"), job["reason"]
            sent = job["deliveries"] and all(d["state"] == "sent" for d in job["deliveries"])
            if job["revision"] == revision and job["state"] == "done" and sent:
                return job
        return None

    return wait_for(f"revision {revision} of {study.uid}", probe, STUDY_TIMEOUT_S)


def said(job: dict[str, Any]) -> str:
    return " ".join(job["summary"]["limitations"])


def modalities(orthanc: OrthancProcess, study: Study) -> list[str]:
    """Modalities of the results in the archive, one per object."""
    import json

    query = {"Level": "Series", "Expand": True, "Query": {"StudyInstanceUID": study.uid}}
    found = orthanc.post("/tools/find", json.dumps(query).encode())
    return sorted(s["MainDicomTags"]["Modality"] for s in found for _ in s["Instances"])


@pytest.mark.parametrize(("order", "number"), [("ct first", 101), ("spect first", 102), ("mixed", 103)])
def test_both_series_in_any_order_are_one_job_on_both(node, orthanc, tmp_path: Path, order: str, number: int):
    study = Study(tmp_path, number, head_first=number == 102)
    if order == "mixed":
        send(node, *study.ct[:17], study.spect, *study.ct[17:])
    else:
        for paths in (study.ct, [study.spect])[:: 1 if order == "ct first" else -1]:
            send(node, *paths)
    job = finished(node, study)
    assert len(node.jobs(study.uid)) == 1
    assert set(job["series"]) == {"primary", "ct"}
    assert "taken as the CT" in said(job) and "alone was analysed" not in said(job)
    found = modalities(orthanc, study)
    assert found.count("SR") == 1 and found.count("OT") == 2


def test_without_a_ct_the_spect_runs_alone_and_a_late_ct_makes_a_revision_that_replaces_it(node, orthanc, tmp_path):
    study = Study(tmp_path, 104)
    send(node, study.spect)
    first = finished(node, study)
    assert "SPECT alone was analysed, because no CT came" in said(first)
    assert "CT" in first["reason"] or "CT" in str(first)
    send(node, *study.ct)
    second = finished(node, study, revision=2)
    assert set(second["series"]) == {"primary", "ct"} and "taken as the CT" in said(second)
    assert second["supersedes_id"] == first["id"]
    assert modalities(orthanc, study).count("SR") == 2


def test_a_cardiac_spect_gives_no_job_or_one_that_is_rejected_with_the_reason(node, tmp_path: Path):
    study = Study(tmp_path, 105, BodyPartExamined="HEART", SeriesDescription="Bone SPECT", ProtocolName="cardiac")
    send(node, study.spect)

    def probe() -> list[dict[str, Any]] | None:
        jobs = node.jobs(study.uid)
        return jobs if jobs and jobs[0]["state"] in ("rejected", "done", "failed") else None

    (job,) = wait_for("the cardiac study's job", probe, STUDY_TIMEOUT_S)
    assert job["state"] == "rejected" and "another organ" in job["reason"]
