"""The shipped weights at work on a simulated study, from files to findings.

Skipped by name where no weights are shipped. How good the networks are is measured by `osteon evaluate lumbar` and
stands in the cards; asked here is only whether the parts fit: the right series of the study, the spine where the truth
says it is, a refusal where there is none.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from node.offline import group_series
from pipelines.contract import ComputeOptions, ContentRefused, Findings, PipelineInputs
from pipelines.lumbar.cascade import COARSE, FINE, SHIPPED_WEIGHTS
from pipelines.lumbar.pipeline import LumbarPipeline
from pipelines.lumbar.rib_network import MODEL
from pipelines.lumbar.wording import CASCADE_FLAGS, UNSURE
from pipelines.phantoms.lumbar import LumbarPatient, simulate_lumbar, write_lumbar_study

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pipeline() -> LumbarPipeline:
    for name in (COARSE, FINE, MODEL):
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
    assert [model.name for model in findings.models] == [COARSE, FINE, MODEL]
    assert "simulated" in " ".join(findings.limitations)
    assert findings.table is not None and len(findings.table.rows) >= 3


def filled(study: Path, folder: Path, draw: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> PipelineInputs:
    """The T2 series with other pixels: `draw` gets rows and columns from -1 to 1."""
    for path in (study / "sag-t2").glob("*.dcm"):
        dataset = dcmread(path)
        rows, columns = np.meshgrid(
            np.linspace(-1, 1, dataset.Rows), np.linspace(-1, 1, dataset.Columns), indexing="ij"
        )
        dataset.PixelData = draw(rows, columns).astype(np.uint16).tobytes()
        dataset.save_as(folder / path.name)
    return PipelineInputs(group_series([folder]))


def test_a_bottle_of_water_is_refused_whatever_its_header_says(
    pipeline: LumbarPipeline, study: Path, tmp_path: Path
) -> None:
    noise = np.random.default_rng(0)
    inputs = filled(study, tmp_path, lambda r, c: 500.0 * (r**2 + 2 * c**2 < 0.9) + noise.integers(0, 30, r.shape))
    pipeline.check(inputs)
    with pytest.raises(ContentRefused, match="no lumbar spine that the networks recognise"):
        pipeline.run(inputs, lambda _done, _what: None)


def test_noise_is_refused_or_said_to_be_unlike_a_spine(pipeline: LumbarPipeline, study: Path, tmp_path: Path) -> None:
    noise = np.random.default_rng(0)
    inputs = filled(study, tmp_path, lambda r, _c: noise.integers(0, 300, r.shape))
    try:
        said = " ".join(pipeline.run(inputs, lambda _done, _what: None).limitations)
    except ContentRefused as refusal:
        assert "no lumbar spine that the networks recognise" in str(refusal)
    else:
        assert CASCADE_FLAGS[UNSURE] in said


def test_a_sound_picture_is_not_called_doubtful(findings: Findings) -> None:
    assert not set(CASCADE_FLAGS.values()) & set(findings.limitations)


def test_a_blank_series_is_refused(pipeline: LumbarPipeline, study: Path, tmp_path: Path) -> None:
    with pytest.raises(ContentRefused, match="is blank"):
        pipeline.run(filled(study, tmp_path, lambda r, _c: np.full(r.shape, 7)), lambda _done, _what: None)
