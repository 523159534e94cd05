"""Where lesions are looked for: against what was drawn, and arithmetic done by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from scipy import ndimage

from pipelines.spect_ct.bone import BLOCK, beside_bone, is_off_bone, share_untold, untold, without_pieces_off_bone
from pipelines.spect_ct.grid import prepare
from pipelines.spect_ct.neighbours import with_neighbours
from pipelines.spect_ct.search import worth_a_look
from pipelines.spect_ct.truth import placed
from pipelines.spect_ct.uses import CT, FUSED, SPECT
from pipelines.spect_ct.windows import MARGIN, probabilities_of, window_of
from tests.spect_ct.drawn_study import CT_FIELD, LESIONS, SPECT_FIELD, Field, counts, hounsfield


@pytest.fixture(scope="module")
def prepared():
    return prepare(placed(counts(), SPECT_FIELD), placed(hounsfield(), CT_FIELD))


def wide(blocks):
    return blocks.repeat(BLOCK, 1).repeat(BLOCK, 2)


@pytest.mark.parametrize("use", [SPECT, CT, FUSED])
def test_every_lesion_of_the_drawing_is_looked_at_and_air_is_not(prepared, use):
    blocks = wide(worth_a_look(prepared, use))
    held = prepared.lattice
    field = Field(held.shape, held.spacing_mm, tuple(held.origin_mm))
    for centre, radius in LESIONS:
        assert blocks[field.ball(centre, radius)].all()
    air = ndimage.binary_erosion(prepared.hu < -500, iterations=16) if use != SPECT else prepared.counts == 0
    corner = np.zeros(held.shape, bool)
    corner[:, :8, :8] = True
    assert not blocks[corner & air].any()


def test_soft_tissue_far_from_bone_is_left_out_on_ct_but_not_on_spect_alone(prepared):
    assert worth_a_look(prepared, CT).mean() < 0.6 * worth_a_look(prepared, SPECT).mean()


def test_slices_that_the_ct_does_not_reach_are_looked_at_by_spect(prepared):
    half = prepared.has_ct.copy()
    half[: len(half) // 2] = False
    short = type(prepared)(
        prepared.inputs, prepared.lattice, prepared.counts, prepared.hu, prepared.has_spect, half
    )  # fmt: skip
    first = slice(0, len(half) // 2)
    assert np.array_equal(worth_a_look(short, FUSED)[first], worth_a_look(prepared, SPECT)[first])


def test_bone_is_what_the_ct_shows_and_anywhere_where_there_is_no_ct(prepared):
    held = prepared.lattice
    field = Field(held.shape, held.spacing_mm, tuple(held.origin_mm))
    beside = beside_bone(prepared)
    assert wide(beside)[field.tube(18, 18, 55) & prepared.has_ct[:, None, None]].all()
    x, y, _ = field.coordinates()
    bowel = (x**2 + (y + 40) ** 2 < 20**2) & prepared.has_ct[:, None, None]
    assert not wide(beside)[bowel].any()
    cut = dataclasses.replace(prepared, has_ct=np.arange(len(prepared.has_ct)) > 10)
    assert beside_bone(cut)[:10].all() and not wide(beside_bone(cut))[13:][bowel[13:]].any()


@pytest.mark.parametrize("noise", [0.0, 12.0, 40.0])
@pytest.mark.parametrize("marrow", [60.0, 100.0, 140.0])
def test_the_middle_of_a_vertebra_whose_marrow_is_thin_is_in_bone(marrow, noise):
    field = Field((12, 256, 256), (3.0, 1.0, 1.0), (-127.5, -127.5, -16.5))
    x, y, z = field.coordinates()
    hu = np.where((x / 110) ** 2 + (y / 90) ** 2 <= 1, 40.0, -1000.0)
    outer, inner = ((x / (24 - t)) ** 2 + ((y - 20) / (17 - t)) ** 2 <= 1 for t in (0.0, 2.0))
    tall = np.abs(z) <= 14
    hu[outer & tall], hu[inner & tall] = 500.0, marrow
    rng = np.random.default_rng(5)
    held = prepare(None, placed((hu + rng.normal(0, 1, hu.shape) * noise).astype(np.float32), field))
    own = Field(held.lattice.shape, held.lattice.spacing_mm, tuple(held.lattice.origin_mm))
    beside = wide(beside_bone(held))
    assert beside[own.ball((0.0, 20.0, 0.0), 8.0)].all()
    assert not beside[own.ball((0.0, -50.0, 0.0), 20.0)].any()


def test_where_the_spect_shows_body_beside_the_cts_field_nothing_is_off_bone_and_it_is_looked_at():
    columns = slice(24, 136)  # 213 of the body's 240 mm
    narrow = Field((36, 160, 112), CT_FIELD.spacing_mm, (CT_FIELD.origin_mm[0] + 24 * 1.9, *CT_FIELD.origin_mm[1:]))
    held = prepare(placed(counts(), SPECT_FIELD), placed(hounsfield()[:, :, columns], narrow))
    own = Field(held.lattice.shape, held.lattice.spacing_mm, tuple(held.lattice.origin_mm))
    place = own.ball((-114.0, 0.0, 0.0), 4.0)
    assert wide(untold(held))[place].all() and wide(worth_a_look(held, FUSED))[place].all()
    assert 0.01 < share_untold(held) < 0.1
    whole = prepare(placed(counts(), SPECT_FIELD), placed(hounsfield(), CT_FIELD))
    assert share_untold(whole) == 0.0


def test_of_single_slices_what_touches_no_bone_on_them_is_emptied():
    beside = np.zeros((2, 16, 16), bool)
    beside[0, 4:6, 4:6] = True
    shown = np.zeros((2, 64, 64), np.float16)
    shown[:, 20:40, 20:40] = 0.9  # 16 of 400 pixels touch bone on the first slice, none on the second
    shown[:, 50:56, 50:56] = 0.7
    shown[:, 2:6, 2:6] = 0.4
    assert is_off_bone(beside, (slice(0, 1), slice(20, 40), slice(20, 40)), np.ones((1, 20, 20), bool))
    beside[0, 4:8, 4:8] = True  # 144 of 400
    kept = without_pieces_off_bone(shown, beside, 0.5)
    expected = shown.copy()
    expected[1, 20:40, 20:40] = expected[:, 50:56, 50:56] = 0
    assert np.array_equal(kept, expected)


def difference(images: torch.Tensor) -> torch.Tensor:
    """A "network" of single pixels: where a window lies does not matter to it."""
    return images[:, :1] - images[:, 1:2]


def test_the_answer_of_a_window_lies_where_it_was_seen():
    inputs = np.random.default_rng(0).normal(size=(5, 2, 96, 160)).astype(np.float32)
    where = np.zeros((5, 24, 40), bool)
    where[2, 10:14, 20:30] = True
    whole, part = probabilities_of(difference, inputs), probabilities_of(difference, inputs, where)
    expected = 1 / (1 + np.exp(inputs[:, 1] - inputs[:, 0]))
    assert np.allclose(whole, expected, atol=1e-3)
    rows, columns = window_of(where[2])
    assert np.array_equal(part[2, rows, columns], whole[2, rows, columns])
    outside = np.ones(part.shape, bool)
    outside[2:4, rows, columns] = False  # two slices share a window
    assert part[outside].max() == 0


def test_the_network_sees_the_same_of_a_volume_and_of_single_slices_with_their_neighbours():
    inputs = np.random.default_rng(1).normal(size=(5, 2, 96, 160)).astype(np.float32)
    where = np.zeros((5, 24, 40), bool)
    where[1:4, 10:14, 20:30] = True

    def across(images: torch.Tensor) -> torch.Tensor:
        assert images.shape[1] == 6
        return images[:, :1] + 2 * images[:, 2:3] - images[:, 4:5]

    volume = probabilities_of(across, inputs, where)
    some = probabilities_of(across, with_neighbours(inputs, [1, 3]), where[[1, 3]])
    rows, columns = window_of(where[1])
    middle = inputs[1, 0] + 2 * inputs[0, 0] - inputs[2, 0]
    assert np.allclose(volume[1, rows, columns], 1 / (1 + np.exp(-middle[rows, columns])), atol=1e-3)
    assert np.array_equal(volume[[1, 3]], some)


def test_a_window_holds_its_blocks_with_a_margin_and_fits_the_network():
    blocks = np.zeros((24, 40), bool)
    blocks[10, 20] = True
    rows, columns = window_of(blocks)
    assert rows.start <= 40 - MARGIN and rows.stop >= 44 + MARGIN
    assert columns.start <= 80 - MARGIN and columns.stop >= 84 + MARGIN
    assert all(edge % 16 == 0 for part in (rows, columns) for edge in (part.start, part.stop))
    blocks[0, 0] = blocks[-1, -1] = True
    assert window_of(blocks) == (slice(0, 96), slice(0, 160))


def test_slices_without_a_place_worth_a_look_are_not_asked():
    asked = []

    def sure(images: torch.Tensor) -> torch.Tensor:
        asked.append(len(images))
        return images[:, :1]

    where = np.zeros((7, 16, 16), bool)
    where[3, 15, 0] = True
    found = probabilities_of(sure, np.full((7, 2, 64, 64), 5, np.float32), where)
    assert asked == [2]
    assert found[[0, 1, 4, 5, 6]].max() == 0 and found[3, 60, 0] > 0.99


def test_progress_is_told_to_the_last_slice():
    told = []
    probabilities_of(difference, np.zeros((5, 2, 32, 32), np.float32), None, lambda *news: told.append(news))
    assert told[-1] == (1.0, "slice 5 of 5")
