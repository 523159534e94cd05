"""A slice with those below and above it, as the network sees it.

The paper's network sees one slice. A rib, a vessel of the kidney or the rim of an end plate that is cut across looks
like a focus there; the slices beside it tell.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

OFFSETS = (0, -1, 1)
"""Slices that the network sees, from the one that it outlines; the order of the channels, two for each."""

SEEN_SLICES = len(OFFSETS)


def with_neighbours(inputs: np.ndarray, numbers: Sequence[int] | np.ndarray) -> np.ndarray:
    """Return some slices of a volume, each with its neighbours behind it in the channels.

    Parameters
    ----------
    inputs : (slice, 2, row, column), SPECT and CT of consecutive slices, from the feet up. numbers : of the slices.

    Returns
    -------
    numpy.ndarray
        (slice, 6, row, column) of the same dtype: SPECT and CT of the slice, of the one below, of the one above; at an
        end of the volume the last slice stands for the one that is not there.
    """
    own = np.asarray(numbers, int)
    parts = [inputs[np.clip(own + offset, 0, len(inputs) - 1)] for offset in OFFSETS]
    return np.concatenate(parts, 1)
