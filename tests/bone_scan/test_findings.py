"""From counts to findings: masks on the right pixels of the right frame, sums, sentences.

An exact rule plays the networks' part: hot pixels are metastases but near the midline of the pelvis, where they are
bladder; what must come out is then known. The real architectures run in `test_pipeline`, and what trained weights find
is `test_weights_at_work`'s.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from pipelines.bone_scan import codes
from pipelines.bone_scan.analysis import View, analyse
from pipelines.bone_scan.findings import build_findings
from pipelines.bone_scan.tiles import split
from pipelines.contract import Findings
from pipelines.contract.provenance import Provenance, Stopwatch
from pipelines.imaging.planar import read_planar_scan
from pipelines.planar.header_checks import header_refusal
from pipelines.planar.lesions import BLADDER, METASTASIS
from tests.bone_scan.drawn_scans import BACK, CARD, FRONT, LESION, PAIR
from tests.imaging.nm_objects import (
    BLADDER_CENTRE,
    BLADDER_RADIUS,
    SECONDARY_CAPTURE,
    detector,
    draw_body,
    nm_object,
    save,
)


class HotPixels:
    """An exact rule in the network's place: what saturates a window is hot; hot and central is bladder.

    The windows are the first two channels.
    """

    def judge(self, view: np.ndarray, starts: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        maps = np.mean([self._maps(window) for window in view[:2]], axis=0)
        return split(maps[1:], starts).max(axis=(2, 3)), maps

    @staticmethod
    def _maps(window: np.ndarray) -> np.ndarray:
        maps = np.zeros((3, *window.shape), np.float32)
        labels, _ = ndimage.label(ndimage.binary_opening(window >= 1.0, np.ones((3, 3)), iterations=2))
        for index, (rows, columns) in enumerate(ndimage.find_objects(labels), start=1):
            big = rows.stop - rows.start > 20
            central = abs((columns.start + columns.stop) / 2 - 128) < 20
            if not (big and not central):
                maps[BLADDER if big else METASTASIS][labels == index] = 1.0
        maps[0] = 1.0 - maps[1:].sum(axis=0)
        return maps


def analysed(tmp_path: Path, dataset=None, paths: list[Path] | None = None, network=None) -> Findings:
    """Run everything but the trained network; the two windows lie close together: the rule knows one level."""
    scan = read_planar_scan(paths or [save(dataset, tmp_path)], header_refusal)
    watch = Stopwatch()
    views = [View(v.counts, v.spacing_mm, v.name) for v in scan.views]
    analyses = analyse(views, network or HotPixels(), watch, (1.0, 0.9))
    return build_findings(scan, analyses, Provenance("bone-scan", "0", (CARD,), "CPU", "fp32", watch.seconds))


def drawn_disc(row: float, column: float, radius: float) -> np.ndarray:
    y, x = np.mgrid[0:1024, 0:256] + 0.5
    return np.hypot(y - row, x - column) <= radius


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * np.logical_and(a, b).sum() / (a.sum() + b.sum())


def region(findings: Findings, tracking_id: str):
    return next(r for r in findings.regions if r.tracking_id == tracking_id)


def mask_of(findings: Findings, tracking_id: str) -> np.ndarray:
    found = region(findings, tracking_id)
    return findings.segmentations[found.segmentation].label_map == found.segment_number


def quantity(findings: Findings, code) -> float | None:
    return next(q.value for q in findings.quantities if q.name == code)


def test_masks_lie_on_the_frame_and_the_pixels_they_were_found_on(tmp_path):
    findings = analysed(tmp_path, nm_object(np.stack([BACK, FRONT]), [detector(0), detector(180)]))
    (segmentation,) = findings.segmentations
    assert segmentation.label_map.shape == (2, 1024, 256)
    assert segmentation.source.view_names == ("anterior", "posterior")
    assert [f.frame_number for f in segmentation.source.frames] == [2, 1]
    front = mask_of(findings, "anterior-lesion-1")
    assert overlap(front[0], drawn_disc(*LESION[:3])) > 0.9
    assert not front[1].any()
    assert overlap(mask_of(findings, "posterior-bladder")[1], drawn_disc(*BLADDER_CENTRE, BLADDER_RADIUS)) > 0.9
    assert [r.tracking_id for r in findings.regions] == [
        "anterior-lesion-1", "posterior-lesion-1", "posterior-lesion-2", "anterior-bladder", "posterior-bladder",
    ]  # fmt: skip
    assert segmentation.display.max() == 255
    assert segmentation.display_inverted
    assert segmentation.key_frames == (1, 0)


def test_the_same_spot_on_the_image_is_the_other_side_on_the_other_view(tmp_path):
    counts = np.stack([FRONT, FRONT])
    findings = analysed(tmp_path, nm_object(counts, PAIR))
    assert region(findings, "anterior-lesion-1").laterality.meaning == "Right"
    assert region(findings, "posterior-lesion-1").laterality.meaning == "Left"
    assert region(findings, "anterior-lesion-1").finding_site.meaning == "Bone of thorax"


def test_a_posterior_frame_gives_the_same_mask_whatever_its_place_in_the_object(tmp_path):
    one = analysed(tmp_path, nm_object(np.stack([FRONT, BACK]), PAIR))
    two = analysed(tmp_path, nm_object(np.stack([BACK, FRONT]), PAIR[::-1]))
    np.testing.assert_array_equal(one.segmentations[0].label_map, two.segmentations[0].label_map)
    assert quantity(one, codes.BSTBI) == quantity(two, codes.BSTBI)


def test_two_series_give_two_segmentations_with_one_numbering_of_foci(tmp_path):
    paths = [
        save(nm_object(FRONT, [detector(180)], series_uid="1.2.3.1"), tmp_path, "a.dcm"),
        save(nm_object(BACK, [detector(0)], series_uid="1.2.3.2"), tmp_path, "b.dcm"),
    ]
    findings = analysed(tmp_path, paths=paths)
    assert [s.source.series_instance_uid for s in findings.segmentations] == ["1.2.3.1", "1.2.3.2"]
    assert region(findings, "posterior-lesion-2").segmentation == 1
    tracking = [s.tracking_id for segmentation in findings.segmentations for s in segmentation.segments]
    assert len(set(tracking)) == len(tracking) == 5


@pytest.mark.parametrize(("spacing", "rows", "columns"), [((3.6, 2.9), 640, 200), ((1.8, 1.8), 1280, 320)])
def test_other_matrices_get_masks_of_their_own_size(tmp_path, spacing, rows, columns):
    """The same body on another grid: expected counts per mm2 are kept, so the lesion is where it was, in mm."""
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
    area = next(q.value for q in region(findings, "anterior-lesion-1").quantities if q.name == codes.AREA)
    assert area == pytest.approx(np.pi * (6 * 2.26) ** 2, rel=0.3)


def test_the_study_quantities_follow_from_the_masks(tmp_path):
    """BSTBI recomputed here, from the label map that is written and the windows that are stated."""
    findings = analysed(tmp_path, nm_object(np.stack([FRONT, BACK]), PAIR))
    label_map = findings.segmentations[0].label_map
    lesions = {r.segment_number for r in findings.regions if "lesion" in r.tracking_id}
    per_image, by_counts = [], []
    for frame, counts in enumerate((FRONT, BACK)):
        lesion = np.isin(label_map[frame], list(lesions))
        bladder = (label_map[frame] > 0) & ~lesion
        for upper in findings.details["images"][frame]["window_upper_counts_per_pixel"]:
            u = np.rint(255 * np.clip(counts / np.float32(upper), 0, 1).astype(np.float32))
            per_image.append(5 * u[lesion].sum() / (4 * u[lesion].sum() + u.sum() - u[bladder].sum()))
        by_counts.append(5 * counts[lesion].sum() / (4 * counts[lesion].sum() + counts.sum() - counts[bladder].sum()))
    stated = [q.value for q in findings.quantities if q.name == codes.BSTBI]
    assert stated[0] == pytest.approx(np.mean(per_image), rel=1e-6)
    assert stated[1:] == pytest.approx(per_image, rel=1e-6)
    assert quantity(findings, codes.BSTBI_COUNTS) == pytest.approx(np.mean(by_counts), rel=1e-6)
    methods = [q.method for q in findings.quantities if q.name == codes.BSTBI]
    assert "mean of 4 images" in methods[0]
    assert all("window 0 to" in method for method in methods[1:])


def test_a_focus_states_size_counts_contrast_and_probability(tmp_path):
    findings = analysed(tmp_path, nm_object(FRONT, [detector(180)]))
    found = region(findings, "anterior-lesion-1")
    mask = mask_of(findings, "anterior-lesion-1")[0]
    values = {(q.name.value, q.derivation.meaning if q.derivation else ""): q.value for q in found.quantities}
    assert values["42798000", ""] == pytest.approx(mask.sum() * 2.26**2)
    assert values["110820", "Total"] == FRONT[mask].sum()
    assert values["110820", "Maximum"] == FRONT[mask].max()
    assert values["LESION-TO-BACKGROUND", ""] > 5
    assert values["111047", "Mean"] == 100.0
    assert len(found.contours) == 1
    assert found.contours[0].frame == 0


def test_a_bladder_is_said_to_lie_in_the_pelvis_only_where_it_does(tmp_path):
    findings = analysed(tmp_path, nm_object(FRONT, [detector(180)]))
    assert region(findings, "anterior-bladder").location == "pelvis"
    spilt = draw_body(seed=11, bladder=8.0, hot=[(700, 110, 14, 600.0)])
    findings = analysed(tmp_path, nm_object(spilt, [detector(180)]))
    assert region(findings, "anterior-bladder").location == "lower leg, right"


def test_outside_the_pelvis_a_patient_called_negative_is_not_outlined(tmp_path):
    findings = analysed(tmp_path, nm_object(draw_body(seed=1, bladder=8.0), [detector(180)]))
    tiles = findings.details["images"][0]["tiles"]
    assert 0 < [t["segmented"] for t in tiles].count(True) < len(tiles)
    assert not any(t["metastases_counted"] for t in tiles)
    assert findings.regions == ()
    assert "does not exclude metastases" in findings.conclusion


def test_metastases_outlined_in_a_patient_called_negative_do_not_count(tmp_path):
    class Denies(HotPixels):
        def judge(self, view, starts):
            labels, maps = super().judge(view, starts)
            return labels * [0.49, 1.0], maps

    both = nm_object(np.stack([FRONT, BACK]), PAIR)
    assert sum("lesion" in r.tracking_id for r in analysed(tmp_path, both).regions) == 3
    denied = analysed(tmp_path, both, network=Denies())
    assert [r.tracking_id for r in denied.regions] == ["anterior-bladder", "posterior-bladder"]


def test_a_tile_of_one_view_makes_the_lesions_of_the_other_count(tmp_path):
    class SeesTheFront(HotPixels):
        asked = 0

        def judge(self, view, starts):
            labels, maps = super().judge(view, starts)
            self.asked += 1
            return labels * [1.0 if self.asked == 1 else 0.1, 1.0], maps

    findings = analysed(tmp_path, nm_object(np.stack([FRONT, BACK]), PAIR), network=SeesTheFront())
    assert {"anterior-lesion-1", "posterior-lesion-1", "posterior-lesion-2"} <= {
        r.tracking_id for r in findings.regions
    }


def test_the_network_sees_what_faces_each_view(tmp_path):
    asked = []

    class Remembers(HotPixels):
        def judge(self, view, starts):
            asked.append(view)
            return super().judge(view, starts)

    mirrored = nm_object(np.stack([FRONT, FRONT[:, ::-1]]), PAIR)
    analysed(tmp_path, mirrored, network=Remembers())
    analysed(tmp_path, nm_object(FRONT, [detector(180)]), network=Remembers())
    front, back, alone = asked
    np.testing.assert_allclose(front[3:], front[:3], atol=1e-5)
    np.testing.assert_allclose(back[3:], back[:3], atol=1e-5)
    np.testing.assert_array_equal(alone[:3], front[:3])
    assert not alone[3:].any()


def test_a_tile_label_that_suspects_what_no_focus_shows_is_quoted(tmp_path):
    class Suspicious(HotPixels):
        def judge(self, view, starts):
            return np.full((len(starts), 2), 0.83, np.float32), super().judge(view, starts)[1]

    findings = analysed(tmp_path, nm_object(draw_body(bladder=8.0), [detector(180)]), network=Suspicious())
    assert findings.regions == ()
    assert "tile labels suggest metastases (83 %)" in findings.conclusion


def test_limitations_say_what_was_missing(tmp_path):
    alone = analysed(tmp_path, nm_object(FRONT, sop_class=SECONDARY_CAPTURE, spacing_mm=None))
    said = " ".join(alone.limitations)
    for words in (
        "research use",
        "simulated patients only",
        "One view only",
        "taken as anterior",
        "spacing",
        "photopenic",
        "secondary capture",
    ):
        assert words in said
    assert {q.name for q in region(alone, "anterior-lesion-1").quantities} >= {codes.PIXELS}
    assert alone.details["views"]["assumed"] is True
    both = " ".join(analysed(tmp_path, nm_object(np.stack([FRONT, BACK]), PAIR)).limitations)
    assert "One view only" not in both
    assert "taken as anterior" not in both
    assert "secondary capture" not in both
    assert "unedited" in both


def test_details_are_json_and_carry_no_patient(tmp_path):
    findings = analysed(tmp_path, nm_object(FRONT, PatientName="Secret^Name", PatientID="4711-Q"))
    text = json.dumps(findings.details) + findings.conclusion + " ".join(findings.limitations)
    assert "Secret" not in text
    assert "4711-Q" not in text
    assert set(findings.details["seconds"]) == {"prepare", "infer", "measure"}


def test_no_quantity_is_given_where_it_is_zero_over_zero(tmp_path):
    """A view in which all counts are bladder: refused as content, but if it got this far, never 0."""

    class AllBladder(HotPixels):
        @staticmethod
        def _maps(window):
            maps = np.zeros((3, *window.shape), np.float32)
            maps[BLADDER] = 1.0
            return maps

    urine = np.zeros_like(FRONT)
    urine[380:440, 100:156] = 500
    findings = analysed(tmp_path, nm_object(urine, [detector(180)]), network=AllBladder())
    burdens = [q for q in findings.quantities if q.name in (codes.BSTBI, codes.BSTBI_COUNTS, codes.FRACTION)]
    assert all(q.value is None and "0/0" in q.reason for q in burdens)
    assert "not computable" in findings.conclusion
