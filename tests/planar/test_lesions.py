"""Foci and where they are: components, sizes, outlines that enclose their mask, regions, the patient's sides.

Outlines are checked by rasterising them again with an independent point-in-polygon rule (skimage.draw).
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage
from skimage.measure import points_in_poly

from pipelines.imaging.contours import outline_of
from pipelines.planar.lesions import BLADDER, METASTASIS, clean_classes, find_foci
from pipelines.planar.location import LEFT, RIGHT, locate
from pipelines.planar.outline import WORKING_SPACING_MM
from pipelines.planar.prepare import prepare_view
from tests.imaging.nm_objects import BLADDER_CENTRE, draw_body

SPACING = (2.26, 2.26)


def disc(shape: tuple[int, int], row: float, column: float, radius: float) -> np.ndarray:
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]] + 0.5
    return np.hypot(y - row, x - column) <= radius


def probabilities(shape: tuple[int, int], metastases=(), bladder=()) -> np.ndarray:
    maps = np.zeros((3, *shape), np.float32)
    for row, column, radius, probability in metastases:
        maps[METASTASIS][disc(shape, row, column, radius)] = probability
    for row, column, radius in bladder:
        maps[BLADDER][disc(shape, row, column, radius)] = 1.0
        maps[METASTASIS][disc(shape, row, column, radius)] = 0.0
    maps[0] = 1.0 - maps[1:].sum(axis=0)
    return maps


def rasterise(lines: tuple[np.ndarray, ...], shape: tuple[int, int]) -> np.ndarray:
    """Fill polylines with the even-odd rule, asking at pixel centres."""
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]] + 0.5
    centres = np.column_stack([x.ravel(), y.ravel()])
    inside = np.zeros(len(centres), bool)
    for line in lines:
        inside ^= points_in_poly(centres, line[:-1])
    return inside.reshape(shape)


@settings(max_examples=60, deadline=None)
@given(mask=hnp.arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_outlines_enclose_exactly_the_mask(mask):
    lines = outline_of(mask)
    np.testing.assert_array_equal(rasterise(lines, mask.shape), mask)
    for line in lines:
        np.testing.assert_array_equal(line[0], line[-1])
        assert len(line) >= 4
    assert bool(lines) == bool(mask.any())


def test_a_single_pixel_is_outlined_about_its_centre_in_scoord_convention():
    mask = np.zeros((5, 7), bool)
    mask[2, 4] = True
    (line,) = outline_of(mask)
    assert set(map(tuple, line)) == {(4.5, 2.0), (5.0, 2.5), (4.5, 3.0), (4.0, 2.5)}


def test_a_straight_edge_needs_two_points():
    mask = np.zeros((50, 50), bool)
    mask[10:40, 5:45] = True
    (line,) = outline_of(mask)
    assert len(line) == 9


def test_foci_are_measured_on_the_sources_own_pixels():
    counts = draw_body(seed=None, hot=[(300, 100, 6, 200), (250, 150, 4, 90)])
    maps = probabilities(counts.shape, [(300, 100, 6, 0.9), (250, 150, 4, 0.7)], [(*BLADDER_CENTRE, 14)])
    found = find_foci(maps, counts, prepare_view(counts, SPACING), "anterior")
    first, second = found.foci
    mask = disc(counts.shape, 300, 100, 6)
    assert first.pixels == mask.sum()
    assert first.area_mm2 == pytest.approx(mask.sum() * 2.26**2)
    assert first.counts_total == pytest.approx(counts[mask].sum())
    assert first.counts_max == 200.0
    assert first.probability == pytest.approx(0.9, abs=1e-6)
    assert first.centroid == pytest.approx((100.0, 300.0), abs=0.01)
    assert first.contrast == pytest.approx(first.counts_mean / first.background_mean)
    assert 8 <= first.background_mean <= 40
    assert second.counts_total < first.counts_total
    np.testing.assert_array_equal(found.numbers == 1, mask)
    np.testing.assert_array_equal(rasterise(first.contours, counts.shape), mask)
    np.testing.assert_array_equal(found.classes == BLADDER, disc(counts.shape, *BLADDER_CENTRE, 14))


def test_a_focus_at_the_edge_of_the_image_lies_where_it_is():
    counts = draw_body(seed=None)[110:]  # the top of the head is cut off
    maps = probabilities(counts.shape, [(2, 128, 6, 0.9)])
    (focus,) = find_foci(maps, counts, prepare_view(counts, SPACING), "anterior").foci
    mask = disc(counts.shape, 2, 128, 6)
    rows, columns = np.nonzero(mask)
    assert focus.centroid == pytest.approx((columns.mean() + 0.5, rows.mean() + 0.5))
    np.testing.assert_array_equal(rasterise(focus.contours, counts.shape), mask)


def test_what_lies_beside_the_body_is_no_focus():
    counts = draw_body(seed=None, hot=[(700, 30, 6, 60)])
    view = prepare_view(counts, SPACING)
    edge = int(np.flatnonzero(view.mask[300])[0])
    on_the_body, mostly_on_it, in_the_air = (300, edge + 20, 6, 0.9), (300, edge + 2, 6, 0.9), (700, 30, 6, 0.9)
    maps = probabilities(counts.shape, [in_the_air], [(700, 230, 8)])
    nothing = find_foci(maps, counts, view, "anterior")
    assert nothing.foci == ()
    assert not (nothing.classes == METASTASIS).any()
    np.testing.assert_array_equal(nothing.classes == BLADDER, disc(counts.shape, 700, 230, 8))
    for place in (on_the_body, mostly_on_it):
        (focus,) = find_foci(probabilities(counts.shape, [in_the_air, place]), counts, view, "anterior").foci
        np.testing.assert_array_equal(rasterise(focus.contours, counts.shape), disc(counts.shape, *place[:3]))


def test_without_spacing_there_is_no_area():
    counts = draw_body(seed=None)
    maps = probabilities(counts.shape, [(300, 100, 6, 0.9)])
    (focus,) = find_foci(maps, counts, prepare_view(counts, None), "anterior").foci
    assert focus.area_mm2 is None
    assert focus.pixels > 100


def test_specks_are_dropped_holes_filled_and_one_bladder_kept():
    classes = np.zeros((60, 60), np.uint8)
    classes[5, 5] = METASTASIS
    ring = disc((60, 60), 30, 15, 8) & ~disc((60, 60), 30, 15, 3)
    classes[ring] = METASTASIS
    classes[disc((60, 60), 45, 45, 7)] = BLADDER
    classes[10:12, 50:53] = BLADDER
    cleaned = clean_classes(classes, 2.26**2)
    assert cleaned[5, 5] == 0
    assert cleaned[30, 15] == METASTASIS
    assert (cleaned[:20, 40:] == 0).all()
    np.testing.assert_array_equal(cleaned == BLADDER, disc((60, 60), 45, 45, 7))


@pytest.mark.parametrize("pitch", [WORKING_SPACING_MM, 1.13])
def test_the_bladder_is_the_one_in_the_pelvis_though_a_larger_piece_lies_elsewhere(pitch):
    fold = round(WORKING_SPACING_MM / pitch)
    counts = draw_body(seed=None).repeat(fold, axis=0).repeat(fold, axis=1)
    view = prepare_view(counts, (pitch, pitch))
    own, spilt = (460 * fold, 128 * fold, 8 * fold), (700 * fold, 164 * fold, 12 * fold)
    both = find_foci(probabilities(counts.shape, [], [own, spilt]), counts, view, "anterior")
    np.testing.assert_array_equal(both.classes == BLADDER, disc(counts.shape, *own))
    for others in ([], [(460 * fold, 128 * fold, fold)]):
        speck = find_foci(probabilities(counts.shape, [], [spilt, *others]), counts, view, "anterior")
        np.testing.assert_array_equal(speck.classes == BLADDER, disc(counts.shape, *spilt))


def test_holes_are_those_that_scipy_fills():
    rng = np.random.default_rng(5)
    for _ in range(50):
        values = ndimage.gaussian_filter(rng.standard_normal((60, 40)), rng.uniform(0.5, 3))
        marked = values > rng.uniform(-1, 1) * values.std()
        labels, number = ndimage.label(marked, np.ones((3, 3)))
        sizes = ndimage.sum_labels(marked, labels, np.arange(1, number + 1))
        largest = labels == 1 + int(np.argmax(sizes))
        cleaned = clean_classes(np.where(marked, BLADDER, 0).astype(np.uint8), 1000.0)
        np.testing.assert_array_equal(cleaned == BLADDER, ndimage.binary_fill_holes(largest))


def test_what_a_ring_of_lesions_encloses_is_no_lesion():
    classes = np.zeros((100, 100), np.uint8)
    pelvis = disc((100, 100), 50, 50, 30) & ~disc((100, 100), 50, 50, 22)
    hole = disc((100, 100), 50, 76, 2)
    classes[pelvis & ~hole] = METASTASIS
    cleaned = clean_classes(classes, 2.26**2)
    np.testing.assert_array_equal(cleaned == METASTASIS, pelvis)
    assert 22**2 * np.pi * 2.26**2 > 200 > hole.sum() * 2.26**2


def test_a_lesion_around_the_bladder_keeps_the_bladder():
    classes = np.zeros((60, 60), np.uint8)
    classes[disc((60, 60), 30, 30, 14)] = METASTASIS
    classes[disc((60, 60), 30, 30, 6)] = BLADDER
    cleaned = clean_classes(classes, 2.26**2)
    np.testing.assert_array_equal(cleaned, classes)
    lines = outline_of(cleaned == METASTASIS)
    assert len(lines) == 2
    np.testing.assert_array_equal(rasterise(lines, classes.shape), cleaned == METASTASIS)


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ((110, 128), "skull"), ((260, 128), "thoracic spine"), ((370, 128), "lumbar spine"), ((300, 90), "ribs"),
        ((440, 100), "pelvis"), ((620, 164), "knee region"), ((740, 92), "lower leg"), ((300, 212), "upper limb"),
        ((850, 166), "foot"), ((560, 90), "thigh"),
    ],
)  # fmt: skip
def test_regions_are_named_by_proportion(place, words):
    frame = prepare_view(draw_body(), SPACING).frame
    assert words in locate(place[0] + 0.5, place[1] + 0.5, frame, "posterior").words


def test_left_and_right_are_the_patients_on_both_views():
    """An anterior view shows the patient's right on the image's left; a posterior view the other way round."""
    frame = prepare_view(draw_body(), SPACING).frame
    image_left, image_right = (610.0, 92.0), (610.0, 164.0)
    assert locate(*image_left, frame, "anterior").laterality == RIGHT
    assert locate(*image_right, frame, "anterior").laterality == LEFT
    assert locate(*image_left, frame, "posterior").laterality == LEFT
    assert locate(*image_right, frame, "posterior").laterality == RIGHT
    assert locate(260.0, 130.0, frame, "anterior").laterality is None


def test_every_place_has_a_name():
    frame = prepare_view(draw_body(), SPACING).frame
    for row in range(-200, 1300, 7):
        for column in range(-40, 300, 5):
            assert locate(row, column, frame, "anterior").words


@pytest.mark.slow
def test_simulated_lesions_are_found_on_their_bone_and_side():
    """Single metastases of simulated patients: the name must fit the bone, the side must be the patient's."""
    from scipy import ndimage

    from pipelines.phantoms.bone_scan import simulate_bone_scan

    fits = {
        "skull": ("skull",), "C": ("cervical", "skull", "neck"), "T": ("thoracic", "lumbar"),
        "L": ("lumbar", "thoracic"), "rib": ("rib", "thoracic", "shoulder"), "sternum": ("sternum", "thoracic"),
        "sacrum": ("sacrum", "pelvis"), "ilium": ("pelvis",), "acetabulum": ("pelvis", "hip"),
        "pubis": ("pelvis", "pubic", "hip"), "ischium": ("pelvis", "hip", "thigh"),
        "femur": ("hip", "thigh", "knee", "pelvis"), "humerus": ("shoulder", "upper limb"),
        "clavicle": ("rib", "shoulder", "sternum", "thoracic"), "scapula": ("shoulder", "rib"),
    }  # fmt: skip
    told = right = sided = 0
    for seed in range(2000, 2008):
        scan = simulate_bone_scan(seed, "train", metastases=1)
        lesion = scan.lesions[0]
        kind = next(key for key in sorted(fits, key=len, reverse=True) if lesion.bone.startswith(key))
        for name, counts, labels in zip(("anterior", "posterior"), scan.counts, scan.labels, strict=True):
            mask = labels == METASTASIS
            if not mask.any():
                continue
            view = prepare_view(counts, (scan.scanner.pixel_mm,) * 2)
            row, column = ndimage.center_of_mass(mask)
            place = locate(*view.grid.point_to_working(row + 0.5, column + 0.5), view.frame, name)
            told += 1
            right += any(word in place.words for word in fits[kind])
            if abs(lesion.centre_mm[0]) > 40:
                assert place.laterality == (LEFT if lesion.centre_mm[0] > 0 else RIGHT)
                sided += 1
    assert told >= 8
    assert sided >= 2
    assert right >= 0.85 * told
