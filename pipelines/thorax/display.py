"""Counts as the network sees them: in units of the view's reference level, square root, clipped to [0, 1].

The paper's counts have no fixed range; a network needs one. The reference level (the 99.9th percentile of the skeleton
without bladder and injection site, `planar.levels`) is normal bone at its hottest, so 1 is reached at four times that.
The root keeps faint and hot apart in one channel, and it makes Poisson noise the same everywhere (Anscombe 1948), which
is what the squares of Chan-Vese's equation take for granted; so the same image is its g.
"""

from __future__ import annotations

import numpy as np

UPPER_LEVEL = 4.0
GAMMA = 0.5


def shown(level: np.ndarray) -> np.ndarray:
    """Return the network's input (float32 in [0, 1]) of counts over the reference level."""
    return np.asarray(np.clip(np.asarray(level, np.float32) / UPPER_LEVEL, 0.0, 1.0) ** GAMMA, dtype=np.float32)
