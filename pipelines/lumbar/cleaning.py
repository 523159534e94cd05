"""A network's label map, freed of what cannot be anatomy, before anything is named.

label map -> specks out -> one thecal sac -> gaps of a single slice filled -> holes filled -> label map.

Works class by class and knows no levels: bodies off the spine's chain are `partition`'s to reject. All steps are
conservative; on a map without errors they change next to nothing.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from pipelines.lumbar.classes import BACKGROUND, BODY, CANAL, CORD, DISC, FORAMEN, SACRUM, THECAL_SAC

MINIMUM_VOLUME_MM3 = 50.0
"""Smaller components are noise: a foramen, the smallest structure, has about 300 mm3."""

SAC_GAP_MM = 20.0
"""A second piece of sac continues the largest if it starts within this distance of the other's end (a severe
stenosis interrupts the sac over the height of one disc); anything else labelled canal is no canal."""

SAC_SHIFT_MM = 15.0
"""Antero-posterior and lateral step allowed across such an interruption."""

ALL_NEIGHBOURS = np.ones((3, 3, 3), dtype=bool)

_IN_PLANE = np.zeros((3, 3, 3), dtype=bool)
_IN_PLANE[1] = ndimage.generate_binary_structure(2, 1)


def clean(labels: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """Return a cleaned copy of a label map.

    Parameters
    ----------
    labels
        uint8, (slice, row, column), values of `pipelines.lumbar.classes`.
    spacing_mm
        (slice, row, column).
    """
    cleaned = np.array(labels, dtype=np.uint8)
    voxel_mm3 = float(np.prod(spacing_mm))
    for structure in (BODY, DISC, FORAMEN, SACRUM):
        _drop_specks(cleaned, structure, voxel_mm3)
    _keep_one_sac(cleaned, spacing_mm)
    _drop_specks(cleaned, CORD, voxel_mm3, instead=CANAL)
    _fill_missing_slices(cleaned)
    fill_holes(cleaned)
    return cleaned


def fill_holes(labels: np.ndarray) -> None:
    """Fill, in place, in-plane holes of background that one structure (or the sac) encloses completely."""
    padded = np.pad(labels, ((0, 0), (1, 1), (1, 1)))
    holes, number = ndimage.label(padded == BACKGROUND, _IN_PLANE)
    if number <= labels.shape[0]:
        return
    neighbours = np.zeros((number + 1, SACRUM + 1), dtype=bool)
    for axis in (1, 2):
        here = [slice(None)] * 3
        there = [slice(None)] * 3
        here[axis], there[axis] = slice(None, -1), slice(1, None)
        for a, b in ((here, there), (there, here)):
            edge = (holes[tuple(a)] > 0) & (padded[tuple(b)] > 0)
            neighbours[holes[tuple(a)][edge], padded[tuple(b)][edge]] = True
    # The padding makes the outside of each slice one component that touches the border.
    neighbours[np.unique(holes[:, 0, :])] = False
    fill = np.zeros(number + 1, dtype=np.uint8)
    alone = neighbours.sum(axis=1) == 1
    fill[alone] = neighbours[alone].argmax(axis=1)
    within_sac = neighbours[:, THECAL_SAC].all(axis=1) & (neighbours.sum(axis=1) == len(THECAL_SAC))
    fill[within_sac] = CANAL
    np.copyto(labels, fill[holes[:, 1:-1, 1:-1]], where=labels == BACKGROUND)


def _drop_specks(labels: np.ndarray, structure: int, voxel_mm3: float, instead: int = BACKGROUND) -> None:
    box = ndimage.find_objects(labels, max_label=structure)[structure - 1]
    if box is None:
        return
    components, _ = ndimage.label(labels[box] == structure, ALL_NEIGHBOURS)
    small = np.bincount(components.ravel()) * voxel_mm3 < MINIMUM_VOLUME_MM3
    small[0] = False
    if small.any():
        labels[box][small[components]] = instead


def _keep_one_sac(labels: np.ndarray, spacing_mm: tuple[float, float, float]) -> None:
    """Keep the largest 3-D component of canal and cord together, and pieces that continue it up or down."""
    sac = (labels == CANAL) | (labels == CORD)
    whole = ndimage.find_objects(sac.astype(np.uint8))
    if not whole:
        return
    components, number = ndimage.label(sac[whole[0]], ALL_NEIGHBOURS)
    if number < 2:
        return
    sizes = np.bincount(components.ravel())[1:]
    boxes = ndimage.find_objects(components)
    order = [int(i) for i in np.argsort(-sizes) if sizes[i] * np.prod(spacing_mm) >= MINIMUM_VOLUME_MM3]
    kept: list[int] = []
    for i in order:
        if not kept or any(_continues(components, i, j, boxes, spacing_mm) for j in kept):
            kept.append(i)
    keep = np.zeros(number + 1, dtype=bool)
    keep[[i + 1 for i in kept]] = True
    labels[whole[0]][(components > 0) & ~keep[components]] = BACKGROUND


def _continues(
    components: np.ndarray, i: int, j: int, boxes: list[tuple[slice, ...]], spacing_mm: tuple[float, float, float]
) -> bool:
    """Tell whether component `i` lies above or below component `j` and starts near its end."""
    upper, lower = sorted((i, j), key=lambda c: boxes[c][1].start)
    gap_mm = (boxes[lower][1].start - boxes[upper][1].stop) * spacing_mm[1]
    if not -SAC_GAP_MM / 2 <= gap_mm <= SAC_GAP_MM:
        return False
    reach = max(1, round(8.0 / spacing_mm[1]))
    end = _centre_of_rows(components, upper, boxes[upper][1].stop - reach, boxes[upper][1].stop)
    start = _centre_of_rows(components, lower, boxes[lower][1].start, boxes[lower][1].start + reach)
    shift_mm = np.abs(end - start) * (spacing_mm[0], spacing_mm[2])
    return bool((shift_mm <= SAC_SHIFT_MM).all())


def _centre_of_rows(components: np.ndarray, component: int, first: int, last: int) -> np.ndarray:
    """Mean (slice, column) of a component within rows first to last (exclusive)."""
    slices, _, columns = np.nonzero(components[:, max(first, 0) : last] == component + 1)
    return np.array([slices.mean(), columns.mean()])


def _fill_missing_slices(labels: np.ndarray) -> None:
    """Smooth lightly across slices: background between two voxels of one bone or disc becomes that structure."""
    before, here, after = labels[:-2], labels[1:-1], labels[2:]
    agreed = (before == after) & (here == BACKGROUND) & np.isin(before, (BODY, DISC, SACRUM))
    # `here` is a view: writing into it while reading its neighbours would let a filled voxel vote.
    labels[1:-1] = np.where(agreed, before, here)
