"""A simulated series on a matrix of one's choice, for measuring speed and memory: content as drawn, size as asked.

The middle slices are kept; columns are padded with air until the field is square, then every slice is resized. Truth
goes along by nearest neighbour.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import ndimage

from pipelines.phantoms.lumbar.patient import LumbarPatient


def regrid(patient: LumbarPatient, slices: int, side: int) -> LumbarPatient:
    """Return a patient's series with so many slices of side x side pixels.

    Raises
    ------
    ValueError
        If the series has fewer slices.
    """
    count, rows, columns = patient.image.shape
    if count < slices:
        raise ValueError(f"the series has {count} slices, {slices} are asked for")
    first = (count - slices) // 2
    before = max(rows - columns, 0) // 2
    square = max(rows, columns)
    wide = ((0, 0), (0, square - rows), (before, square - columns - before))

    def fitted(stack: np.ndarray, order: int) -> np.ndarray:
        padded = np.pad(stack[first : first + slices], wide)
        scale = side / square
        return np.stack([ndimage.zoom(one, scale, order=order, grid_mode=True, mode="nearest") for one in padded])

    slice_mm, pixel_mm, _ = patient.spacing_mm
    fine_mm = pixel_mm * square / side
    x, y, z = patient.origin_mm
    # The first pixel's outer corner stays where it was, `before` columns further in front.
    shift_mm = (fine_mm - pixel_mm) / 2
    return replace(
        patient,
        image=np.clip(fitted(patient.image, 1), 0, None),
        structures=fitted(patient.structures, 0),
        levels=fitted(patient.levels, 0),
        spacing_mm=(slice_mm, fine_mm, fine_mm),
        origin_mm=(x + first * slice_mm, y - before * pixel_mm + shift_mm, z - shift_mm),
    )
