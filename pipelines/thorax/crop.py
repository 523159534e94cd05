"""Whole-body view -> body -> upper body -> thorax: 256 x 256 pixels of the working grid, and the way back.

The paper names these three steps and no more (its reference is Li et al. 2022). The crop is as wide as the field, so
only its first row has to be found:

1. body: the outline of `planar.outline`, and of it head and trunk, that is in each row the run of pixels about the
   midline: arms lifted over the head lengthen an outline, they do not move the neck;
2. upper body: the rows in which the neck of an adult can be, 8 to 22 % of the body's height below the top of the head;
3. thorax: from the neck downwards. The neck is the narrowest waist there: the trunk's width, smoothed by a
   Savitzky-Golay filter, has a zero of its first derivative where the second is positive. Where there is none (arms
   that touch the head), the neck is put at 13 % of the height and the crop is marked as not found.

Both views lie on the same rows: the anterior view's crop is also the posterior's (`shared_crop`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.signal import savgol_filter

from pipelines.planar.outline import BodyFrame
from pipelines.planar.prepare import PreparedView

CROP_PIXELS = 256
"""Rows and columns of the crop: 579 mm from the neck down, over the whole field."""

NECK_HEIGHTS = (0.08, 0.22)
"""Where the neck can be, as fractions of the body's height below the top of the head."""

NECK_HEIGHT = 0.13
"""Where it is put if no waist is found."""

LONGEST_BODY_ROWS = 760.0
"""1718 mm: pointed feet lengthen an outline, they do not move the neck."""

MIDLINE_REACH = 12.0
"""Columns (27 mm) that head and trunk may lie beside the midline of the upper body."""

SMOOTHING_ROWS, SMOOTHING_ORDER = 41, 3

MINIMUM_ROWS = 110
"""249 mm below the neck: a thorax of which less is in the image cannot be read."""


@dataclass(frozen=True)
class ThoraxCrop:
    """Which rows of the working grid are the thorax.

    Attributes
    ----------
    first_row
        Row of the working grid that is row 0 of the crop; negative where the neck lies above the field.
    found
        True where the neck was seen, False where proportions had to do.
    """

    first_row: int
    found: bool

    def cut(self, image: np.ndarray) -> np.ndarray:
        """Cut (..., rows, 256) to (..., 256, 256); what lies outside the image is 0."""
        result = np.zeros((*image.shape[:-2], CROP_PIXELS, image.shape[-1]), dtype=image.dtype)
        source, target = self.rows(image.shape[-2])
        result[..., target, :] = image[..., source, :]
        return result

    def paste(self, crop: np.ndarray, rows: int) -> np.ndarray:
        """Put (..., 256, 256) back where it was cut: (..., rows, 256), 0 elsewhere."""
        result = np.zeros((*crop.shape[:-2], rows, crop.shape[-1]), dtype=crop.dtype)
        source, target = self.rows(rows)
        result[..., source, :] = crop[..., target, :]
        return result

    def rows(self, rows: int) -> tuple[slice, slice]:
        """Return the rows of an image of so many rows that the crop holds, and their place in the crop."""
        first, last = max(self.first_row, 0), min(self.first_row + CROP_PIXELS, rows)
        last = max(last, first)
        return slice(first, last), slice(first - self.first_row, last - self.first_row)


def find_thorax(mask: np.ndarray, frame: BodyFrame) -> ThoraxCrop:
    """Find the thorax of one view.

    Parameters
    ----------
    mask
        bool (rows, 256), the body on the working grid.
    frame
        Its frame.
    """
    widths = trunk_widths(mask, frame.midline_column)
    top = frame.top_row if frame.head_clipped else float(_longest_run(widths > 0).start)
    height = min(frame.top_row + frame.height_rows - top, LONGEST_BODY_ROWS)
    low, high = (top + fraction * height for fraction in NECK_HEIGHTS)
    neck = waist(widths, low, high)
    if neck is None:
        return ThoraxCrop(round(top + NECK_HEIGHT * height), False)
    return ThoraxCrop(neck, True)


def trunk_widths(mask: np.ndarray, midline: float) -> np.ndarray:
    """Return, per row of a mask (rows, columns), the length of the run of pixels next to the midline (float64).

    A run further from it than `MIDLINE_REACH` is an arm: the row then has no trunk, and the width is 0.
    """
    edges = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    widths = np.zeros(len(mask))
    for row in np.flatnonzero(mask.any(axis=1)):
        starts, stops = np.flatnonzero(edges[row] > 0), np.flatnonzero(edges[row] < 0)
        away = np.maximum(np.maximum(starts - midline, midline - stops), 0.0)
        nearest = int(away.argmin())
        if away[nearest] <= MIDLINE_REACH:
            widths[row] = stops[nearest] - starts[nearest]
    return widths


def _longest_run(rows: np.ndarray) -> slice:
    """Return the longest run of True, an empty slice at 0 where there is none."""
    edges = np.flatnonzero(np.diff(np.pad(rows, 1).astype(np.int8)))
    runs = [slice(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]
    return max(runs, key=lambda run: run.stop - run.start, default=slice(0, 0))


def waist(widths: np.ndarray, low: float, high: float) -> int | None:
    """Return the row between two rows where a width profile has its smallest minimum, or None.

    Parameters
    ----------
    widths
        (rows,), pixels of the trunk per row.
    """
    if len(widths) < SMOOTHING_ROWS:
        return None
    smooth = savgol_filter(widths, SMOOTHING_ROWS, SMOOTHING_ORDER)
    slope = savgol_filter(widths, SMOOTHING_ROWS, SMOOTHING_ORDER, deriv=1)
    rows = np.arange(max(1, round(low)), min(len(widths), round(high)))
    turns = rows[(slope[rows - 1] < 0) & (slope[rows] >= 0) & (widths[rows] > 0)]
    return int(turns[np.argmin(smooth[turns])]) if turns.size else None


def shared_crop(views: Sequence[PreparedView]) -> ThoraxCrop:
    """Find one crop for the views of a scan, the anterior one first: from the first view that shows the neck."""
    crops = [find_thorax(view.mask, view.frame) for view in views]
    return next((crop for crop in crops if crop.found), crops[0])


def crop_refusal(views: Sequence[PreparedView], crop: ThoraxCrop) -> str | None:
    """Say why there is no thorax in the image, in one sentence, or None."""
    frame = views[0].frame
    if frame.head_clipped and frame.feet_clipped and not crop.found:
        return (
            "Neither a neck nor an end of the body is in the image, so where the thorax lies cannot be told; send the "
            "whole body."
        )
    body = np.asarray(views[0].mask.any(axis=1))
    inside = int(body[max(crop.first_row, 0) : max(crop.first_row + CROP_PIXELS, 0)].sum())
    if inside < MINIMUM_ROWS:
        return (
            f"The thorax is not in the image: of the body, {inside * frame.spacing_mm:.0f} mm lie between the neck and "
            f"the pelvis, at least {MINIMUM_ROWS * frame.spacing_mm:.0f} mm are needed."
        )
    return None
