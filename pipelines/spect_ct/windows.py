"""A network over whole slices, each cut to the window in which a lesion can be.

slices, with their neighbours -> a few at a time: the window that holds every place worth a look (`search`) and its
surroundings -> logits -> sigmoid -> float16 (slice, row, column), 0 outside. Memory is bounded by the window and the
few slices; progress is told after each.

Windows, not tiles as large as the crops that the network learned from: with weights of crops of 96 mm, on four held-out
patients (44 lesions), whole slices had a Dice 0.03 to 0.17 above that of such tiles, because a lesion at a tile's edge
is half a lesion, in half of the time.

This module imports torch, so only workers and training may import it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from pipelines.contract import Progress
from pipelines.spect_ct.bone import BLOCK
from pipelines.spect_ct.neighbours import with_neighbours
from pipelines.spect_ct.networks import CHANNELS, INPUT_MULTIPLE

SLICES_AT_ONCE = 2
MARGIN = 16
"""Pixels (mm) of surroundings that the network sees about what is worth a look, which itself reaches 12 mm beyond bone.
Twice as much takes a sixth longer."""

Predict = Callable[[torch.Tensor], torch.Tensor]
Window = tuple[slice, slice]


def probabilities_of(
    predict: Predict, inputs: np.ndarray, where: np.ndarray | None = None, progress: Progress | None = None
) -> np.ndarray:
    """Return the probability of a lesion, float16 (slice, row, column).

    Parameters
    ----------
    predict : float32 (n, 6, rows, columns) -> logits float32 (n, 1, rows, columns), on the CPU; run in inference mode.
    inputs : float32 (slice, 2, row, column), consecutive slices, or (slice, 6, row, column), any slices, each with its
        neighbours (`neighbours.with_neighbours`); sides multiples of 16.
    where : blocks in which a lesion can be, as `search.worth_a_look` has them; None for everywhere.
    """
    slices, alone = len(inputs), inputs.shape[1] == len(CHANNELS)
    found = np.zeros((slices, *inputs.shape[2:]), np.float16)
    with torch.inference_mode():
        for first in range(0, slices, SLICES_AT_ONCE):
            some = slice(first, min(slices, first + SLICES_AT_ONCE))
            window = (slice(None), slice(None)) if where is None else window_of(np.asarray(where[some].any(0)))
            if window is not None:
                part = inputs[(slice(None), slice(None), *window)]
                seen = with_neighbours(part, range(some.start, some.stop)) if alone else part[some]
                shown = torch.from_numpy(np.ascontiguousarray(seen))
                found[(some, *window)] = predict(shown)[:, 0].sigmoid().to(torch.float16).numpy()
            if progress is not None:
                progress(some.stop / slices, f"slice {some.stop} of {slices}")
    return found


def window_of(blocks: np.ndarray) -> Window | None:
    """Return the rows and columns about all blocks that are set, sides multiples of 16; None where there are none."""
    if not blocks.any():
        return None
    rows, columns = (_along(np.flatnonzero(blocks.any(1 - axis)), blocks.shape[axis] * BLOCK) for axis in range(2))
    return rows, columns


def _along(held: np.ndarray, side: int) -> slice:
    first = max(0, int(held[0]) * BLOCK - MARGIN) // INPUT_MULTIPLE * INPUT_MULTIPLE
    last = -(-min(side, (int(held[-1]) + 1) * BLOCK + MARGIN) // INPUT_MULTIPLE) * INPUT_MULTIPLE
    return slice(first, last)
