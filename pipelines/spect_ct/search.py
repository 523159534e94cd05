"""Where on the common grid a bone lesion can be, so that the network need not look elsewhere.

CT seen -> near bone (blocks of 4 mm denser than any soft tissue, and 12 mm around them); hot places of the SPECT too,
whatever the CT shows there (what is marked off bone is left out later, and counted: `bone`); the body on SPECT where
the CT does not reach. No CT -> the whole body on SPECT. It only saves time: the network sees these places and their
surroundings (`windows`).
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from pipelines.spect_ct.body import spect_body
from pipelines.spect_ct.bone import BLOCK, block_means, block_shape, bone_blocks, untold
from pipelines.spect_ct.grid import Prepared
from pipelines.spect_ct.uses import shown

NEAR_BLOCKS, NEAR_SLICES = 3, 3
HOT = 2.0
"""asinh of the z-score of the SPECT's counts, about 3.6 standard deviations above the body's mean."""


def worth_a_look(prepared: Prepared, use: str) -> np.ndarray:
    """Return bool (slice, rows / 4, columns / 4): blocks in which, for a use, a lesion can be."""
    sees_spect, sees_ct = shown(use)
    found = np.zeros(block_shape(prepared), bool)
    with_ct = prepared.has_ct if sees_ct and prepared.hu is not None else np.zeros(len(found), bool)
    if with_ct.any():
        near = np.ones((2 * NEAR_SLICES + 1, 2 * NEAR_BLOCKS + 1, 2 * NEAR_BLOCKS + 1), bool)
        found |= ndimage.binary_dilation(bone_blocks(prepared), near)
    if sees_spect and prepared.counts is not None:
        body = spect_body(prepared.counts[:, ::BLOCK, ::BLOCK])
        hot = (block_means(prepared.inputs[:, 0]) >= HOT) | (body & untold(prepared))
        found |= np.where(with_ct[:, None, None], hot, body) & prepared.has_spect[:, None, None]
    return found
