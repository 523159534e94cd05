"""Measurements a spine reader wants, from named levels.

`LevelMap` -> bodies and discs along their own axes (`heights`), sections of the sac (`canal`) -> `LumbarMeasurements`.

Knows masks only, no grey values. Each number is defined in `DEFINITIONS`; each that cannot be had is None with a
reason: the structure is cut by the edge of the field of view, was not found, or is only a part.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from pipelines.lumbar.canal import Sac, section_at, trace_sac
from pipelines.lumbar.classes import CANAL, CORD
from pipelines.lumbar.heights import Slab, measure_slab
from pipelines.lumbar.instances import CANAL_NAME, CORD_NAME, SACRUM_NAME, Instance, LevelMap
from pipelines.lumbar.naming import levels_down
from pipelines.lumbar.quantities import (
    CanalMeasurements,
    DiscMeasurements,
    ForamenMeasurements,
    LumbarMeasurements,
    Measured,
    VertebraMeasurements,
)

DEFINITIONS = {
    "heights": "distance of the end plates along the structure's own axis in its middle sagittal slices, at the "
    "anterior border, over the middle fifth and at the posterior border; straight lines through the end plates between "
    "10 % and 40 % of the depth carry them to the border (six-point morphometry)",
    "wedge_ratio": "anterior height / posterior height of a body",
    "mean_height": "mean of the anterior, middle and posterior height of a disc",
    "height_index": "mean disc height / mean antero-posterior depth of the adjacent end plates (at L5/S1: of L5's "
    "lower end plate)",
    "canal_ap": "antero-posterior diameter of the thecal sac, cord and cauda equina included, in its midline, "
    "perpendicular to the sac's centreline where the disc's plane crosses it",
    "canal_area": "cross-section of the thecal sac, cord and cauda equina included, in the same plane",
    "foramen_area": "area on the sagittal slice where the foramen is largest",
    "volume": "volume of the voxels; of sac and cord as far as the field of view shows them",
}
"""What each number means, in words that fit a report. The disc height index follows Farfan's ratio of height to
antero-posterior depth, with the mean of three heights for the height; other indices divide by the bodies' height."""

SIDES = ("right", "left")


@dataclass(frozen=True)
class _Sheet:
    """What all measurements share."""

    map: LevelMap
    boxes: list[tuple[slice, ...] | None]
    slabs: dict[int, Slab | None]
    sac: Sac | None

    def index(self, item: Instance) -> np.ndarray:
        """Return the voxels (n, 3) of an instance."""
        return _index(self.map, self.boxes, item)


def measure(level_map: LevelMap) -> LumbarMeasurements:
    """Measure every named level of a map, in the spacing the map carries."""
    boxes = ndimage.find_objects(level_map.instances)
    sac_items = [item for name in (CANAL_NAME, CORD_NAME) if (item := level_map.get(name))]
    sac_index = [_index(level_map, boxes, item) for item in sac_items]
    sac = trace_sac(np.vstack(sac_index), level_map.spacing_mm, level_map.instances.shape[0]) if sac_items else None
    sheet = _Sheet(level_map, boxes, {}, sac)
    for item in (*level_map.vertebrae, *level_map.discs):
        sheet.slabs[item.number] = _slab(sheet, item) if _why_not(item) is None else None
    levels = _levels(level_map)
    return LumbarMeasurements(
        vertebrae=tuple(_vertebra(sheet, item) for item in level_map.vertebrae),
        discs=tuple(_disc(sheet, level) for level in levels),
        canal=tuple(_canal(sheet, level) for level in levels),
        foramina=tuple(_foramen(sheet, level, side) for level in _foramen_levels(level_map) for side in SIDES),
        sac_volume_ml=_volume_of(sac_items, "no thecal sac was found"),
        cord_volume_ml=_volume_of([i for i in sac_items if i.structure == CORD], "no cord or cauda equina was found"),
    )


def _index(level_map: LevelMap, boxes: list[tuple[slice, ...] | None], item: Instance) -> np.ndarray:
    box = boxes[item.number - 1]
    if box is None:
        return np.empty((0, 3), dtype=int)
    first = [side.start for side in box]
    return np.argwhere(level_map.instances[box] == item.number) + first


