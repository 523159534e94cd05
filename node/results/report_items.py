"""Content items of the measurement groups: measurements, outlines, references, texts.

Small builders without decisions; which group gets what is decided in `node.results.report_groups`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from highdicom.sr import (
    CodedConcept,
    GraphicTypeValues,
    ImageRegion,
    Measurement,
    ReferencedSegment,
    RelationshipTypeValues,
    SourceImageForMeasurement,
    SourceImageForRegion,
    SourceImageForSegmentation,
    SourceSeriesForSegmentation,
    TextContentItem,
)
from highdicom.sr.value_types import ContentSequence
from pydicom import Dataset
from pydicom.sr.coding import Code

from node.results.codes import COMMENT
from node.results.segments import WrittenSegments
from pipelines.contract import Contour, FrameReference, Quantity, Segment, Segmentation

MAX_POLYLINE_POINTS = 8000
"""GraphicData (FL) has a 16-bit length in Explicit VR: at most 8191 points fit."""


@dataclass(frozen=True)
class WrittenSegmentation:
    """A segmentation with what became of it; `seg` is None where it had no voxel."""

    segmentation: Segmentation
    written: WrittenSegments
    seg: Dataset | None


def measurements(quantities: Iterable[Quantity], source: SourceImageForMeasurement | None = None) -> list[Measurement]:
    """One NUM per quantity that has a value; `source` is what they were inferred from."""
    items = []
    for quantity in quantities:
        if quantity.value is None:
            continue
        item = Measurement(
            name=quantity.name,
            value=float(quantity.value),
            unit=quantity.unit,
            derivation=quantity.derivation,
            referenced_images=[source] if source is not None else None,
        )
        if quantity.method:
            # TID 300 wants a code as Measurement Method; definitions that no code covers are said as a property.
            number = item[0]
            if "ContentSequence" not in number:
                number.ContentSequence = ContentSequence()
            number.ContentSequence.append(
                TextContentItem(CodedConcept.from_code(COMMENT), quantity.method, RelationshipTypeValues.HAS_PROPERTIES)
            )
        items.append(item)
    return items


def missing(quantities: Iterable[Quantity]) -> list[str]:
    """One sentence per quantity without a value."""
    sentences = []
    for quantity in quantities:
        if quantity.value is None:
            how = f" ({quantity.derivation.meaning})" if quantity.derivation is not None else ""
            sentences.append(f"{quantity.name.meaning}{how} is not given: {quantity.reason}")
    return sentences


def add_texts(group: ContentSequence, texts: Iterable[tuple[Code, str]]) -> None:
    """Add TEXT items to a measurement group (TID 1501 row 13: qualitative evaluations in words)."""
    for name, text in texts:
        item = TextContentItem(CodedConcept.from_code(name), text, RelationshipTypeValues.CONTAINS)
        group[0].ContentSequence.append(item)


def add_comments(group: ContentSequence, sentences: Iterable[str]) -> None:
    """Add comments to a measurement group."""
    add_texts(group, ((COMMENT, sentence) for sentence in sentences))


def image_region(segmentation: Segmentation, contour: Contour) -> ImageRegion:
    """A contour as a closed polyline on its source frame."""
    points = np.asarray(contour.points, dtype=np.float64)
    if len(points) > MAX_POLYLINE_POINTS:
        points = points[np.linspace(0, len(points) - 1, MAX_POLYLINE_POINTS).round().astype(int)]
    reference = segmentation.source.frames[contour.frame]
    numbers = [reference.frame_number] if reference.frame_number is not None else None
    source = SourceImageForRegion(sop_class(segmentation, reference), reference.sop_instance_uid, numbers)
    return ImageRegion(GraphicTypeValues.POLYLINE, points, source)


def referenced_segment(item: WrittenSegmentation, segment: Segment) -> ReferencedSegment:
    """A segment of a written SEG, with the images (planar) or the series (volume) it was drawn on."""
    if item.seg is None:
        raise ValueError("there is no SEG to refer to")
    source = item.segmentation.source
    images = _source_images(item, segment) if source.planar else None
    series = None if source.planar else SourceSeriesForSegmentation(source.series_instance_uid)
    return ReferencedSegment(
        sop_class_uid=item.seg.SOPClassUID,
        sop_instance_uid=item.seg.SOPInstanceUID,
        segment_number=item.written.number_of[segment.number],
        source_images=images,
        source_series=series,
    )


def segmentation_frame(item: WrittenSegmentation, segment_number: int, frame: int) -> SourceImageForMeasurement | None:
    """The SEG frame that holds a segment on a source frame; None where nothing was written there.

    A frame of a BINARY object belongs to one segment. The segment number is left out: naming frame and segment
    together is forbidden (PS3.3 C.18.4).
    """
    written = item.written.number_of.get(segment_number)
    if item.seg is None or written is None:
        return None
    number = _seg_frame_number(item, written, frame)
    if number is None:
        return None
    return SourceImageForMeasurement(item.seg.SOPClassUID, item.seg.SOPInstanceUID, [number])


def sop_class(segmentation: Segmentation, reference: FrameReference) -> str:
    """SOP class of a source frame's object: as its header says, else as the reference does."""
    for header in segmentation.source.headers:
        if str(header.get("SOPInstanceUID")) == reference.sop_instance_uid and header.get("SOPClassUID"):
            return str(header.SOPClassUID)
    return reference.sop_class_uid


def _seg_frame_number(item: WrittenSegmentation, written: int, frame: int) -> int | None:
    """1-based number of the SEG frame of a written segment on a source frame."""
    assert item.seg is not None
    wanted = item.segmentation.source.frames[frame]
    single_segment = len(item.written.segments) == 1
    for number, group in enumerate(item.seg.PerFrameFunctionalGroupsSequence, start=1):
        identification = group.get("SegmentIdentificationSequence")
        if identification and int(identification[0].ReferencedSegmentNumber) != written:
            continue
        if not identification and not single_segment:
            continue
        for derivation in group.DerivationImageSequence:
            for image in derivation.SourceImageSequence:
                same_frame = image.get("ReferencedFrameNumber") in (wanted.frame_number, None)
                if str(image.ReferencedSOPInstanceUID) == wanted.sop_instance_uid and same_frame:
                    return number
    return None


def _source_images(item: WrittenSegmentation, segment: Segment) -> list[SourceImageForSegmentation]:
    """Source images that a segment has pixels on, frames of one instance together."""
    frames: dict[str, list[FrameReference]] = {}
    held = item.segmentation.pixels_by_frame(segment.number)
    for reference, pixels in zip(item.segmentation.source.frames, held, strict=True):
        if pixels:
            frames.setdefault(reference.sop_instance_uid, []).append(reference)
    images = []
    for uid, references in frames.items():
        numbers = [r.frame_number for r in references if r.frame_number is not None]
        images.append(SourceImageForSegmentation(sop_class(item.segmentation, references[0]), uid, numbers or None))
    return images
