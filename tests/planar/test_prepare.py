"""Preparation: the working grid and back, the body, the reference level, windows, tiles.

Shapes are drawn at known places (tests.imaging.nm_objects) or are small arrays; property tests hold the grid's
promises (counts kept, identity exact, labels back where they were) for any spacing.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from pipelines.bone_scan.tiles import (
    TILE_PIXELS,
    body_rows,
    covered_rows,
    gate,
    is_positive,
    pelvic_tiles,
    split,
    tile_starts,
)
from pipelines.planar.levels import WINDOW_FACTORS, compressed, reference_level, to_grey, window
from pipelines.planar.outline import body_frame, body_mask
from pipelines.planar.prepare import (
    ADULT_HEIGHT_MM,
    ROW_MULTIPLE,
    WORKING_COLUMNS,
    WORKING_SPACING_MM,
    facing,
    facing_columns,
    prepare_view,
    working_grid,
)
from tests.imaging.nm_objects import BLADDER_CENTRE, draw_body

SPACING = (WORKING_SPACING_MM, WORKING_SPACING_MM)


def test_the_body_is_where_scipys_median_exceeds_the_floor():
    """The counting form of the median against the filter itself, on noise about the floor and at the borders."""
    counts = np.random.default_rng(5).poisson(1.0, (90, 70)).astype(np.float32)
    counts[20:60, 15:50] += 40.0
    above = ndimage.median_filter(counts, size=5) > 1.0
    labels, _ = ndimage.label(above)
    largest = labels == np.argmax(np.bincount(labels.ravel())[1:]) + 1
    np.testing.assert_array_equal(body_mask(counts), largest)


def test_the_usual_matrix_is_taken_as_it_is():
    counts = draw_body()
    view = prepare_view(counts, SPACING)
    assert view.grid.is_identity
    assert view.grid.spacing_known
    np.testing.assert_array_equal(view.counts, counts)
    assert view.windows.shape == (2, 1024, WORKING_COLUMNS)
    assert view.windows.dtype == np.float32
    assert view.windows.min() >= 0
    assert view.windows.max() <= 1
    assert view.grid.source_pixels_per_pixel == 1.0


def test_the_network_sees_the_windows_and_a_logarithm_that_nothing_saturates():
    view = prepare_view(draw_body(), SPACING)
    np.testing.assert_array_equal(view.channels[:2], view.windows)
    levels = view.counts / view.reference
    assert view.channels.dtype == np.float32
    np.testing.assert_allclose(view.channels[2], np.log1p(levels.clip(0, 20)) / np.log(21), atol=1e-6)
    assert compressed(np.array([0.0, 1.0, 20.0, 60.0])) == pytest.approx([0, np.log(2) / np.log(21), 1, 1])


@pytest.mark.parametrize("pixel_mm", [WORKING_SPACING_MM, 1.8, 2.5])
def test_what_faces_a_place_is_the_same_place_of_the_body(pixel_mm):
    """A body off the middle with one hot arm, as the other detector has it: mirrored on the source's own grid."""
    front = np.zeros((900, 256))
    front[100:800, 70:200] = 20.0
    front[400:420, 180:190] = 900.0
    one, two = (prepare_view(counts, (pixel_mm, pixel_mm)) for counts in (front, front[:, ::-1]))
    k = facing_columns(one, two)
    assert k == facing_columns(two, one) is not None
    seen = facing(two.counts, k)
    middle = [ndimage.center_of_mass(counts > 100) for counts in (one.counts, seen)]
    assert middle[0] == pytest.approx(middle[1], abs=0.51)
    assert facing(facing(two.counts, k), k)[:, 20:-20] == pytest.approx(two.counts[:, 20:-20])


def test_views_that_were_not_taken_together_do_not_face_each_other():
    whole = np.zeros((900, 256))
    whole[100:800, 70:200] = 20.0
    view = prepare_view(whole, SPACING)
    assert facing_columns(view, prepare_view(whole, (2.4, 2.4))) is None, "another pixel size"
    assert facing_columns(view, prepare_view(whole[:800], SPACING)) is None, "another length"
    assert facing_columns(view, prepare_view(np.roll(whole, 150, 0), SPACING)) is None, "the table had moved"


