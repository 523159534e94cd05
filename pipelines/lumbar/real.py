"""Labelled real volumes for evaluation: 1 mm isotropic arrays, wrapped as the thick slices a scanner sends.

A folder of `.npz` files, each with `image` (row, column, slice) and a reader's `mask` of the same rows and columns,
1 mm isotropic, every structure with a number of its own in no fixed order: vertebral bodies in `vertebrae_*`, discs in
`discs_*`. Slices are averaged over their thickness, fractions of a millimetre by weight; a mask voxel belongs to the
structure that fills more than half of it.

Only part of the spine is labelled (T10, S1 and the outer discs are not), so Dice is taken over the rows and slices
that are (`scored_region`); the unrestricted figure is given, too. Never train on such volumes: they are what tells
whether training on simulated patients carries over.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipelines.lumbar.classes import BODY, DISC
from pipelines.lumbar.instances import LevelMap
from pipelines.lumbar.level_scores import MATCH_DICE, best_match
from pipelines.training.labelled import LabelledDataError
from pipelines.training.metrics import Overlap

PREFIXES = {"vertebrae": BODY, "discs": DISC}
SLICE_MM = (3.5, 4.0, 4.5)
"""Each volume is wrapped with each of these slice spacings."""

FILLED = 0.5
NEIGHBOURS = 1
"""Thick slices beyond the last labelled one that still count: the reader may have stopped early."""


@dataclass(frozen=True)
class RealVolume:
    """A labelled volume as thick sagittal slices.

    Attributes
    ----------
    image : float32 (slice, row, column). mask : uint8, same shape, 0 or the reader's number of a structure.
    structure : BODY or DISC, what the mask labels. spacing_mm : (slice, row, column).
    """

    name: str
    image: np.ndarray
    mask: np.ndarray
    structure: int
    spacing_mm: tuple[float, float, float]


@dataclass(frozen=True)
class RealResult:
    """What was measured on one volume with one slice spacing.

    `found` and `labelled` count the reader's structures; `missed` are the reader's numbers of those not found.
    """

    name: str
    structure: int
    slice_mm: float
    scored: Overlap
    unrestricted: Overlap
    found: int
    labelled: int
    missed: tuple[int, ...]
    flags: tuple[str, ...]
    seconds: float


def list_volumes(folder: Path) -> list[Path]:
    """Return the labelled volumes of a folder, sorted.

    Raises
    ------
    LabelledDataError
        If there are none.
    """
    paths = sorted(path for path in folder.glob("*.npz") if path.name.split("_")[0] in PREFIXES)
    if not paths:
        raise LabelledDataError(
            f"{folder}: no labelled volumes; expected .npz files named vertebrae_* or discs_*, each with the arrays "
            "'image' and 'mask' (row, column, slice) at 1 mm."
        )
    return paths


def wrap(path: Path, slice_mm: tuple[float, ...] = SLICE_MM) -> Iterator[RealVolume]:
    """Read a volume and wrap it as slices of each spacing.

    Raises
    ------
    LabelledDataError
        If the file does not hold what it should.
    """
    try:
        with np.load(path, allow_pickle=False) as held:
            image, mask = held["image"], held["mask"]
    except (OSError, KeyError, ValueError) as error:
        raise LabelledDataError(f"{path}: cannot be read as arrays 'image' and 'mask' ({error}).") from error
    if image.ndim != 3 or image.shape[:2] != mask.shape[:2] or mask.ndim != 3 or not mask.any():
        raise LabelledDataError(
            f"{path}: 'image' {image.shape} and 'mask' {mask.shape} do not match, or no voxel is labelled."
        )
    slices = min(image.shape[2], mask.shape[2])
    image = np.moveaxis(image[..., :slices], 2, 0).astype(np.float32)
    mask = np.moveaxis(mask[..., :slices], 2, 0)
    for step in slice_mm:
        weights = slab_weights(slices, step)
        yield RealVolume(
            path.stem,
            np.tensordot(weights, image, 1).astype(np.float32),
            _thick_mask(mask, weights),
            PREFIXES[path.name.split("_")[0]],
            (step, 1.0, 1.0),
        )


def slab_weights(slices: int, thickness: float) -> np.ndarray:
    """Return how much of each thin slice is in each thick one: float64 (thick, thin), rows sum to 1.

    The thick slices lie without gaps about the middle of the stack; what is left over at both ends is not used.
    """
    count = int(slices // thickness)
    first = (slices - count * thickness) / 2
    starts = first + thickness * np.arange(count)[:, None]
    thin = np.arange(slices)[None]
    shared = np.minimum(starts + thickness, thin + 1) - np.maximum(starts, thin)
    return np.clip(shared, 0, None) / thickness


def scored_region(mask: np.ndarray) -> np.ndarray:
    """Return where Dice is taken: the slices with a mask and their neighbours, the labelled rows. bool."""
    slices, rows = np.flatnonzero(mask.any((1, 2))), np.flatnonzero(mask.any((0, 2)))
    region = np.zeros(mask.shape, bool)
    region[max(slices[0] - NEIGHBOURS, 0) : slices[-1] + 1 + NEIGHBOURS, rows[0] : rows[-1] + 1] = True
    return region


def compare(volume: RealVolume, found: LevelMap, flags: tuple[str, ...], seconds: float) -> RealResult:
    """Compare a result with the reader's mask."""
    truth, result = volume.mask > 0, found.structures == volume.structure
    region = scored_region(volume.mask)
    items = found.of(volume.structure)
    values = [int(v) for v in np.unique(volume.mask) if v]
    missed = tuple(v for v in values if best_match(volume.mask == v, found.instances, items)[1] < MATCH_DICE)
    return RealResult(
        name=volume.name,
        structure=volume.structure,
        slice_mm=volume.spacing_mm[0],
        scored=Overlap.of(truth & region, result & region),
        unrestricted=Overlap.of(truth, result),
        found=len(values) - len(missed),
        labelled=len(values),
        missed=missed,
        flags=flags,
        seconds=seconds,
    )


def _thick_mask(mask: np.ndarray, weights: np.ndarray) -> np.ndarray:
    thick = np.zeros((len(weights), *mask.shape[1:]), np.uint8)
    for value in np.unique(mask):
        if value:
            thick[np.tensordot(weights, (mask == value).astype(np.float32), 1) > FILLED] = value
    return thick
