"""From named levels and their measurements to `Findings`: segments, regions, sentences, the table.

volume + `LevelMap` + `LumbarMeasurements` -> the label map back on the source's frames -> a segment per vertebra, disc,
foramen and for canal, cord and sacrum, each with its code and tracking identifier -> a region per segment with its
figures, and one per level of the thecal sac. Outlines lie on the middle slice where a structure is seen there, so
that a reader finds the spine in one picture; those of foramina on the slice that was measured.

Nothing is measured here; nothing is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydicom.sr.coding import Code

from pipelines.contract import Contour, Findings, Quantity, Region, Segmentation
from pipelines.contract.provenance import Provenance
from pipelines.imaging.contours import outline_of
from pipelines.imaging.volume import Volume
from pipelines.lumbar import codes, wording
from pipelines.lumbar.classes import BODY, CANAL, CORD, DISC, THECAL_SAC
from pipelines.lumbar.instances import Instance, LevelMap
from pipelines.lumbar.measurements import whole_volume
from pipelines.lumbar.quantities import (
    CanalMeasurements,
    DiscMeasurements,
    ForamenMeasurements,
    LumbarMeasurements,
    Measured,
    VertebraMeasurements,
)
from pipelines.lumbar.segments import codes_of, label_of, mark_of, segments_of, tracking_id_of
from pipelines.lumbar.table import measurement_table

ALGORITHM = "Coarse-to-fine 3D U-Net (doi:10.13609/j.cnki.1000-0313.2022.02.016)"

WINDOW_PERCENT = (0.5, 99.5)
"""Grey levels of the picture, as the networks' own windowing."""

DIGITS = 3
"""Decimals of a figure: far below what a pixel can resolve, and not fifteen of them."""

SAC_OUTLINE_MM = 5.0
"""Half the height of the piece of sac that marks the level of a diameter."""

Figures = VertebraMeasurements | DiscMeasurements | ForamenMeasurements


@dataclass(frozen=True)
class _Sheet:
    """What segments and regions are made from; frames are the source's."""

    levels: LevelMap
    measured: LumbarMeasurements
    volume: Volume
    label_map: np.ndarray
    middle: int

    def frame_of(self, slice_index: int) -> int:
        """The source frame of a slice of the volume."""
        return len(self.label_map) - 1 - slice_index if self.volume.grid.turned[0] else slice_index

    def outline(self, number: int, frame: int | None = None) -> tuple[Contour, ...]:
        """Longest outline of an instance: on the frame asked for, else the middle one, else where it is largest."""
        for candidate in (frame, self.middle):
            if candidate is not None and (self.label_map[candidate] == number).any():
                return _longest(candidate, self.label_map[candidate] == number)
        mask = self.label_map == number
        largest = int(mask.sum(axis=(1, 2)).argmax())
        return _longest(largest, mask[largest])


def build_findings(
    volume: Volume,
    levels: LevelMap,
    measured: LumbarMeasurements,
    provenance: Provenance,
    flags: Sequence[str] = (),
    remarks: Sequence[str] = (),
) -> Findings:
    """Assemble the findings.

    Parameters
    ----------
    volume
        Acquired in sagittal slices: its slices are the source's frames.
    levels
        On the volume's grid, with at least one vertebra.
    measured
        Of `levels`.
    provenance
        Pipeline, models, device and times.
    flags, remarks
        Of the cascade, and about the series; see `wording.limitations`.

    Raises
    ------
    ValueError
        If the volume's slices are not the source's frames.
    """
    if volume.grid.source_axis(0) != 0:
        raise ValueError("the volume was not acquired in sagittal slices")
    middle = _middle_slice(levels)
    label_map = volume.grid.to_source(levels.instances)
    sheet = _Sheet(levels, measured, volume, label_map, 0)
    sheet = _Sheet(levels, measured, volume, label_map, sheet.frame_of(middle))
    segmentation = Segmentation(
        source=volume.source,
        label_map=label_map,
        segments=segments_of(levels),
        display=volume.grid.to_source(_display(volume.values)),
        key_frames=_key_frames(sheet),
    )
    return Findings(
        pipeline=provenance.pipeline,
        pipeline_version=provenance.version,
        algorithm_name=ALGORITHM,
        models=tuple(card.identity for card in provenance.cards),
        segmentations=(segmentation,),
        regions=tuple(_regions(sheet)),
        quantities=(_quantity(codes.SAC_VOLUME, measured.sac_volume_ml, codes.CUBIC_CM, wording.WITHIN_FIELD),),
        conclusion=wording.conclusion(levels, measured),
        limitations=wording.limitations(volume, levels, measured, flags, remarks, provenance.cards),
        details=_details(sheet, provenance, flags),
        table=measurement_table(measured),
    )