@settings(max_examples=15, deadline=None)
@given(
    row_mm=st.floats(1.2, 4.5), column_mm=st.floats(1.2, 3.9), rows=st.integers(300, 700), columns=st.integers(240, 250)
)
def test_counts_are_kept_on_any_grid(row_mm, column_mm, rows, columns):
    counts = draw_body(rows, columns, seed=3)
    grid = working_grid(counts, (row_mm, column_mm))
    working = grid.counts_to_working(counts)
    assert grid.spacing_known
    assert working.shape == grid.shape
    assert grid.shape[0] % ROW_MULTIPLE == 0
    assert grid.shape[1] == WORKING_COLUMNS
    expected = counts.sum()
    if columns * column_mm <= WORKING_COLUMNS * WORKING_SPACING_MM:
        assert working.sum(dtype=np.float64) == pytest.approx(expected, rel=1e-5)
    else:
        assert working.sum(dtype=np.float64) <= expected * (1 + 1e-5)


@settings(max_examples=15, deadline=None)
@given(row_mm=st.floats(1.2, 4.5), column_mm=st.floats(1.2, 2.4), row=st.integers(40, 180), column=st.integers(40, 180))
def test_what_is_marked_on_the_working_grid_comes_back_to_the_same_place(row_mm, column_mm, row, column):
    """A disc of 40 mm drawn on the source, carried there and back, loses at most its rim."""
    shape = (240, 240)
    grid = working_grid(np.ones(shape), (row_mm, column_mm))
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]] + 0.5
    disc = np.hypot((y - row) * row_mm, (x - column) * column_mm) <= 40.0
    marked = grid.labels_to_working(disc.astype(np.uint8))
    back = grid.probabilities_to_source(np.stack([marked == 0, marked == 1]).astype(np.float32))
    assert back.shape == (2, *shape)
    np.testing.assert_allclose(back.sum(axis=0), 1.0, atol=1e-6)
    again = back.argmax(axis=0) == 1
    overlap = 2 * np.logical_and(again, disc).sum() / (again.sum() + disc.sum())
    assert overlap > 0.93
    centre = np.argwhere(again).mean(axis=0) + 0.5
    assert abs(centre[0] - np.argwhere(disc).mean(axis=0)[0] - 0.5) * row_mm < 0.6 * WORKING_SPACING_MM
    assert abs(centre[1] - np.argwhere(disc).mean(axis=0)[1] - 0.5) * column_mm < 0.6 * WORKING_SPACING_MM


def test_identity_is_exact_in_both_directions():
    grid = working_grid(draw_body(), SPACING)
    labels = np.random.default_rng(0).integers(0, 3, (1024, 256)).astype(np.uint8)
    one_hot = np.stack([labels == n for n in range(3)]).astype(np.float32)
    np.testing.assert_array_equal(grid.labels_to_working(labels), labels)
    np.testing.assert_array_equal(grid.probabilities_to_source(one_hot).argmax(axis=0), labels)
    assert grid.point_to_working(10.5, 20.5) == (10.5, 20.5)


def test_narrow_fields_are_padded_and_wide_ones_cropped_about_the_body():
    narrow = prepare_view(draw_body()[:, 30:226], SPACING)
    assert narrow.grid.column_offset == pytest.approx(30, abs=3)
    assert narrow.cropped_fraction == 0.0
    wide = prepare_view(np.pad(draw_body(), ((0, 0), (10, 90))), SPACING)
    assert wide.grid.column_offset == pytest.approx(-10, abs=3)
    assert wide.cropped_fraction < 0.01
    outside = wide.grid.probabilities_to_source(np.ones((3, *wide.grid.shape), np.float32) / 3)
    assert outside[:, 5, 300].tolist() == [1.0, 0.0, 0.0]


@pytest.mark.parametrize("spacing", [None, (1.0, 1.0), (0.0, 2.0), (float("nan"), 2.0), (50.0, 50.0)])
def test_missing_and_impossible_spacings_are_estimated_from_the_body_and_flagged(spacing):
    view = prepare_view(draw_body(), spacing)
    assert not view.grid.spacing_known
    assert view.frame.height_rows * WORKING_SPACING_MM == pytest.approx(ADULT_HEIGHT_MM, rel=0.02)


@pytest.mark.parametrize("columns", [512, 1024])
def test_a_padded_matrix_keeps_its_true_spacing_and_its_body_the_size(columns):
    beside = (columns - 256) // 2
    usual, padded = draw_body(), np.pad(draw_body(), ((0, 0), (beside, beside)))
    view = prepare_view(padded, SPACING)
    assert view.grid.spacing_known
    assert view.grid.source_spacing_mm == SPACING
    assert view.frame.height_rows == pytest.approx(prepare_view(usual, SPACING).frame.height_rows, abs=1)
    assert view.cropped_fraction < 0.01


