"""What the simulation hands out: one drawn anatomy, and one scan of it.

`LumbarAnatomy` is a label map at sub-slice resolution, independent of any scan; `LumbarPatient` is a scan of it on
thick sagittal slices, with truth on the same grid. Arrays have axes (slice, row, column): slices run from the patient's
right to the left (+x in LPS), rows from superior to inferior, columns from anterior to posterior. It draws nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

STRUCTURES = (
    "background",
    "vertebral body",
    "intervertebral disc",
    "spinal canal",
    "neural foramen",
    "spinal cord and cauda equina",
    "sacrum",
)
"""Names of the values in `LumbarPatient.structures`; the canal is the dural sac without cord and cauda equina."""

BODY, DISC, CANAL, FORAMEN, CORD, SACRUM = 1, 2, 3, 4, 5, 6


@dataclass(frozen=True)
class Instance:
    """One structure with a name of its own: value in the instance map minus one is its index.

    Attributes
    ----------
    structure : index into `STRUCTURES`.
    level : "L3", "L4/L5", "L4/L5 right", "S1", or "" for canal and cord, which have no level.
    """

    structure: int
    level: str


@dataclass(frozen=True)
class LumbarAnatomy:
    """A drawn anatomy; can be kept and scanned again with another look.

    Attributes
    ----------
    labels : uint8 (slice, row, column), fine tissue labels, indices into `tissues`.
    instances : uint8, same shape, 0 or index + 1 into `instance_table` (truth at drawing resolution).
    origin_mm : LPS position (x, y, z) of voxel [0, 0, 0]; x grows with slice, z falls with row, y grows with column.
    spacing_mm : (slice, row, column).
    tissues : tissue of every fine label; hints : one number per label (a disc's hydration, 0 to 1), else 0.5.
    spine_mm : float32 (n, 3), LPS points of the spine from the S1 end plate upwards, to place the slices on.
    disc_planes_mm : float32 (n, 4, 3), per disc from the lowest up: centre and unit vectors to the left, back and up.
    back_mm, front_mm : LPS y of the skin of back and belly, roughly.
    """

    labels: np.ndarray
    instances: np.ndarray
    instance_table: tuple[Instance, ...]
    origin_mm: tuple[float, float, float]
    spacing_mm: tuple[float, float, float]
    tissues: tuple[str, ...]
    hints: tuple[float, ...]
    spine_mm: np.ndarray
    disc_planes_mm: np.ndarray
    back_mm: float
    front_mm: float
    seed: int
    preset: str
    notes: dict[str, Any]


@dataclass(frozen=True)
class LumbarPatient:
    """A simulated sagittal T2 series with its truth.

    Attributes
    ----------
    image : float32 (slice, row, column), arbitrary units, not negative.
    structures : uint8, same shape, indices into `STRUCTURES`.
    levels : uint8, same shape, 0 or index + 1 into `level_names`, for every voxel of a body, disc, foramen or sacrum.
    level_names : from top to bottom: "T12", "T12/L1", "T12/L1 right", "T12/L1 left", "L1", ..., "S1".
    spacing_mm : (slice, row, column), the first between slice centres. slice_thickness_mm : of the excited slab.
    origin_mm : LPS position of the centre of voxel [0, 0, 0].
    echo_time_ms, repetition_time_ms : of the simulated T2 turbo spin echo.
    look_seed, anatomy_preset : what `draw_lumbar` and `render_lumbar` need to make the same again.
    notes : lumbar count, transitional anatomy, conus level, pathologies, and how the scan was set.
    """

    image: np.ndarray
    structures: np.ndarray
    levels: np.ndarray
    level_names: tuple[str, ...]
    spacing_mm: tuple[float, float, float]
    slice_thickness_mm: float
    origin_mm: tuple[float, float, float]
    echo_time_ms: float
    repetition_time_ms: float
    seed: int
    look_seed: int
    anatomy_preset: str
    preset: str
    notes: dict[str, Any]
