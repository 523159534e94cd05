"""Lesion by lesion instead of pixel by pixel: what was found, what was marked where nothing is.

masks of truth and result -> connected parts of both -> `Detections`; a probability map at many cuts -> the points of a
free-response curve (FROC; Bunch et al., Proc. SPIE 127 (1977) 124). Each view counts by itself: a lesion that both
detectors see is two. Numbers only, no network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from pipelines.planar.lesions import EIGHT_CONNECTED, MINIMUM_AREA_MM2
from pipelines.planar.outline import WORKING_SPACING_MM

CUTS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98)
"""Probabilities at which the free-response curve has its points."""

SMALLEST_PIXELS = round(MINIMUM_AREA_MM2 / WORKING_SPACING_MM**2)
"""Foci below this size on the working grid count for nothing, as in a result."""


@dataclass(frozen=True)
class Detections:
    """Lesions (connected parts of the truth), those of them that are found, and false foci."""

    lesions: int = 0
    found: int = 0
    false: int = 0

    @classmethod
    def of(cls, truth: np.ndarray, result: np.ndarray) -> Detections:
        """Compare two bool masks. A lesion is found if one of its pixels is marked; a focus is false if it touches
        no lesion."""
        lesions, number = ndimage.label(truth, EIGHT_CONNECTED)
        foci, marked = ndimage.label(result, EIGHT_CONNECTED)
        both = truth & result
        return cls(int(number), len(np.unique(lesions[both])), int(marked) - len(np.unique(foci[both])))

    def __add__(self, other: Detections) -> Detections:
        return Detections(self.lesions + other.lesions, self.found + other.found, self.false + other.false)

    @property
    def sensitivity(self) -> float | None:
        """Found among the lesions; None without any."""
        return self.found / self.lesions if self.lesions else None


def free_response(truth: np.ndarray, probability: np.ndarray, cuts: Sequence[float] = CUTS) -> tuple[Detections, ...]:
    """Return the detections at each cut of a probability map (rows, columns) on the working grid."""
    return tuple(Detections.of(truth, _without_specks(probability >= cut)) for cut in cuts)


def _without_specks(mask: np.ndarray) -> np.ndarray:
    foci, _ = ndimage.label(mask, EIGHT_CONNECTED)
    keep = np.bincount(foci.ravel()) >= SMALLEST_PIXELS
    keep[0] = False
    return np.asarray(keep[foci])