@pytest.mark.parametrize("columns", [512, 1024])
@pytest.mark.parametrize("spacing", [None, (0.0, 2.0), (8.0, 8.0)])
def test_the_body_of_a_padded_matrix_without_a_true_spacing_is_an_adults(columns, spacing):
    beside = (columns - 256) // 2
    view = prepare_view(np.pad(draw_body(), ((0, 0), (beside, beside))), spacing)
    assert not view.grid.spacing_known
    assert view.frame.height_rows * WORKING_SPACING_MM == pytest.approx(ADULT_HEIGHT_MM, rel=0.02)


def test_a_screen_captures_placeholder_is_no_spacing_however_wide_the_capture():
    zoomed = np.repeat(np.repeat(draw_body(seed=None), 2, axis=0), 2, axis=1)
    counts = np.pad(zoomed, ((0, 0), (300, 300)))
    assert not prepare_view(counts, (1.0, 1.0)).grid.spacing_known
    assert prepare_view(counts, (1.13, 1.13)).grid.spacing_known


def test_short_fields_are_padded_to_a_tile():
    view = prepare_view(draw_body(512, 128, seed=1)[:200], (4.52, 4.52))
    assert view.windows.shape[1] >= TILE_PIXELS


@pytest.mark.parametrize("bad", [np.zeros((3, 4, 5)), np.zeros((0, 5)), np.full((300, 200), np.nan)])
def test_what_is_no_view_is_an_error(bad):
    with pytest.raises(ValueError, match="two-dimensional array of finite counts"):
        prepare_view(bad, SPACING)


def test_blank_and_negative_images_stay_blank():
    for counts in (np.zeros((1024, 256)), np.full((1024, 256), -7.0)):
        view = prepare_view(counts, SPACING)
        assert not view.mask.any()
        assert view.windows.max() == 0.0


def test_the_body_is_found_where_it_was_drawn():
    counts = draw_body()
    mask = body_mask(counts)
    assert mask[330, 128]
    assert mask[700, 128 + 36]
    assert not mask[40, 128]
    assert not mask[700, 250]
    frame = body_frame(counts, mask)
    assert frame.top_row == pytest.approx(80, abs=4)
    assert frame.top_row + frame.height_rows == pytest.approx(862, abs=4)
    assert frame.midline_column == pytest.approx(128, abs=2)
    assert not frame.head_clipped
    assert not frame.feet_clipped


def test_a_cut_off_body_keeps_its_proportions():
    whole = prepare_view(draw_body(), SPACING).frame
    feet = prepare_view(draw_body()[:760], SPACING).frame
    head = prepare_view(draw_body()[150:], SPACING).frame
    assert feet.feet_clipped
    assert head.head_clipped
    bladder = whole.height_fraction(BLADDER_CENTRE[0])
    assert feet.height_fraction(BLADDER_CENTRE[0]) == pytest.approx(bladder, abs=0.05)
    assert head.height_fraction(BLADDER_CENTRE[0] - 150) == pytest.approx(bladder, abs=0.05)


@pytest.mark.parametrize("heat", [0.0, 60.0, 1e3, 1e5])
def test_the_reference_does_not_move_when_the_bladder_fills(heat):
    base = prepare_view(draw_body(bladder=20.0), SPACING).reference
    assert prepare_view(draw_body(bladder=heat), SPACING).reference == pytest.approx(base, rel=0.03)


@pytest.mark.parametrize("place", [(470, 216), (330, 38), (350, 216)])
@pytest.mark.parametrize("heat", [200.0, 1e5])
def test_the_reference_does_not_move_with_an_injection_site_in_the_arm(place, heat):
    base = prepare_view(draw_body(), SPACING).reference
    hot = prepare_view(draw_body(hot=[(*place, 6, heat)]), SPACING).reference
    assert hot == pytest.approx(base, rel=0.03)


def test_a_hot_spot_anywhere_else_is_bounded():
    base = prepare_view(draw_body(), SPACING).reference
    hot = prepare_view(draw_body(hot=[(300, 128, 20, 1e6)]), SPACING).reference
    assert base <= hot <= 6 * base