def _regions(sheet: _Sheet) -> list[Region]:
    """One region per instance in the order of the map, then the thecal sac level by level."""
    measured = sheet.measured
    figures: list[Figures] = [*measured.vertebrae, *measured.discs, *measured.foramina]
    by_number = {one.number: one for one in figures}
    regions = [_region(sheet, item, by_number.get(item.number)) for item in sheet.levels.items]
    sac = next(iter(sheet.levels.of(CANAL) or sheet.levels.of(CORD)), None)
    if sac is not None:
        regions += [_sac_region(sheet, sac, section) for section in measured.canal if section.position_voxel]
    return regions


def _region(sheet: _Sheet, item: Instance, figures: Figures | None) -> Region:
    kind, place = codes_of(item)
    frame = None
    if isinstance(figures, ForamenMeasurements) and figures.slice_index is not None:
        frame = sheet.frame_of(figures.slice_index)
    if isinstance(figures, VertebraMeasurements):
        quantities = _of_vertebra(figures)
    elif isinstance(figures, DiscMeasurements):
        quantities = _of_disc(figures)
    elif isinstance(figures, ForamenMeasurements):
        area = _quantity(codes.AREA, figures.area_mm2, codes.SQUARE_MM, wording.FORAMEN)
        quantities = (area, _volume(whole_volume(item)))
    else:
        quantities = (_volume(Measured(item.volume_mm3 / 1000.0), wording.WITHIN_FIELD),)
    return Region(
        tracking_id=tracking_id_of(item),
        label=label_of(item, sheet.levels.levels_certain),
        finding=kind,
        segmentation=0,
        segment_number=item.number,
        finding_site=place,
        laterality=codes.SIDES.get(item.side),
        location=" ".join(flag.sentence for flag in item.flags),
        # The sac's levels share its segment; without an outline of its own the region is the whole of it.
        contours=() if item.structure in THECAL_SAC else sheet.outline(item.number, frame),
        quantities=quantities,
        mark=mark_of(item, sheet.levels.levels_certain) if item.structure in (BODY, DISC) else "",
    )


def _of_vertebra(figures: VertebraMeasurements) -> tuple[Quantity, ...]:
    return (
        *_heights(figures),
        _quantity(codes.WEDGE_RATIO, figures.wedge_ratio, codes.RATIO, wording.WEDGE),
        _quantity(codes.DEPTH, figures.depth_mm, codes.MM),
        _volume(figures.volume_ml),
    )


def _of_disc(figures: DiscMeasurements) -> tuple[Quantity, ...]:
    return (
        *_heights(figures),
        _quantity(codes.MEAN_HEIGHT, figures.mean_height_mm, codes.MM),
        _quantity(codes.HEIGHT_INDEX, figures.height_index, codes.RATIO, wording.INDEX),
        _quantity(codes.DEPTH, figures.depth_mm, codes.MM),
        _volume(figures.volume_ml),
    )


def _heights(figures: VertebraMeasurements | DiscMeasurements) -> tuple[Quantity, ...]:
    return (
        _quantity(codes.ANTERIOR_HEIGHT, figures.anterior_height_mm, codes.MM, wording.HEIGHTS),
        _quantity(codes.MIDDLE_HEIGHT, figures.middle_height_mm, codes.MM, wording.HEIGHTS),
        _quantity(codes.POSTERIOR_HEIGHT, figures.posterior_height_mm, codes.MM, wording.HEIGHTS),
    )


