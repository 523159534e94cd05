"""The canonical grids of both stages, and the way back from them.

A volume has the axes (slice, row, column): slices from the patient's right to left, rows from superior to inferior,
columns from anterior to posterior. Of a slice the coarse stage sees everything but air at its sides, as 256 x 128
pixels; the fine stage a box about the spine, as 320 x 128. Neither keeps the pixels square: the paper resizes to
fixed sizes, and the networks are trained the same way.

The slice axis is not resized: up to 16 slices are padded with air to 16, more are read in overlapping windows of 16
whose probabilities are blended, so that a slice keeps its thickness of about 4 mm and none is lost. Only stacks
thinner than `THINNEST_MM` (3-D sequences) are averaged to about `USUAL_MM` first. The paper preset of resizing every
stack to 16 slices would change the thickness that the network sees.

Pure functions; nothing here knows a network. torch does the resampling, so only workers and training may import this.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

SLICES = 16
COARSE_SIZE = (256, 128)
FINE_SIZE = (320, 128)
WINDOW_STEP = 8
"""Windows of a longer stack begin at most this many slices apart: half of every window is seen twice."""

THINNEST_MM, USUAL_MM = 2.5, 4.0
LOW_PERCENT, HIGH_PERCENT = 0.5, 99.5
MARGIN_ROWS, MARGIN_COLUMNS = 0.05, 0.15
"""Added on each side of the coarse stage's box, as shares of its height and width."""

AIR_LEVEL = 0.1
"""A column at the side is air if nothing in it but 1 % of its pixels rises above this share of the image's range."""

SMALL_PART = 0.1
"""Parts of the coarse mask below this share of the largest part do not stretch the box."""


@dataclass(frozen=True)
class Box:
    """A range of rows and columns in source pixels, ends excluded; all slices belong to it."""

    rows: tuple[int, int]
    columns: tuple[int, int]

    def cut(self, volume: np.ndarray) -> np.ndarray:
        """Return the part of a (slice, row, column) volume inside; a view."""
        return volume[..., slice(*self.rows), slice(*self.columns)]

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.rows[1] - self.rows[0], self.columns[1] - self.columns[0]


def body_box(volume: np.ndarray) -> Box:
    """Return all rows and the columns between the air in front and behind.

    Air is not always 0 (some scanners write 20 to 35 of 255), so the level is relative to the darkest 1 %.
    """
    sample = volume[:, ::2, ::2]
    low, high = np.percentile(sample, (1, 99))
    bright = (sample > low + AIR_LEVEL * max(high - low, 1e-6)).mean((0, 1))
    held = np.flatnonzero(bright > 0.01)
    columns = volume.shape[2]
    if held.size == 0:
        return Box((0, volume.shape[1]), (0, columns))
    return Box((0, volume.shape[1]), (int(held[0]) * 2, min(int(held[-1]) * 2 + 2, columns)))


def normalise(volume: torch.Tensor) -> torch.Tensor:
    """Clip a volume at its 0.5 and 99.5 percentiles, then to mean 0 and standard deviation 1."""
    sample = volume[..., ::2, ::2].flatten().sort().values
    low = sample[int(LOW_PERCENT / 100 * (sample.numel() - 1))]
    high = sample[int(HIGH_PERCENT / 100 * (sample.numel() - 1))]
    clipped = volume.clamp(low, high)
    return (clipped - clipped.mean()) / clipped.std().clamp(min=1e-6)


def resize(volume: np.ndarray, size: tuple[int, int]) -> torch.Tensor:
    """Resize every slice to (rows, columns); bilinear, averaging where it shrinks. Returns float32."""
    slices = torch.from_numpy(np.ascontiguousarray(volume, dtype=np.float32))[:, None]
    return functional.interpolate(slices, size, mode="bilinear", antialias=True, align_corners=False)[:, 0]


def resize_back(probabilities: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Resize probabilities (slice, class, row, column) to a source box; linear, no averaging (it enlarges)."""
    return functional.interpolate(probabilities, size, mode="bilinear", align_corners=False)


def pad_slices(volume: torch.Tensor, first: int | None = None, slices: int = SLICES) -> torch.Tensor:
    """Pad a stack (slice, row, column) with air (its lowest value) to a number of slices.

    `first` is the place of its first slice; None centres it.
    """
    missing = slices - volume.shape[0]
    if missing <= 0:
        return volume
    before = missing // 2 if first is None else first
    air = float(volume.min())
    return functional.pad(volume, (0, 0, 0, 0, before, missing - before), value=air)


def window_starts(slices: int) -> list[int]:
    """Return the first slices of the windows that cover a stack of at least 16 slices, evenly spread.

    Up to 16 slices need one window; each further `WINDOW_STEP` slices, or part of them, one more.
    """
    if slices <= SLICES:
        return [0]
    count = -(-(slices - SLICES) // WINDOW_STEP) + 1
    return [round(n * (slices - SLICES) / (count - 1)) for n in range(count)]


def window_weights() -> torch.Tensor:
    """Return how much each slice of a window counts where windows overlap: least at the ends."""
    ramp = torch.arange(1, SLICES // 2 + 1, dtype=torch.float32)
    return torch.cat([ramp, ramp.flip(0)]) / ramp[-1]


def slice_groups(slices: int, spacing_mm: float) -> list[slice]:
    """Return which source slices are averaged into each slice that the networks see; one each as a rule."""
    together = 1 if spacing_mm >= THINNEST_MM else max(1, round(USUAL_MM / spacing_mm))
    return [slice(first, min(first + together, slices)) for first in range(0, slices, together)]


def structure_box(
    mask: np.ndarray, rows_margin: float = MARGIN_ROWS, columns_margin: float = MARGIN_COLUMNS
) -> Box | None:
    """Return the box about a mask (slice, row, column), with margins, inside the image; None if it is empty.

    Specks (see `SMALL_PART`), judged in the projection over all slices, are left out.
    """
    from skimage.measure import label

    flat = mask.any(0)
    parts = label(flat, connectivity=2)
    if not parts.any():
        return None
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    kept = (sizes >= SMALL_PART * sizes.max())[parts] & (parts > 0)
    rows, columns = np.flatnonzero(kept.any(1)), np.flatnonzero(kept.any(0))
    return Box(
        _widen(rows, rows_margin, mask.shape[1]),
        _widen(columns, columns_margin, mask.shape[2]),
    )


def scale_box(box: Box, size: tuple[int, int], target: Box) -> Box:
    """Return a box of a canonical image of `size` as a box of the source, where the image shows `target`."""

    def along(span: tuple[int, int], pixels: int, place: tuple[int, int]) -> tuple[int, int]:
        step = (place[1] - place[0]) / pixels
        return max(int(place[0] + span[0] * step), place[0]), min(int(np.ceil(place[0] + span[1] * step)), place[1])

    return Box(along(box.rows, size[0], target.rows), along(box.columns, size[1], target.columns))


def _widen(held: np.ndarray, share: float, limit: int) -> tuple[int, int]:
    first, last = int(held[0]), int(held[-1]) + 1
    margin = share * (last - first)
    return max(int(first - margin), 0), min(int(np.ceil(last + margin)), limit)
