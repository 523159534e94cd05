"""Planar DICOM SEG: projections such as whole-body scans, all views in one object.

Such sources have no place in patient space, so highdicom cannot write them. The object is laid out here:

* no FrameOfReferenceUID; each frame names its source frame in the Derivation Image group (PS3.3 C.7.6.16.2.6);
* the Common Instance Reference names the instances without frame numbers, and lists the series;
* a shared Plane Orientation although projections have none: Cornerstone (OHIF) cannot load a segmentation without
  it, and compares it with what it takes for the source's. It is the first detector's for *every* view, because a
  posterior view's own orientation would make the viewer mirror the mask;
* frames are ordered by segment, then by view, and indexed by segment number and in-stack position.
"""

from __future__ import annotations

import numpy as np
from highdicom import PixelMeasuresSequence, PlaneOrientationSequence
from highdicom.base import SOPClass
from highdicom.sr import CodedConcept
from pydicom import Dataset
from pydicom.datadict import tag_for_keyword
from pydicom.uid import ExplicitVRLittleEndian, SegmentationStorage

from node.results.codes import SEGMENTATION_DERIVATION, SOURCE_IMAGE
from node.results.context import ResultContext
from node.results.geometry import numbers
from node.results.orientation import patient_orientation
from node.results.segments import WrittenSegments, describe, segmentation_title
from node.results.source import SourceInstance, source_instances
from node.results.stamp import constructor_values, content_labels, series_description, series_number, stamp
from node.results.uids import object_uid
from pipelines.contract import Findings, FrameReference, SourceSeries

VIEWER_ORIENTATION = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
"""Plane orientation where the source states none: the value a viewer assumes for an image without geometry."""

STACK_ID = "1"


def planar_seg(findings: Findings, index: int, written: WrittenSegments, context: ResultContext) -> Dataset:
    """BINARY segmentation of planar segmentation `index`, one frame per segment and view that has pixels."""
    source = findings.segmentations[index].source
    header = source.headers[0]
    instances = source_instances(source)
    frames = _frames(written)
    dataset = SOPClass(
        study_instance_uid=instances[0].view.StudyInstanceUID,
        sop_class_uid=SegmentationStorage,
        modality="SEG",
        transfer_syntax_uid=ExplicitVRLittleEndian,
        series_number=series_number("seg", context.revision, index),
        series_description=series_description(findings.pipeline, segmentation_title(findings, index), context),
        **constructor_values(context, header, "seg", str(index)),
    )
    _content(dataset, findings, context)
    _image(dataset, source, instances)
    dataset.SegmentSequence = describe(findings, written, context)
    _references(dataset, instances)
    _functional_groups(dataset, source, instances, frames)
    _dimensions(dataset, object_uid(context.job_key, "dimensions", context.revision, str(index)))
    dataset.PixelData = _pack([written.label_map[frame] == segment for segment, frame in frames])
    stamp(dataset, header, context)
    return dataset


def _frames(written: WrittenSegments) -> list[tuple[int, int]]:
    """(segment number, 0-based source frame) of every frame to write."""
    return [
        (segment, frame)
        for segment in range(1, len(written.segments) + 1)
        for frame in range(len(written.label_map))
        if (written.label_map[frame] == segment).any()
    ]


def _content(dataset: Dataset, findings: Findings, context: ResultContext) -> None:
    labels = content_labels(findings, context)
    dataset.ContentLabel = labels["content_label"]
    dataset.ContentDescription = labels["content_description"]
    dataset.ContentCreatorName = labels["content_creator_name"]
    dataset.SegmentationType = "BINARY"
    dataset.SegmentsOverlap = "NO"


def _image(dataset: Dataset, source: SourceSeries, instances: list[SourceInstance]) -> None:
    view = instances[0].view
    dataset.ImageType = ["DERIVED", "PRIMARY"]
    dataset.PatientOrientation = patient_orientation(source) or None
    dataset.Rows, dataset.Columns = view.Rows, view.Columns
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 1
    dataset.HighBit = 0
    dataset.PixelRepresentation = 0
    dataset.LossyImageCompression = view.get("LossyImageCompression", "00")
    for keyword in ("LossyImageCompressionRatio", "LossyImageCompressionMethod"):
        if keyword in view:
            dataset.add(view[keyword])