@pytest.mark.parametrize(("dose", "tolerance"), [(0.2, 0.25), (1.0, 0.12), (5.0, 0.06), (700.0, 0.02)])
def test_the_reference_follows_the_dose(dose, tolerance):
    """As far as noise lets it: at a dose of 0.2 the hottest bone has 12 counts, its 3 x 3 mean a noise of 10 %."""
    base = prepare_view(draw_body(seed=None), SPACING).reference
    noisy = prepare_view(draw_body(dose=dose), SPACING).reference
    assert noisy / dose == pytest.approx(base, rel=tolerance)


def test_the_reference_is_the_skeletons_level():
    """Bones are drawn at 30 to 60 counts, soft tissue at 8 to 14."""
    assert 50 < prepare_view(draw_body(), SPACING).reference < 75


def test_the_windows_and_their_limits_belong_together():
    counts = draw_body()[:, 20:236]
    view = prepare_view(counts, (3.0, 2.0))
    assert view.upper_levels[1] / view.upper_levels[0] == pytest.approx(WINDOW_FACTORS[1] / WINDOW_FACTORS[0])
    per_working = view.upper_levels[0] * view.grid.source_pixels_per_pixel
    np.testing.assert_allclose(view.windows[0], np.clip(view.counts / per_working, 0, 1), atol=1e-5)
    assert reference_level(view.counts, view.mask, view.frame) == pytest.approx(per_working)


def test_grey_levels_round_half_way():
    np.testing.assert_array_equal(to_grey(window(np.array([0, 1, 2, 3, 4.0]), 4.0)), [0, 64, 128, 191, 255])


@pytest.mark.parametrize("rows", [256, 288, 448, 640, 1024, 1088, 1376])
def test_tiles_cover_every_row(rows):
    starts = tile_starts(rows)
    assert covered_rows(starts, [True] * len(starts), rows).all()
    assert all(second - first <= 192 for first, second in pairwise(starts))
    view = np.random.default_rng(rows).random((3, rows, 256)).astype(np.float32)
    np.testing.assert_array_equal(split(view, starts)[-1], view[:, rows - 256 :])


def test_rows_of_skipped_tiles_are_not_covered_unless_a_neighbour_saw_them():
    covered = covered_rows(tile_starts(1024), [False, True, False, True, False], 1024)
    np.testing.assert_array_equal(np.flatnonzero(covered), [*range(192, 448), *range(576, 832)])


@pytest.mark.parametrize(("top", "bottom", "first", "height"), [
    (100, 800, 84, 736), (0, 1024, 0, 1024), (5, 700, 0, 736), (400, 500, 384, 256), (900, 1024, 768, 256),
])  # fmt: skip
def test_the_network_sees_the_bodys_rows_and_some_air(top, bottom, first, height):
    counts = np.full((1024, 256), 0.01)
    counts[top:bottom, 60:190] = 9.0
    assert body_rows(counts, counts > 1) == (first, first + height)


def test_feet_that_a_gap_parts_from_the_body_are_seen():
    counts = np.zeros((1024, 256))
    counts[100:600, 60:190] = 9.0
    mask = counts > 1
    counts[640:700, 90:160] = 3.0
    first, end = body_rows(counts, mask)
    assert first <= 84 and end >= 716
    assert body_rows(np.zeros((1024, 256)), np.zeros((1024, 256), bool)) == (0, 1024)


def test_a_view_shorter_than_a_tile_cannot_be_cut():
    with pytest.raises(ValueError, match="shorter than a tile"):
        tile_starts(255)


def test_the_gate_skips_negative_tiles_but_never_the_pelvis():
    starts = tile_starts(1024)
    frame = prepare_view(draw_body(), SPACING).frame
    pelvic = pelvic_tiles(starts, frame)
    inside = [s <= BLADDER_CENTRE[0] - 14 and s + TILE_PIXELS >= BLADDER_CENTRE[0] + 14 for s in starts]
    assert any(inside)
    assert all(forced for forced, within in zip(pelvic, inside, strict=True) if within)
    labels = np.zeros((len(starts), 2))
    labels[0, 1] = 0.5
    negative = gate(labels, pelvic, positive=False)
    assert [d.segment for d in negative] == [True, *pelvic[1:]]
    assert not any(d.metastases for d in negative)


def test_one_positive_tile_of_any_view_opens_all_tiles_to_metastases():
    labels = np.zeros((5, 2))
    assert not is_positive(labels)
    labels[3, 0] = 0.5
    assert is_positive(labels)
    assert all(d.segment and d.metastases for d in gate(labels, [False] * 5, positive=True))
