"""A tuned threshold as the opponent: hot pixels of the body are metastases, the hot patch in the pelvis is bladder.

What simple image processing reaches on the same patients, with the same preparation; tables show it beside the
networks. Its three numbers are tuned on patients of the training preset, never on those it is measured on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from pipelines.planar.levels import BLADDER_HALF_WIDTH_MM
from pipelines.planar.prepare import PreparedView
from pipelines.training.metrics import Decisions, Overlap

BACKGROUND, METASTASIS, BLADDER = 0, 1, 2
LEVELS = tuple(np.round(np.geomspace(0.25, 4.0, 17), 3).tolist())
"""Candidate thresholds, in units of the view's reference level."""

AREAS = (6, 12, 20, 35, 60, 100, 160, 260, 400, 700, 1200)
"""Candidate patient thresholds: hot pixels on both views together from which a patient counts as positive."""


@dataclass(frozen=True)
class ThresholdBaseline:
    """Thresholds in units of the reference level, and the patient threshold in working pixels."""

    metastasis_level: float
    bladder_level: float
    patient_pixels: int

    def segment(self, view: PreparedView) -> np.ndarray:
        """Return a label map on the working grid, uint8 (rows, 256)."""
        level = ndimage.gaussian_filter(view.counts / view.reference, 1.0)
        labels = np.where((level >= self.metastasis_level) & view.mask, METASTASIS, BACKGROUND).astype(np.uint8)
        labels[_bladder(level, view, self.bladder_level)] = BLADDER
        return labels

    def is_positive(self, labels: Sequence[np.ndarray]) -> bool:
        """Decide a patient from the label maps of all views."""
        return sum(int((each == METASTASIS).sum()) for each in labels) >= self.patient_pixels


def score(labels: Sequence[np.ndarray]) -> float:
    """Return the patient's score for a ROC curve: hot pixels on all views."""
    return float(sum(int((each == METASTASIS).sum()) for each in labels))


def tune(patients: Sequence[Sequence[tuple[PreparedView, np.ndarray]]]) -> ThresholdBaseline:
    """Choose the numbers with the best pooled Dice (metastasis, bladder) and the best patient accuracy.

    Parameters
    ----------
    patients : per patient its views, each prepared and with truth labels on the working grid.

    Raises
    ------
    ValueError
        If there is no patient.
    """
    if not patients:
        raise ValueError("the baseline needs patients to be tuned on")
    bladder = max(LEVELS, key=lambda level: _pooled(patients, ThresholdBaseline(1.0, level, 1), BLADDER))
    metastasis = max(LEVELS, key=lambda level: _pooled(patients, ThresholdBaseline(level, bladder, 1), METASTASIS))
    found = ThresholdBaseline(metastasis, bladder, 1)
    truth = [any((labels == METASTASIS).any() for _, labels in views) for views in patients]
    scores = [score([found.segment(view) for view, _ in views]) for views in patients]

    def accuracy(pixels: int) -> float:
        return Decisions.of(truth, [s >= pixels for s in scores]).accuracy.value or 0.0

    return ThresholdBaseline(metastasis, bladder, max(AREAS, key=accuracy))


def _pooled(
    patients: Sequence[Sequence[tuple[PreparedView, np.ndarray]]], baseline: ThresholdBaseline, label: int
) -> float:
    total = Overlap()
    for views in patients:
        for view, labels in views:
            total += Overlap.of(labels == label, baseline.segment(view) == label)
    return total.dice or 0.0


def _bladder(level: np.ndarray, view: PreparedView, threshold: float) -> np.ndarray:
    """The largest hot patch about the midline of the pelvis."""
    rows = np.arange(level.shape[0])[:, None] + 0.5
    lateral = np.abs(view.frame.lateral_mm(np.arange(level.shape[1])[None, :] + 0.5))
    first, last = view.frame.pelvis_rows
    zone = (rows >= first) & (rows <= last) & (lateral <= BLADDER_HALF_WIDTH_MM)
    patches, count = ndimage.label((level >= threshold) & zone)
    if not count:
        return np.zeros(level.shape, bool)
    sizes = np.bincount(patches.ravel())
    sizes[0] = 0
    return np.asarray(patches == int(sizes.argmax()))