def _references(dataset: Dataset, instances: list[SourceInstance]) -> None:
    def reference(instance: SourceInstance) -> Dataset:
        item = Dataset()
        item.ReferencedSOPClassUID = instance.view.SOPClassUID
        item.ReferencedSOPInstanceUID = instance.view.SOPInstanceUID
        return item

    series = Dataset()
    series.SeriesInstanceUID = instances[0].view.SeriesInstanceUID
    series.ReferencedInstanceSequence = [reference(instance) for instance in instances]
    dataset.ReferencedSeriesSequence = [series]


def _functional_groups(
    dataset: Dataset, source: SourceSeries, instances: list[SourceInstance], frames: list[tuple[int, int]]
) -> None:
    shared = Dataset()
    shared.PlaneOrientationSequence = PlaneOrientationSequence("PATIENT", _viewer_orientation(source))
    measures = _pixel_measures(source)
    if measures is not None:
        shared.PixelMeasuresSequence = measures
    dataset.SharedFunctionalGroupsSequence = [shared]
    classes = {str(instance.view.SOPInstanceUID): str(instance.view.SOPClassUID) for instance in instances}
    dataset.PerFrameFunctionalGroupsSequence = [
        _frame_group(source, segment, frame, classes[source.frames[frame].sop_instance_uid])
        for segment, frame in frames
    ]
    dataset.NumberOfFrames = len(frames)


def _pixel_measures(source: SourceSeries) -> PixelMeasuresSequence | None:
    """Pixel spacing of the source, without which OHIF does not load a segmentation.

    A projection has no slice thickness, but highdicom does not read Pixel Measures without one: the row spacing
    stands in. Where the source has no spacing nothing is made up: areas would be computed from it.
    """
    header = source.headers[0]
    spacing = numbers(header, "PixelSpacing", 2) or numbers(header, "ImagerPixelSpacing", 2)
    if spacing is None or min(spacing) <= 0:
        return None
    return PixelMeasuresSequence(spacing, spacing[0])


def _viewer_orientation(source: SourceSeries) -> tuple[float, ...]:
    detectors = source.headers[0].get("DetectorInformationSequence")
    stated = numbers(detectors[0], "ImageOrientationPatient", 6) if detectors else None
    return tuple(stated) if stated is not None else VIEWER_ORIENTATION


def _frame_group(source: SourceSeries, segment: int, frame: int, sop_class_uid: str) -> Dataset:
    content = Dataset()
    content.StackID = STACK_ID
    content.InStackPositionNumber = frame + 1
    content.DimensionIndexValues = [segment, frame + 1]
    if frame < len(source.view_names):
        content.FrameLabel = source.view_names[frame]
    derivation = Dataset()
    derivation.DerivationCodeSequence = [CodedConcept.from_code(SEGMENTATION_DERIVATION)]
    derivation.SourceImageSequence = [_source_image(source.frames[frame], sop_class_uid)]
    identification = Dataset()
    identification.ReferencedSegmentNumber = segment
    group = Dataset()
    group.FrameContentSequence = [content]
    group.DerivationImageSequence = [derivation]
    group.SegmentIdentificationSequence = [identification]
    return group


def _source_image(reference: FrameReference, sop_class_uid: str) -> Dataset:
    image = Dataset()
    image.ReferencedSOPClassUID = sop_class_uid
    image.ReferencedSOPInstanceUID = reference.sop_instance_uid
    if reference.frame_number is not None:
        image.ReferencedFrameNumber = reference.frame_number
    image.PurposeOfReferenceCodeSequence = [CodedConcept.from_code(SOURCE_IMAGE)]
    image.SpatialLocationsPreserved = "YES"
    return image


def _dimensions(dataset: Dataset, uid: str) -> None:
    organization = Dataset()
    organization.DimensionOrganizationUID = uid
    dataset.DimensionOrganizationSequence = [organization]
    pointers = []
    for keyword, group, label in (
        ("ReferencedSegmentNumber", "SegmentIdentificationSequence", "Segment Number"),
        ("InStackPositionNumber", "FrameContentSequence", "View"),
    ):
        item = Dataset()
        item.DimensionIndexPointer = tag_for_keyword(keyword)
        item.FunctionalGroupPointer = tag_for_keyword(group)
        item.DimensionOrganizationUID = uid
        item.DimensionDescriptionLabel = label
        pointers.append(item)
    dataset.DimensionIndexSequence = pointers


def _pack(masks: list[np.ndarray]) -> bytes:
    """Bits of all frames without gaps between them, least significant first, padded to an even length (PS3.5 8.1.1)."""
    packed = np.packbits(np.stack(masks).ravel(), bitorder="little").tobytes()
    return packed + b"\0" * (len(packed) % 2)
