"""Names for every vertebra, disc and foramen of a lumbar label map.

label map -> crop -> `cleaning.clean` -> `spine.find_spine` -> `naming.name_intervals` -> `LevelMap`.

Pure geometry: no network, no image, no grey values; who can see ribs at a body is asked. Whatever the chain of the
spine does not account for is removed from the map, and what is doubtful is said in flags. Bodies cut by the edge of the
field of view keep their name and a flag; `measurements` does not measure them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from pipelines.lumbar.assign import NOWHERE, Voxels, assign_foramina
from pipelines.lumbar.classes import BODY, CANAL, CLASSES, CORD, DISC, FORAMEN, SACRUM, THECAL_SAC
from pipelines.lumbar.cleaning import MINIMUM_VOLUME_MM3, clean
from pipelines.lumbar.instances import (
    CANAL_NAME,
    CORD_NAME,
    DOUBTFUL_NAMES,
    SACRUM_NAME,
    Flag,
    Instance,
    LevelMap,
)
from pipelines.lumbar.naming import Naming, name_intervals
from pipelines.lumbar.rib_count import USUAL, LumbarCount, count_lumbar
from pipelines.lumbar.spine import Spine, find_spine

LEAST_BODY_MM3 = 200.0
"""Less body than this in an interval is no vertebra (a lumbar body has 25,000 to 50,000 mm3)."""

SMALL_SHARE = 0.45
"""A body below this share of its neighbours' mean volume is flagged as perhaps only a part."""

EDGE_MM = 1.6
"""A structure that ends this close to the field's edge ends because of it."""

EDGE_SHARE = 0.15
EDGE_SHARE_SLICES = 0.3
"""Share of its largest section that a structure must still have at the edge to count as cut (slices: more, since
every body tapers within the last thick slice)."""

EDGES = (("right", "left"), ("superior", "inferior"), ("anterior", "posterior"))


@dataclass(frozen=True)
class _Part:
    """An instance to be: its class, names, voxels (index into the crop) and flags."""

    structure: int
    name: str
    level: str
    side: str
    index: np.ndarray
    flags: tuple[Flag, ...] = ()


RibsAt = Callable[[np.ndarray], np.ndarray]
"""Middles of bodies in mm, float (n, 3) (slice, row, column) -> probability of ribs at each, NaN where unknown."""


def name_levels(labels: np.ndarray, spacing_mm: tuple[float, float, float], ribs_at: RibsAt | None = None) -> LevelMap:
    """Clean a label map and name its vertebrae, discs and foramina.

    Parameters
    ----------
    labels
        uint8, (slice, row, column), values of `pipelines.lumbar.classes`; slices from the patient's right to the
        left, rows from superior to inferior, columns from anterior to posterior.
    spacing_mm
        (slice, row, column), positive; the first is the distance of slice centres.
    ribs_at
        Looks for ribs, to tell four or six lumbar vertebrae from five; None to take five for granted.

    Raises
    ------
    ValueError
        If the shape, the values or the spacing are not as above.
    """
    labels = _checked(labels, spacing_mm)
    box = ndimage.find_objects((labels > 0).astype(np.uint8))
    structures = np.zeros(labels.shape, dtype=np.uint8)
    instances = np.zeros(labels.shape, dtype=np.uint8)
    if not box:
        return LevelMap(structures, instances, (), spacing_mm, _NOTHING.sentence, (_NOTHING,))
    crop = clean(labels[box[0]], spacing_mm)
    first = tuple(side.start for side in box[0])
    spine = find_spine(crop, spacing_mm)
    lumbar = USUAL
    if spine is None:
        parts, numbering = _rest(crop), _NOTHING.sentence
        flags: tuple[Flag, ...] = (_NOTHING,)
    else:
        occupied = _occupied(spine, float(np.prod(spacing_mm)))
        counted = _counted(spine, occupied, first, labels.shape[1], spacing_mm, ribs_at)
        naming = name_intervals(spine, occupied, (first[1], labels.shape[1]), spacing_mm, counted)
        parts = _parts(spine, naming, occupied, crop, spacing_mm)
        lumbar, numbering, flags = naming.lumbar, naming.numbering, naming.flags
        if not occupied:
            flags = (_NOTHING, *flags)
    if len(parts) > np.iinfo(np.uint8).max:
        instances = instances.astype(np.uint16)
    items = tuple(_instance(n, part, first, labels.shape, spacing_mm) for n, part in enumerate(parts, start=1))
    for number, part in enumerate(parts, start=1):
        where = tuple((part.index + first).T)
        structures[where], instances[where] = part.structure, number
    return LevelMap(structures, instances, items, spacing_mm, numbering, flags, lumbar)


