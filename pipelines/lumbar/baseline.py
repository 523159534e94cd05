"""A grey-value threshold as the opponent: for each structure, the range of intensity ranks that fits it best.

Inside the box about the true structures, pixels are ranked by intensity in each volume; a structure is everything
between two ranks. The ranks are tuned on patients of the training preset for the best pooled Dice. It is told the box,
which the networks have to find, and it still cannot tell a vertebra from muscle: tables show what grey values alone
are worth.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from pipelines.lumbar.classes import CLASSES, PAPER_STRUCTURES
from pipelines.training.metrics import Overlap

RANKS = 20
"""Steps of 5 % of the box's pixels."""


@dataclass(frozen=True)
class ThresholdBaseline:
    """For each structure the first and last rank, of `RANKS`."""

    ranges: dict[int, tuple[int, int]]

    def overlaps(self, image: np.ndarray, truth: np.ndarray) -> dict[int, Overlap]:
        """Compare with the truth; both (slice, row, column)."""
        counts = rank_counts(image, truth)
        return {k: _overlap(counts, k, *self.ranges[k]) for k in PAPER_STRUCTURES}

    def to_json(self) -> dict[str, list[float]]:
        """Return the ranges in percent of the box's pixels, from dark to bright."""
        return {CLASSES[k]: [100 * a / RANKS, 100 * (b + 1) / RANKS] for k, (a, b) in self.ranges.items()}


def tune(patients: Iterable[tuple[np.ndarray, np.ndarray]]) -> ThresholdBaseline:
    """Choose the ranges with the best pooled Dice on (image, truth) pairs.

    Raises
    ------
    ValueError
        If there is no patient.
    """
    counts = [rank_counts(image, truth) for image, truth in patients]
    if not counts:
        raise ValueError("the baseline needs patients to be tuned on")
    total = np.sum(counts, 0)
    choices = [(a, b) for a in range(RANKS) for b in range(a, RANKS)]

    def best(structure: int) -> tuple[int, int]:
        return max(choices, key=lambda c: _overlap(total, structure, *c).dice or 0.0)

    return ThresholdBaseline({k: best(k) for k in PAPER_STRUCTURES})


def rank_counts(image: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return how many pixels of each class have each rank, inside the box of the truth: int64 (class, rank)."""
    held = np.argwhere(np.isin(truth, PAPER_STRUCTURES))
    if not len(held):
        return np.zeros((len(CLASSES), RANKS), np.int64)
    box = tuple(slice(a, b + 1) for a, b in zip(held.min(0), held.max(0), strict=True))
    values, names = image[box].ravel(), truth[box].ravel()
    edges = np.quantile(values, np.linspace(0, 1, RANKS + 1)[1:-1])
    ranks = np.searchsorted(edges, values, side="right")
    return np.bincount(names.astype(np.int64) * RANKS + ranks, minlength=len(CLASSES) * RANKS).reshape(-1, RANKS)


def _overlap(counts: np.ndarray, structure: int, first: int, last: int) -> Overlap:
    part = counts[:, first : last + 1]
    return Overlap(int(counts[structure].sum()), int(part.sum()), int(part[structure].sum()))