def _levels(level_map: LevelMap) -> list[str]:
    """Return the levels to report, from the top down: where a disc was found, or both its neighbours."""
    names = {item.name for item in level_map.vertebrae}
    if level_map.get(SACRUM_NAME):
        names.add("S1")
    found = {item.name for item in level_map.discs}
    every = levels_down(level_map.lumbar)
    return [level for level in every if level in found or set(level.split("/")) <= names]


def _foramen_levels(level_map: LevelMap) -> list[str]:
    """Return the levels of foramina: those reported, and any other at which one was found."""
    wanted = set(_levels(level_map)) | {item.level for item in level_map.foramina}
    return [level for level in levels_down(level_map.lumbar) if level in wanted]


def _why_not(item: Instance) -> str | None:
    """Say why the heights of a body or disc cannot be measured, None where they can."""
    ends = set(item.cut_edges) - {"right", "left"}
    if ends:
        return f"{item.name} is cut by the {' and '.join(sorted(ends))} edge of the field of view"
    if "small" in item.flag_codes:
        return f"only a part of {item.name} was found"
    return None


def _slab(sheet: _Sheet, item: Instance) -> Slab | None:
    """Measure a body or disc, its axis taken at first from its neighbours in the chain."""
    chain = sorted((*sheet.map.vertebrae, *sheet.map.discs), key=lambda other: other.centroid_mm[1])
    at = [other.number for other in chain].index(item.number)
    upper, lower = chain[max(at - 1, 0)], chain[min(at + 1, len(chain) - 1)]
    axis = np.subtract(lower.centroid_mm, upper.centroid_mm)
    if np.linalg.norm(axis) < 1.0:
        axis = np.array([0.0, 1.0, 0.0])
    middle = None
    if {"right", "left"} & set(item.cut_edges) and sheet.sac is not None:
        # What is left of a body cut at one side has its centre off the middle; the sac's midline has not.
        middle = sheet.sac.lateral_mm(item.centroid_mm[1])
    return measure_slab(sheet.index(item), sheet.map.spacing_mm, axis, middle)


def _vertebra(sheet: _Sheet, item: Instance) -> VertebraMeasurements:
    slab, volume = sheet.slabs[item.number], whole_volume(item)
    if slab is None:
        no = Measured(None, _reason(item))
        return VertebraMeasurements(item.name, item.number, no, no, no, no, no, volume)
    wedge = Measured(None, f"{item.name} has no posterior height")
    if slab.posterior_mm > 0:
        wedge = Measured(slab.anterior_mm / slab.posterior_mm)
    return VertebraMeasurements(
        name=item.name,
        number=item.number,
        anterior_height_mm=Measured(slab.anterior_mm),
        middle_height_mm=Measured(slab.middle_mm),
        posterior_height_mm=Measured(slab.posterior_mm),
        depth_mm=Measured(slab.depth_mm),
        wedge_ratio=wedge,
        volume_ml=volume,
    )


def _disc(sheet: _Sheet, level: str) -> DiscMeasurements:
    item = sheet.map.get(level)
    if item is None:
        missing = Measured(None, f"no disc was found at {level}")
        return DiscMeasurements(level, None, missing, missing, missing, missing, missing, missing, missing)
    slab, volume = sheet.slabs[item.number], whole_volume(item)
    if slab is None:
        no = Measured(None, _reason(item))
        return DiscMeasurements(level, item.number, no, no, no, no, no, no, volume)
    mean_mm = (slab.anterior_mm + slab.middle_mm + slab.posterior_mm) / 3
    return DiscMeasurements(
        name=level,
        number=item.number,
        anterior_height_mm=Measured(slab.anterior_mm),
        middle_height_mm=Measured(slab.middle_mm),
        posterior_height_mm=Measured(slab.posterior_mm),
        mean_height_mm=Measured(mean_mm),
        depth_mm=Measured(slab.depth_mm),
        height_index=_height_index(sheet, level, mean_mm),
        volume_ml=volume,
    )


