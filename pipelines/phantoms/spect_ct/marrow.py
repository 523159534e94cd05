"""Bone in Hounsfield units: cortex, trabecular bone with its texture, fatty marrow, all by bone, age and density.

`collect` turns a drawn canvas into a list of bone voxels; everything that happens to bone afterwards (density here,
disease in `lesions`, uptake in `activity`) works on that list, and `onto` lays it over the CT's slices.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipelines.phantoms.spect_ct.canvas import CORTEX_STEP_MM, WARMTH_STEP, BoneCanvas
from pipelines.phantoms.spect_ct.grid import Grid
from pipelines.phantoms.spect_ct.noise import Texture

TRABECULAR = {
    "C": 1.5, "T": 1.05, "L": 1.0, "sacrum": 0.75, "rib_": 0.75, "sternum": 0.6, "ilium": 0.9, "joint_": 1.3,
    "acetabulum": 1.5, "pubis": 0.9, "ischium": 1.2, "scapula": 1.3, "clavicle": 1.2, "humerus": 0.85, "femur": 1.15,
}  # fmt: skip
"""Density of a bone's trabeculae relative to the lumbar spine's."""

SHAFT_CORTEX_MM = 3.5
"""A cortex thicker than this is a shaft's, whose marrow is fat."""


@dataclass
class BoneVoxels:
    """Voxels of all bones; arrays of one length, in the order of the fine grid.

    Attributes
    ----------
    flat : int64, index into the fine grid. points : float32 (n, 3), LPS mm.
    depth : mm below the surface. share : part of the voxel that is bone, 0 to 1.
    structure : index + 1 into `names`. cortex_mm, warmth : as drawn.
    hu : float32, of the bone in the voxel. uptake : float32, concentration relative to soft tissue.
    """

    grid: Grid
    names: tuple[str, ...]
    flat: np.ndarray
    points: np.ndarray
    depth: np.ndarray
    share: np.ndarray
    structure: np.ndarray
    cortex_mm: np.ndarray
    warmth: np.ndarray
    hu: np.ndarray
    uptake: np.ndarray

    def select(self, *prefixes: str) -> np.ndarray:
        """Return a bool mask of the voxels whose bone's name starts with one of the prefixes."""
        wanted = np.array([False, *(name.startswith(prefixes) for name in self.names)])
        return np.asarray(wanted[self.structure])

    def per_structure(self, values: dict[str, float], default: float = 1.0) -> np.ndarray:
        """Spread a value per prefix over the voxels, float32."""
        table = [default, *(next((v for p, v in values.items() if n.startswith(p)), default) for n in self.names)]
        return np.asarray(np.array(table, np.float32)[self.structure])


def collect(canvas: BoneCanvas) -> BoneVoxels:
    """List the voxels that hold bone."""
    flat = np.flatnonzero(canvas.depth.reshape(-1) > -0.5)
    index = np.stack(np.unravel_index(flat, canvas.grid.shape), 1)
    depth = canvas.depth.reshape(-1)[flat]
    empty = np.zeros(len(flat), np.float32)
    return BoneVoxels(
        canvas.grid,
        tuple(canvas.names),
        flat,
        canvas.grid.points(index).astype(np.float32),
        depth,
        np.clip(0.5 + depth, 0, 1),
        canvas.structure.reshape(-1)[flat],
        canvas.cortex.reshape(-1)[flat] * np.float32(CORTEX_STEP_MM),
        canvas.warmth.reshape(-1)[flat] * np.float32(WARMTH_STEP),
        empty,
        empty.copy(),
    )


def fill_density(bone: BoneVoxels, age_years: int, rng: np.random.Generator) -> None:
    """Set `hu` of healthy bone.

    Lumbar trabecular bone loses about 1.9 HU a year from some 180 HU at 40 (opportunistic CT, e.g. Pickhardt et al.,
    Ann Intern Med 2013); cortex lies between 800 and 1300 HU before the scanner blurs it.
    """
    lumbar = float(np.clip(rng.normal(180 - 1.9 * (age_years - 40), 32), 45, 290))
    cortex = float(np.clip(rng.normal(1080 - 4 * (age_years - 40), 110), 620, 1450))
    relative = bone.per_structure({k: v * float(np.exp(rng.normal(0, 0.1))) for k, v in TRABECULAR.items()})
    fine, coarse = Texture(rng, 2.2).at(bone.points), Texture(rng, 7.0).at(bone.points)
    trabecular = lumbar * relative * (1 + 0.16 * coarse + rng.uniform(0.15, 0.35) * fine)
    shaft = bone.cortex_mm > SHAFT_CORTEX_MM
    trabecular = np.where(shaft, -25 + 25 * coarse, np.maximum(trabecular, -60))
    # Towards the cortex trabeculae get denser, and osteoporotic cortex is thinner.
    thin = float(np.clip(1.15 - 0.006 * (age_years - 40) + rng.normal(0, 0.1), 0.6, 1.3))
    outer = bone.cortex_mm * thin
    trabecular = trabecular + np.clip(1 - (bone.depth - outer) / 3.0, 0, 1) * 70
    share = np.clip((outer - bone.depth) / 0.8 + 0.5, 0, 1)
    bone.hu[:] = trabecular + share * (cortex * (1 + 0.06 * coarse) - trabecular)


def onto(hu: np.ndarray, grid: Grid, bone: BoneVoxels, values: np.ndarray | None = None) -> np.ndarray:
    """Lay bone over tissue.

    Parameters
    ----------
    hu : float32 on the CT's grid, changed in place. grid : that grid; the fine grid holds whole parts of its slices.
    values : HU of the bone voxels, None for `bone.hu`.

    Returns
    -------
    numpy.ndarray
        float32, the part of every CT voxel that is bone.
    """
    target, parts = coarse_index(bone, grid)
    weight = bone.share / parts
    size = int(np.prod(grid.shape))
    covered = np.bincount(target, weight, size).astype(np.float32).reshape(grid.shape)
    amount = np.bincount(target, weight * (bone.hu if values is None else values), size).reshape(grid.shape)
    hu *= 1 - covered
    hu += amount
    return covered


def coarse_index(bone: BoneVoxels, grid: Grid) -> tuple[np.ndarray, int]:
    """Return each bone voxel's flat index on the CT's grid, and how many fine slices make one of its slices."""
    parts = bone.grid.shape[0] // grid.shape[0]
    plane = grid.shape[1] * grid.shape[2]
    fine_slice, within = np.divmod(bone.flat, plane)
    return fine_slice // parts * plane + within, parts
