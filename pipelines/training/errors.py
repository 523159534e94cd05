"""How often what existing weights get wrong is drawn when training goes on from them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def drawing_chances(errors: Sequence[np.ndarray]) -> np.ndarray:
    """Return the chance of drawing each image: by the square root of its errors, float64 (images,), sum 1.

    In proportion to the errors themselves the few patients full of metastases would be drawn again and again.

    Parameters
    ----------
    errors : one array of any shape for each image, not negative; their unit does not matter.
    """
    weights = np.sqrt([float(error.sum()) for error in errors])
    if not weights.sum() > 0:
        return np.full(len(errors), 1.0 / len(errors))
    return np.asarray(weights / weights.sum())
