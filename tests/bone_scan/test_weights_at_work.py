"""The shipped weights at work on the real scan: same pixels in, same result out, and a bladder where the urine is.

Skipped by name where no weights are shipped or the real scan is missing. How good the networks are is measured by
`osteon evaluate bone-scan`, not asserted here.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipelines.bone_scan.engine import MODEL, SHIPPED_WEIGHTS
from pipelines.bone_scan.pipeline import BoneScanPipeline
from pipelines.contract import ComputeOptions, ContentRefused, Findings, InputSeries, PipelineInputs
from pipelines.imaging.instance import read_frames

pytestmark = pytest.mark.slow

LOSSLESS = ("NM1_JPLL", "NM1_J2KR", "NM1_JLSL", "NM1_RLE")


@pytest.fixture(scope="module")
def pipeline() -> BoneScanPipeline:
    if not (SHIPPED_WEIGHTS / f"{MODEL}.safetensors").is_file():
        pytest.skip(f"the weights '{MODEL}' are not shipped with this checkout")
    loaded = BoneScanPipeline()
    loaded.load(ComputeOptions(device="cpu"))
    return loaded


@pytest.fixture(scope="module")
def reference(pipeline, shared_data) -> Findings:
    return run(pipeline, shared_data / "nm" / LOSSLESS[0])


def run(pipeline: BoneScanPipeline, path: Path) -> Findings:
    inputs = PipelineInputs((InputSeries("1.2.3", (path,)),))
    pipeline.check(inputs)
    return pipeline.run(inputs, lambda done, what: None)


@pytest.mark.parametrize("name", LOSSLESS[1:])
def test_the_label_map_is_the_same_in_every_lossless_syntax(pipeline, reference, shared_data, name):
    findings = run(pipeline, shared_data / "nm" / name)
    np.testing.assert_array_equal(findings.segmentations[0].label_map, reference.segmentations[0].label_map)
    assert [q.value for q in findings.quantities] == [q.value for q in reference.quantities]
    assert findings.conclusion == reference.conclusion


def test_the_copy_that_does_not_decode_is_refused_by_name(pipeline, shared_data):
    with pytest.raises(ContentRefused, match=r"NM1_JPLY.*JPEG Extended"):
        run(pipeline, shared_data / "nm" / "NM1_JPLY")


def test_the_result_is_on_the_scans_own_grid_and_says_what_it_rests_on(reference):
    (segmentation,) = reference.segmentations
    assert segmentation.label_map.shape == (1, 1024, 256)
    assert segmentation.source.frames[0].frame_number is None
    said = " ".join(reference.limitations)
    assert "One view only" in said
    assert "taken as anterior" in said


def test_the_bladder_is_marked_where_the_urine_is(reference, shared_data):
    """The hottest spot of the pelvis is the oracle: a hot, round, central blob that needs no network to see."""
    counts = read_frames(shared_data / "nm" / LOSSLESS[0]).values[0]
    pelvis = np.zeros_like(counts)
    pelvis[380:460, 90:180] = counts[380:460, 90:180]
    urine = pelvis > 0.6 * pelvis.max()
    bladder = next(r for r in reference.regions if r.tracking_id == "anterior-bladder")
    mask = reference.segmentations[0].label_map[0] == bladder.segment_number
    assert np.logical_and(mask, urine).sum() > 0.8 * urine.sum()
    assert mask.sum() < 4 * urine.sum()
