"""`thorax` beside `bone-scan` on one scan, through the node: both views come back, and who said what is told apart.

Not here: kills and resends (test_node.py), what the network finds (tests/thorax, `osteon evaluate`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from pydicom import Dataset

from deploy.orthanc.run import OrthancError, OrthancProcess, start_orthanc
from pipelines.phantoms import generate
from tests.e2e.test_node import fetch, in_orthanc, storescu
from tests.fixtures.running_node import RunningNode, running_node, wait_for

pytestmark = [pytest.mark.peer, pytest.mark.slow]

SEED = 700
STUDY_TIMEOUT_S = 200.0


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
    with running_node(tmp_path_factory.mktemp("node"), [destination], switched_on=("thorax",)) as node:
        yield node


def results_of(orthanc: OrthancProcess, study: str, modality: str, folder: Path) -> list[Dataset]:
    return [fetch(orthanc, instance, folder) for instance in in_orthanc(orthanc, study).get(modality, [])]


def frames_referred_to(segmentation: Dataset) -> set[int]:
    """Frames of the source that the segmentation's frames were made from."""
    found = set()
    for group in segmentation.PerFrameFunctionalGroupsSequence:
        source = group.DerivationImageSequence[0].SourceImageSequence[0]
        found.add(int(source.ReferencedFrameNumber))
    return found


def frames_with_curves(report: Dataset) -> set[int]:
    """Frames on which the report draws closed curves."""
    found = set()

    def walk(item: Dataset) -> None:
        for part in item.get("ContentSequence", []):
            if part.ValueType == "SCOORD":
                points = np.asarray(part.GraphicData).reshape(-1, 2)
                np.testing.assert_allclose(points[0], points[-1])
                found.add(int(part.ContentSequence[0].ReferencedSOPSequence[0].ReferencedFrameNumber))
            walk(part)

    walk(report)
    return found


def test_both_pipelines_results_come_back_with_both_views_and_are_told_apart(
    node: RunningNode, orthanc: OrthancProcess, tmp_path: Path
) -> None:
    (scan,) = generate(1, SEED, tmp_path)
    study = str(pydicom.dcmread(scan, stop_before_pixels=True).StudyInstanceUID)
    storescu(node, scan)
    wait_for(
        "results of both pipelines",
        lambda: all(len(in_orthanc(orthanc, study).get(kind, [])) >= 2 for kind in ("SEG", "SR", "OT")),
        STUDY_TIMEOUT_S,
    )
    assert {job["pipeline"] for job in node.jobs(study)} == {"bone-scan", "thorax"}
    segmentations = results_of(orthanc, study, "SEG", tmp_path)
    reports = results_of(orthanc, study, "SR", tmp_path)
    assert len(segmentations) == len(reports) == 2
    for kind in (segmentations, reports):
        assert len({dataset.SeriesDescription for dataset in kind}) == 2
        assert len({dataset.SeriesInstanceUID for dataset in kind}) == 2
    names = [
        {str(segment.SegmentationAlgorithmIdentificationSequence[0].AlgorithmName) for segment in each.SegmentSequence}
        for each in segmentations
    ]
    assert not names[0] & names[1]
    (mine,) = [each for each in segmentations if each.SeriesDescription.startswith("thorax")]
    (report,) = [each for each in reports if each.SeriesDescription.startswith("thorax")]
    assert frames_referred_to(mine) == frames_with_curves(report) == {1, 2}
    read = highdicom.seg.Segmentation.from_dataset(mine)
    assert (read.Rows, read.Columns) == pydicom.dcmread(scan).pixel_array.shape[1:]
    assert read.pixel_array.any()
