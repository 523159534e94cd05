"""Where lesions are looked for, and tiles joined again to a picture. Oracles: MONAI's sliding window, the drawing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.inferers import sliding_window_inference
from scipy import ndimage

from pipelines.spect_ct.grid import prepare
from pipelines.spect_ct.search import BLOCK, worth_a_look
from pipelines.spect_ct.tiling import BLEND_SIGMA, OVERLAP, probabilities_of
from pipelines.spect_ct.truth import placed
from pipelines.spect_ct.uses import CT, FUSED, SPECT
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


def edges(tiles: torch.Tensor) -> torch.Tensor:
    """A "network" whose answer depends on where a tile is cut: its borders answer otherwise."""
    answer = tiles[:, :1] - tiles[:, 1:]
    answer[..., 0, :] += 3
    answer[..., -1] -= 3
    return answer


def test_tiles_are_joined_as_monai_joins_them():
    inputs = np.random.default_rng(0).normal(size=(6, 2, 80, 112)).astype(np.float32)
    ours = probabilities_of(edges, inputs, 48)
    theirs = sliding_window_inference(
        torch.from_numpy(inputs), (48, 48), 4, edges, overlap=OVERLAP, mode="gaussian", sigma_scale=BLEND_SIGMA
    )
    assert np.allclose(ours, theirs[:, 0].sigmoid().numpy(), atol=2e-3)


def test_tiles_without_a_place_worth_a_look_are_not_asked_and_answer_no():
    inputs = np.full((5, 2, 64, 64), 5, np.float32)
    where = np.zeros((5, 16, 16), bool)
    where[3, 15, 0] = True
    asked = []

    def sure(tiles: torch.Tensor) -> torch.Tensor:
        asked.append(len(tiles))
        return tiles[:, :1]

    found = probabilities_of(sure, inputs, 32, where)
    assert sum(asked) == 1
    assert (found[3, 32:, :32] > 0.99).all()
    assert found[3, :32].max() == 0 and found[3, :, 32:].max() == 0
    assert found[[0, 1, 2, 4]].max() == 0


def test_progress_is_told_to_the_last_slice():
    told = []
    probabilities_of(
        edges, np.zeros((6, 2, 32, 32), np.float32), 32, None, lambda share, text: told.append((share, text))
    )
    assert told[-1] == (1.0, "slice 6 of 6")
