"""Probabilities -> lesions: joined in 3-D, each with its own number, on the common grid and on the sources' own.

probability >= `THRESHOLD` -> pieces that touch in 3-D (corners count) -> those that are large and sure enough and,
where there is a CT, touch bone (`bone`), largest first -> label map. The way back: the probability is brought onto a
source's grid, cut at the same threshold, and each voxel gets the number of the lesion it lies in. A lesion too small
for a coarse grid keeps the voxel at its middle: nothing that the report counts may be missing from its segmentation.

Pieces that touch are one lesion here, even where a reader would see two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import ndimage

from pipelines.contract.findings import Box
from pipelines.spect_ct.bone import TOUCHING, is_off_bone
from pipelines.spect_ct.grid import Lattice, Voxels, resample, resample_labels

THRESHOLD = 0.5
LEAST_PEAK = 0.97
"""A lesion's surest pixel must reach this. Training counts the worst pixels alone, so the network is quick to cross the
threshold; what it is right about it is surer of (docs/spect-ct.md has the figures, on patients apart)."""

LEAST_ML = 0.03
"""A ball of 4 mm; what is smaller is a few stray pixels on one slice."""

MOST_LESIONS = 400
"""Segments of one object; beyond that the figures mean nothing and viewers give up."""

GROW_MM = 8.0
"""How far from a lesion's voxels on the common grid its edge may lie on a coarser one."""


@dataclass(frozen=True)
class Lesion:
    """One piece on the common grid.

    Attributes
    ----------
    number : in the label map, 1 for the largest. voxels : of the common grid. volume_ml.
    peak, mean_probability : over its voxels. centre_mm : LPS.
    box : the part of the grid that holds it.
    """

    number: int
    voxels: int
    volume_ml: float
    peak: float
    mean_probability: float
    centre_mm: tuple[float, float, float]
    box: Box


@dataclass(frozen=True)
class LesionMap:
    """All lesions: label map uint16 (slice, row, column) on `lattice`, and what was left out.

    left_out : lesions beyond `MOST_LESIONS`. off_bone : pieces large and sure enough, but with no bone near.
    """

    labels: np.ndarray
    lattice: Lattice
    lesions: tuple[Lesion, ...]
    left_out: int = 0
    off_bone: int = 0

    @cached_property
    def grown(self) -> np.ndarray:
        """The label map with `GROW_MM` of surroundings to each lesion, the nearest one's where several are near."""
        grown, nearest_mm = self.labels.copy(), np.full(self.labels.shape, np.inf, np.float32)
        for lesion in self.lesions:
            box = self.surroundings(lesion)
            distance = ndimage.distance_transform_edt(
                self.labels[box] != lesion.number, sampling=self.lattice.spacing_mm
            )
            nearer = (distance <= GROW_MM) & (distance < nearest_mm[box])
            grown[box][nearer] = lesion.number
            nearest_mm[box][nearer] = distance[nearer]
        return grown

    def surroundings(self, lesion: Lesion, more: int = 0) -> Box:
        """Return the part of the grid that holds a lesion with `GROW_MM` and `more` voxels about it."""
        reach = [max(1, int(np.ceil(GROW_MM / mm))) + more for mm in self.lattice.spacing_mm]
        first, middle, last = (
            slice(max(0, part.start - r), min(size, part.stop + r))
            for part, r, size in zip(lesion.box, reach, self.labels.shape, strict=True)
        )
        return first, middle, last


def find_lesions(probabilities: np.ndarray, lattice: Lattice, beside: np.ndarray | None = None) -> LesionMap:
    """Join pixels into lesions.

    Parameters
    ----------
    probabilities : float (slice, row, column) on `lattice`.
    beside : `bone.beside_bone` of the grid; None to keep pieces wherever they lie.
    """
    pieces, count = ndimage.label(probabilities >= THRESHOLD, TOUCHING)
    boxes = ndimage.find_objects(pieces, count)
    held, off_bone = [], 0
    for number, box in enumerate(boxes, 1):
        mask = pieces[box] == number
        inside = probabilities[box][mask].astype(np.float64)
        if inside.size * lattice.voxel_ml < LEAST_ML or inside.max() < LEAST_PEAK:
            continue
        if beside is not None and is_off_bone(beside, box, mask):
            off_bone += 1
            continue
        held.append((number, box, inside))
    held.sort(key=lambda item: (-item[2].size, item[0]))
    kept = held[:MOST_LESIONS]
    labels = np.zeros(probabilities.shape, np.uint16)
    lesions = []
    for new, (number, box, inside) in enumerate(kept, 1):
        mask = pieces[box] == number
        labels[box][mask] = new
        lesions.append(_describe(new, mask, box, inside, lattice))
    return LesionMap(labels, lattice, tuple(lesions), len(held) - len(kept), off_bone)


