"""A network of small tiles over whole slices: which tiles, in what batches, and how they become one picture again.

slices (slice, 2, row, column) -> tiles of the size the network was trained on, overlapping by an eighth, without those
in which no lesion can be (`search`) -> batches of a few -> logits blended by a Gaussian (MONAI's grid and weights) ->
sigmoid -> float16 (slice, row, column). Memory is bounded by the batch; progress is told after every few slices.

This module imports torch, so only workers and training may import it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from monai.data.utils import compute_importance_map, dense_patch_slices

from pipelines.contract import Progress
from pipelines.spect_ct.search import BLOCK

SLICES_AT_ONCE = 4
TILES_AT_ONCE = 4
"""More fit no processor's cache, and are slower."""

OVERLAP = 0.125
BLEND_SIGMA = 0.125
"""Standard deviation of the Gaussian by which tiles are blended, of their side: MONAI's default."""

Tile = tuple[slice, slice]
Predict = Callable[[torch.Tensor], torch.Tensor]


def probabilities_of(
    predict: Predict,
    inputs: np.ndarray,
    side: int,
    where: np.ndarray | None = None,
    progress: Progress | None = None,
) -> np.ndarray:
    """Return the probability of a lesion, float16 (slice, row, column).

    Parameters
    ----------
    predict : float32 (n, 2, side, side) -> logits float32 (n, 1, side, side), on the CPU. Runs in inference mode.
    inputs : float32 (slice, 2, row, column). side : of the tiles; slices that are smaller are one tile.
    where : blocks in which a lesion can be, as `search.worth_a_look` has them; None for everywhere. Tiles without any
        are not looked at, and what no tile covers has the probability 0.
    """
    slices, _, rows, columns = inputs.shape
    found = np.zeros((slices, rows, columns), np.float16)
    size = min(side, rows), min(side, columns)
    steps = [max(1, int(one * (1 - OVERLAP))) for one in size]
    tiles = [(part[0], part[1]) for part in dense_patch_slices((rows, columns), size, steps)]
    weights = compute_importance_map(size, mode="gaussian", sigma_scale=BLEND_SIGMA).numpy()
    with torch.inference_mode():
        for first in range(0, slices, SLICES_AT_ONCE):
            numbers = range(first, min(slices, first + SLICES_AT_ONCE))
            looked = [(n, tile) for n in numbers for tile in tiles if where is None or _any(where[n], tile)]
            found[first : numbers.stop] = _blended(predict, inputs, numbers, looked, weights)
            if progress is not None:
                progress(numbers.stop / slices, f"slice {numbers.stop} of {slices}")
    return found


def _blended(
    predict: Predict, inputs: np.ndarray, numbers: range, looked: list[tuple[int, Tile]], weights: np.ndarray
) -> np.ndarray:
    """Return the probability on some slices, of these tiles of theirs."""
    shape = (len(numbers), *inputs.shape[2:])
    total, weight = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for begin in range(0, len(looked), TILES_AT_ONCE):
        some = looked[begin : begin + TILES_AT_ONCE]
        shown = torch.from_numpy(np.stack([inputs[n][:, tile[0], tile[1]] for n, tile in some]))
        for (number, tile), logits in zip(some, predict(shown)[:, 0].numpy(), strict=True):
            place = number - numbers.start, *tile
            total[place] += logits * weights
            weight[place] += weights
    covered = weight > 0
    logits = np.where(covered, total / np.where(covered, weight, 1.0), -np.inf)
    return np.asarray(torch.from_numpy(logits).sigmoid().to(torch.float16).numpy())


def _any(blocks: np.ndarray, tile: Tile) -> bool:
    """Tell whether any block that a tile touches is set."""
    rows, columns = (slice(part.start // BLOCK, -(-part.stop // BLOCK)) for part in tile)
    return bool(blocks[rows, columns].any())
