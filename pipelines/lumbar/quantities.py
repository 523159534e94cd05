"""What is measured at every level, as values: heights, disc height index, canal, foramina, volumes.

`measurements.measure` fills these from a `LevelMap`; findings write them. Holds values only; whatever could not be
measured is None with a reason, never a guess.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Measured:
    """One number in the unit its field names, or None and a sentence that says why not."""

    value: float | None
    reason: str = ""

    def __post_init__(self) -> None:
        if self.value is None and not self.reason:
            raise ValueError("a missing value needs a reason")
        if self.value is not None and not math.isfinite(self.value):
            raise ValueError(f"{self.value} is not a number to report")


@dataclass(frozen=True)
class VertebraMeasurements:
    """One vertebral body.

    Attributes
    ----------
    name, number
        As in `LevelMap.items`.
    anterior_height_mm, middle_height_mm, posterior_height_mm
        Distance of the two end plates at the anterior border, half-way and at the posterior border.
    depth_mm
        Antero-posterior depth at mid-height.
    wedge_ratio
        Anterior over posterior height; 1 for parallel end plates, below 1 for an anterior wedge.
    volume_ml
    """

    name: str
    number: int
    anterior_height_mm: Measured
    middle_height_mm: Measured
    posterior_height_mm: Measured
    depth_mm: Measured
    wedge_ratio: Measured
    volume_ml: Measured


@dataclass(frozen=True)
class DiscMeasurements:
    """One intervertebral disc.

    Attributes
    ----------
    name, number
        As in `LevelMap.items` ("L4/L5"). `number` is None for a disc that was not found: there is an entry for
        every pair of neighbours.
    anterior_height_mm, middle_height_mm, posterior_height_mm, mean_height_mm
        As for a body; the mean is that of the three.
    depth_mm
        Antero-posterior depth.
    height_index
        See `DEFINITIONS["height_index"]`.
    volume_ml
    """

    name: str
    number: int | None
    anterior_height_mm: Measured
    middle_height_mm: Measured
    posterior_height_mm: Measured
    mean_height_mm: Measured
    depth_mm: Measured
    height_index: Measured
    volume_ml: Measured


@dataclass(frozen=True)
class CanalMeasurements:
    """The thecal sac (cord and cauda equina included) at one disc level.

    Attributes
    ----------
    level
        "L4/L5"; there is one for every pair of neighbouring vertebrae and L5/S1, with or without a disc.
    ap_diameter_mm
        Antero-posterior diameter in the sac's midline, perpendicular to its centreline.
    area_mm2
        Cross-section perpendicular to its centreline.
    position_voxel
        (slice, row, column) of the section's centre, None where there is none.
    """

    level: str
    ap_diameter_mm: Measured
    area_mm2: Measured
    position_voxel: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class ForamenMeasurements:
    """One neural foramen.

    Attributes
    ----------
    name, number
        As in `LevelMap.items` ("L4/L5 right"). `number` is None for a foramen that was not found.
    level, side
    area_mm2
        On the sagittal slice where it is largest.
    slice_index
        That slice, None where there is none.
    """

    name: str
    number: int | None
    level: str
    side: str
    area_mm2: Measured
    slice_index: int | None = None


@dataclass(frozen=True)
class LumbarMeasurements:
    """All measurements of one series; each tuple from the top down.

    Attributes
    ----------
    vertebrae, discs, canal, foramina
    sac_volume_ml
        Thecal sac with cord and cauda equina, as far as the field of view shows it.
    cord_volume_ml
        Cord and cauda equina, as far as the field of view shows them.
    """

    vertebrae: tuple[VertebraMeasurements, ...]
    discs: tuple[DiscMeasurements, ...]
    canal: tuple[CanalMeasurements, ...]
    foramina: tuple[ForamenMeasurements, ...]
    sac_volume_ml: Measured
    cord_volume_ml: Measured
