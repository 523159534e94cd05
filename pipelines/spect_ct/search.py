"""Where on the common grid a bone lesion can be, so that the network need not look elsewhere.

CT seen -> near bone (blocks of 4 mm denser than any soft tissue, and 12 mm around them); hot places of the SPECT too,
whatever the CT shows there. No CT -> the whole body on SPECT. It only saves time: the network
sees these places and their surroundings (`windows`).
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from pipelines.spect_ct.body import spect_body
from pipelines.spect_ct.grid import Prepared
from pipelines.spect_ct.uses import shown

BLOCK = 4
"""Pixels (mm) along the sides of a block; the grid's sides are multiples of 16."""

BONE_HU = 150.0
"""A block's mean from which it may be bone: over soft tissue (80 HU) and its noise (a quarter of a pixel's), under the
rim of an osteoporotic vertebra. Vessels and bowel with contrast agent pass too, which costs time and nothing else."""

NEAR_BLOCKS, NEAR_SLICES = 3, 3
HOT = 2.0
"""asinh of the z-score of the SPECT's counts, about 3.6 standard deviations above the body's mean."""


def worth_a_look(prepared: Prepared, use: str) -> np.ndarray:
    """Return bool (slice, rows / 4, columns / 4): blocks in which, for a use, a lesion can be."""
    sees_spect, sees_ct = shown(use)
    slices, rows, columns = prepared.lattice.shape
    found = np.zeros((slices, rows // BLOCK, columns // BLOCK), bool)
    with_ct = prepared.has_ct if sees_ct and prepared.hu is not None else np.zeros(slices, bool)
    if prepared.hu is not None and with_ct.any():
        bone = (_blocks(prepared.hu) >= BONE_HU) & with_ct[:, None, None]
        near = np.ones((2 * NEAR_SLICES + 1, 2 * NEAR_BLOCKS + 1, 2 * NEAR_BLOCKS + 1), bool)
        found |= ndimage.binary_dilation(bone, near)
    if sees_spect and prepared.counts is not None:
        body = spect_body(prepared.counts[:, ::BLOCK, ::BLOCK])
        hot = _blocks(prepared.inputs[:, 0]) >= HOT
        found |= np.where(with_ct[:, None, None], hot, body) & prepared.has_spect[:, None, None]
    return found


def _blocks(values: np.ndarray) -> np.ndarray:
    """Return the means of blocks of each slice."""
    slices, rows, columns = values.shape
    parts = values.reshape(slices, rows // BLOCK, BLOCK, columns // BLOCK, BLOCK)
    return np.asarray(parts.mean((2, 4)))
