"""Masks -> closed polylines in SCOORD coordinates, for the reports of every pipeline (PS3.3 C.18.6)."""

from __future__ import annotations

import numpy as np
from skimage.measure import find_contours


def outline_of(mask: np.ndarray) -> tuple[np.ndarray, ...]:
    """Outline a mask with closed polylines that enclose the centres of exactly its pixels.

    The lines run half-way between pixels inside and outside, cutting corners, so they stay right when a viewer
    draws or fills them with any rule. A hole is a line of its own inside its outline (even-odd rule).

    Parameters
    ----------
    mask
        bool, (rows, columns).

    Returns
    -------
    tuple of numpy.ndarray
        float64 (n, 2), (column, row) with the first pixel's centre at (0.5, 0.5) (PS3.3 C.18.6); the last point
        repeats the first. Longest first.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size == 0:
        return ()
    crop = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    # The frame of background lets lines close at the image's edge.
    lines = find_contours(np.pad(crop, 1).astype(np.float64), 0.5, fully_connected="high")
    offset = np.array([columns[0] - 0.5, rows[0] - 0.5])
    polylines = [_without_collinear(line[:, ::-1]) + offset for line in lines]
    return tuple(sorted(polylines, key=len, reverse=True))


def _without_collinear(points: np.ndarray) -> np.ndarray:
    """Drop the points of a closed polyline that lie on the straight line between their neighbours."""
    ring = points[:-1]
    before, after = ring - np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0) - ring
    bends = np.abs(before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]) > 1e-9
    kept = ring[bends]
    return np.vstack([kept, kept[:1]])
