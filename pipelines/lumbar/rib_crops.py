"""What is looked at to tell a vertebra with ribs from one without: the parts beside its body, on both sides.

volume + centre of a body -> `SIDES` x `OFFSETS_MM` sagittal planes of `SIZE` pixels -> z-scored. Both sides are given
from the body outwards, so that a right and a left rib look alike. The midline is left out on purpose: spinous
processes, the cord's end and the height in the field are hints at a level, and hints are what makes a reader miscount
a patient with four or six lumbar vertebrae.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

SIDES = ("right", "left")
OFFSETS_MM = tuple(np.arange(12.0, 48.0, 4.0).tolist())
"""Distances of the planes from the middle of the body."""

SIZE = (48, 64)
PIXEL_MM = 1.25
BACK_MM = 10.0
"""The planes are centred this far behind the middle of the body: head and neck of a rib lie beside and behind it."""

LEAST_PLANES = 2
"""Planes within the field of view without which a side is not looked at: the outermost parts of one vertebra only."""


def cut_sides(
    volume: np.ndarray,
    spacing_mm: Sequence[float],
    centre_mm: Sequence[float],
    turn_rad: float = 0.0,
    zoom: float = 1.0,
) -> np.ndarray | None:
    """Cut the planes beside one body.

    Parameters
    ----------
    volume
        Any unit, (slice, row, column): from right to left, superior to inferior, anterior to posterior.
    spacing_mm
        (slice, row, column).
    centre_mm
        Middle of the body, index times spacing, same axes.
    turn_rad, zoom
        In-plane rotation and scale of what is cut (training varies them).

    Returns
    -------
    float32 (side, plane, row, column), mean 0 and standard deviation 1 over what lies in the field of view, 0 outside;
    None if neither side has `LEAST_PLANES` planes in it.
    """
    lateral = np.stack([centre_mm[0] - np.array(OFFSETS_MM), centre_mm[0] + np.array(OFFSETS_MM)]) / spacing_mm[0]
    rows, columns = (PIXEL_MM * zoom * (np.arange(n) - (n - 1) / 2) for n in SIZE)
    down, back = np.meshgrid(rows, columns + BACK_MM, indexing="ij")
    cos, sin = np.cos(turn_rad), np.sin(turn_rad)
    at_row = (centre_mm[1] + cos * down - sin * back) / spacing_mm[1]
    at_column = (centre_mm[2] + sin * down + cos * back) / spacing_mm[2]
    places = np.broadcast_arrays(lateral[..., None, None], at_row, at_column)
    seen = np.ones(places[0].shape, bool)
    for place, length in zip(places, volume.shape, strict=True):
        seen &= (place >= -0.5) & (place <= length - 0.5)
    if seen.any((2, 3)).sum(1).max() < LEAST_PLANES:
        return None
    values = ndimage.map_coordinates(volume, places, output=np.float32, order=1, mode="nearest")
    inside = values[seen]
    shown = (values - inside.mean()) / max(float(inside.std()), 1e-6)
    return np.where(seen, np.clip(shown, -4, 6), 0).astype(np.float32)
