"""Preparation of one view: counts at any pixel size -> the networks' input, and the way back.

source counts -> working grid (2.26 mm, 256 columns, rows a multiple of 32; counts preserved) -> body mask, body
frame, reference level -> two windows in [0, 1]. `WorkingGrid` also carries probabilities and labels back to the
source grid, so a mask always ends at the size of the image that came in.

Training and inference both come through `prepare_view`; there is no second path. Reading DICOM, splitting views and
turning MONOCHROME1 round is `pipelines.imaging`'s.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pipelines.planar.levels import WINDOW_FACTORS, compressed, reference_level, window
from pipelines.planar.outline import WORKING_SPACING_MM, BodyFrame, body_frame, body_mask

WORKING_COLUMNS = 256
ROW_MULTIPLE = 32
"""The segmenter halves its input five times."""

SNAP_RATIO = 5e-4
"""Pixel sizes this close to the working pitch count as equal: under half a pixel over 1024 rows, and no blur."""

FIELD_WIDTH_MM = (280.0, 1000.0)
"""Widths a scanner's field can have; where a spacing implies another, the matrix is padded or the spacing is a
placeholder (1 mm in screen captures)."""

BODY_HEIGHT_MM, BODY_WIDTH_MM = (1000.0, 2200.0), (200.0, 1000.0)
"""Heights and widths, arms included, of a body that vouch for a spacing in a padded matrix."""

FIELD_LENGTH_MM = 4000.0
"""No scanner's bed is longer."""

ADULT_HEIGHT_MM = 1720.0
"""Head to toes of a median adult lying with the feet stretched: sets the scale where the spacing is unknown."""

FALLBACK_WIDTH_MM = WORKING_SPACING_MM * WORKING_COLUMNS
"""Width of the usual whole-body field, for images whose body is cut off and whose spacing is unknown."""

SAME_BODY = 0.85
"""Dice of two views' bodies, one mirrored, from which on they show the same body in the same place."""


@dataclass(frozen=True)
class WorkingGrid:
    """The exact relation of a source grid and the working grid.

    Attributes
    ----------
    source_shape
        Rows and columns of the source.
    source_spacing_mm
        Row and column pitch used; an estimate if `spacing_known` is False.
    shape
        Rows and columns of the working grid. Row 0 of both grids starts at the same edge.
    column_offset
        Working column at which the source's left edge lies; negative where the source is wider and is cropped.
    """

    source_shape: tuple[int, int]
    source_spacing_mm: tuple[float, float]
    spacing_known: bool
    shape: tuple[int, int]
    column_offset: int

    @property
    def source_pixels_per_pixel(self) -> float:
        """Area of a working pixel in source pixels: counts per working pixel over counts per source pixel."""
        row_mm, column_mm = self._pitch
        return WORKING_SPACING_MM**2 / (row_mm * column_mm)

    @property
    def is_identity(self) -> bool:
        """True where both grids are the same, pixel by pixel."""
        same_pitch = self._pitch == (WORKING_SPACING_MM, WORKING_SPACING_MM)
        return same_pitch and self.shape == self.source_shape and self.column_offset == 0

    @property
    def _pitch(self) -> tuple[float, float]:
        row_mm, column_mm = self.source_spacing_mm
        return _snapped(row_mm), _snapped(column_mm)

    def point_to_working(self, row: float, column: float) -> tuple[float, float]:
        """Carry a point (row, column; the first pixel's outer corner at (0, 0)) to the working grid."""
        row_mm, column_mm = self._pitch
        return row * row_mm / WORKING_SPACING_MM, column * column_mm / WORKING_SPACING_MM + self.column_offset

    def counts_to_working(self, counts: np.ndarray) -> np.ndarray:
        """Resample counts (rows, columns) to the working grid, float32; the sum is kept but for cropped columns."""
        if self.is_identity:
            return np.asarray(counts, dtype=np.float32)
        by_row = _overlaps(self.source_shape[0], self.shape[0], self._pitch[0], 0)
        by_column = _overlaps(self.source_shape[1], self.shape[1], self._pitch[1], self.column_offset)
        return np.asarray(by_row @ np.asarray(counts, dtype=np.float64) @ by_column.T, dtype=np.float32)

    def labels_to_working(self, labels: np.ndarray) -> np.ndarray:
        """Bring a label map (rows, columns) to the working grid: the label of the largest area in each pixel."""
        if self.is_identity:
            return np.asarray(labels)
        values = np.unique(np.concatenate([[0], np.unique(labels)]))
        areas = np.stack([self.counts_to_working(labels == value) for value in values])
        # Pixels outside the source have no area of any label: argmax gives the first, which is the background.
        return np.asarray(values[areas.argmax(axis=0)], dtype=labels.dtype)

    def probabilities_to_source(self, probabilities: np.ndarray) -> np.ndarray:
        """Interpolate class probabilities linearly at the source's pixel centres.

        Parameters
        ----------
        probabilities
            float, (class, working rows, working columns); class 0 is the background.

        Returns
        -------
        numpy.ndarray
            float32, (class, source rows, source columns). Source columns that were cropped are background.
        """
        if self.is_identity:
            return np.asarray(probabilities, dtype=np.float32)
        rows, below, _ = _samples(self.source_shape[0], self.shape[0], self._pitch[0], 0)
        columns, right, inside = _samples(self.source_shape[1], self.shape[1], self._pitch[1], self.column_offset)
        found = np.asarray(probabilities, dtype=np.float32)
        # Rows first, then columns: each source pixel takes part of two neighbours, so no matrix product is needed.
        found = found[:, rows] * (1 - below)[:, None] + found[:, rows + 1] * below[:, None]
        mapped = np.asarray(found[:, :, columns] * (1 - right) + found[:, :, columns + 1] * right)
        mapped[:, :, ~inside] = 0.0
        mapped[0, :, ~inside] = 1.0
        return mapped