_NOTHING = Flag("no_vertebra", "No vertebral body was found, so no level could be named.")


def _checked(labels: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    if labels.ndim != 3:
        raise ValueError(f"a label map has the axes (slice, row, column), got the shape {labels.shape}")
    if len(spacing_mm) != 3 or not all(np.isfinite(s) and s > 0 for s in spacing_mm):
        raise ValueError(f"spacing must be three positive lengths in mm, got {spacing_mm}")
    if labels.size and (labels.min() < 0 or labels.max() >= len(CLASSES)):
        raise ValueError(f"labels must lie between 0 and {len(CLASSES) - 1}, got {labels.min()} to {labels.max()}")
    return labels.astype(np.uint8, copy=False)


def _occupied(spine: Spine, voxel_mm3: float) -> list[int]:
    volumes = np.bincount(spine.body_interval) * voxel_mm3 if len(spine.bodies) else np.empty(0)
    return [int(k) for k in np.flatnonzero(volumes >= LEAST_BODY_MM3)]


def _counted(
    spine: Spine,
    occupied: list[int],
    first: tuple[int, ...],
    rows: int,
    spacing_mm: tuple[float, float, float],
    ribs_at: RibsAt | None,
) -> LumbarCount | None:
    """Ask for ribs at every whole body from the one above the sacrum upwards; None where that is of no use."""
    if ribs_at is None or not spine.has_sacrum or not occupied:
        return None
    chain = range(len(spine.boundaries) - 1, -1, -1)
    ribs = np.full(len(chain), np.nan)
    asked, centres = [], []
    for place, k in enumerate(chain):
        if k not in occupied:
            continue
        index = spine.bodies.index[spine.body_interval == k] + first
        if index[:, 1].min() > 0 and index[:, 1].max() < rows - 1:
            asked.append(place)
            centres.append((index.min(0) + index.max(0)) / 2 * spacing_mm)
    if asked:
        ribs[asked] = ribs_at(np.array(centres))
    return count_lumbar(ribs)


def _parts(
    spine: Spine, naming: Naming, occupied: list[int], crop: np.ndarray, spacing_mm: tuple[float, float, float]
) -> list[_Part]:
    """Return the instances to be, in the order of a report."""
    parts = [_vertebra(spine, naming, occupied, k) for k in occupied]
    if spine.has_sacrum:
        parts.append(_Part(SACRUM, SACRUM_NAME, "", "", spine.sacrum.index))
    least = MINIMUM_VOLUME_MM3 / float(np.prod(spacing_mm))
    for k in range(len(spine.boundaries)):
        disc = spine.discs.index[spine.disc_boundary == k] if len(spine.discs) else np.empty((0, 3), int)
        # A disc under the lowest body of a chain without sacrum still has its name from the body above.
        if len(disc) >= least and naming.is_level(k):
            parts.append(_Part(DISC, naming.pair(k), naming.pair(k), "", disc))
    parts += [part for part in _rest(crop) if part.structure != SACRUM]
    if len(spine.foramina):
        parts += _foramina(spine, naming, crop, spacing_mm, least)
    return parts


def _rest(crop: np.ndarray) -> list[_Part]:
    """Return what needs no level: sacrum, canal, cord and cauda equina."""
    named = ((SACRUM, SACRUM_NAME), (CANAL, CANAL_NAME), (CORD, CORD_NAME))
    found = [(structure, name, np.argwhere(crop == structure)) for structure, name in named]
    return [_Part(structure, name, "", "", index) for structure, name, index in found if len(index)]


def _vertebra(spine: Spine, naming: Naming, occupied: list[int], k: int) -> _Part:
    name = naming.names[k]
    flags = []
    if k in spine.split:
        flags.append(Flag("split", f"{name} was fused with a neighbour in the label map and was cut from it."))
    if k in spine.merged:
        flags.append(Flag("merged", f"{name} was in several pieces in the label map."))
    volumes = {j: int((spine.body_interval == j).sum()) for j in (k - 1, k, k + 1) if j in occupied}
    own = volumes.pop(k)
    if volumes and own < SMALL_SHARE * np.mean(list(volumes.values())):
        flags.append(Flag("small", f"{name} is much smaller than its neighbours: perhaps only a part of it was found."))
    if {flag.code for flag in naming.flags} & DOUBTFUL_NAMES:
        flags.append(Flag("uncertain", f"The name {name} is uncertain."))
    return _Part(BODY, name, name, "", spine.bodies.index[spine.body_interval == k], tuple(flags))


def _foramina(
    spine: Spine, naming: Naming, crop: np.ndarray, spacing_mm: tuple[float, float, float], least: float
) -> list[_Part]:
    centres = _centres(spine)
    lateral_mm = spine.foramina.index[:, 0] * spacing_mm[0] - _midline_mm(spine.foramina, spine, crop, spacing_mm)
    interval, left = assign_foramina(spine.foramina, centres, lateral_mm)
    parts = []
    for k in sorted(set(interval.tolist())):
        if k == NOWHERE or k >= len(spine.boundaries) or not naming.is_level(k):
            continue
        for side, chosen in (("right", ~left), ("left", left)):
            index = spine.foramina.index[(interval == k) & chosen]
            if len(index) >= least:
                parts.append(_Part(FORAMEN, f"{naming.pair(k)} {side}", naming.pair(k), side, index))
    return parts


def _centres(spine: Spine) -> dict[int, tuple[float, float]]:
    """Return centre and length along the curve of every interval of the chain."""
    edges = [boundary.along_mm for boundary in spine.boundaries]
    typical = float(np.median(np.diff(edges))) if len(edges) > 1 else 34.0
    edges = [edges[0] - typical, *edges, edges[-1] + typical]
    return {k: ((edges[k] + edges[k + 1]) / 2, edges[k + 1] - edges[k]) for k in range(len(edges) - 1)}


def _midline_mm(voxels: Voxels, spine: Spine, crop: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """Return the lateral place of the canal's midline at every voxel; the curve's where there is no canal."""
    curve_mm = np.interp(
        voxels.index[:, 1] * spacing_mm[1], spine.curve.points_mm[:, 1], spine.curve.points_mm[:, 0]
    )  # fmt: skip
    sac = np.isin(crop, THECAL_SAC).sum(axis=2)
    rows = np.flatnonzero(sac.sum(axis=0) > 0)
    if len(rows) < 2:
        return curve_mm
    centre = (np.arange(len(sac)) @ sac)[rows] / sac[:, rows].sum(axis=0) * spacing_mm[0]
    smooth = ndimage.gaussian_filter1d(centre, 10.0 / spacing_mm[1], mode="nearest")
    midline = np.interp(voxels.index[:, 1], rows, smooth)
    near = (voxels.index[:, 1] >= rows[0] - 20 / spacing_mm[1]) & (voxels.index[:, 1] <= rows[-1] + 20 / spacing_mm[1])
    return np.where(near, midline, curve_mm)


def _instance(
    number: int,
    part: _Part,
    first: tuple[int, ...],
    shape: tuple[int, ...],
    spacing_mm: tuple[float, float, float],
) -> Instance:
    index = part.index + first
    centroid = index.mean(axis=0)
    cut = _cut_edges(index, shape, spacing_mm)
    flags = part.flags
    if cut and part.structure in (BODY, DISC, FORAMEN):
        sentence = f"{part.name} reaches the edge of the field of view ({', '.join(cut)})."
        flags = (*flags, Flag("cut_by_edge", sentence))
    return Instance(
        number=number,
        structure=part.structure,
        name=part.name,
        level=part.level,
        side=part.side,
        centroid_voxel=(float(centroid[0]), float(centroid[1]), float(centroid[2])),
        centroid_mm=tuple(float(c * s) for c, s in zip(centroid, spacing_mm, strict=True)),  # type: ignore[arg-type]
        volume_mm3=len(index) * float(np.prod(spacing_mm)),
        cut_edges=cut,
        flags=flags,
    )


def _cut_edges(index: np.ndarray, shape: tuple[int, ...], spacing_mm: tuple[float, float, float]) -> tuple[str, ...]:
    cut = []
    for axis, names in enumerate(EDGES):
        sections = np.bincount(index[:, axis], minlength=shape[axis])
        margin = 1 if axis == 0 else max(1, round(EDGE_MM / spacing_mm[axis]))
        least = (EDGE_SHARE_SLICES if axis == 0 else EDGE_SHARE) * sections.max()
        for name, edge in zip(names, (sections[:margin], sections[::-1][:margin]), strict=True):
            if edge.max() >= least:
                cut.append(name)
    return tuple(cut)
