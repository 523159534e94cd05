"""Where the CT shows bone, and which marked pieces lie nowhere near it.

A bone lesion touches bone, even one that destroyed most of the bone it sits in. What the network marks far from any is
something else that took up tracer or contrast agent: the bladder, a kidney, bowel.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from pipelines.contract.findings import Box
from pipelines.spect_ct.body import BODY_HU, filled, spect_body
from pipelines.spect_ct.grid import Prepared

BLOCK = 4
"""Pixels (mm) along the sides of a block; the grid's sides are multiples of 16."""

BONE_HU = 150.0
"""A block's mean from which it may be bone: over soft tissue (80 HU) and its noise (a quarter of a pixel's), under the
rim of an osteoporotic vertebra. Vessels and bowel with much contrast agent pass too."""

REACH = 6
"""Blocks (24 mm) across which bone is closed: an elderly vertebra's marrow is under `BONE_HU`, its cortex is not."""

LEAST_BESIDE = 0.1
"""Share of a piece that must lie in bone or in a block beside it. Of 36 simulated patients (24 of the training kind, 12
held-out ones) the 186 marked lesions have 0.24 and more; 40 of 699 false pieces have less than 0.1, mostly bladders,
and these are half of all that was marked falsely (670 of 1327 ml)."""

TOUCHING = np.ones((3, 3, 3), bool)


def bone_blocks(prepared: Prepared) -> np.ndarray:
    """Return the blocks that may be bone, bool (slice, rows / 4, columns / 4); none where there is no CT."""
    if prepared.hu is None:
        return np.zeros(block_shape(prepared), bool)
    return np.asarray((block_means(prepared.hu) >= BONE_HU) & prepared.has_ct[:, None, None])


def block_shape(prepared: Prepared) -> tuple[int, int, int]:
    """Return how many slices, rows and columns of blocks a grid has."""
    slices, rows, columns = prepared.lattice.shape
    return slices, rows // BLOCK, columns // BLOCK


def block_means(values: np.ndarray) -> np.ndarray:
    """Return the means of blocks of each slice, (slice, rows / 4, columns / 4)."""
    slices, rows, columns = values.shape
    parts = values.reshape(slices, rows // BLOCK, BLOCK, columns // BLOCK, BLOCK)
    return np.asarray(parts.mean((2, 4)))


def beside_bone(prepared: Prepared) -> np.ndarray:
    """Return the blocks in, between (`REACH`) or touching bone, and those of which no CT tells; as `bone_blocks`."""
    bone = np.pad(bone_blocks(prepared), ((0, 0), (REACH, REACH), (REACH, REACH)))
    across = np.arange(-REACH, REACH + 1) ** 2
    disc = np.add.outer(across, across) <= REACH**2 + 1
    closed = ndimage.binary_closing(bone, disc[None])[:, REACH:-REACH, REACH:-REACH]
    return np.asarray(ndimage.binary_dilation(closed, TOUCHING) | untold(prepared))


def untold(prepared: Prepared) -> np.ndarray:
    """Return the blocks of which no CT tells: slices beyond its ends, and the SPECT's body beside its field of view."""
    found = np.broadcast_to(~prepared.has_ct[:, None, None], block_shape(prepared))
    if prepared.hu is None or prepared.counts is None:
        return found
    thin = (slice(None), slice(None, None, BLOCK), slice(None, None, BLOCK))
    beside = spect_body(prepared.counts[thin]) & (prepared.has_spect & prepared.has_ct)[:, None, None]
    beside &= ~filled(prepared.hu[thin] > BODY_HU)
    flat = np.ones((1, 3, 3), bool)  # the SPECT's outline is blurred: what is thinner than 12 mm is its edge
    return np.asarray(found | ndimage.binary_dilation(ndimage.binary_opening(beside, flat), flat))


def share_untold(prepared: Prepared) -> float:
    """Return the share of the SPECT's body that lies beside the CT's field of view, in the slices that both have."""
    both = prepared.has_ct & prepared.has_spect
    if prepared.hu is None or prepared.counts is None or not both.any():
        return 0.0
    body = spect_body(prepared.counts[both][:, ::BLOCK, ::BLOCK])
    return float((untold(prepared)[both] & body).sum() / max(1, int(body.sum())))


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
