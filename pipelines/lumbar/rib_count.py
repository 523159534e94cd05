"""How many lumbar vertebrae there are, from how probable ribs are at each body above the sacrum.

Bayes over four, five and six: `PRIOR` times the product of the bodies' likelihoods. One body that the network is sure
of must not outvote the prior alone, hence `SUREST`; neighbours that agree can.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

USUAL = 5
PRIOR: Mapping[int, float] = {4: 0.05, 5: 0.90, 6: 0.05}
"""Shares of patients, as simulated; published shares of four or six lumbar vertebrae lie between 3 and 12 %."""

SUREST = 0.95
"""A probability beyond this, or below its complement, counts as this: errors of neighbouring bodies go together."""

DOUBTFUL = 0.90
"""Below this probability the count is said to be doubtful."""

ROUNDING = 1e-9


@dataclass(frozen=True)
class LumbarCount:
    """How many lumbar vertebrae there are.

    lumbar : 4, 5 or 6. probability : of that number. seen : whether any body was looked at for ribs and any was found.
    """

    lumbar: int
    probability: float
    seen: bool

    @property
    def usual(self) -> bool:
        return self.lumbar == USUAL

    @property
    def doubtful(self) -> bool:
        """Tell whether the ribs leave the number open."""
        # Where nothing tells, the prior remains: `DOUBTFUL` itself but for rounding, and the ordinary case.
        return self.probability < DOUBTFUL - ROUNDING


def count_lumbar(ribs: Sequence[float] | np.ndarray) -> LumbarCount:
    """Weigh the numbers.

    Parameters
    ----------
    ribs : probability of ribs at each body from the one above the sacrum upwards; NaN where nobody can tell.
    """
    given = np.asarray(ribs, float)
    place = np.arange(len(given))
    known = np.isfinite(given)
    sure = np.clip(given[known], 1 - SUREST, SUREST)
    weights = {
        count: share * float(np.prod(np.where(place[known] >= count, sure, 1 - sure))) for count, share in PRIOR.items()
    }
    best = max(weights, key=lambda count: weights[count])
    return LumbarCount(best, weights[best] / sum(weights.values()), bool((sure > 0.5).any()))
