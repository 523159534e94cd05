"""The whole node with real neighbours: DCMTK's storescu in front, Orthanc behind, and processes killed in between.

Covered: a study comes back once, as SEG, SR and secondary capture, with the source's patient and study; SIGKILL of the
listener right after its acknowledgement, and of everything at once in mid-job. Not here: parts killed one by one
(tests/supervise/test_serve.py), what the networks find (tests/bone_scan, `osteon evaluate`).
"""

from __future__ import annotations

import json
import os
import subprocess
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import highdicom
import numpy as np
import psutil
import pydicom
import pytest

from deploy.orthanc.run import OrthancError, OrthancProcess, start_orthanc
from pipelines.phantoms import generate
from tests.fixtures.programs import need_program
from tests.fixtures.running_node import RunningNode, running_node, wait_for

pytestmark = [pytest.mark.peer, pytest.mark.slow]

STUDY_TIMEOUT_S = 150.0
SEED = 700
EXPECTED = {"SEG": 1, "SR": 1, "OT": 1}
"""One of each; a secondary capture's modality is OT."""


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return generate(3, SEED, tmp_path_factory.mktemp("scans"))


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OrthancProcess]:
    try:
        process = start_orthanc(tmp_path_factory.mktemp("orthanc"))
    except OrthancError as error:
        pytest.skip(f"Orthanc: {str(error).splitlines()[0]}")
    with process:
        yield process


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, orthanc: OrthancProcess) -> Iterator[RunningNode]:
    destination = {"name": "orthanc", "host": "127.0.0.1", "port": orthanc.dicom_port, "ae_title": orthanc.aet}
    with running_node(tmp_path_factory.mktemp("node"), [destination]) as node:
        yield node


def storescu(node: RunningNode, path: Path) -> None:
    subprocess.run(
        [need_program("storescu"), "-aet", "SCANNER", "-aec", "OSTEON", "127.0.0.1", str(node.dicom_port), str(path)],
        check=True,
        capture_output=True,
        timeout=60,
        env={**os.environ, "TCP_NODELAY": "1"},
    )


def in_orthanc(orthanc: OrthancProcess, study_uid: str) -> dict[str, list[str]]:
    """Orthanc's instance numbers of a study by modality."""
    found: dict[str, list[str]] = {}
    query = {"Level": "Series", "Expand": True, "Query": {"StudyInstanceUID": study_uid}}
    for series in orthanc.post("/tools/find", json.dumps(query).encode()):  # type: ignore[attr-defined]
        found.setdefault(series["MainDicomTags"]["Modality"], []).extend(series["Instances"])
    return found


def fetch(orthanc: OrthancProcess, instance: str, folder: Path) -> pydicom.FileDataset:
    with urllib.request.urlopen(f"{orthanc.url}/instances/{instance}/file", timeout=30) as answer:
        path = folder / f"{instance}.dcm"
        path.write_bytes(answer.read())
    return pydicom.dcmread(path)


def wait_until_back(node: RunningNode, orthanc: OrthancProcess, study_uid: str) -> dict[str, list[str]]:
    """Wait for the results and check that each came once and that the node agrees that it is done."""

    def complete() -> dict[str, list[str]] | None:
        found = in_orthanc(orthanc, study_uid)
        return found if set(EXPECTED) <= set(found) else None

    wait_for("SEG, SR and secondary capture in Orthanc", complete, STUDY_TIMEOUT_S)
    wait_for("all deliveries to be sent", lambda: _all_sent(node, study_uid), STUDY_TIMEOUT_S)
    found = in_orthanc(orthanc, study_uid)
    assert Counter({modality: len(instances) for modality, instances in found.items()}) == EXPECTED
    (job,) = node.jobs(study_uid)
    assert job["state"] == "done"
    return found


def _all_sent(node: RunningNode, study_uid: str) -> bool:
    jobs = node.jobs(study_uid)
    return bool(jobs) and all(d["state"] == "sent" for d in jobs[0]["deliveries"]) and bool(jobs[0]["deliveries"])