@dataclass(frozen=True)
class PreparedView:
    """One view, ready for the networks.

    Attributes
    ----------
    grid
        The way to and from the source.
    counts
        float32, counts per working pixel, not negative.
    mask, frame
        The body on the working grid.
    reference
        Reference level in counts per working pixel.
    upper_levels
        Upper window levels in counts per *source* pixel, one per window: what a report states.
    windows
        float32 in [0, 1], (window, rows, columns).
    cropped_fraction
        Part of the view's counts that lies outside the working grid.
    """

    grid: WorkingGrid
    counts: np.ndarray
    mask: np.ndarray
    frame: BodyFrame
    reference: float
    upper_levels: tuple[float, ...]
    windows: np.ndarray
    cropped_fraction: float

    @property
    def channels(self) -> np.ndarray:
        """The windows and the logarithmic channel, float32 in [0, 1], (window + 1, rows, columns)."""
        return np.concatenate([self.windows, compressed(self.counts / np.float32(self.reference))[None]])


def prepare_view(
    counts: np.ndarray,
    spacing_mm: tuple[float, float] | None,
    factors: tuple[float, ...] = WINDOW_FACTORS,
) -> PreparedView:
    """Prepare one view for the networks.

    Parameters
    ----------
    counts
        (rows, columns), more counts is hotter, any real dtype; negative values (lossy compression) become 0.
    spacing_mm
        Row and column pitch in mm, or None where the source does not say; implausible values count as unknown.
    factors
        Upper window levels as multiples of the reference level.

    Raises
    ------
    ValueError
        If `counts` is not a two-dimensional array of finite numbers.
    """
    source = np.asarray(counts, dtype=np.float64)
    if source.ndim != 2 or source.size == 0 or not np.isfinite(source).all():
        raise ValueError(f"a view is a two-dimensional array of finite counts, got shape {source.shape}")
    source = np.maximum(source, 0.0)
    grid = working_grid(source, spacing_mm)
    working = grid.counts_to_working(source)
    mask = body_mask(working)
    field_rows = math.ceil(source.shape[0] * _snapped(grid.source_spacing_mm[0]) / WORKING_SPACING_MM)
    frame = body_frame(working, mask, field_rows=field_rows)
    reference = reference_level(working, mask, frame)
    total = float(source.sum())
    return PreparedView(
        grid=grid,
        counts=working,
        mask=mask,
        frame=frame,
        reference=reference,
        upper_levels=tuple(factor * reference / grid.source_pixels_per_pixel for factor in factors),
        windows=np.stack([window(working, factor * reference) for factor in factors]),
        cropped_fraction=max(0.0, 1.0 - float(working.sum(dtype=np.float64)) / total) if total > 0 else 0.0,
    )


def facing_columns(view: PreparedView, other: PreparedView) -> int | None:
    """Tell how the columns of two views from opposite sides relate: column c shows what the other's k - c shows.

    Both detectors see the body at once, each as if it looked at it: one image is the other's mirror image. The relation
    holds to half a working pixel, both ways.

    Returns
    -------
    int or None
        k; None where the views' grids differ, or their bodies lie apart (`SAME_BODY`): they were not taken together.
    """
    one, two = view.grid, other.grid
    if one.source_shape != two.source_shape or one.source_spacing_mm != two.source_spacing_mm:
        return None
    width = one.source_shape[1] * _snapped(one.source_spacing_mm[1]) / WORKING_SPACING_MM
    k = round(width + one.column_offset + two.column_offset - 1)
    both = float((view.mask & facing(other.mask, k)).sum())
    return k if both >= SAME_BODY * (view.mask.sum() + other.mask.sum()) / 2 else None


def facing(image: np.ndarray, k: int) -> np.ndarray:
    """Return what the opposite view shows at each pixel: image (..., rows, columns) mirrored by `facing_columns`' k.

    Columns that the other grid does not hold are 0.
    """
    columns = k - np.arange(image.shape[-1])
    inside = (columns >= 0) & (columns < image.shape[-1])
    seen = np.zeros_like(image)
    seen[..., inside] = image[..., columns[inside]]
    return seen