def _sac_region(sheet: _Sheet, sac: Instance, section: CanalMeasurements) -> Region:
    """The thecal sac at one level, marked by the piece of it around the section that was measured."""
    assert section.position_voxel is not None
    slice_index, row, _ = section.position_voxel
    structures = sheet.levels.structures
    at = int(np.clip(round(slice_index), 0, len(structures) - 1))
    near = np.abs(np.arange(structures.shape[1]) - row) * sheet.levels.spacing_mm[1] <= SAC_OUTLINE_MM
    piece = np.isin(structures[at], THECAL_SAC) & near[:, None]
    return Region(
        tracking_id=f"sac-{section.level.replace('/', '-')}",
        label=f"Thecal sac at {section.level}",
        finding=codes.CANAL,
        segmentation=0,
        segment_number=sac.number,
        finding_site=codes.LEVEL[section.level],
        contours=_longest(sheet.frame_of(at), sheet.volume.grid.to_source(piece[None])[0]),
        quantities=(
            _quantity(codes.SAC_DIAMETER, section.ap_diameter_mm, codes.MM, wording.SAC),
            _quantity(codes.SAC_AREA, section.area_mm2, codes.SQUARE_MM, wording.SAC),
        ),
    )


def _quantity(name: Code, measured: Measured, unit: Code, method: str = "") -> Quantity:
    value = None if measured.value is None else round(measured.value, DIGITS)
    return Quantity(name, value, unit, method=method, reason=measured.reason)


def _volume(measured: Measured, method: str = "") -> Quantity:
    return _quantity(codes.VOLUME, measured, codes.CUBIC_CM, method)


def _longest(frame: int, mask: np.ndarray) -> tuple[Contour, ...]:
    return tuple(Contour(frame, line) for line in outline_of(mask)[:1])


def _middle_slice(levels: LevelMap) -> int:
    """The slice through the middle of the thecal sac; of the bodies where there is none."""
    sac = np.isin(levels.structures, THECAL_SAC).sum(axis=(1, 2))
    seen = sac if sac.any() else (levels.structures == BODY).sum(axis=(1, 2))
    return round(float(np.average(np.arange(len(seen)), weights=seen)))


def _key_frames(sheet: _Sheet) -> tuple[int, ...]:
    """The middle slice, then the slice of the largest foramina on the right and on the left."""
    frames = [sheet.middle]
    for side in ("right", "left"):
        numbers = [item.number for item in sheet.levels.foramina if item.side == side]
        if numbers:
            frames.append(int(np.isin(sheet.label_map, numbers).sum(axis=(1, 2)).argmax()))
    return tuple(dict.fromkeys(frames))


def _display(values: np.ndarray) -> np.ndarray:
    """The image as a person would window it, uint8; every fourth pixel is enough to find the window."""
    low, high = (float(v) for v in np.percentile(values[:, ::4, ::4], WINDOW_PERCENT))
    scaled = (values - np.float32(low)) * np.float32(255.0 / max(high - low, 1e-6))
    return np.clip(scaled, 0, 255, out=scaled).astype(np.uint8)


def _details(sheet: _Sheet, provenance: Provenance, flags: Sequence[str]) -> dict[str, object]:
    """JSON-ready facts without a place in DICOM."""
    levels = sheet.levels
    return {
        "series": sheet.volume.name,
        "spacing_mm": [round(float(v), 4) for v in sheet.volume.spacing_mm],
        "levels": {
            "certain": levels.levels_certain,
            "numbering": levels.numbering,
            "flags": [flag.code for flag in levels.flags],
            "instances": {item.name: sorted(item.flag_codes) for item in levels.items if item.flags},
        },
        "cascade_flags": list(flags),
        "middle_frame": sheet.middle + 1,
        "models": [{"name": card.name, "version": card.version, "sha256": card.sha256} for card in provenance.cards],
        "device": provenance.device,
        "precision": provenance.precision,
        "seconds": {stage: round(seconds, 4) for stage, seconds in provenance.seconds.items()},
    }
