"""Measures of detection and segmentation, written out so that they can be checked by hand.

Counts of decisions -> the five figures of the paper's table 2; scores -> area under the ROC curve; label maps ->
Dice. Intervals are Wilson's for proportions, and of a bootstrap over patients for everything else. A figure that is 0/0
is None, never 0 or 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

Z_95 = 1.959963984540054

BOOTSTRAPS = 1000

Case = TypeVar("Case")


@dataclass(frozen=True)
class Proportion:
    """hits out of total, with its 95 % Wilson interval; `value` is None where total is 0."""

    hits: int
    total: int

    @property
    def value(self) -> float | None:
        """hits / total, or None."""
        return self.hits / self.total if self.total else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % interval of Wilson, JASA 22 (1927) 209, or None."""
        if not self.total:
            return None
        n, p = self.total, self.hits / self.total
        middle = p + Z_95**2 / (2 * n)
        half = Z_95 * math.sqrt(p * (1 - p) / n + Z_95**2 / (4 * n * n))
        scale = 1 + Z_95**2 / n
        return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)


@dataclass(frozen=True)
class Decisions:
    """Counts of decisions against the truth."""

    true_positive: int
    false_positive: int
    true_negative: int
    false_negative: int

    @classmethod
    def of(cls, truth: Sequence[bool], decided: Sequence[bool]) -> Decisions:
        """Count decisions.

        Raises
        ------
        ValueError
            If both sequences differ in length.
        """
        if len(truth) != len(decided):
            raise ValueError(f"{len(truth)} truths but {len(decided)} decisions")
        pairs = [(bool(t), bool(d)) for t, d in zip(truth, decided, strict=True)]
        tp, fp, tn, fn = (pairs.count(p) for p in ((True, True), (False, True), (False, False), (True, False)))
        return cls(tp, fp, tn, fn)

    @property
    def sensitivity(self) -> Proportion:
        """Positive decisions among the positive."""
        return Proportion(self.true_positive, self.true_positive + self.false_negative)

    @property
    def specificity(self) -> Proportion:
        """Negative decisions among the negative."""
        return Proportion(self.true_negative, self.true_negative + self.false_positive)

    @property
    def accuracy(self) -> Proportion:
        """Right decisions among all."""
        right = self.true_positive + self.true_negative
        return Proportion(right, right + self.false_positive + self.false_negative)

    @property
    def positive_predictive_value(self) -> Proportion:
        """Positive among the positive decisions."""
        return Proportion(self.true_positive, self.true_positive + self.false_positive)

    @property
    def negative_predictive_value(self) -> Proportion:
        """Negative among the negative decisions."""
        return Proportion(self.true_negative, self.true_negative + self.false_negative)


def area_under_roc(truth: Sequence[bool], scores: Sequence[float]) -> float | None:
    """Return the chance that a positive case scores higher than a negative one, ties counting half.

    The Mann-Whitney form; None if one of the classes is missing.
    """
    labels, values = np.asarray(truth, bool), np.asarray(scores, float)
    if labels.shape != values.shape:
        raise ValueError(f"{labels.size} truths but {values.size} scores")
    positive, negative = values[labels], np.sort(values[~labels])
    if not positive.size or not negative.size:
        return None
    below = np.searchsorted(negative, positive, side="left")
    up_to = np.searchsorted(negative, positive, side="right")
    return float((below + up_to).sum() / 2 / (positive.size * negative.size))


@dataclass(frozen=True)
class CalibrationBin:
    """Cases whose probability fell into one bin: their mean probability, and how often it was true."""

    cases: int
    probability: float
    frequency: float


def calibration(truth: Sequence[bool], probabilities: Sequence[float], bins: int = 10) -> tuple[CalibrationBin, ...]:
    """Return the reliability of probabilities in equal bins of [0, 1], empty bins left out."""
    labels, values = np.asarray(truth, bool), np.asarray(probabilities, float)
    if labels.shape != values.shape:
        raise ValueError(f"{labels.size} truths but {values.size} probabilities")
    place = np.minimum((values * bins).astype(int), bins - 1)
    return tuple(
        CalibrationBin(int(here.sum()), float(values[here].mean()), float(labels[here].mean()))
        for here in (place == number for number in range(bins))
        if here.any()
    )


def calibration_error(bins: Sequence[CalibrationBin]) -> float | None:
    """Return the expected calibration error: |probability - frequency|, averaged over the cases; None without any."""
    cases = sum(b.cases for b in bins)
    return sum(b.cases * abs(b.probability - b.frequency) for b in bins) / cases if cases else None


@dataclass(frozen=True)
class Overlap:
    """Pixels of truth, of the result and of both; sums of overlaps give pooled Dice."""

    truth: int = 0
    result: int = 0
    both: int = 0

    @classmethod
    def of(cls, truth: np.ndarray, result: np.ndarray) -> Overlap:
        """Count pixels of two bool masks of one shape."""
        if truth.shape != result.shape:
            raise ValueError(f"masks of different shape: {truth.shape} and {result.shape}")
        return cls(int(truth.sum()), int(result.sum()), int((truth & result).sum()))

    def __add__(self, other: Overlap) -> Overlap:
        return Overlap(self.truth + other.truth, self.result + other.result, self.both + other.both)

    @property
    def dice(self) -> float | None:
        """2 |A and B| / (|A| + |B|); None where both are empty."""
        size = self.truth + self.result
        return 2 * self.both / size if size else None


def bootstrap_interval(
    cases: Sequence[Case], figure: Callable[[Sequence[Case]], float | None], seed: int = 0
) -> tuple[float, float] | None:
    """Return the 95 % percentile interval of a figure, patients drawn with replacement (Efron, 1979).

    Draws in which the figure is None are left out; None if there are fewer than two cases or no draw has the figure.
    """
    if len(cases) < 2:
        return None
    rng = np.random.default_rng(seed)
    draws = (figure([cases[i] for i in rng.integers(len(cases), size=len(cases))]) for _ in range(BOOTSTRAPS))
    values = [value for value in draws if value is not None]
    if not values:
        return None
    low, high = np.percentile(values, (2.5, 97.5))
    return float(low), float(high)
