"""Volumetric DICOM SEG (CT, MR, reconstructed SPECT) through highdicom.

highdicom reads its geometry from the source images. It gets header-only views that say in the standard's way what
`node.results.geometry` found: one view per slice, or, for a multi-frame object, one view with functional groups
(nuclear medicine objects have none, and highdicom then refuses them).
"""

from __future__ import annotations

import numpy as np
from highdicom import PixelMeasuresSequence, PlaneOrientationSequence, PlanePositionSequence
from highdicom.seg import Segmentation as HighdicomSegmentation
from highdicom.seg import SegmentationTypeValues
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from node.results.context import ResultContext
from node.results.geometry import PlaneGeometry, plane_geometry
from node.results.segments import WrittenSegments, describe, segmentation_title
from node.results.source import SourceInstance, source_instances
from node.results.stamp import constructor_values, content_labels, series_description, series_number, stamp
from node.results.uids import object_uid
from pipelines.contract import Findings, SourceSeries


def volume_seg(findings: Findings, index: int, written: WrittenSegments, context: ResultContext) -> Dataset:
    """BINARY segmentation of segmentation `index` on its source grid; empty frames are left out.

    Raises
    ------
    PermanentError
        If the source's geometry is not known or is no volume.
    """
    source = findings.segmentations[index].source
    geometry = plane_geometry(source)
    instances = source_instances(source)
    multi_frame = source.frames[0].frame_number is not None
    views = [_multi_frame_view(instances[0], geometry)] if multi_frame else _slice_views(instances, geometry)
    dataset = HighdicomSegmentation(
        source_images=views,
        pixel_array=_smallest(written.label_map),
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=describe(findings, written, context),
        omit_empty_frames=True,
        transfer_syntax_uid=ExplicitVRLittleEndian,
        series_number=series_number("seg", context.revision, index),
        series_description=series_description(findings.pipeline, segmentation_title(findings, index), context),
        **content_labels(findings, context),
        **constructor_values(context, source.headers[0], "seg", str(index)),
    )
    _name_dimensions(dataset, object_uid(context.job_key, "dimensions", context.revision, str(index)))
    if multi_frame:
        _refer_to_source_frames(dataset, source)
    stamp(dataset, source.headers[0], context)
    return dataset


def _smallest(label_map: np.ndarray) -> np.ndarray:
    return label_map.astype(np.uint8) if label_map.max() <= np.iinfo(np.uint8).max else label_map


def _measures(geometry: PlaneGeometry) -> PixelMeasuresSequence:
    # The thickness is needed to show a voxel's extent; touching slices are the neutral assumption where none is given.
    thickness = geometry.slice_thickness_mm or geometry.spacing_mm
    return PixelMeasuresSequence(geometry.pixel_spacing_mm, thickness, geometry.spacing_mm)


def _slice_views(instances: list[SourceInstance], geometry: PlaneGeometry) -> list[Dataset]:
    measures = _measures(geometry)[0]
    for instance, position in zip(instances, geometry.positions_mm, strict=True):
        view = instance.view
        view.FrameOfReferenceUID = geometry.frame_of_reference_uid
        plane = PlanePositionSequence("PATIENT", position)[0]
        view.ImagePositionPatient = plane.ImagePositionPatient
        # One orientation for all: rounding differences between slices are no reason to refuse a series.
        orientation = PlaneOrientationSequence("PATIENT", geometry.orientation)[0]
        view.ImageOrientationPatient = orientation.ImageOrientationPatient
        for element in measures:
            view.add(element)
    return [instance.view for instance in instances]


def _multi_frame_view(instance: SourceInstance, geometry: PlaneGeometry) -> Dataset:
    view = instance.view
    view.NumberOfFrames = len(geometry.positions_mm)
    view.FrameOfReferenceUID = geometry.frame_of_reference_uid
    shared = Dataset()
    shared.PixelMeasuresSequence = _measures(geometry)
    shared.PlaneOrientationSequence = PlaneOrientationSequence("PATIENT", geometry.orientation)
    view.SharedFunctionalGroupsSequence = [shared]
    view.PerFrameFunctionalGroupsSequence = []
    for position in geometry.positions_mm:
        item = Dataset()
        item.PlanePositionSequence = PlanePositionSequence("PATIENT", position)
        view.PerFrameFunctionalGroupsSequence.append(item)
    return view


def _name_dimensions(dataset: Dataset, uid: str) -> None:
    """Replace highdicom's random dimension organization UID by a derived one."""
    dataset.DimensionOrganizationSequence[0].DimensionOrganizationUID = uid
    for item in dataset.DimensionIndexSequence:
        item.DimensionOrganizationUID = uid


def _refer_to_source_frames(dataset: Dataset, source: SourceSeries) -> None:
    """Frame numbers in the references are those of the source object, not those of the label map."""
    # highdicom shares one item between the segments of a plane, so each item must be translated once only.
    images = {
        id(image): image
        for group in dataset.PerFrameFunctionalGroupsSequence
        for derivation in group.DerivationImageSequence
        for image in derivation.SourceImageSequence
    }
    for image in images.values():
        image.ReferencedFrameNumber = source.frames[int(image.ReferencedFrameNumber) - 1].frame_number
