"""Where the body is on a whole-body projection.

counts on the working grid -> body mask -> body frame (top of the head, height, midline). The frame gives places as
fractions of the body's height and millimetres from the midline; the reference level, the choice of pelvic tiles
and the lesions' locations in words all use it, so that they agree.

It finds no organ and no bone: proportions only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from scipy import ndimage

WORKING_SPACING_MM = 2.26
"""Pixel pitch of the working grid: 256 columns over the 578.56 mm of the usual 256 x 1024 whole-body matrix."""

MEDIAN_PIXELS = 5
"""Side of the median filter that removes isolated counts outside the body."""

FLOOR_FRACTION_OF_P99 = 0.01
"""A body pixel exceeds this fraction of the image's 99th percentile."""

FLOOR_COUNTS = 1.0
"""... and one count, the level of room background in a whole-body scan."""

FLOOR_CEILING_OF_P99 = 0.05
"""Where one count would be more than this fraction of the 99th percentile (rescaled pixel values), it is not asked."""

CLIPPED_HEIGHT_MM = 1650.0
"""Height assumed where the field cuts off the head or the feet; close to a median adult."""

PELVIS_HEIGHTS = (0.36, 0.54)
"""Rows that hold the bladder and its surroundings, as fractions of the body's height from the top of the head."""


T = TypeVar("T", float, np.ndarray)


@dataclass(frozen=True)
class BodyFrame:
    """A body's place on a grid of square pixels.

    Attributes
    ----------
    top_row, height_rows
        Row of the top of the head (may lie above the field) and the body's height, in pixels.
    midline_column
        Column of the midline, in pixels.
    spacing_mm
        Pixel pitch of the grid.
    head_clipped, feet_clipped
        True where the body touches the field's upper or lower edge: the height is then at least
        `CLIPPED_HEIGHT_MM`.
    """

    top_row: float
    height_rows: float
    midline_column: float
    spacing_mm: float
    head_clipped: bool = False
    feet_clipped: bool = False

    def height_fraction(self, row: float) -> float:
        """Return how far down the body a row is: 0 at the top of the head, 1 at the toes."""
        return (row - self.top_row) / self.height_rows

    def row_at(self, fraction: float) -> float:
        """Return the row at a fraction of the body's height; the inverse of `height_fraction`."""
        return self.top_row + fraction * self.height_rows

    def lateral_mm(self, column: T) -> T:
        """Return the distance from the midline in mm, positive towards larger columns."""
        return (column - self.midline_column) * self.spacing_mm

    @property
    def pelvis_rows(self) -> tuple[float, float]:
        """First and last row of the pelvis."""
        return self.row_at(PELVIS_HEIGHTS[0]), self.row_at(PELVIS_HEIGHTS[1])


def body_mask(counts: np.ndarray) -> np.ndarray:
    """Find the body: 5 x 5 median above the floor, largest component.

    Parameters
    ----------
    counts
        (rows, columns), counts per pixel, not negative.

    Returns
    -------
    numpy.ndarray
        bool, same shape; empty (all False) for an image without counts.
    """
    found = outlines(counts, 1)
    return found[0] if found else np.zeros(counts.shape, dtype=bool)


def outlines(counts: np.ndarray, number: int) -> list[np.ndarray]:
    """Return the largest components above the floor, at most `number`, largest first (bool masks)."""
    p99 = float(np.percentile(counts, 99))
    if p99 <= 0.0:
        return []
    floor = max(min(FLOOR_COUNTS, FLOOR_CEILING_OF_P99 * p99), FLOOR_FRACTION_OF_P99 * p99)
    labels, _ = ndimage.label(_median_above(counts, floor))
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    largest = np.argsort(-sizes, kind="stable")[:number]
    return [np.asarray(labels == label) for label in largest if sizes[label] > 0]


def _median_above(counts: np.ndarray, level: float) -> np.ndarray:
    """Tell where the 5 x 5 median exceeds a level (bool): more than half of the 25 pixels do.

    Ten times as fast as sorting them, and the same at every pixel.
    """
    ones = np.ones(MEDIAN_PIXELS, dtype=np.int16)
    above = (counts > level).astype(np.int16)
    number = ndimage.correlate1d(ndimage.correlate1d(above, ones, axis=0), ones, axis=1)
    return np.asarray(number > MEDIAN_PIXELS**2 // 2)


def body_frame(
    counts: np.ndarray, mask: np.ndarray, spacing_mm: float = WORKING_SPACING_MM, field_rows: int | None = None
) -> BodyFrame:
    """Measure the body's frame.

    The midline is the median column of the upper half's counts, each pixel clipped at its 90th percentile so that
    no hot spot pulls it aside.

    Parameters
    ----------
    counts, mask
        (rows, columns); the mask is `body_mask`'s. An empty mask gives the frame of the whole field.
    spacing_mm
        Pixel pitch.
    field_rows
        Rows that the detector saw, where the grid is padded below them; None for all.
    """
    rows = np.flatnonzero(mask.any(axis=1))
    if rows.size == 0:
        return BodyFrame(0.0, float(counts.shape[0]), counts.shape[1] / 2, spacing_mm, True, True)
    top, bottom = float(rows[0]), float(rows[-1] + 1)
    last_row = (counts.shape[0] if field_rows is None else field_rows) - 1
    # The 5 x 5 median eats up to a row at the padded edge.
    head_clipped, feet_clipped = rows[0] == 0, rows[-1] >= last_row - 1
    height = bottom - top
    if head_clipped or feet_clipped:
        height = max(height, CLIPPED_HEIGHT_MM / spacing_mm)
        if head_clipped and not feet_clipped:
            top = bottom - height
    upper = slice(int(rows[0]), int(rows[0] + max(1, rows.size // 2)))
    inside = np.where(mask[upper], counts[upper], 0.0)
    values = inside[mask[upper]]
    profile = np.minimum(inside, np.percentile(values, 90)).sum(axis=0) if values.size else np.zeros(counts.shape[1])
    total = profile.sum()
    median_column = float(np.searchsorted(np.cumsum(profile), total / 2)) + 0.5
    midline = median_column if total > 0 else counts.shape[1] / 2
    return BodyFrame(top, height, midline, spacing_mm, bool(head_clipped), bool(feet_clipped))
