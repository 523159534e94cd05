"""From lesions and their figures to `Findings`: a segment and a region per lesion, on the CT's grid and the SPECT's.

The first segmentation is on the CT where there is one, else on the SPECT; with both there is a second one on the SPECT,
with the same lesions under the same numbers. Regions, with their figures, belong to the first. Pictures show the slices
with the largest cross-sections: CT, SPECT and both laid over each other.

Nothing is measured here; nothing is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from pydicom.sr.coding import Code

from pipelines.contract import Contour, Findings, Quantity, Region, Segment, Segmentation
from pipelines.contract.provenance import Provenance
from pipelines.imaging.contours import outline_of
from pipelines.imaging.volume import Volume
from pipelines.spect_ct import codes, wording
from pipelines.spect_ct.grid import Lattice, Prepared, resample
from pipelines.spect_ct.lesions import LesionMap
from pipelines.spect_ct.measurements import LesionFigures
from pipelines.spect_ct.uses import CT, FUSED, SPECT, TITLES

ALGORITHM = "MT-UNet (doi:10.3760/cma.j.cn321828-20241106-00384)"

COLOURS = (
    (255, 70, 70), (80, 220, 90), (70, 160, 255), (255, 200, 40), (230, 90, 240), (60, 220, 220),
    (255, 140, 60), (170, 130, 255),
)  # fmt: skip
"""Neighbouring numbers differ."""

PICTURE_HU = (-450.0, 1050.0)
"""Level 300, width 1500: bone with its marrow, and enough of the soft tissue to know where one is."""

PICTURE_PERCENT = 99.8
KEY_FRAMES = 3
DIGITS = 3


@dataclass(frozen=True)
class SourceLesions:
    """The lesions on one source: its volume, and their label map in the volume's own orientation, uint16."""

    volume: Volume
    labels: np.ndarray


def build_findings(
    use: str,
    prepared: Prepared,
    found: LesionMap,
    figures: Sequence[LesionFigures],
    sources: dict[str, SourceLesions],
    remarks: Sequence[str],
    ct_absence: str,
    provenance: Provenance,
) -> Findings:
    """Assemble the findings.

    Parameters
    ----------
    use : `uses`. figures : of `found.lesions`, in their order. sources : by "ct" and "spect", at least one.
    """
    order = [name for name in (CT, SPECT) if name in sources]
    segmentations = tuple(_segmentation(name, sources, found, second=bool(n)) for n, name in enumerate(order))
    limitations = wording.limitations(
        use, prepared, found, [one.volume for one in sources.values()], remarks, ct_absence, provenance.cards
    )
    return Findings(
        pipeline=provenance.pipeline,
        pipeline_version=provenance.version,
        algorithm_name=ALGORITHM,
        models=tuple(card.identity for card in provenance.cards),
        segmentations=segmentations,
        regions=tuple(_region(one, segmentations[0]) for one in figures),
        numbering="; ".join(" ".join(f"{mm:.0f}" for mm in lesion.centre_mm) for lesion in found.lesions),
        quantities=(
            Quantity(codes.LESIONS, float(len(found.lesions)), codes.LESIONS_UNIT),
            _quantity(codes.TOTAL_VOLUME, sum(x.volume_ml for x in found.lesions), codes.CUBIC_CM, wording.TOTAL),
        ),
        conclusion=wording.conclusion(use, found),
        limitations=limitations,
        details=_details(use, prepared, found, sources, remarks, ct_absence, provenance),
    )


def _segmentation(name: str, sources: dict[str, SourceLesions], found: LesionMap, second: bool) -> Segmentation:
    volume, labels = sources[name].volume, sources[name].labels
    label_map = volume.grid.to_source(labels.astype(np.uint8) if labels.max(initial=0) < 256 else labels)
    numbers = [lesion.number for lesion in found.lesions]
    shows_ct = name == CT
    shown = Segmentation(
        source=volume.source,
        label_map=label_map,
        segments=tuple(_segment(number, on_spect=second) for number in numbers),
        display=volume.grid.to_source(_shown_ct(volume.values) if shows_ct else _shown_spect(volume.values)),
        display_inverted=not shows_ct,
    )
    keys = _key_frames(shown)
    overlays: tuple[np.ndarray, ...] = ()
    if shows_ct and SPECT in sources:
        overlays = _overlays(volume, sources[SPECT].volume, keys)
    return replace(shown, key_frames=keys, key_overlays=overlays, overlay_name=TITLES[SPECT] if overlays else "")


def _segment(number: int, on_spect: bool) -> Segment:
    return Segment(
        number=number,
        label=f"Lesion {number}{' (SPECT grid)' if on_spect else ''}",
        category=codes.ABNORMAL_STRUCTURE,
        type=codes.LESION,
        tracking_id=f"lesion-{number}{'-spect' if on_spect else ''}",
        colour_rgb=COLOURS[(number - 1) % len(COLOURS)],
        description=wording.NATURE,
        anatomic_region=codes.BONE,
    )


