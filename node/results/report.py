"""The Structured Report: Comprehensive 3D SR, TID 1500 Measurement Report, in the manner of IHE AI Results.

Observer is the node (a device); the images stand in the Image Library; figures stand in the measurement groups of
`node.results.report_groups`; conclusion, limitations and the research statement are texts in the container of
qualitative evaluations (TID 1500 row 12). The document is complete, preliminary and never verified: only a person
verifies.
"""

from __future__ import annotations

from highdicom.sr import (
    CodedConcept,
    Comprehensive3DSR,
    ContainerContentItem,
    DeviceObserverIdentifyingAttributes,
    MeasurementReport,
    ObservationContext,
    ObserverContext,
    RelationshipTypeValues,
    TextContentItem,
)
from highdicom.sr.value_types import ContentSequence
from pydicom import Dataset
from pydicom.sr.codedict import codes

from node.errors import PermanentError
from node.results.codes import (
    CONCLUSION,
    LIMITATION,
    QUALITATIVE_EVALUATIONS,
    RESEARCH_USE,
    private_schemes,
    procedure_reported,
)
from node.results.context import MANUFACTURER, MODEL_NAME, ResultContext
from node.results.geometry import PlaneGeometry, plane_geometry
from node.results.report_groups import measurement_groups
from node.results.report_items import WrittenSegmentation
from node.results.source import source_instances
from node.results.stamp import constructor_values, series_description, series_number, stamp
from node.results.uids import device_uid
from pipelines.contract import Findings, SourceSeries


def structured_report(findings: Findings, written: tuple[WrittenSegmentation, ...], context: ResultContext) -> Dataset:
    """The report of one study; `written` has one entry per segmentation of the findings."""
    header = findings.segmentations[0].source.headers[0]
    images = _library_images(findings)
    evidence = images + [item.seg for item in written if item.seg is not None]
    report = MeasurementReport(
        observation_context=_observer(context),
        procedure_reported=procedure_reported(str(header.get("Modality") or "")),
        imaging_measurements=measurement_groups(findings, written, context),  # type: ignore[arg-type]
        title=codes.DCM.ImagingMeasurementReport,
        referenced_images=images,
    )
    report[0].ContentSequence.append(_evaluations(findings, context))
    dataset = Comprehensive3DSR(
        evidence=evidence,
        content=report,
        series_number=series_number("sr", context.revision),
        series_description=series_description(findings.pipeline, "report", context),
        is_complete=True,
        is_final=False,
        is_verified=False,
        previous_versions=_predecessors(header, context),
        specific_character_set=None,
        **constructor_values(context, header, "sr", ""),
    )
    schemes = private_schemes(dataset)
    if schemes:
        dataset.add_new("CodingSchemeIdentificationSequence", "SQ", schemes)
    stamp(dataset, header, context)
    return dataset


def _observer(context: ResultContext) -> ObservationContext:
    node = context.node
    device = DeviceObserverIdentifyingAttributes(
        uid=device_uid(node.device_serial),
        name=node.station_name,
        manufacturer_name=MANUFACTURER,
        model_name=f"{MODEL_NAME} {node.software_version}",
        serial_number=node.device_serial,
    )
    return ObservationContext(
        observer_device_context=ObserverContext(observer_type=codes.DCM.Device, observer_identifying_attributes=device)
    )


def _evaluations(findings: Findings, context: ResultContext) -> ContainerContentItem:
    container = ContainerContentItem(
        name=CodedConcept.from_code(QUALITATIVE_EVALUATIONS), relationship_type=RelationshipTypeValues.CONTAINS
    )
    texts = [(CONCLUSION, findings.conclusion)] if findings.conclusion else []
    texts += [(LIMITATION, limitation) for limitation in findings.limitations]
    texts.append((RESEARCH_USE, context.research_statement))
    container.ContentSequence = ContentSequence(
        [TextContentItem(CodedConcept.from_code(name), text, RelationshipTypeValues.CONTAINS) for name, text in texts]
    )
    return container


def _library_images(findings: Findings) -> list[Dataset]:
    """Header-only views for the Image Library, each instance once, with the geometry its template asks for."""
    images: dict[str, Dataset] = {}
    for segmentation in findings.segmentations:
        source = segmentation.source
        geometry = _slice_geometry(source)
        for index, instance in enumerate(source_instances(source)):
            view = instance.view
            if geometry is not None:
                _add_slice_geometry(view, geometry, index)
            else:
                # TID 1604 descriptors need one plane per instance; the template is chosen by this attribute alone.
                view.Modality = "OT"
            images.setdefault(str(view.SOPInstanceUID), view)
    return list(images.values())


def _slice_geometry(source: SourceSeries) -> PlaneGeometry | None:
    if source.planar or source.frames[0].frame_number is not None:
        return None
    try:
        return plane_geometry(source)
    except PermanentError:
        return None


def _add_slice_geometry(view: Dataset, geometry: PlaneGeometry, index: int) -> None:
    view.FrameOfReferenceUID = geometry.frame_of_reference_uid
    view.PixelSpacing = list(geometry.pixel_spacing_mm)
    view.SliceThickness = geometry.slice_thickness_mm or geometry.spacing_mm or 0.0
    view.ImagePositionPatient = [round(float(v), 6) for v in geometry.positions_mm[index]]
    view.ImageOrientationPatient = [round(v, 6) for v in geometry.orientation]


def _predecessors(header: Dataset, context: ResultContext) -> list[Dataset] | None:
    """The reports of the revision that this one replaces (PredecessorDocumentsSequence)."""
    if context.supersedes is None:
        return None
    documents = []
    for reference in context.supersedes.objects:
        if reference.kind != "sr":
            continue
        document = Dataset()
        document.StudyInstanceUID = header.StudyInstanceUID
        document.SeriesInstanceUID = reference.series_instance_uid
        document.SOPInstanceUID = reference.sop_instance_uid
        document.SOPClassUID = reference.sop_class_uid
        documents.append(document)
    return documents or None