def study_uid_of(path: Path) -> str:
    return str(pydicom.dcmread(path, stop_before_pixels=True).StudyInstanceUID)


def kill(processes: list[psutil.Process]) -> None:
    assert processes, "there was nothing to kill"
    for process in processes:
        process.kill()
    psutil.wait_procs(processes, timeout=10)


def test_a_scan_sent_by_dcmtk_comes_back_to_orthanc_as_seg_sr_and_capture(
    node: RunningNode, orthanc: OrthancProcess, scans: list[Path], tmp_path: Path
) -> None:
    source = pydicom.dcmread(scans[0])
    storescu(node, scans[0])
    found = wait_until_back(node, orthanc, str(source.StudyInstanceUID))
    results = {modality: fetch(orthanc, instances[0], tmp_path) for modality, instances in found.items()}
    for dataset in results.values():
        assert dataset.PatientID == source.PatientID
        assert dataset.PatientName == source.PatientName
        assert dataset.StudyInstanceUID == source.StudyInstanceUID
        assert dataset.SeriesInstanceUID != source.SeriesInstanceUID
    segmentation = highdicom.seg.segread(tmp_path / f"{found['SEG'][0]}.dcm")
    assert (segmentation.Rows, segmentation.Columns) == (source.Rows, source.Columns)
    assert segmentation.ReferencedSeriesSequence[0].SeriesInstanceUID == source.SeriesInstanceUID
    assert np.any(segmentation.pixel_array)
    (job,) = node.jobs(str(source.StudyInstanceUID))
    quantities = {item["name"]["value"]: item["value"] for item in reversed(job["summary"]["quantities"])}
    assert 0.0 <= quantities["BSTBI"] <= 1.0


def test_the_same_scan_sent_again_changes_nothing(
    node: RunningNode, orthanc: OrthancProcess, scans: list[Path]
) -> None:
    uid = study_uid_of(scans[0])
    storescu(node, scans[0])
    before = wait_until_back(node, orthanc, uid)
    storescu(node, scans[0])
    wait_for("the resend to be registered", lambda: _inbox_is_empty(node), STUDY_TIMEOUT_S)
    assert wait_until_back(node, orthanc, uid) == before


def test_a_listener_killed_right_after_its_acknowledgement_loses_nothing(
    node: RunningNode, orthanc: OrthancProcess, scans: list[Path]
) -> None:
    storescu(node, scans[1])
    kill(node.children("listen"))
    wait_until_back(node, orthanc, study_uid_of(scans[1]))
    wait_for("the listener to be back", lambda: _echo(node), STUDY_TIMEOUT_S)


def test_everything_killed_at_once_and_started_again_still_delivers_once(
    orthanc: OrthancProcess, scans: list[Path], tmp_path: Path
) -> None:
    destination = {"name": "orthanc", "host": "127.0.0.1", "port": orthanc.dicom_port, "ae_title": orthanc.aet}
    uid = study_uid_of(scans[2])
    with running_node(tmp_path, [destination]) as first:
        storescu(first, scans[2])
        wait_for("the job to run", lambda: any(j["state"] == "running" for j in first.jobs(uid)), STUDY_TIMEOUT_S)
        kill([psutil.Process(first.process.pid), *psutil.Process(first.process.pid).children(recursive=True)])
    with running_node(tmp_path, [destination]) as second:
        wait_until_back(second, orthanc, uid)


def _inbox_is_empty(node: RunningNode) -> bool:
    return not list((node.data_dir / "spool" / "inbox").glob("*.dcm"))


def _echo(node: RunningNode) -> bool:
    command = [need_program("echoscu"), "-aec", "OSTEON", "127.0.0.1", str(node.dicom_port)]
    return subprocess.run(command, capture_output=True, timeout=30).returncode == 0
