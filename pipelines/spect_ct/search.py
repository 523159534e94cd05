"""Where on the common grid a bone lesion can be, so that the network need not look elsewhere.

CT seen -> near bone (blocks of 4 mm denser than any soft tissue, and 12 mm around them), whatever the SPECT shows
elsewhere: what is marked off bone is left out of a result anyway (`bone`). No CT -> the whole body on SPECT. It only
saves time: the network sees these places and their surroundings (`windows`).
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from pipelines.spect_ct.body import spect_body
from pipelines.spect_ct.bone import BLOCK, bone_blocks
from pipelines.spect_ct.grid import Prepared
from pipelines.spect_ct.uses import shown

NEAR_BLOCKS, NEAR_SLICES = 3, 3


def worth_a_look(prepared: Prepared, use: str) -> np.ndarray:
    """Return bool (slice, rows / 4, columns / 4): blocks in which, for a use, a lesion can be."""
    sees_spect, sees_ct = shown(use)
    slices, rows, columns = prepared.lattice.shape
    found = np.zeros((slices, rows // BLOCK, columns // BLOCK), bool)
    with_ct = prepared.has_ct if sees_ct and prepared.hu is not None else np.zeros(slices, bool)
    if with_ct.any():
        near = np.ones((2 * NEAR_SLICES + 1, 2 * NEAR_BLOCKS + 1, 2 * NEAR_BLOCKS + 1), bool)
        found |= ndimage.binary_dilation(bone_blocks(prepared), near)
    if sees_spect and prepared.counts is not None:
        body = spect_body(prepared.counts[:, ::BLOCK, ::BLOCK])
        found |= body & (prepared.has_spect & ~with_ct)[:, None, None]
    return found
