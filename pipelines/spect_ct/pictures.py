"""A slice with truth and result side by side, for a person to look at: SPECT and CT, truth green, result red."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from pipelines.spect_ct.lesions import THRESHOLD

SPECT_RANGE, CT_RANGE = (-1.0, 4.5), (-3.0, 3.0)
TRUTH, RESULT = (60, 230, 60), (255, 60, 60)


def write_picture(path: Path, inputs: np.ndarray, truth: np.ndarray, probabilities: np.ndarray) -> None:
    """Write a PNG: inputs (2, row, column), truth bool and probabilities (row, column)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    panels = []
    for plane, (low, high) in zip(inputs, (SPECT_RANGE, CT_RANGE), strict=True):
        grey = np.clip((plane - low) / (high - low) * 255, 0, 255).astype(np.uint8)
        panel = np.repeat(grey[:, :, None], 3, 2)
        panel[_edge(truth)] = TRUTH
        panel[_edge(probabilities >= THRESHOLD)] = RESULT
        panels.append(panel)
    Image.fromarray(np.concatenate(panels, 1)).save(path)


def _edge(mask: np.ndarray) -> np.ndarray:
    """Pixels of a mask that have a neighbour outside."""
    padded = np.pad(mask, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return np.asarray(mask & ~inner)
