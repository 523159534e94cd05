"""The patient's outline in a CT or a SPECT: which voxels are body, which part of the field holds it, what lies outside.

voxels -> above a level (`BODY_HU`, `SPECT_BODY_SHARE`) -> connected parts -> the largest, and the others that are thick
and large enough to be a limb: of two legs both count, and an arm that does not touch the trunk. Couches, blankets and
tubes are thin: an opening of `THICK_MM` in each slice leaves nothing of them.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from scipy import ndimage

BODY_HU = -300.0
"""Between air and fat; lungs and bowel gas are added by filling holes."""

COARSE_MM = 4.0
"""The body is looked for on a coarser image: its outline need not be finer."""

SPECT_BODY_SHARE = 0.25
"""Counts above this share of the body's usual counts are body. What is usual is the median of all voxels above the mean
of the roots: the roots, because a full bladder may hold a hundred times the counts of all else."""

THICK_MM = 20.0
"""What is thinner in a slice is no limb; a wrist has twice as much."""

LIMB_SHARE = 0.02
"""A further part counts if what is thick of it has this share of the largest part: a forearm has more of a trunk."""


class Placed(Protocol):
    """Voxels with a place in the patient, as `imaging.volume.Volume` has them."""

    @property
    def values(self) -> np.ndarray:
        """(axis 0, axis 1, axis 2): slice, row, column."""

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Per axis."""

    @property
    def origin_mm(self) -> np.ndarray:
        """Centre of voxel (0, 0, 0), LPS."""

    @property
    def directions(self) -> np.ndarray:
        """(3, 3): row i is the unit vector along axis i, LPS."""


def body_mask(placed: Placed, is_ct: bool) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Return the body, bool, on every n-th voxel of each axis, and those steps: its large parts, holes filled."""
    found, steps = _above(placed, is_ct)
    parts, count = ndimage.label(found)
    if count > 1:
        sizes = np.bincount(parts.reshape(-1), minlength=count + 1)
        sizes[0] = 0
        thick = np.bincount(parts[_thick(found, placed, steps)], minlength=count + 1)
        held = thick >= LIMB_SHARE * sizes.max()
        held[0], held[sizes.argmax()] = False, True
        found = held[parts]
    return filled(found), steps


def body_box(placed: Placed, is_ct: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return the first and last row and column of the body, in voxels.

    Raises
    ------
    ValueError
        If there is none.
    """
    body, steps = body_mask(placed, is_ct)
    if not body.any():
        raise ValueError(f"the {'CT' if is_ct else 'SPECT'} shows no body")
    rows, columns = np.flatnonzero(body.any((0, 2))), np.flatnonzero(body.any((0, 1)))
    low = np.array([rows[0] * steps[1], columns[0] * steps[2]])
    high = np.array([rows[-1] * steps[1], columns[-1] * steps[2]])
    return low, high


def body_points(placed: Placed, is_ct: bool) -> np.ndarray:
    """Return the fractional voxel indices (n, 3) of all that is thick enough to be body, on the coarser image."""
    found, steps = _above(placed, is_ct)
    return np.argwhere(_thick(found, placed, steps)) * steps


def spect_body(counts: np.ndarray) -> np.ndarray:
    """Return which voxels of a SPECT are body, bool, holes of each slice filled; see `SPECT_BODY_SHARE`."""
    roots = np.sqrt(np.maximum(counts, 0))
    high = counts[roots > roots.mean()]
    return filled(counts > SPECT_BODY_SHARE * np.median(high)) if high.size else np.zeros(counts.shape, bool)


def filled(mask: np.ndarray) -> np.ndarray:
    """Fill the holes of each slice."""
    return np.stack([ndimage.binary_fill_holes(one) for one in mask])


def _above(placed: Placed, is_ct: bool) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Return what is above the level of a body on every n-th voxel of each axis, bool, and those steps."""
    first, middle, last = (max(1, round(COARSE_MM / mm)) for mm in placed.spacing_mm)
    thin = placed.values[::first, ::middle, ::last]
    return thin > BODY_HU if is_ct else spect_body(thin), (first, middle, last)


def _thick(found: np.ndarray, placed: Placed, steps: tuple[int, int, int]) -> np.ndarray:
    """Return what is left of a coarse mask without all that is thinner than `THICK_MM` in its slice."""
    sides = [max(1, round(THICK_MM / (mm * step))) for mm, step in zip(placed.spacing_mm[1:], steps[1:], strict=True)]
    return np.asarray(ndimage.binary_opening(found, np.ones((1, *sides), bool)))
