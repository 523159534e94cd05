"""What existing weights get wrong: kept beside a run, and drawn more often when training goes on from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file


def remembered(path: Path, look: Callable[[], list[np.ndarray]]) -> list[np.ndarray]:
    """Return the errors that a run looked for before (`path`, safetensors), else look and keep them there."""
    if path.exists():
        return [array for _, array in sorted(load_file(path).items())]
    errors = look()
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({f"{number:06d}": array for number, array in enumerate(errors)}, path)
    return errors


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
