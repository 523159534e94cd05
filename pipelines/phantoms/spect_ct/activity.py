"""Uptake of healthy bone, and all activity of the body on the gamma camera's grid.

Constants of the regions are those of the whole-body phantom (`uptake.normal_uptake`), whose organs are drawn here
unchanged. Concentrations are relative to soft tissue = 1; activity is concentration times volume in mm3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.phantoms.skeleton import rotation_matrix
from pipelines.phantoms.spect_ct.bones import Placement
from pipelines.phantoms.spect_ct.grid import Grid
from pipelines.phantoms.spect_ct.marrow import SHAFT_CORTEX_MM, BoneVoxels
from pipelines.phantoms.spect_ct.noise import Texture
from pipelines.phantoms.uptake import Source, lognormal

LUNG_UPTAKE, FAT_UPTAKE = 0.25, 0.45


@dataclass(frozen=True)
class Motion:
    """How the body moved between CT and SPECT: turned about the long axis through `pivot_mm`, then shifted."""

    shift_mm: np.ndarray
    turn_deg: float
    pivot_mm: np.ndarray

    def apply(self, points: np.ndarray) -> np.ndarray:
        """Carry LPS points (n, 3) from where the CT saw them to where the camera sees them."""
        matrix = rotation_matrix(2, self.turn_deg).astype(points.dtype)
        pivot = self.pivot_mm.astype(points.dtype)
        return np.asarray((points - pivot) @ matrix.T + pivot + self.shift_mm.astype(points.dtype))

    def undo(self, points: np.ndarray) -> np.ndarray:
        """Carry points back."""
        matrix = rotation_matrix(2, -self.turn_deg)
        return np.asarray((points - self.shift_mm - self.pivot_mm) @ matrix.T + self.pivot_mm)


def fill_uptake(bone: BoneVoxels, rng: np.random.Generator) -> None:
    """Set `uptake` of healthy bone: a general level, a factor per region and bone, warm joints, slow unevenness."""
    level = float(np.clip(lognormal(rng, 6.2, 0.35), 2.8, 16.0))
    regional = {
        "sternum": lognormal(rng, 1.05, 0.2), "rib_": lognormal(rng, 0.95, 0.18), "joint_": lognormal(rng, 1.0, 0.25),
        "scapula": lognormal(rng, 0.95, 0.18), "humerus": lognormal(rng, 0.8, 0.22), "femur": lognormal(rng, 0.8, 0.22),
    }  # fmt: skip
    own = {name: float(np.exp(rng.normal(0, 0.08))) for name in bone.names}
    factor = bone.per_structure(regional) * bone.per_structure(own) * bone.warmth
    slow = Texture(rng, 40.0).at(bone.points)
    bone.uptake[:] = level * factor * np.exp(0.08 * slow)
    # The marrow cavity of a shaft holds fat, not bone.
    bone.uptake[(bone.cortex_mm > SHAFT_CORTEX_MM) & (bone.depth > bone.cortex_mm)] *= 0.25


def bin_points(grid: Grid, points: np.ndarray, activity: np.ndarray) -> np.ndarray:
    """Add up activity (n,) of LPS points (n, 3) in a grid's voxels, float32; each is shared among the eight nearest."""
    index = grid.index(points)
    base = np.floor(index).astype(np.int64)
    share = (index - base).astype(np.float32)
    total = np.zeros(int(np.prod(grid.shape)))
    shape = np.array(grid.shape)
    for corner in np.ndindex(2, 2, 2):
        at = base + corner
        weight = np.prod(np.where(np.array(corner, bool), share, 1 - share), axis=1) * activity
        seen = ((at >= 0) & (at < shape)).all(1)
        flat = np.ravel_multi_index(tuple(at[seen].T), grid.shape)
        total += np.bincount(flat, weight[seen], total.size)
    return total.reshape(grid.shape).astype(np.float32)


def soft_tissue(
    grid: Grid, ct: Grid, hu: np.ndarray, covered: np.ndarray, motion: Motion
) -> tuple[np.ndarray, np.ndarray]:
    """Return the activity of soft tissue and the HU, both on the camera's grid (float32), as the camera sees them.

    Parameters
    ----------
    hu : on the CT's grid, bone included. covered : the part of each voxel that is bone.
    """
    thick = np.where(hu < -500, LUNG_UPTAKE * (hu > -950), np.where(hu < -30, FAT_UPTAKE, 1.0)) * (1 - covered)
    means = [average_onto(grid, ct, values, motion) for values in (thick.astype(np.float32), hu)]
    return means[0] * float(np.prod(grid.spacing_mm)), means[1]


def average_onto(grid: Grid, ct: Grid, values: np.ndarray, motion: Motion) -> np.ndarray:
    """Average CT voxels into the camera's larger voxels, where the body lay during SPECT; air where CT saw none.

    The middle of each CT voxel decides to which row and column it belongs; slices are interpolated.
    """
    y, x = np.meshgrid(ct.coordinates(1), ct.coordinates(2), indexing="ij")
    plane = np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], 1)
    moved = grid.index(motion.apply(plane))
    row, column = (np.rint(moved[:, axis]).astype(int) for axis in (1, 2))
    seen = (row >= 0) & (row < grid.shape[1]) & (column >= 0) & (column < grid.shape[2])
    flat = row[seen] * grid.shape[2] + column[seen]
    cells = grid.shape[1] * grid.shape[2]
    number = np.maximum(np.bincount(flat, minlength=cells), 1)
    empty = float(values.min())
    order = np.argsort(flat, kind="stable")
    held, starts = np.unique(flat[order], return_index=True)
    result = np.full((ct.shape[0], cells), empty, np.float32)
    flat_values = values.reshape(ct.shape[0], -1)[:, seen][:, order]
    result[:, held] = np.add.reduceat(flat_values, starts, axis=1) / number[held]
    z = (grid.coordinates(0) - motion.shift_mm[2] - ct.origin_mm[2]) / ct.spacing_mm[0]
    low = np.clip(np.floor(z).astype(int), 0, ct.shape[0] - 2)
    share = np.clip(z - low, 0, 1).astype(np.float32)[:, None]
    return np.asarray((result[low] * (1 - share) + result[low + 1] * share).reshape(grid.shape))


def source_points(sources: Sequence[Source], place: Placement) -> tuple[np.ndarray, np.ndarray]:
    """Return LPS points and activity of all sources outside bone."""
    if not sources:
        return np.zeros((0, 3)), np.zeros(0)
    points = np.concatenate([s.points for s in sources]).astype(float)
    return place.from_table(place.posture.apply(points)), np.concatenate([s.activity for s in sources])
