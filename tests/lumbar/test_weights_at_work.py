"""The shipped weights at work on a simulated study, from files to findings.

Skipped by name where no weights are shipped. How good the networks are is measured by `osteon evaluate lumbar` and
stands in the cards; asked here is only whether the parts fit: the right series of the study, the spine where the truth
says it is, a refusal where there is none.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from node.offline import group_series
from pipelines.contract import ComputeOptions, ContentRefused, Findings, PipelineInputs
from pipelines.lumbar.cascade import COARSE, FINE, SHIPPED_WEIGHTS
from pipelines.lumbar.pipeline import LumbarPipeline
from pipelines.phantoms.lumbar import LumbarPatient, simulate_lumbar, write_lumbar_study

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pipeline() -> LumbarPipeline:
    for name in (COARSE, FINE):
        if not (SHIPPED_WEIGHTS / f"{name}.safetensors").is_file():
            pytest.skip(f"the weights '{name}' are not shipped with this checkout")
    loaded = LumbarPipeline()
    loaded.load(ComputeOptions(device="cpu"))
    return loaded


@pytest.fixture(scope="module")
def patient() -> LumbarPatient:
    return simulate_lumbar(500_001, "held_out")


@pytest.fixture(scope="module")
def study(patient: LumbarPatient, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """T2, T1, STIR and axial series of one patient."""
    folder = tmp_path_factory.mktemp("study")
    write_lumbar_study(patient, folder, companions=True)
    return folder


@pytest.fixture(scope="module")
def findings(pipeline: LumbarPipeline, study: Path) -> Findings:
    inputs = PipelineInputs(group_series([study]))
    pipeline.check(inputs)
    return pipeline.run(inputs, lambda _done, _what: None)


def test_of_a_study_the_sagittal_t2_is_analysed(findings: Findings, study: Path) -> None:
    (segmentation,) = findings.segmentations
    t2 = {str(dcmread(path, stop_before_pixels=True).SOPInstanceUID) for path in (study / "sag-t2").glob("*.dcm")}
    assert {str(header.SOPInstanceUID) for header in segmentation.source.headers} == t2


def test_the_bodies_are_where_the_patient_has_them(findings: Findings, patient: LumbarPatient) -> None:
    (segmentation,) = findings.segmentations
    bodies = [n for n, s in enumerate(segmentation.segments, start=1) if s.label.endswith("vertebral body")]
    found = np.isin(segmentation.label_map, bodies)
    # Frames are sorted as the files say, from the right to the left or from the left to the right.
    left_to_right = segmentation.source.headers[0].ImagePositionPatient[0] > patient.origin_mm[0] + 1
    truth = (patient.structures[::-1] if left_to_right else patient.structures) == 1
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.7


def test_the_result_says_which_weights_and_that_they_never_saw_a_patient(findings: Findings) -> None:
    assert [model.name for model in findings.models] == [COARSE, FINE]
    assert "simulated" in " ".join(findings.limitations)
    assert findings.table is not None and len(findings.table.rows) >= 3


@pytest.mark.parametrize("kind", ["noise", "water bottle"])
def test_a_picture_without_a_spine_is_refused_whatever_its_header_says(
    pipeline: LumbarPipeline, study: Path, tmp_path: Path, kind: str
) -> None:
    noise = np.random.default_rng(0)
    for path in (study / "sag-t2").glob("*.dcm"):
        dataset = dcmread(path)
        rows, columns = np.ogrid[-1 : 1 : dataset.Rows * 1j, -1 : 1 : dataset.Columns * 1j]
        pixels = noise.integers(0, 300, (dataset.Rows, dataset.Columns)).astype(float)
        if kind == "water bottle":
            pixels = 500.0 * (rows**2 + 2 * columns**2 < 0.9) + pixels / 10
        dataset.PixelData = pixels.astype(np.uint16).tobytes()
        dataset.save_as(tmp_path / path.name)
    inputs = PipelineInputs(group_series([tmp_path]))
    pipeline.check(inputs)
    with pytest.raises(ContentRefused, match="no lumbar spine that the networks recognise"):
        pipeline.run(inputs, lambda _done, _what: None)


def test_a_blank_series_is_refused(pipeline: LumbarPipeline, study: Path, tmp_path: Path) -> None:
    for path in (study / "sag-t2").glob("*.dcm"):
        dataset = dcmread(path)
        dataset.PixelData = np.full((dataset.Rows, dataset.Columns), 7, np.uint16).tobytes()
        dataset.save_as(tmp_path / path.name)
    with pytest.raises(ContentRefused, match="is blank"):
        pipeline.run(PipelineInputs(group_series([tmp_path])), lambda _done, _what: None)
