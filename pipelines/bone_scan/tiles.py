"""Square tiles of a view, the gate that skips empty ones, and the way back to the whole view.

The paper's networks see 256 x 256 crops. A working view is 256 columns wide, so tiles differ in their first row
only. Neighbours share rows; where they do, the pixels' probabilities are blended with weights that fall
linearly towards a tile's border, so that no seam cuts a lesion.

No network runs here: the gate takes the tiles' labels, `blend` the pixels' probabilities.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.bone_scan.outline import BodyFrame

TILE_PIXELS = 256
OVERLAP_PIXELS = 64
"""Rows that neighbours share at inference; the longest lesion cut by both is under 145 mm."""

CLASSIFIER_THRESHOLD = 0.5
"""The paper's, for both labels."""


@dataclass(frozen=True)
class Gate:
    """What happens to one tile: whether its outlines are used (`segment`), and whether metastases in it may count."""

    segment: bool
    metastases: bool


def tile_starts(rows: int, overlap: int = OVERLAP_PIXELS) -> tuple[int, ...]:
    """Return the first row of each tile; the last tile ends at the last row.

    Raises
    ------
    ValueError
        If the view is shorter than a tile.
    """
    if rows < TILE_PIXELS:
        raise ValueError(f"a view of {rows} rows is shorter than a tile ({TILE_PIXELS})")
    starts = list(range(0, rows - TILE_PIXELS + 1, TILE_PIXELS - overlap))
    if starts[-1] != rows - TILE_PIXELS:
        starts.append(rows - TILE_PIXELS)
    return tuple(starts)


def split(view: np.ndarray, starts: Sequence[int]) -> np.ndarray:
    """Cut tiles out of (..., rows, 256): the result is (tile, ..., 256, 256)."""
    return np.stack([view[..., start : start + TILE_PIXELS, :] for start in starts])


def blend(tiles: np.ndarray, starts: Sequence[int], evaluated: Sequence[bool], rows: int) -> np.ndarray:
    """Join the tiles' class probabilities.

    Parameters
    ----------
    tiles
        float, (tile, class, 256, 256); class 0 is the background. Tiles that were not evaluated are ignored.
    starts, evaluated
        Per tile its first row, and whether its outlines are used.
    rows
        Rows of the view.

    Returns
    -------
    numpy.ndarray
        float32, (class, rows, 256); rows that no evaluated tile covers are background with probability 1.
    """
    classes = tiles.shape[1]
    joined = np.zeros((classes, rows, TILE_PIXELS), dtype=np.float32)
    weight = np.zeros((rows, 1), dtype=np.float32)
    ramp = np.minimum(np.arange(1, TILE_PIXELS + 1), np.arange(TILE_PIXELS, 0, -1))
    profile = np.minimum(ramp / OVERLAP_PIXELS, 1.0).astype(np.float32)[:, None]
    for tile, start, used in zip(tiles, starts, evaluated, strict=True):
        if used:
            joined[:, start : start + TILE_PIXELS] += tile * profile
            weight[start : start + TILE_PIXELS] += profile
    covered = weight[:, 0] > 0
    joined[:, covered] /= weight[covered]
    joined[0, ~covered] = 1.0
    return joined


def pelvic_tiles(starts: Sequence[int], frame: BodyFrame) -> tuple[bool, ...]:
    """Tell which tiles reach into the rows of the pelvis."""
    first, last = frame.pelvis_rows
    return tuple(start < last and start + TILE_PIXELS > first for start in starts)


def is_positive(labels: np.ndarray, threshold: float = CLASSIFIER_THRESHOLD) -> bool:
    """Tell whether a patient is called positive: any tile of any view is (labels (tile, 2), metastasis first)."""
    return bool((labels[:, 0] >= threshold).any())


def gate(
    labels: np.ndarray, pelvic: Sequence[bool], positive: bool, threshold: float = CLASSIFIER_THRESHOLD
) -> list[Gate]:
    """Decide per tile from its labels and the patient's.

    Parameters
    ----------
    labels
        (tile, 2): probabilities of metastasis and bladder.
    pelvic
        Tiles whose outlines are always used for the bladder: a bladder that the label misses would stay in the
        denominator of the BSTBI.
    positive
        Whether the patient is. The paper outlines metastases in every tile whose own label says so; here the patient
        as a whole decides, for all tiles. Their labels' threshold is set for patients (`operating_point`) and too
        strict for single tiles, and one clear lesion makes the fainter ones beside it likely: on simulated patients
        this gave the better overlap (docs/bone-scan.md).
    """
    bladder = np.asarray(labels[:, 1] >= threshold) | np.asarray(pelvic, dtype=bool)
    return [Gate(segment=bool(holds or positive), metastases=positive) for holds in bladder]
