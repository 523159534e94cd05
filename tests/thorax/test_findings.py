"""From files to findings: masks on the right pixels of both views, closed curves, nothing outside the crop.

An exact rule plays the network's part; the real architecture runs in `test_pipeline`.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from pipelines.contract import Findings
from pipelines.contract.provenance import Provenance, Stopwatch
from pipelines.imaging.planar import read_planar_scan
from pipelines.planar import codes
from pipelines.planar.header_checks import header_refusal
from pipelines.planar.prepare import prepare_view
from pipelines.thorax.analysis import View, analyse
from pipelines.thorax.findings import build_findings
from tests.imaging.nm_objects import detector, draw_body, nm_object, save
from tests.thorax.drawn_thorax import BACK, BELOW, CARD, FRONT, LESION, PAIR, HotPixels, disc, overlap


def analysed(tmp_path: Path, dataset=None, paths: list[Path] | None = None, network=None) -> Findings:
    scan = read_planar_scan(paths or [save(dataset, tmp_path)], header_refusal)
    views = [View(v.name, v.counts, prepare_view(v.counts, v.spacing_mm)) for v in scan.views]
    watch = Stopwatch()
    analyses = analyse(views, network or HotPixels(), watch)
    return build_findings(scan, analyses, Provenance("thorax", "0", (CARD,), "CPU", "fp32", watch.seconds))


def mask_of(findings: Findings, tracking_id: str) -> np.ndarray:
    found = next(r for r in findings.regions if r.tracking_id == tracking_id)
    return findings.segmentations[found.segmentation].label_map == found.segment_number


def test_masks_lie_on_the_frame_and_the_pixels_they_were_found_on(tmp_path):
    findings = analysed(tmp_path, nm_object(np.stack([BACK, FRONT]), [detector(0), detector(180)]))
    (segmentation,) = findings.segmentations
    assert segmentation.source.view_names == ("anterior", "posterior")
    assert [f.frame_number for f in segmentation.source.frames] == [2, 1]
    front = mask_of(findings, "anterior-lesion-1")
    assert overlap(front[0], disc(*LESION[:3])) > 0.85
    assert not front[1].any()
    back = mask_of(findings, "posterior-lesion-1") | mask_of(findings, "posterior-lesion-2")
    assert overlap(back[1], disc(300, 156, 6) | disc(250, 160, 5)) > 0.85


def test_what_lies_outside_the_crop_is_not_marked(tmp_path):
    body = draw_body(seed=11, bladder=600.0, hot=[LESION, BELOW])
    findings = analysed(tmp_path, nm_object(body, [detector(180)]))
    assert [r.tracking_id for r in findings.regions] == ["anterior-lesion-1"]
    assert any(
        "58 cm from the neck down over the whole width, arms included" in sentence for sentence in findings.limitations
    )
    rows = findings.details["images"][0]["thorax"]
    assert rows["first_working_row"] < LESION[0] < rows["last_working_row"] < BELOW[0]


def test_a_focus_in_a_small_patients_pelvis_is_not_said_to_be_in_the_thorax_nor_its_place_not_looked_at(tmp_path):
    body = draw_body(seed=11, bladder=8.0, hot=[(500, 92, 6, 400.0)])
    findings = analysed(tmp_path, nm_object(body, [detector(180)], spacing_mm=(1.5, 1.5)))
    (region,) = findings.regions
    assert region.location == "hip or upper thigh, right"
    assert findings.conclusion.startswith("From the neck 58 cm down the network marked 1 focus on the anterior view")
    assert "thorax" not in findings.conclusion
    assert not any("hips" in sentence and "were not" in sentence for sentence in findings.limitations)


def test_each_focus_has_closed_curves_that_hold_its_pixels(tmp_path):
    findings = analysed(tmp_path, nm_object(np.stack([FRONT, BACK]), PAIR))
    assert len(findings.regions) == 3
    for region in findings.regions:
        mask = mask_of(findings, region.tracking_id)
        (contour,) = region.contours
        np.testing.assert_array_equal(contour.points[0], contour.points[-1])
        assert mask[contour.frame].any()
        x, y = contour.points[:-1].T
        area = abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2
        # A contour half-way between pixels that cuts corners is a little smaller than the pixels it holds.
        assert 0.8 * mask.sum() < area <= mask.sum()
        names = [q.name for q in region.quantities]
        assert codes.AREA in names
        assert codes.METASTASIS_PROBABILITY in names


def test_with_aggregation_a_lesion_of_one_view_is_marked_on_both(tmp_path):
    """The back's second lesion (250, 160) lies at column 256 - 160 of the front."""
    network = HotPixels(at=0.4, aggregated=True)
    findings = analysed(tmp_path, nm_object(np.stack([FRONT, BACK]), PAIR), network=network)
    assert network.seen[0].shape == (1, 256, 256)
    marked = findings.segmentations[0].label_map > 0
    truth_front = disc(300, 100, 6) | disc(250, 96, 5)
    truth_back = disc(300, 156, 6) | disc(250, 160, 5)
    assert overlap(marked[0], truth_front) > 0.75
    assert overlap(marked[1], truth_back) > 0.75


