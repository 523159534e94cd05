"""A SPECT camera's forward and back projector: rotate and sum, with attenuation and a depth-dependent response.

For every view the volume is rotated (bilinear, a sparse matrix), weighted with the attenuation from each voxel to the
camera, summed over slabs of depth, and each slab is blurred across the detector by a Gaussian of the FWHM at its
distance: FWHM(d)^2 = intrinsic^2 + (collimator + slope d)^2 (Zeng et al., IEEE Trans Nucl Sci 38 (1991) 693; Cherry,
Sorenson, Phelps, Physics in Nuclear Medicine, 4th ed., ch. 14 and 17). Back projection is the exact transpose, step by
step, which OSEM needs.

Arrays: volume float32 (row, column, slice), a transaxial square; projections float32 (view, bin, slice). View angle 0
has its camera in front of the patient (towards -y); angles grow towards the patient's left. Scatter is not modelled
here, and photons that leave the volume at its first or last slice are lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import sparse
from scipy.linalg import toeplitz
from scipy.special import erf

SLAB_MM = 26.0
FWHM_PER_SIGMA = 2.3548


@dataclass(frozen=True)
class Response:
    """Resolution of the camera: FWHM(d)^2 = intrinsic^2 + (collimator + slope d)^2, mm."""

    intrinsic_mm: float
    collimator_mm: float
    slope: float

    def sigma_mm(self, distance_mm: np.ndarray | float) -> np.ndarray:
        """Return the standard deviation at a distance from the collimator."""
        geometric = self.collimator_mm + self.slope * np.maximum(distance_mm, 0)
        return np.asarray(np.hypot(self.intrinsic_mm, geometric) / FWHM_PER_SIGMA)


class Projector:
    """Forward and back projection of one patient.

    Parameters
    ----------
    mu_per_mm : float32 (n, n, slice), linear attenuation; None for none.
    pixel_mm : size of rows, columns and slices.
    response : None for a perfect camera.
    gap_mm : distance between the camera and the nearest tissue of each view.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        pixel_mm: float,
        views: int,
        mu_per_mm: np.ndarray | None = None,
        response: Response | None = None,
        gap_mm: float = 20.0,
    ) -> None:
        if shape[0] != shape[1]:
            raise ValueError(f"a transaxial square is needed, got {shape[0]} x {shape[1]}")
        self.shape, self.pixel_mm, self.views = shape, pixel_mm, views
        angles = 2 * np.pi * np.arange(views) / views
        self.slab = max(1, round(SLAB_MM / pixel_mm)) if response is not None else shape[0]
        self.slabs = -(-shape[0] // self.slab)
        self.rotations = [_rotation(shape[0], self.slabs * self.slab, float(a)) for a in angles]
        body = None if mu_per_mm is None else (mu_per_mm > 1e-3).astype(np.float32)
        self.weights = [None if mu_per_mm is None else self._attenuation(r, mu_per_mm) for r in self.rotations]
        self.blurs = [None if response is None else self._blurs(r, body, response, gap_mm) for r in self.rotations]

    def forward(self, volume: np.ndarray, views: np.ndarray | None = None) -> np.ndarray:
        """Project a volume (row, column, slice) onto some views (all by default)."""
        flat = volume.reshape(-1, self.shape[2])
        chosen = range(self.views) if views is None else views
        return np.stack([self._forward_one(flat, v) for v in chosen])

    def back(self, projections: np.ndarray, views: np.ndarray | None = None) -> np.ndarray:
        """Apply the transpose of `forward` to projections of those views; return a volume."""
        total = np.zeros((self.shape[0] * self.shape[1], self.shape[2]), np.float32)
        for projection, view in zip(projections, range(self.views) if views is None else views, strict=True):
            total += self._back_one(projection, view)
        return total.reshape(self.shape)

    def _forward_one(self, flat: np.ndarray, view: int) -> np.ndarray:
        n, _, slices = self.shape
        turned = (self.rotations[view] @ flat).reshape(-1, n, slices)
        weight = self.weights[view]
        if weight is not None:
            turned *= weight
        slabs = turned.reshape(self.slabs, self.slab, n, slices).sum(1)
        blur = self.blurs[view]
        if blur is None:
            return np.asarray(slabs.sum(0))
        across, along = blur
        return np.asarray(np.matmul(np.matmul(across, slabs), along).sum(0))

    def _back_one(self, projection: np.ndarray, view: int) -> np.ndarray:
        n, _, slices = self.shape
        blur = self.blurs[view]
        slabs = np.broadcast_to(projection, (self.slabs, n, slices))
        if blur is not None:
            across, along = blur  # both symmetric
            slabs = np.matmul(np.matmul(across, projection), along)
        turned = np.repeat(slabs, self.slab, axis=0)
        weight = self.weights[view]
        if weight is not None:
            turned = turned * weight
        return np.asarray(self.rotations[view].T @ turned.reshape(-1, slices))

    def _attenuation(self, rotation: sparse.csr_matrix, mu: np.ndarray) -> np.ndarray:
        """Return exp(-integral of mu from the voxel to the camera), float32 (depth, bin, slice)."""
        n, _, slices = self.shape
        turned = (rotation @ mu.reshape(-1, slices)).reshape(-1, n, slices)
        before = np.cumsum(turned, axis=0) - 0.5 * turned
        return np.exp(-before * self.pixel_mm).astype(np.float32)

    def _blurs(
        self, rotation: sparse.csr_matrix, body: np.ndarray | None, response: Response, gap_mm: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return, per slab, the blurring matrices across bins and along slices (slab, n, n), float32."""
        n, _, slices = self.shape
        first = 0.0
        if body is not None:
            held = (rotation @ body.reshape(-1, slices)).reshape(-1, n * slices).max(1) > 0.5
            first = float(np.argmax(held)) if held.any() else 0.0
        depth = (np.arange(self.slabs) * self.slab + (self.slab - 1) / 2 - first) * self.pixel_mm
        sigmas = response.sigma_mm(depth + gap_mm) / self.pixel_mm
        return tuple(np.stack([_gaussian(size, s) for s in sigmas]) for size in (n, slices))  # type: ignore[return-value]


def _gaussian(size: int, sigma: float) -> np.ndarray:
    """Return the matrix (size, size) that blurs by a Gaussian integrated over pixels; what leaves the edge is lost."""
    edges = (np.arange(size + 1) - 0.5) / (np.sqrt(2) * max(float(sigma), 1e-3))
    return np.asarray(toeplitz(0.5 * np.diff(erf(edges))), np.float32)


@lru_cache(maxsize=512)
def _rotation(n: int, depths: int, angle: float) -> sparse.csr_matrix:
    """Return the sparse matrix that turns an n x n image so that the camera of a view lies at depth row 0.

    Row (depth d, bin u) of the result samples the image bilinearly; outside it the image is 0. `depths` >= n rows of
    depth are returned.
    """
    middle = (n - 1) / 2
    depth, across = np.meshgrid(np.arange(depths) - middle, np.arange(n) - middle, indexing="ij")
    y = depth * np.cos(angle) + across * np.sin(angle) + middle
    x = across * np.cos(angle) - depth * np.sin(angle) + middle
    y0, x0 = np.floor(y).astype(int), np.floor(x).astype(int)
    rows, cols, values = [], [], []
    target = np.arange(depths * n).reshape(depths, n)
    for dy in (0, 1):
        for dx in (0, 1):
            weight = (1 - np.abs(y - y0 - dy)) * (1 - np.abs(x - x0 - dx))
            ok = (y0 + dy >= 0) & (y0 + dy < n) & (x0 + dx >= 0) & (x0 + dx < n) & (weight > 1e-9)
            rows.append(target[ok])
            cols.append((y0 + dy)[ok] * n + (x0 + dx)[ok])
            values.append(weight[ok])
    data = np.concatenate(values).astype(np.float32)
    return sparse.csr_matrix((data, (np.concatenate(rows), np.concatenate(cols))), (depths * n, n * n))
