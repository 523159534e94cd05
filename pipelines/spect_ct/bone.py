"""Where the CT shows bone, and which marked pieces lie nowhere near it.

A bone lesion touches bone, even one that destroyed most of the bone it sits in. What the network marks far from any is
something else that took up tracer or contrast agent: the bladder, a kidney, bowel.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from pipelines.contract.findings import Box
from pipelines.spect_ct.grid import Prepared

BLOCK = 4
"""Pixels (mm) along the sides of a block; the grid's sides are multiples of 16."""

BONE_HU = 150.0
"""A block's mean from which it may be bone: over soft tissue (80 HU) and its noise (a quarter of a pixel's), under the
rim of an osteoporotic vertebra. Vessels and bowel with contrast agent pass too."""

LEAST_BESIDE = 0.1
"""Share of a piece that must lie in bone or in a block beside it. Of 36 simulated patients (24 of the training kind, 12
held-out ones) the 186 marked lesions have 0.22 and more; 42 of 699 false pieces have less than 0.12, mostly bladders,
and these are half of all that was marked falsely (671 of 1327 ml)."""

TOUCHING = np.ones((3, 3, 3), bool)


def bone_blocks(prepared: Prepared) -> np.ndarray:
    """Return the blocks that may be bone, bool (slice, rows / 4, columns / 4); none where there is no CT."""
    slices, rows, columns = prepared.lattice.shape
    if prepared.hu is None:
        return np.zeros((slices, rows // BLOCK, columns // BLOCK), bool)
    return np.asarray((block_means(prepared.hu) >= BONE_HU) & prepared.has_ct[:, None, None])


def block_means(values: np.ndarray) -> np.ndarray:
    """Return the means of blocks of each slice, (slice, rows / 4, columns / 4)."""
    slices, rows, columns = values.shape
    parts = values.reshape(slices, rows // BLOCK, BLOCK, columns // BLOCK, BLOCK)
    return np.asarray(parts.mean((2, 4)))


def beside_bone(prepared: Prepared) -> np.ndarray:
    """Return the blocks in bone or touching it, bool as `bone_blocks`; all of a slice without a CT: nobody knows."""
    beside = ndimage.binary_dilation(bone_blocks(prepared), TOUCHING)
    return np.asarray(beside | ~prepared.has_ct[:, None, None])


def is_off_bone(beside: np.ndarray, box: Box, mask: np.ndarray) -> bool:
    """Tell whether a piece, bool (slice, row, column) in its box of the grid, lies off bone (`LEAST_BESIDE`)."""
    index = np.nonzero(mask)
    slices, rows, columns = (found + part.start for found, part in zip(index, box, strict=True))
    return bool(beside[slices, rows // BLOCK, columns // BLOCK].mean() < LEAST_BESIDE)


def without_pieces_off_bone(probabilities: np.ndarray, beside: np.ndarray, threshold: float) -> np.ndarray:
    """Return single slices (slice, row, column) with 0 in the pieces of each that lie off bone in it.

    `beside`: of these slices. For slices that were analysed without their volume; in a volume a piece is judged whole.
    """
    kept = probabilities.copy()
    flat = np.zeros((3, 3, 3), bool)
    flat[1] = True
    pieces, _ = ndimage.label(probabilities >= threshold, flat)
    for number, box in enumerate(ndimage.find_objects(pieces), 1):
        mask = pieces[box] == number
        if is_off_bone(beside, box, mask):
            kept[box][mask] = 0
    return kept