def test_one_view_alone_is_analysed_also_by_a_network_of_added_views(tmp_path):
    findings = analysed(tmp_path, nm_object(FRONT, [detector(180)]), network=HotPixels(aggregated=True))
    assert [r.tracking_id for r in findings.regions] == ["anterior-lesion-1"]
    assert any(sentence.startswith("One view only") for sentence in findings.limitations)


def test_two_series_give_two_segmentations(tmp_path):
    paths = [
        save(nm_object(FRONT, [detector(180)], series_uid="1.2.3.1"), tmp_path, "a.dcm"),
        save(nm_object(BACK, [detector(0)], series_uid="1.2.3.2"), tmp_path, "b.dcm"),
    ]
    findings = analysed(tmp_path, paths=paths)
    assert [s.source.series_instance_uid for s in findings.segmentations] == ["1.2.3.1", "1.2.3.2"]
    assert {r.segmentation for r in findings.regions} == {0, 1}


@pytest.mark.parametrize(("spacing", "rows", "columns"), [((3.6, 2.9), 640, 200), ((1.8, 1.8), 1280, 320)])
def test_other_matrices_get_masks_of_their_own_size_at_the_same_place(tmp_path, spacing, rows, columns):
    y = (np.arange(rows) + 0.5) * spacing[0] / 2.26
    x = (np.arange(columns) + 0.5) * spacing[1] / 2.26
    body = ndimage.map_coordinates(
        draw_body(seed=None, bladder=600.0, hot=[LESION]), np.meshgrid(y - 0.5, x - 0.5, indexing="ij"), order=1
    )
    counts = np.random.default_rng(4).poisson(body * spacing[0] * spacing[1] / 2.26**2)
    findings = analysed(tmp_path, nm_object(counts, [detector(180)], spacing_mm=spacing))
    mask = mask_of(findings, "anterior-lesion-1")[0]
    assert mask.shape == (rows, columns)
    row, column = ndimage.center_of_mass(mask)
    assert (row + 0.5) * spacing[0] / 2.26 == pytest.approx(LESION[0], abs=1.5)
    assert (column + 0.5) * spacing[1] / 2.26 == pytest.approx(LESION[1], abs=1.5)


def test_an_empty_thorax_is_said_without_a_diagnosis_and_details_are_json(tmp_path):
    findings = analysed(tmp_path, nm_object(draw_body(seed=1, bladder=8.0), [detector(180)]))
    assert findings.regions == ()
    assert "does not exclude metastases" in findings.conclusion
    json.dumps(findings.details)
    assert set(findings.details["seconds"]) == {"crop", "infer", "measure"}
