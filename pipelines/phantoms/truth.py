"""Truth masks from expected counts: what of a lesion or the bladder can be seen on a view.

A lesion's mask on a view holds the pixels where its own expected counts reach `LESION_LEVEL` of their maximum there
AND stand out over everything else (`LESION_CONTRAST`); it exists only if the lesion is detectable at all: the
excess inside the mask against the Poisson noise of all counts there (a Rose criterion, `ROSE_MIN`).
The bladder's mask holds the pixels where its own counts reach `BLADDER_LEVEL` of their maximum and exceed the rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipelines.phantoms.camera import Window

LESION_LEVEL = 0.40
"""Between the full width at half maximum and what an observer outlines on a logarithmic film."""

LESION_CONTRAST = 0.42
"""Excess over the counts of everything else below which no outline can be drawn in a noisy image."""

ROSE_MIN = 8.0
"""Signal to noise inside the mask; Rose asks 5 at a known place, an unknown one among bones needs more."""

MIN_PIXELS = 6
BLADDER_LEVEL = 0.15
BLADDER_CONTRAST = 0.6
BACKGROUND, METASTASIS, BLADDER = 0, 1, 2


@dataclass(frozen=True)
class LesionView:
    """One lesion on one view: expected own counts, its window, and its mask there (empty if it cannot be seen)."""

    excess: np.ndarray
    window: Window
    mask: np.ndarray


def lesion_mask(excess: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the bool mask of one lesion.

    Parameters
    ----------
    excess : expected counts of the lesion alone. others : expected counts of all else, same shape.
    """
    peak = float(excess.max(initial=0.0))
    if peak <= 0:
        return np.zeros(excess.shape, bool)
    mask = (excess >= LESION_LEVEL * peak) & (excess >= LESION_CONTRAST * others)
    if mask.sum() < MIN_PIXELS:
        return np.zeros(excess.shape, bool)
    signal = float(excess[mask].sum())
    noise = float(np.sqrt((excess[mask] + others[mask]).sum()))
    return mask if signal >= ROSE_MIN * noise else np.zeros(excess.shape, bool)


def bladder_mask(own: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the bool mask of the bladder from its own expected counts and those of all else."""
    peak = float(own.max(initial=0.0))
    if peak <= 0:
        return np.zeros(own.shape, bool)
    mask = (own >= BLADDER_LEVEL * peak) & (own >= BLADDER_CONTRAST * others)
    return mask if mask.sum() >= 4 * MIN_PIXELS else np.zeros(own.shape, bool)
