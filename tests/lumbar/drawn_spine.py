"""A spine of boxes in patient space, for tests: every place has a known label, and nothing is alike on both sides.

`label_at` answers for any point (LPS, mm), so a result can be asked where in the patient it lies, whatever way the
scanner laid out its frames. It is no simulation (`pipelines.phantoms.lumbar` is): its image is its label, coded.

Discs begin at 0, 36, 72 ... mm above the sacrum and are 10 mm high, bodies are 26 mm high. The canal lies behind. On
the left the foramen at L3/L4 is larger; on the right the one at L4/L5 is missing.
"""

from __future__ import annotations

import numpy as np

from pipelines.imaging.volume import Volume
from pipelines.lumbar.classes import BODY, CANAL, CORD, DISC, FORAMEN, SACRUM
from tests.imaging.mr_objects import MrSeries

LEVELS = ("L5", "L4", "L3", "L2", "L1", "T12")
STEP_MM, DISC_MM, BODY_MM = 36.0, 10.0, 26.0
SPACING_MM = (4.4, 2.0, 2.0)
CODE_STEP = 100

SERIES = MrSeries(centre_mm=(0.0, 12.0, 85.0), shape=(13, 160, 80), spacing_mm=SPACING_MM)


def label_at(points_mm: np.ndarray, bodies: int = len(LEVELS)) -> np.ndarray:
    """The label of every point, of a spine with so many bodies; points (..., 3), patient coordinates."""
    x, y, z = np.moveaxis(np.asarray(points_mm, dtype=float), -1, 0)
    labels = np.zeros(x.shape, dtype=np.uint8)
    above = z >= 0
    level, within = np.floor(z / STEP_MM).astype(int), np.mod(z, STEP_MM)
    column = above & (level < bodies) & (np.abs(y) < 17)
    labels[column & (within < DISC_MM) & (np.abs(x) < 21)] = DISC
    labels[column & (within >= DISC_MM) & (np.abs(x) < 22)] = BODY
    labels[(z < 0) & (z > -60) & (np.abs(y + 0.3 * z) < 15) & (np.abs(x) < 26)] = SACRUM
    canal = (z > -40) & (z < 210) & (y > 22) & (y < 36) & (np.abs(x) < 10)
    labels[canal] = CANAL
    labels[canal & (y > 26) & (y < 31) & (np.abs(x) < 5)] = CORD
    for number in range(len(LEVELS) - 1):
        middle = number * STEP_MM + DISC_MM / 2 + 2
        for side in (-1, 1):
            half = 13.0 if (number, side) == (2, 1) else 8.0
            if (number, side) == (1, -1):
                continue
            beside = (side * x > 12) & (side * x < 22) & (y > 18) & (y < 28)
            labels[beside & (np.abs(z - middle) < half)] = FORAMEN
    return labels


def image_at(points_mm: np.ndarray) -> np.ndarray:
    """The world that a series samples: labels, coded as grey values."""
    return label_at(points_mm).astype(float) * CODE_STEP + 50


def labels_of(volume: Volume) -> np.ndarray:
    """What a perfect network would say of a series of this world."""
    return np.floor_divide(volume.values, CODE_STEP).astype(np.uint8)