def working_grid(counts: np.ndarray, spacing_mm: tuple[float, float] | None) -> WorkingGrid:
    """Lay the working grid over a source: centred on the body as far as the field allows.

    A field narrower than the grid stays whole (zeros beside it); a wider one is cropped about the body.
    """
    rows, columns = counts.shape
    known = plausible_spacing(spacing_mm, (rows, columns)) or _vouched_for(spacing_mm, counts)
    row_mm, column_mm = known if known is not None else estimated_spacing(counts)
    row_pitch, column_pitch = _snapped(row_mm), _snapped(column_mm)
    height = math.ceil(rows * row_pitch / WORKING_SPACING_MM - 1e-6)
    height = max(WORKING_COLUMNS, -(-height // ROW_MULTIPLE) * ROW_MULTIPLE)
    width = columns * column_pitch / WORKING_SPACING_MM
    slack = WORKING_COLUMNS - width
    low, high = sorted((0, math.floor(slack) if slack >= 0 else math.ceil(slack)))
    offset = 0
    if low != high:
        mask = body_mask(counts)
        centre = body_frame(counts, mask).midline_column * column_pitch / WORKING_SPACING_MM
        offset = min(max(round(WORKING_COLUMNS / 2 - centre), low), high)
    return WorkingGrid((rows, columns), (row_mm, column_mm), known is not None, (height, WORKING_COLUMNS), offset)


def plausible_spacing(spacing_mm: tuple[float, float] | None, shape: tuple[int, int]) -> tuple[float, float] | None:
    """Return the spacing if a whole-body field without padding can have it, else None."""
    stated = _positive(spacing_mm)
    if stated is None:
        return None
    row_mm, column_mm = stated
    if not FIELD_WIDTH_MM[0] <= column_mm * shape[1] <= FIELD_WIDTH_MM[1] or row_mm * shape[0] > FIELD_LENGTH_MM:
        return None
    return row_mm, column_mm


def estimated_spacing(counts: np.ndarray) -> tuple[float, float]:
    """Guess square pixels: an adult from head to toes if the whole body is in the field, else the usual field width."""
    height, width, whole = _body_pixels(counts)
    pitch = FALLBACK_WIDTH_MM / counts.shape[1]
    if whole:
        by_height = ADULT_HEIGHT_MM / height
        if BODY_WIDTH_MM[0] <= by_height * width <= BODY_WIDTH_MM[1]:
            pitch = by_height
    return pitch, pitch


def _vouched_for(spacing_mm: tuple[float, float] | None, counts: np.ndarray) -> tuple[float, float] | None:
    """Return a spacing that makes the field wider than any if it gives the body in there a body's size, else None.

    1 mm both ways is what screen captures state: it is not taken for a padded matrix.
    """
    stated = _positive(spacing_mm)
    if stated is None or stated == (1.0, 1.0):
        return None
    row_mm, column_mm = stated
    if column_mm * counts.shape[1] <= FIELD_WIDTH_MM[1] or row_mm * counts.shape[0] > FIELD_LENGTH_MM:
        return None
    height, width, _ = _body_pixels(counts)
    tall = BODY_HEIGHT_MM[0] <= row_mm * height <= BODY_HEIGHT_MM[1]
    return stated if tall and BODY_WIDTH_MM[0] <= column_mm * width <= BODY_WIDTH_MM[1] else None


def _body_pixels(counts: np.ndarray) -> tuple[int, int, bool]:
    """Return the rows and columns over which the body extends, and whether head and feet are in the field."""
    mask = body_mask(counts)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return 0, 0, False
    whole = bool(rows[0] > 0 and rows[-1] < counts.shape[0] - 1)
    return int(rows[-1] - rows[0] + 1), int(columns[-1] - columns[0] + 1), whole


def _positive(spacing_mm: tuple[float, float] | None) -> tuple[float, float] | None:
    if spacing_mm is None:
        return None
    row_mm, column_mm = (float(value) for value in spacing_mm)
    return (row_mm, column_mm) if 0 < row_mm < math.inf and 0 < column_mm < math.inf else None


def _snapped(spacing_mm: float) -> float:
    return WORKING_SPACING_MM if abs(spacing_mm / WORKING_SPACING_MM - 1.0) < SNAP_RATIO else spacing_mm


def _overlaps(n_source: int, n_working: int, spacing_mm: float, offset: int) -> np.ndarray:
    """Part of each source pixel that falls into each working pixel, (n_working, n_source)."""
    edges = (np.arange(n_working + 1) - offset) * WORKING_SPACING_MM / spacing_mm
    low = np.maximum(edges[:-1, None], np.arange(n_source)[None, :])
    high = np.minimum(edges[1:, None], np.arange(1, n_source + 1)[None, :])
    return np.asarray(np.clip(high - low, 0.0, 1.0))


def _samples(
    n_source: int, n_working: int, spacing_mm: float, offset: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Linear interpolation at source pixel centres: the first of two neighbours, the second's weight, if inside."""
    centres = (np.arange(n_source) + 0.5) * spacing_mm / WORKING_SPACING_MM + offset
    inside = (centres >= 0.0) & (centres <= n_working)
    position = np.clip(centres - 0.5, 0.0, n_working - 1.0)
    left = np.minimum(position.astype(int), n_working - 2)
    return left, (position - left).astype(np.float32), inside
