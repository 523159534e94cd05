"""A tuned threshold as the opponent: what is hot in the thorax is a lesion.

What simple image processing reaches on the same images; tables show it beside the network. Its one number is tuned on
patients of the training preset, never on those it is measured on.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from pipelines.thorax.dataset import ThoraxImage
from pipelines.training.metrics import Overlap

LEVELS = tuple(np.round(np.geomspace(0.25, 4.0, 17), 3).tolist())
"""Candidates, in units of the reference level."""


def segment(level: np.ndarray, body: np.ndarray, threshold: float) -> np.ndarray:
    """Return the pixels of the body that are at least so hot after a light blur, bool (256, 256)."""
    smooth = ndimage.gaussian_filter(np.asarray(level, np.float32), 1.0)
    return np.asarray((smooth >= threshold) & body)


def tune(images: Sequence[ThoraxImage]) -> float:
    """Choose the candidate with the highest mean DSC over the images that show a lesion.

    Raises
    ------
    ValueError
        If none does.
    """
    ill = [image for image in images if image.lesions.any()]
    if not ill:
        raise ValueError("the baseline needs images with lesions to be tuned on")

    def mean_dice(threshold: float) -> float:
        overlaps = [Overlap.of(i.lesions, segment(i.level, i.body, threshold)) for i in ill]
        return float(np.mean([overlap.dice or 0.0 for overlap in overlaps]))

    return max(LEVELS, key=mean_dice)
