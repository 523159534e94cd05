"""What is measured of each lesion: size, counts, contrast, Hounsfield units, and where it lies in the body.

lesion map and resampled images on the common grid, plus the lesions on the SPECT's own grid -> `LesionFigures`.

Volume is that of the common grid's voxels. Mean and maximum counts are those of the SPECT's own voxels, as stored
(rescaled, not calibrated: no activity concentration). Background is the median of the counts in a shell from 8 to 20 mm
around the lesion, within the body and outside of every lesion: it is bone and soft tissue together, so the ratio is not
that of lesion to normal bone. Nothing here names a bone: the place is told in millimetres.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from pipelines.spect_ct.body import BODY_HU, spect_body
from pipelines.spect_ct.grid import Prepared
from pipelines.spect_ct.lesions import Lesion, LesionMap
from pipelines.spect_ct.sides import Sides

SHELL_MM = (8.0, 20.0)
BODY_STEP = 4
"""Every so many rows and columns suffice to find the body's outline."""

BESIDE_THE_FIELD_HU = -900.0
"""Nothing in a bone lesion is so thin: that is the grid's filling beside the CT's field of view."""

NO_SPECT, NO_CT = "there is no SPECT here", "there is no CT here"


@dataclass(frozen=True)
class LesionFigures:
    """Figures of one lesion; None where they cannot be had, and `reasons` says why (keys: counts, contrast, hu).

    side : "left", "right" or "" for the midline and where the outline tells none (`sides`).
    location : where it lies, in words.
    """

    lesion: Lesion
    mean_counts: float | None
    max_counts: float | None
    contrast: float | None
    mean_hu: float | None
    side: str
    location: str
    reasons: dict[str, str]


def measure(
    found: LesionMap, prepared: Prepared, spect: np.ndarray | None, on_spect: np.ndarray | None
) -> tuple[LesionFigures, ...]:
    """Measure every lesion.

    Parameters
    ----------
    spect, on_spect : counts and the lesions' label map on the SPECT's own grid; None where there is no SPECT.
    """
    body = body_of(prepared)
    own: dict[int, tuple[float, float]] = {}
    if spect is not None and on_spect is not None:
        for lesion, box in zip(found.lesions, ndimage.find_objects(on_spect, len(found.lesions)), strict=True):
            if box is not None:
                inside = spect[box][on_spect[box] == lesion.number]
                own[lesion.number] = float(inside.mean()), float(inside.max())
    step = found.lattice.spacing_mm
    sides = Sides(body, (step[0], step[1] * BODY_STEP, step[2] * BODY_STEP), prepared.ct_width_mm)
    return tuple(_figures(lesion, found, prepared, body, sides, own.get(lesion.number)) for lesion in found.lesions)


def body_of(prepared: Prepared) -> np.ndarray:
    """Return the body on every `BODY_STEP`-th row and column, bool: the CT's where there is one, else the SPECT's."""
    thin = (slice(None), slice(None, None, BODY_STEP), slice(None, None, BODY_STEP))
    body = np.zeros(prepared.inputs[:, 0][thin].shape, bool)
    if prepared.counts is not None:
        body |= spect_body(prepared.counts[thin]) & prepared.has_spect[:, None, None]
    if prepared.hu is not None:
        of_ct = ndimage.binary_opening(prepared.hu[thin] > BODY_HU, np.ones((1, 3, 3), bool))
        body[prepared.has_ct] = of_ct[prepared.has_ct]
    return body


def _figures(
    lesion: Lesion, found: LesionMap, prepared: Prepared, body: np.ndarray, sides: Sides,
    own: tuple[float, float] | None,
) -> LesionFigures:  # fmt: skip
    reasons: dict[str, str] = {}
    contrast = mean_hu = None
    if own is None:
        reasons["counts"] = reasons["contrast"] = NO_SPECT
    else:
        background = _background(lesion, found, prepared, body)
        if background is None or background <= 0:
            reasons["contrast"] = "there are no counts around it to compare with"
        else:
            contrast = own[0] / background
    mask = found.labels[lesion.box] == lesion.number
    if prepared.hu is None or not prepared.has_ct[lesion.box[0]].any():
        reasons["hu"] = NO_CT
    else:
        mask &= prepared.has_ct[lesion.box[0]][:, None, None] & (prepared.hu[lesion.box] > BESIDE_THE_FIELD_HU)
        mean_hu = float(prepared.hu[lesion.box][mask].mean()) if mask.any() else None
        if mean_hu is None:
            reasons["hu"] = NO_CT
    side, location = _place(lesion, found, sides)
    counts = own or (None, None)
    return LesionFigures(lesion, counts[0], counts[1], contrast, mean_hu, side, location, reasons)


def _background(lesion: Lesion, found: LesionMap, prepared: Prepared, body: np.ndarray) -> float | None:
    """Median counts of the shell around a lesion, None where there is no shell."""
    assert prepared.counts is not None
    spacing = found.lattice.spacing_mm
    reach = [int(np.ceil(SHELL_MM[1] / mm)) for mm in spacing]
    box = tuple(
        slice(max(0, part.start - r), min(n, part.stop + r))
        for part, r, n in zip(lesion.box, reach, found.labels.shape, strict=True)
    )
    labels = found.labels[box]
    distance = ndimage.distance_transform_edt(labels != lesion.number, sampling=spacing)
    rows, columns = (np.arange(part.start, part.stop) // BODY_STEP for part in box[1:])
    within = body[box[0]][:, np.minimum(rows, body.shape[1] - 1)][:, :, np.minimum(columns, body.shape[2] - 1)]
    shell = (distance >= SHELL_MM[0]) & (distance <= SHELL_MM[1]) & (labels == 0) & within
    shell &= prepared.has_spect[box[0]][:, None, None]
    return float(np.median(prepared.counts[box][shell])) if shell.any() else None


def _place(lesion: Lesion, found: LesionMap, sides: Sides) -> tuple[str, str]:
    """Say on which side and how deep in the body a lesion's middle lies; columns run to the left, rows to the back."""
    index = found.lattice.index(np.array([lesion.centre_mm]))[0]
    height = f"{index[0] * found.lattice.spacing_mm[0]:.0f} mm above the lowest slice analysed"
    held = sides.of(index / (1, BODY_STEP, BODY_STEP))
    if held is None:
        return "", height
    first, last = (row * BODY_STEP for row in held.rows)
    depth = (float(index[1]) - first) / max(1.0, float(last - first))
    third = ("front", "middle", "back")[int(np.clip(depth * 3, 0, 2))]
    return held.side, f"{held.words}, in the {third} third of the body, {height}"