def _region(one: LesionFigures, segmentation: Segmentation) -> Region:
    number = one.lesion.number
    return Region(
        tracking_id=f"lesion-{number}",
        label=f"Lesion {number}: {wording.NATURE.lower()}",
        finding=codes.LESION,
        segmentation=0,
        segment_number=number,
        finding_site=codes.BONE,
        laterality=codes.SIDES.get(one.side),
        location=one.location,
        contours=_outline(segmentation, number),
        quantities=(
            _quantity(codes.VOLUME, one.lesion.volume_ml, codes.CUBIC_CM, wording.VOLUME),
            _figure(
                codes.COUNTS, one.mean_counts, codes.COUNTS_UNIT, codes.MEAN, wording.COUNTS, one.reasons, "counts"
            ),
            _figure(
                codes.COUNTS, one.max_counts, codes.COUNTS_UNIT, codes.MAXIMUM, wording.COUNTS, one.reasons, "counts"
            ),
            _figure(codes.CONTRAST, one.contrast, codes.RATIO, None, wording.CONTRAST, one.reasons, "contrast"),
            _figure(codes.ATTENUATION, one.mean_hu, codes.HOUNSFIELD, codes.MEAN, "", one.reasons, "hu"),
            _quantity(codes.PROBABILITY, 100 * one.lesion.peak, codes.PERCENT, wording.PROBABILITY),
        ),
    )


def _quantity(name: Code, value: float, unit: Code, method: str) -> Quantity:
    return Quantity(name, round(value, DIGITS), unit, method=method)


def _figure(
    name: Code, value: float | None, unit: Code, derivation: Code | None, method: str, reasons: dict[str, str], key: str
) -> Quantity:
    shown = None if value is None else round(value, DIGITS)
    return Quantity(name, shown, unit, derivation, method, reasons.get(key, "") if value is None else "")


def _outline(segmentation: Segmentation, number: int) -> tuple[Contour, ...]:
    """The longest outline on the frame where a lesion is largest; none where its grid does not hold it."""
    if number not in segmentation.boxes:
        return ()
    frame = int(segmentation.pixels_by_frame(number).argmax())
    return tuple(Contour(frame, line) for line in outline_of(segmentation.label_map[frame] == number)[:1])


def _key_frames(segmentation: Segmentation) -> tuple[int, ...]:
    """Frames that show the largest lesions, each where it is largest; the middle one where there are none."""
    frames: list[int] = []
    for number in sorted(segmentation.boxes):
        largest = int(segmentation.pixels_by_frame(number).argmax())
        if largest not in frames:
            frames.append(largest)
        if len(frames) == KEY_FRAMES:
            break
    return tuple(frames) or (len(segmentation.label_map) // 2,)


def _shown_ct(values: np.ndarray) -> np.ndarray:
    low, high = PICTURE_HU
    shown = np.empty(values.shape, np.uint8)
    for number, plane in enumerate(values):  # a plane fits into the processor's cache, the volume does not
        shown[number] = np.clip((plane - low) * (255.0 / (high - low)), 0, 255)
    return shown


def _shown_spect(values: np.ndarray) -> np.ndarray:
    return np.clip(values * (255.0 / _picture_top(values)), 0, 255).astype(np.uint8)


def _picture_top(values: np.ndarray) -> float:
    return max(float(np.percentile(values, PICTURE_PERCENT)), 1e-6)


def _overlays(ct: Volume, spect: Volume, frames: Sequence[int]) -> tuple[np.ndarray, ...]:
    """The SPECT on some of the CT's frames, uint8 (row, column), 255 for the hottest."""
    top, held = _picture_top(spect.values), Lattice.of(ct)
    pictures = []
    for frame in frames:
        # The CT is axial, so a slice of the volume is a frame of the source, from either end.
        number = held.shape[0] - 1 - frame if ct.grid.turned[0] else frame
        origin = held.points(np.array([[number, 0, 0]]))[0]
        counts = resample(spect, Lattice((1, *held.shape[1:]), held.spacing_mm, origin, held.directions), 0.0)
        pictures.append(ct.grid.to_source(np.clip(counts * (255.0 / top), 0, 255).astype(np.uint8))[0])
    return tuple(pictures)


def _details(
    use: str, prepared: Prepared, found: LesionMap, sources: dict[str, SourceLesions], remarks: Sequence[str],
    ct_absence: str, provenance: Provenance,
) -> dict[str, object]:  # fmt: skip
    """JSON-ready facts without a place in DICOM."""
    return {
        "use": TITLES[use],
        "series": {name: one.volume.name for name, one in sources.items()},
        "grid": {
            "shape": list(prepared.lattice.shape),
            "spacing_mm": [round(v, 4) for v in prepared.lattice.spacing_mm],
        },
        "slices": {
            "both": int((prepared.has_ct & prepared.has_spect).sum()),
            "spect_alone": int((prepared.has_spect & ~prepared.has_ct).sum()),
            "ct_alone": int((prepared.has_ct & ~prepared.has_spect).sum()),
        },
        "choice": list(remarks),
        "ct_absence": ct_absence if use != FUSED else "",
        "lesions": [
            {"number": x.number, "centre_mm": [round(v, 1) for v in x.centre_mm], "volume_ml": round(x.volume_ml, 3)}
            for x in found.lesions
        ],
        "models": [{"name": card.name, "version": card.version, "sha256": card.sha256} for card in provenance.cards],
        "device": provenance.device,
        "precision": provenance.precision,
        "seconds": {stage: round(seconds, 4) for stage, seconds in provenance.seconds.items()},
    }
