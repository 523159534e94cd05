"""Random textures for tissues: one tile of smoothed noise per scale, laid over any voxels with an offset.

A tile is periodic, so nothing has to be as large as the scan; its edge is sixteen correlation lengths.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from pipelines.phantoms.spect_ct.grid import Grid

TILE = 64


class Texture:
    """Unit-variance noise with a correlation of about `scale_mm`.

    Sampled at LPS positions, nearest neighbour; a tile step is a quarter of the scale.
    """

    def __init__(self, rng: np.random.Generator, scale_mm: float) -> None:
        self.step_mm = scale_mm / 4
        tile = gaussian_filter(rng.standard_normal((TILE,) * 3).astype(np.float32), 2.0, mode="wrap")
        self.tile = tile / tile.std()
        self.offset = rng.integers(0, TILE, 3)

    def at(self, points: np.ndarray) -> np.ndarray:
        """Return the noise at LPS points (n, 3), float32 (n,)."""
        index = np.floor(points / np.float32(self.step_mm)).astype(np.int32) + self.offset
        index &= TILE - 1
        return np.asarray(self.tile[index[:, 2], index[:, 1], index[:, 0]])

    def over(self, grid: Grid, slices: tuple[slice, slice, slice] | None = None) -> np.ndarray:
        """Return the noise on a grid, or on a box of it, float32."""
        axes = []
        for axis in range(3):
            along = grid.coordinates(axis)[slices[axis] if slices else slice(None)]
            index = np.floor(along / self.step_mm).astype(np.int64) + int(self.offset[2 - axis])
            axes.append(index & (TILE - 1))
        return self.tile[np.ix_(*axes)]
