"""Regular grids in the patient: where the voxels of an array lie, and boxes cut out of them.

All positions are DICOM patient coordinates (LPS, mm: x to the left, y to the back, z to the head). Arrays have axes
(slice, row, column); slices run to the head (+z), rows to the back (+y), columns to the left (+x).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Grid:
    """Voxel centres of an array.

    Attributes
    ----------
    shape : (slice, row, column). spacing_mm : likewise.
    origin_mm : LPS position (x, y, z) of the centre of voxel [0, 0, 0].
    """

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    origin_mm: tuple[float, float, float]

    def __post_init__(self) -> None:
        if min(self.shape) < 1 or min(self.spacing_mm) <= 0:
            raise ValueError(f"no grid of {self.shape} voxels of {self.spacing_mm} mm")

    def coordinates(self, axis: int) -> np.ndarray:
        """Return the LPS coordinate of the voxel centres along an array axis (0: z, 1: y, 2: x), float64."""
        return self.origin_mm[2 - axis] + np.arange(self.shape[axis]) * self.spacing_mm[axis]

    def index(self, points: np.ndarray) -> np.ndarray:
        """Return the fractional (slice, row, column) of LPS points (n, 3)."""
        return np.asarray((points[:, ::-1] - np.asarray(self.origin_mm)[::-1]) / np.asarray(self.spacing_mm))

    def points(self, index: np.ndarray) -> np.ndarray:
        """Return the LPS positions (n, 3) of (slice, row, column) indices (n, 3)."""
        return np.asarray((index * np.asarray(self.spacing_mm))[:, ::-1] + np.asarray(self.origin_mm))

    def box(self, low: ArrayLike, high: ArrayLike) -> Box | None:
        """Return the slices of the voxels between two LPS corners, None where they miss the grid."""
        ends = np.stack([np.minimum(low, high), np.maximum(low, high)])
        first = np.ceil(self.index(ends[:1])[0]).astype(int)
        last = np.floor(self.index(ends[1:])[0]).astype(int) + 1
        first, last = np.maximum(first, 0), np.minimum(last, self.shape)
        if (first >= last).any():
            return None
        return slice(first[0], last[0]), slice(first[1], last[1]), slice(first[2], last[2])

    def around(self, points: np.ndarray, margin_mm: float) -> Box | None:
        """Return the box that holds LPS points (n, 3) and a margin."""
        return self.box(points.min(0) - margin_mm, points.max(0) + margin_mm)

    def part(self, box: Box) -> Grid:
        """Return the grid of a box's voxels."""
        starts = [float(self.coordinates(axis)[box[axis].start]) for axis in range(3)]
        shape = [s.stop - s.start for s in box]
        return Grid((shape[0], shape[1], shape[2]), self.spacing_mm, (starts[2], starts[1], starts[0]))

    def open_coordinates(self, box: Box) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return x, y, z (float32) of a box's voxels, shaped to broadcast to (slice, row, column)."""
        z, y, x = (self.coordinates(axis)[box[axis]].astype(np.float32) for axis in range(3))
        return x[None, None, :], y[None, :, None], z[:, None, None]

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel in millilitres."""
        return float(np.prod(self.spacing_mm)) / 1000.0
