"""Pictures of results for people who look for failures: truth beside result, on the slices that matter.

Each picture has two rows, the truth (or the reader's mask) above and the result below, on five slices from right to
left. Written as PNG without a word of text; the file's name says which patient it is.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from pipelines.lumbar.classes import CLASSES

COLOURS = np.array(
    [(0, 0, 0), (230, 80, 70), (70, 200, 90), (80, 140, 255), (250, 215, 60), (235, 90, 235), (60, 215, 215)],
    np.float32,
)
SHOWN_SLICES = 5
TALLEST_PIXELS = 512
OPACITY = 0.4


def picture(
    image: np.ndarray, truth: np.ndarray, result: np.ndarray, spacing_mm: tuple[float, float, float]
) -> np.ndarray:
    """Return truth above result, uint8 (row, column, 3); label maps hold values of `classes`."""
    slices = _slices(truth if truth.any() else result)
    low, high = np.percentile(image, (1, 99.5))
    grey = np.clip((image - low) / max(high - low, 1e-6), 0, 1) * 255
    tiles = [[_tile(grey[k], labels[k], spacing_mm) for k in slices] for labels in (truth, result)]
    return np.vstack([np.hstack(row) for row in tiles])


def write_picture(path: Path, pixels: np.ndarray) -> None:
    """Write a picture as PNG; its folder is made where missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def _slices(labels: np.ndarray) -> list[int]:
    """Slices spread evenly over those with a structure."""
    held = np.flatnonzero(labels.any((1, 2)))
    first, last = (held[0], held[-1]) if held.size else (0, len(labels) - 1)
    return [round(v) for v in np.linspace(first, last, SHOWN_SLICES)]


def _tile(grey: np.ndarray, labels: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """One slice with its labels, its pixels square."""
    colours = COLOURS[np.minimum(labels, len(CLASSES) - 1)]
    shown = np.where((labels > 0)[..., None], (1 - OPACITY) * grey[..., None] + OPACITY * colours, grey[..., None])
    height_mm, width_mm = (n * mm for n, mm in zip(grey.shape, spacing_mm[1:], strict=True))
    size = (max(1, round(TALLEST_PIXELS * width_mm / height_mm)), TALLEST_PIXELS)
    return np.asarray(Image.fromarray(shown.astype(np.uint8)).resize(size))
