"""Which vertebra, disc or foramen every voxel belongs to, once the boundaries are known.

voxels in the curve's coordinates + boundaries -> interval between boundaries -> the same for whole components.

Intervals are numbered from the top: interval k ends at boundary k; what lies below the last boundary is interval
`len(boundaries)`, the sacrum where there is one. A component stays whole unless it truly spans two vertebrae.
Names are given elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from pipelines.lumbar.cleaning import ALL_NEIGHBOURS
from pipelines.lumbar.partition import Boundary

POKE_MM = 2.5
"""A component's part that reaches beyond a boundary by less than this on average (a corner, a bulge) stays with it."""

POKE_SHARE = 0.12
"""So does a part that holds less than this share of its component and reaches less than twice as far."""

SAME_DISC_MM = 11.0
"""A voxel of disc this far from a boundary's plane may belong to it; more only with the rest of its component."""

FORAMEN_RISE = 0.12
"""The foramen below a vertebra begins this share of the vertebra's length above its centre, under the pedicle."""

NEAREST_FORAMEN_MM = 4.0
"""A foramen's centre is at least this far from the canal's midline, and not more than the next constant."""

FARTHEST_FORAMEN_MM = 45.0

NOWHERE = -9
"""Belongs to no level. (-1 is the level above the topmost vertebra.)"""


@dataclass(frozen=True)
class Voxels:
    """Voxels of one structure: index (n, 3) into the volume and place (n, 3) along, posterior and left of the curve."""

    index: np.ndarray
    local: np.ndarray

    def select(self, chosen: np.ndarray) -> Voxels:
        return Voxels(self.index[chosen], self.local[chosen])

    def __len__(self) -> int:
        return len(self.index)


def joined(one: Voxels, other: Voxels) -> Voxels:
    """Return the voxels of both."""
    return Voxels(np.vstack([one.index, other.index]), np.vstack([one.local, other.local]))


def components_of(voxels: Voxels, structure: np.ndarray | None = None) -> np.ndarray:
    """Return the number (n,), from 0, of every voxel's connected component (faces, unless `structure` says more)."""
    if not len(voxels):
        return np.empty(0, dtype=int)
    first = voxels.index.min(axis=0)
    mask = np.zeros(voxels.index.max(axis=0) - first + 1, dtype=bool)
    where = tuple((voxels.index - first).T)
    mask[where] = True
    return np.asarray(ndimage.label(mask, structure)[0][where]) - 1


def assign_bodies(voxels: Voxels, boundaries: list[Boundary]) -> np.ndarray:
    """Return the interval (n,) of every body voxel."""
    beyond = np.stack([boundary.beyond_mm(voxels.local) for boundary in boundaries], axis=1)
    interval = (beyond > 0).sum(axis=1)
    components = components_of(voxels)
    number = len(boundaries) + 1
    table = np.bincount(components * number + interval, minlength=(components.max() + 1) * number).reshape(-1, number)
    for component in np.flatnonzero((table > 0).sum(axis=1) > 1):
        members = np.flatnonzero(components == component)
        _keep_together(interval, members, beyond, table[component])
    return interval


def assign_discs(voxels: Voxels, boundaries: list[Boundary]) -> np.ndarray:
    """Return the boundary (n,) of every disc voxel, `NOWHERE` for what belongs to none."""
    distance = np.abs(np.stack([boundary.beyond_mm(voxels.local) for boundary in boundaries], axis=1))
    nearest = distance.argmin(axis=1)
    near = distance[np.arange(len(nearest)), nearest] < SAME_DISC_MM
    components = components_of(voxels, ALL_NEIGHBOURS)
    number = len(boundaries)
    table = np.bincount(
        components[near] * number + nearest[near], minlength=(components.max() + 1) * number
    ).reshape(-1, number)  # fmt: skip
    totals = np.bincount(components)
    main = table.argmax(axis=1)
    # A herniation that migrates stays with its disc; two discs fused by a bridge lose what lies between them.
    whole = table.max(axis=1) > 0.7 * totals
    return np.where(whole[components], main[components], np.where(near, nearest, NOWHERE))


def assign_foramina(
    voxels: Voxels, centres: dict[int, tuple[float, float]], lateral_mm: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the interval (n,) below whose vertebra each foramen voxel lies, and True (n,) where it is on the left.

    Parameters
    ----------
    voxels
    centres
        For every interval of the chain its centre along the curve and its length in mm.
    lateral_mm
        (n,), distance to the left of the canal's midline at the voxel's level.
    """
    intervals = sorted(centres)
    starts = np.array([centres[k][0] - FORAMEN_RISE * centres[k][1] for k in intervals])
    place = np.searchsorted(starts, voxels.local[:, 0]) - 1
    # Above the first vertebra there is still the foramen over its head; it counts as below the one before.
    interval = np.where(place >= 0, np.array(intervals)[place.clip(0)], intervals[0] - 1)
    components = components_of(voxels, ALL_NEIGHBOURS)
    left = np.zeros(len(interval), dtype=bool)
    number = len(intervals) + 1
    counted = np.where(place >= 0, place, number - 1)
    table = np.bincount(components * number + counted, minlength=(components.max() + 1) * number).reshape(-1, number)
    for component in range(components.max() + 1):
        members = components == component
        offset = float(lateral_mm[members].mean())
        left[members] = offset > 0
        if not NEAREST_FORAMEN_MM <= abs(offset) <= FARTHEST_FORAMEN_MM or voxels.local[members, 1].mean() < 0:
            interval[members] = NOWHERE
        elif table[component].max() > 0.65 * table[component].sum():
            main = int(table[component].argmax())
            interval[members] = intervals[0] - 1 if main == number - 1 else intervals[main]
    return interval, left


def _keep_together(interval: np.ndarray, members: np.ndarray, beyond: np.ndarray, counts: np.ndarray) -> None:
    """Give, in place, the parts of a component that merely poke over a boundary back to its main part."""
    main = int(counts.argmax())
    for step in (1, -1):
        part = main
        while 0 <= part + step < len(counts) and counts[part + step] > 0:
            plane = min(part, part + step)
            outside = members[(interval[members] - main) * step >= (part + step - main) * step]
            reach = float(np.abs(beyond[outside, plane]).mean())
            share = len(outside) / len(members)
            if reach < POKE_MM or (share < POKE_SHARE and reach < 2 * POKE_MM):
                interval[outside] = part
                break
            part += step
