"""Truth of a scan, on its own grid: which structure fills a voxel, and which level it is.

Per named structure the share of each voxel that it fills is computed the way the image is (same slabs, same pixels, no
blur). A voxel belongs to the structure with the largest share, if that is more than what no structure fills.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from pipelines.phantoms.lumbar.patient import BODY, DISC, FORAMEN, SACRUM, LumbarAnatomy
from pipelines.phantoms.lumbar.protocol import Sampler

_LEAST_VOXELS = 3
"""A structure that fills fewer voxels than this is not named."""


def truth(anatomy: LumbarAnatomy, sampler: Sampler) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Return structures and levels (uint8, slice x row x column) and the names of the levels, top to bottom."""
    pack = sampler.pack
    shape = (pack.slices, pack.rows, pack.columns)
    best, total = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    winner = np.zeros(shape, np.uint8)
    boxes = ndimage.find_objects(anatomy.instances)
    for value, box in enumerate(boxes, 1):
        if box is not None:
            _add_share(anatomy, sampler, value, box, (best, total, winner))
    winner[best <= 1 - total] = 0
    return _named(anatomy, winner)


def _add_share(
    anatomy: LumbarAnatomy,
    sampler: Sampler,
    value: int,
    box: tuple[slice, slice, slice],
    into: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    """Add one structure's share of the voxels; remember where it is the largest so far."""
    window = sampler.window((box[1], box[2]))
    if window is None:
        return
    rows, columns = (slice(max(0, b.start - 1), b.stop + 1) for b in box[1:])
    best, total, winner = into
    for number in range(sampler.pack.slices):
        first, weights = sampler.slab(number)
        a, b = max(first, box[0].start), min(first + len(weights), box[0].stop)
        if a >= b:
            continue
        part = anatomy.instances[a:b, rows, columns] == value
        share = np.tensordot(weights[a - first : b - first], part.astype(np.float32), 1)
        seen = sampler.sample(share, window, (rows.start, columns.start), "constant")
        where = (number, *window)
        total[where] += seen
        ahead = seen > best[where]
        best[where][ahead] = seen[ahead]
        winner[where][ahead] = value


def _named(anatomy: LumbarAnatomy, winner: np.ndarray) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    counts = np.bincount(winner.ravel(), minlength=256)
    to_structure, to_level = np.zeros(256, np.uint8), np.zeros(256, np.uint8)
    named = {}
    for value, instance in enumerate(anatomy.instance_table, 1):
        if counts[value] < _LEAST_VOXELS:
            continue
        to_structure[value] = instance.structure
        if instance.structure in (BODY, DISC, FORAMEN, SACRUM):
            named[value] = instance
    order = _top_to_bottom(anatomy)
    kept = sorted(named, key=lambda v: order[named[v].level])
    for number, value in enumerate(kept, 1):
        to_level[value] = number
    return to_structure[winner], to_level[winner], tuple(named[v].level for v in kept)


def _top_to_bottom(anatomy: LumbarAnatomy) -> dict[str, int]:
    """Return the rank of every level's name: body, disc below, its right and left foramen, next body, ..., sacrum."""
    discs = [i.level for i in anatomy.instance_table if i.structure == DISC]
    ranks = {"S1": 10_000}
    for number, pair in enumerate(reversed(discs)):
        for place, name in enumerate((pair.split("/")[0], pair, f"{pair} right", f"{pair} left")):
            ranks[name] = 4 * number + place
    return ranks


def cut_bodies(structures: np.ndarray, levels: np.ndarray, names: tuple[str, ...]) -> list[str]:
    """Return the bodies that the upper or lower edge of the field cuts."""
    edge = np.concatenate([levels[:, [0, -1]][structures[:, [0, -1]] == BODY]])
    return [names[n - 1] for n in np.unique(edge) if n]