def onto_source(found: LesionMap, probabilities: np.ndarray, source: Lattice) -> np.ndarray:
    """Return the lesions on a source's own grid, uint16; every lesion within the grid has at least one voxel.

    Each is brought over by itself: together they fill a small part of the source's grid.
    """
    spread = _smoothed(probabilities, found.lattice, source)
    labels = np.zeros(source.shape, np.uint16)
    for lesion in found.lesions:
        # A voxel more on every side, so that what is interpolated here is what all of the grid would give.
        near = found.surroundings(lesion, more=1)
        held = found.lattice.part(near)
        box = _reached_by(held, source)
        if box is None:
            continue
        own = (found.grown[near] == lesion.number).astype(np.uint16)
        there = source.part(box)
        mask = resample(_voxels(spread[near], held), there, 0.0) >= THRESHOLD
        mask &= resample_labels(_voxels(own, held), there) > 0
        labels[box][mask] = lesion.number
    _keep_the_smallest(found, source, labels)
    return labels


def _keep_the_smallest(found: LesionMap, source: Lattice, labels: np.ndarray) -> None:
    """Give lesions that have no voxel the one at their middle, or the nearest that no lesion would lose its last by."""
    sizes = np.bincount(labels.ravel(), minlength=len(found.lesions) + 1)
    for lesion in found.lesions:
        middle = source.index(np.array([lesion.centre_mm]))[0]
        first = np.rint(middle).astype(int)
        if sizes[lesion.number] or (first < 0).any() or (first >= source.shape).any():
            continue
        near = first + np.argwhere(np.ones((3, 3, 3))) - 1
        near = near[((near >= 0) & (near < source.shape)).all(1)]
        near = near[np.argsort(np.abs((near - middle) * source.spacing_mm).sum(1), kind="stable")]
        for place in map(tuple, near.tolist()):
            owner = int(labels[place])
            if owner == 0 or sizes[owner] > 1:
                labels[place] = lesion.number
                sizes[owner] -= 1
                sizes[lesion.number] += 1
                break


def _reached_by(lattice: Lattice, source: Lattice) -> Box | None:
    """Return the part of a source's grid that holds all of a lattice; None where they do not meet."""
    corners = source.index(lattice.corners())
    low = np.maximum(np.floor(corners.min(0)).astype(int), 0)
    high = np.minimum(np.ceil(corners.max(0)).astype(int) + 1, source.shape)
    if (low >= high).any():
        return None
    first, middle, last = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    return first, middle, last


def _describe(number: int, mask: np.ndarray, box: Sequence[slice], inside: np.ndarray, lattice: Lattice) -> Lesion:
    middle = np.argwhere(mask).mean(0) + [part.start for part in box]
    centre = lattice.points(middle[None])[0]
    return Lesion(
        number=number,
        voxels=int(inside.size),
        volume_ml=inside.size * lattice.voxel_ml,
        peak=float(inside.max()),
        mean_probability=float(inside.mean()),
        centre_mm=(float(centre[0]), float(centre[1]), float(centre[2])),
        box=(box[0], box[1], box[2]),
    )


def _voxels(values: np.ndarray, lattice: Lattice) -> Voxels:
    return Voxels(values, lattice.spacing_mm, lattice.origin_mm, lattice.directions)


def _smoothed(probabilities: np.ndarray, lattice: Lattice, source: Lattice) -> np.ndarray:
    """Blur by what a coarser source averages over; a finer one gets the probabilities as they are."""
    values = probabilities.astype(np.float32)
    extra = [max(0.0, (s / m) ** 2 - 1) for s, m in zip(source.spacing_mm, lattice.spacing_mm, strict=True)]
    # A box of width w has the variance w^2 / 12.
    sigma = np.sqrt(np.array(extra) / 12)
    return ndimage.gaussian_filter(values, sigma) if sigma.max() > 0.3 else values
