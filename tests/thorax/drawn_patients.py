"""Patients as the shared cache holds them, drawn in a moment instead of simulated."""

from __future__ import annotations

import numpy as np

from pipelines.planar.dataset import TrainingPatient, TrainingView
from tests.imaging.nm_objects import draw_body

LESIONS = ((300, 100, 6), (260, 160, 5))
"""Row, column and radius on the anterior view; the posterior one is its mirror image."""


def patient(seed: int, ill: bool = True) -> TrainingPatient:
    """A drawn body, its lesions ten times as hot as what is around them; each view its own noise."""
    hot = [(*lesion, 400.0) for lesion in LESIONS] if ill else []
    y, x = np.mgrid[0:1024, 0:256] + 0.5
    truth = np.zeros((1024, 256), np.uint8)
    for row, column, radius in LESIONS if ill else ():
        truth[np.hypot(y - row, x - column) <= radius] = 1
    views = []
    for number in range(2):
        counts = draw_body(seed=2 * seed + number, hot=hot).astype(np.float32)
        labels = truth
        if number:
            counts, labels = counts[:, ::-1], truth[:, ::-1]
        views.append(TrainingView((counts / 100).astype(np.float16), 100.0, np.ascontiguousarray(labels)))
    return TrainingPatient(seed, tuple(views))
