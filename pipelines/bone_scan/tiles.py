"""The tiles of a view, the rows worth looking at, and what the tiles' labels let count.

The paper's networks see 256 x 256 crops. A working view is 256 columns wide, so tiles differ in their first row
only; neighbours share rows. The network is convolutional and looks at all rows of the body at once; a tile is then
the part of its features that one label is read from. That is half the work of overlapping crops, and no seam cuts a
lesion.

No network runs here: the gate takes the tiles' labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.planar.outline import BodyFrame

TILE_PIXELS = 256
OVERLAP_PIXELS = 64
"""Rows that neighbours share: a lesion of up to 145 mm lies whole in one of them."""

ROW_STEP = 32
"""Rows of the image in a row of the network's coarsest features, from which the tiles' labels are read."""

BODY_MARGIN = 16
"""Rows of air kept above and below the body, so that its edges look as they do in the middle of a field."""

BODY_ROW_SHARE = 0.05
"""A row with more than this share of the body's usual row belongs to it even where the outline has a gap."""

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


def body_rows(counts: np.ndarray, mask: np.ndarray) -> tuple[int, int]:
    """Return the first row and the end of the rows that a network has to see: the body's, with a margin of air.

    Parameters
    ----------
    counts
        (rows, columns), rows a multiple of `ROW_STEP`.
    mask
        bool, the body. It is one piece; limbs that a gap parts from it are found by their counts.

    Returns
    -------
    tuple
        Both such that their difference is a multiple of `ROW_STEP` and at least a tile.
    """
    rows = len(counts)
    inside = mask.any(axis=1)
    if not inside.any():
        return 0, rows
    totals = counts.sum(axis=1)
    inside |= totals > BODY_ROW_SHARE * np.median(totals[inside])
    found = np.flatnonzero(inside)
    first, end = max(0, int(found[0]) - BODY_MARGIN), min(rows, int(found[-1]) + 1 + BODY_MARGIN)
    height = min(rows, max(TILE_PIXELS, -(-(end - first) // ROW_STEP) * ROW_STEP))
    first = max(0, min(first, rows - height))
    return first, first + height


def covered_rows(starts: Sequence[int], used: Sequence[bool], rows: int) -> np.ndarray:
    """Tell which rows lie in a used tile, bool (rows,)."""
    covered = np.zeros(rows, dtype=bool)
    for start, counts_here in zip(starts, used, strict=True):
        covered[start : start + TILE_PIXELS] |= counts_here
    return covered


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
