"""Joining in 3-D and the way back onto the sources' grids: drawn balls must come back where and as large as drawn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from pipelines.spect_ct.bone import BLOCK
from pipelines.spect_ct.grid import Lattice, Voxels, resample, resample_labels
from pipelines.spect_ct.lesions import GROW_MM, THRESHOLD, find_lesions, onto_source
from tests.spect_ct.drawn_study import CT_FIELD, LESIONS, SPECT_FIELD, Field

GRID = Field((38, 256, 256), (3.0, 1.0, 1.0), (-127.5, -127.5, -55.5))
AXIAL = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])


def lattice(field: Field) -> Lattice:
    return Lattice(field.shape, field.spacing_mm, np.array(field.origin_mm), AXIAL)


def drawn(*balls) -> np.ndarray:
    values = np.zeros(GRID.shape, np.float16)
    for centre, radius in balls:
        values[GRID.ball(centre, radius)] = 1.0
    return values


def test_lesions_are_numbered_by_size_and_have_the_volume_and_place_of_what_was_drawn():
    found = find_lesions(drawn(*reversed(LESIONS)), lattice(GRID))
    assert [lesion.number for lesion in found.lesions] == [1, 2]
    for lesion, (centre, radius) in zip(found.lesions, LESIONS, strict=True):
        assert lesion.volume_ml == pytest.approx(4 / 3 * np.pi * radius**3 / 1000, rel=0.04)
        assert lesion.centre_mm == pytest.approx(centre, abs=0.5)
        assert lesion.peak == 1.0
        assert (found.labels[lesion.box] == lesion.number).sum() == lesion.voxels


def test_pieces_of_two_slices_that_touch_by_a_corner_are_one_lesion():
    values = np.zeros(GRID.shape, np.float16)
    values[10, 100:106, 100:106] = 0.98
    values[11, 106:112, 106:112] = 0.98
    values[13, 100:106, 100:106] = 0.98
    assert [lesion.voxels for lesion in find_lesions(values, lattice(GRID)).lesions] == [72, 36]


def test_stray_pixels_and_unsure_pieces_are_no_lesions():
    values = np.zeros(GRID.shape, np.float16)
    values[5, 50:52, 50:54] = 0.99
    values[20, 100:120, 100:120] = 0.55
    assert find_lesions(values, lattice(GRID)).lesions == ()


def test_surroundings_go_to_the_nearest_lesion_and_end_after_eight_millimetres():
    values = np.zeros(GRID.shape, np.float16)
    values[10:14, 100:106, 100:106] = 1.0
    values[11:18, 104:120, 112:124] = 1.0
    values[0:3, 0:9, 250:256] = 1.0
    found = find_lesions(values, lattice(GRID))
    mm = np.stack([ndimage.distance_transform_edt(found.labels != n, sampling=GRID.spacing_mm) for n in (1, 2, 3)])
    nearest, grown = mm.min(axis=0), found.grown
    assert ((grown > 0) == (nearest <= GROW_MM)).all() and (nearest[grown > 0] > 0).any()
    chosen = np.take_along_axis(mm, np.maximum(grown.astype(int), 1)[None] - 1, axis=0)[0]
    assert np.allclose(chosen[grown > 0], nearest[grown > 0])
    assert np.array_equal(grown[found.labels > 0], found.labels[found.labels > 0])


@pytest.mark.parametrize("field", [CT_FIELD, SPECT_FIELD], ids=["ct", "spect"])
def test_every_lesion_comes_back_on_a_source_grid_at_its_place_and_of_its_size(field):
    values = drawn(*LESIONS)
    labels = onto_source(find_lesions(values, lattice(GRID)), values, lattice(field))
    for number, (centre, radius) in enumerate(LESIONS, 1):
        mask, truth = labels == number, field.ball(centre, radius)
        dice = 2 * (mask & truth).sum() / (mask.sum() + truth.sum())
        assert dice > (0.93 if field is CT_FIELD else 0.85)
        points = np.argwhere(mask) * field.spacing_mm
        assert points.mean(0)[::-1] + field.origin_mm == pytest.approx(centre, abs=1.0)


@pytest.mark.parametrize("field", [CT_FIELD, SPECT_FIELD], ids=["ct", "spect"])
def test_lesions_brought_over_one_by_one_lie_where_the_whole_map_would_put_them(field):
    rng = np.random.default_rng(3)
    values = ndimage.gaussian_filter(rng.random(GRID.shape, np.float32), (1, 4, 4))
    values = np.clip((values - 0.5) * 25 + 0.2, 0, 1).astype(np.float16)
    found = find_lesions(values, lattice(GRID))
    assert len(found.lesions) > 50
    # No voxel of the source half-way between two of the grid, where either would be right.
    source = lattice(replace(field, origin_mm=tuple(v + 0.13 for v in field.origin_mm)))

    def placed(array: np.ndarray) -> Voxels:
        return Voxels(array, GRID.spacing_mm, np.array(GRID.origin_mm), AXIAL)

    # A voxel of the source averages over boxes; one of width w has the variance w^2 / 12.
    wider = [max(0.0, (s / m) ** 2 - 1) for s, m in zip(field.spacing_mm, GRID.spacing_mm, strict=True)]
    averaged = ndimage.gaussian_filter(values.astype(np.float32), np.sqrt(np.array(wider) / 12))
    inside = resample(placed(averaged), source, 0.0) >= THRESHOLD
    expected = np.where(inside, resample_labels(placed(found.grown), source), 0)
    labels = onto_source(found, values, source)
    by_both = np.isin(labels, np.unique(expected))  # the rest is too small for this grid and keeps its middle
    assert np.array_equal(labels[by_both], expected[by_both])
    assert (expected > 0).sum() > 1000


def test_a_lesion_smaller_than_a_voxel_keeps_one_at_its_middle():
    values = drawn(((10.0, 30.0, 3.0), 2.6))
    found = find_lesions(values, lattice(GRID))
    labels = onto_source(found, values, lattice(SPECT_FIELD))
    assert (labels == 1).sum() >= 1
    place = np.argwhere(labels == 1).mean(0)[::-1] * 4.8 + SPECT_FIELD.origin_mm
    assert np.abs(place - found.lesions[0].centre_mm).max() <= 2.4 + 1e-6


def test_two_lesions_within_one_voxel_of_a_coarse_grid_both_keep_one():
    values = np.zeros(GRID.shape, np.float16)
    centre = np.rint(lattice(GRID).index(np.array([[2.4 * 4 + 0.1, 2.5, 2.5]]))[0]).astype(int)
    for shift in (0, 6):
        part = (
            slice(centre[0], centre[0] + 1),
            slice(centre[1], centre[1] + 4),
            slice(centre[2] + shift, centre[2] + shift + 4),
        )
        values[part] = 1.0
    coarse = Field((10, 20, 20), (12.0, 24.0, 24.0), (-230.0, -230.0, -54.0))
    labels = onto_source(find_lesions(values, lattice(GRID)), values, lattice(coarse))
    assert sorted(labels[labels > 0].tolist()) == [1, 2]
    places = np.array([np.argwhere(labels == number)[0] for number in (1, 2)])
    assert np.abs(places[0] - places[1]).max() == 1


def test_two_lesions_side_by_side_stay_apart_on_a_coarse_grid():
    values = drawn(((0.0, 0.0, 0.0), 9.2), ((20.0, 0.0, 0.0), 9.2))
    labels = onto_source(find_lesions(values, lattice(GRID)), values, lattice(SPECT_FIELD))
    assert set(np.unique(labels)) == {0, 1, 2}
    sizes = [int((labels == n).sum()) * 4.8**3 / 1000 for n in (1, 2)]
    assert sizes == pytest.approx([3.26, 3.26], rel=0.3)


def test_a_piece_with_no_bone_near_is_left_out_and_counted():
    values = drawn(*LESIONS)
    beside = np.zeros((GRID.shape[0], GRID.shape[1] // BLOCK, GRID.shape[2] // BLOCK), bool)
    (centre, radius), (far, _) = LESIONS
    rim = GRID.ball(centre, radius)
    beside[np.argwhere(rim)[:, 0].max() - 1 :] = True  # its top slices alone touch bone
    assert (GRID.ball(far, 9.0)[np.argwhere(rim)[:, 0].max() - 1 :]).any(), "the other one lies higher"
    beside[:, :, : GRID.shape[2] // BLOCK // 2] = False  # which lies on the right, where there is no bone
    found = find_lesions(values, lattice(GRID), beside)
    assert [lesion.centre_mm for lesion in found.lesions] == [pytest.approx(centre, abs=0.5)]
    assert found.off_bone == 1
    assert find_lesions(values, lattice(GRID)).off_bone == 0
