"""DeLong's test: do two scores of the same cases differ in the area under their ROC curves?

DeLong, DeLong, Clarke-Pearson, Biometrics 44 (1988) 837, by the midranks of Sun and Xu, IEEE Signal Processing Letters
21 (2014) 1389. It takes cases as independent: give it lesions or patients, never pixels (the paper's Z values of -9 to
-15 come from pixels).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata


@dataclass(frozen=True)
class Comparison:
    """Areas of both scores, z of their difference (first minus second) and its two-sided p.

    z and p are None where the scores rank all cases alike, or there are fewer than two cases of a kind.
    """

    first: float
    second: float
    z: float | None
    p: float | None


def compare(truth: np.ndarray, first: np.ndarray, second: np.ndarray) -> Comparison:
    """Compare two scores.

    Parameters
    ----------
    truth : bool (case,). first, second : float (case,), higher for positive.

    Raises
    ------
    ValueError
        If all cases are of one kind.
    """
    positive, negative = np.flatnonzero(truth), np.flatnonzero(~np.asarray(truth, bool))
    m, n = len(positive), len(negative)
    if not m or not n:
        raise ValueError("an ROC curve needs cases of both kinds")
    areas, of_positive, of_negative = [], [], []
    for scores in (first, second):
        x, y = np.asarray(scores, float)[positive], np.asarray(scores, float)[negative]
        ranks, ranks_x, ranks_y = rankdata(np.concatenate([x, y])), rankdata(x), rankdata(y)
        areas.append(float(ranks[:m].sum() / (m * n) - (m + 1) / (2 * n)))
        of_positive.append((ranks[:m] - ranks_x) / n)
        of_negative.append(1 - (ranks[m:] - ranks_y) / m)
    if min(m, n) < 2:
        return Comparison(areas[0], areas[1], None, None)
    spread = np.cov(of_positive) / m + np.cov(of_negative) / n
    variance = float(spread[0, 0] + spread[1, 1] - 2 * spread[0, 1])
    if variance <= 1e-15:
        return Comparison(areas[0], areas[1], None, None)
    z = (areas[0] - areas[1]) / math.sqrt(variance)
    return Comparison(areas[0], areas[1], z, math.erfc(abs(z) / math.sqrt(2)))
