"""Masks -> closed polylines in SCOORD coordinates (PS3.3 C.18.6: column, row; first pixel's centre at 0.5, 0.5)."""

from __future__ import annotations

import numpy as np
from skimage.measure import find_contours

from pipelines.contract import Contour, Segmentation


def whole_frame(frame: int, rows: int, columns: int) -> Contour:
    """The border of a whole frame."""
    corners = [(0, 0), (columns, 0), (columns, rows), (0, rows), (0, 0)]
    return Contour(frame, np.array(corners, dtype=np.float64))


def largest_outline(frame: int, mask: np.ndarray) -> Contour:
    """Outline of the largest connected part of a mask that has at least one pixel.

    Parameters
    ----------
    mask
        bool (row, column).
    """
    padded = np.pad(mask, 1).astype(np.float64)
    outlines = find_contours(padded, 0.5, fully_connected="high")
    longest = max(outlines, key=len)
    # find_contours counts from the first pixel's centre, in (row, column), here of the padded mask.
    return Contour(frame, longest[:, ::-1] - 1 + 0.5)


def segment_outline(segmentation: Segmentation, number: int) -> Contour:
    """Outline of a segment, which has at least one voxel, on the frame where it is largest."""
    frame = int(segmentation.pixels_by_frame(number).argmax())
    return largest_outline(frame, segmentation.label_map[frame] == number)