def _height_index(sheet: _Sheet, level: str, mean_mm: float) -> Measured:
    upper, lower = (sheet.map.get(name) for name in level.split("/"))
    slabs = [None if body is None else sheet.slabs[body.number] for body in (upper, lower)]
    depths = [
        slab.lower_depth_mm if above else slab.upper_depth_mm
        for slab, above in zip(slabs, (True, False), strict=True)
        if slab is not None
    ]
    needed = 1 if level.endswith("/S1") else 2
    if len(depths) < needed or not np.mean(depths) > 0:
        return Measured(None, f"an end plate next to {level} cannot be measured")
    return Measured(mean_mm / float(np.mean(depths)))


def _canal(sheet: _Sheet, level: str) -> CanalMeasurements:
    plane = _plane_of(sheet, level)
    reason = ""
    if sheet.sac is None:
        reason = "no thecal sac was found"
    elif plane is None:
        reason = f"nothing places a section at {level}"
    section = section_at(sheet.sac, *plane) if sheet.sac is not None and plane is not None else None
    if section is None:
        missing = Measured(None, reason or f"the thecal sac was not found at {level}")
        return CanalMeasurements(level, missing, missing)
    place = tuple(float(c / s) for c, s in zip(section.centre_mm, sheet.map.spacing_mm, strict=True))
    if not section.whole:
        part = Measured(None, f"the thecal sac is seen only in part at {level}: it ends within the section")
        return CanalMeasurements(level, part, part, place)  # type: ignore[arg-type]
    area = Measured(section.area_mm2)
    if section.cut:
        area = Measured(None, f"the thecal sac reaches the first or last slice at {level}")
    return CanalMeasurements(level, Measured(section.ap_mm), area, place)  # type: ignore[arg-type]


def _plane_of(sheet: _Sheet, level: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Return a point and the normal of a level's plane: the disc's, or half-way between two bodies."""
    disc = sheet.map.get(level)
    upper, lower = (sheet.map.get(name) for name in level.split("/"))
    if disc is not None:
        slab = sheet.slabs[disc.number]
        if slab is not None:
            return slab.centre_mm, slab.axis
        if upper is not None:
            return np.array(disc.centroid_mm), np.subtract(disc.centroid_mm, upper.centroid_mm)
        if lower is not None:
            return np.array(disc.centroid_mm), np.subtract(lower.centroid_mm, disc.centroid_mm)
        return None
    if upper is None or lower is None:
        return None
    return np.add(upper.centroid_mm, lower.centroid_mm) / 2, np.subtract(lower.centroid_mm, upper.centroid_mm)


def _foramen(sheet: _Sheet, level: str, side: str) -> ForamenMeasurements:
    name = f"{level} {side}"
    item = sheet.map.get(name)
    if item is None:
        return ForamenMeasurements(name, None, level, side, Measured(None, f"no foramen was found at {name}"))
    counts = np.bincount(sheet.index(item)[:, 0], minlength=sheet.map.instances.shape[0])
    largest = int(counts.argmax())
    area = Measured(float(counts[largest]) * sheet.map.spacing_mm[1] * sheet.map.spacing_mm[2])
    if item.cut_edges and largest in (0, len(counts) - 1):
        area = Measured(None, f"the foramen {name} lies at the edge of the slices")
    elif set(item.cut_edges) - {"right", "left"}:
        area = Measured(None, f"the foramen {name} is cut by the edge of the field of view")
    return ForamenMeasurements(name, item.number, level, side, area, largest)


def _reason(item: Instance) -> str:
    return _why_not(item) or f"the middle slices of {item.name} do not show both end plates"


def whole_volume(item: Instance) -> Measured:
    """Return the volume (ml) of what lies whole in the field of view; None with the reason for what does not."""
    if item.cut_by_edge:
        return Measured(None, f"{item.name} reaches the {' and '.join(item.cut_edges)} edge of the field of view")
    if "small" in item.flag_codes:
        return Measured(None, f"only a part of {item.name} was found")
    return Measured(item.volume_mm3 / 1000.0)


def _volume_of(items: Iterable[Instance], reason: str) -> Measured:
    found = [item.volume_mm3 for item in items if item.structure in (CANAL, CORD)]
    return Measured(sum(found) / 1000.0) if found else Measured(None, reason)
