"""The Structured Report: Comprehensive 3D SR, TID 1500 Measurement Report, in the manner of IHE AI Results.

Observer is the node (a device); the images stand in the Image Library (TID 1600), by series, and what describes them
is said of a series once: of each image it would be most of the report on a long CT. Figures stand in the measurement
groups of `node.results.report_groups`; conclusion, limitations and the research statement are texts in the container of
qualitative evaluations (TID 1500 row 12). The document is complete, preliminary and never verified: only a person
verifies.
"""

from __future__ import annotations

from collections.abc import Sequence

from highdicom.sr import (
    CodedConcept,
    Comprehensive3DSR,
    ContainerContentItem,
    DeviceObserverIdentifyingAttributes,
    ImageContentItem,
    ImageLibraryEntryDescriptors,
    MeasurementReport,
    ObservationContext,
    ObserverContext,
    RelationshipTypeValues,
    TextContentItem,
)
from highdicom.sr.value_types import ContentSequence
from pydicom import Dataset
from pydicom.sr.codedict import codes

from node.results.codes import (
    CONCLUSION,
    LIMITATION,
    QUALITATIVE_EVALUATIONS,
    RESEARCH_USE,
    SOURCE,
    private_schemes,
    procedure_reported,
)
from node.results.context import MANUFACTURER, MODEL_NAME, ResultContext
from node.results.report_groups import measurement_groups
from node.results.report_items import WrittenSegmentation
from node.results.source import source_instances
from node.results.stamp import constructor_values, series_description, series_number, stamp
from node.results.uids import device_uid
from pipelines.contract import Findings


def structured_report(findings: Findings, written: tuple[WrittenSegmentation, ...], context: ResultContext) -> Dataset:
    """The report of one study; `written` has one entry per segmentation of the findings."""
    header = findings.segmentations[0].source.headers[0]
    images = _images(findings)
    evidence = images + [item.seg for item in written if item.seg is not None]
    report = MeasurementReport(
        observation_context=_observer(context),
        procedure_reported=procedure_reported(str(header.get("Modality") or "")),
        imaging_measurements=measurement_groups(findings, written, context),  # type: ignore[arg-type]
        title=codes.DCM.ImagingMeasurementReport,
    )
    items = report[0].ContentSequence
    measured = next(n for n, item in enumerate(items) if item.name == codes.DCM.ImagingMeasurements)
    items.insert(measured, _image_library(images))
    items.append(_evaluations(findings, context))
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
    texts.append((RESEARCH_USE, findings.research_statement))
    container.ContentSequence = ContentSequence(
        [TextContentItem(CodedConcept.from_code(name), text, RelationshipTypeValues.CONTAINS) for name, text in texts]
    )
    return container


def _images(findings: Findings) -> list[Dataset]:
    """Header-only views of the source images, each once."""
    views = (i.view for s in findings.segmentations for i in source_instances(s.source))
    return list({str(view.SOPInstanceUID): view for view in views}.values())


def _image_library(images: Sequence[Dataset]) -> ContainerContentItem:
    """TID 1600: a group for each series, with what is true of all of its images, and the images (TID 1601)."""
    series: dict[str, list[Dataset]] = {}
    for image in images:
        series.setdefault(str(image.SeriesInstanceUID), []).append(image)
    library = ContainerContentItem(codes.DCM.ImageLibrary, relationship_type=RelationshipTypeValues.CONTAINS)
    library.ContentSequence = ContentSequence([_library_group(group) for group in series.values()])
    return library


def _library_group(images: Sequence[Dataset]) -> ContainerContentItem:
    described = Dataset()
    for keyword in ("SOPClassUID", "Rows", "Columns"):
        described.add(images[0][keyword])
    # By any other modality highdicom would ask for a position (TID 1604), which no two slices share.
    described.Modality = "OT"
    source = CodedConcept.from_code(SOURCE)
    group = ContainerContentItem(codes.DCM.ImageLibraryGroup, relationship_type=RelationshipTypeValues.CONTAINS)
    group.ContentSequence = ContentSequence([
        *ImageLibraryEntryDescriptors(described),
        *(
            ImageContentItem(source, image.SOPClassUID, image.SOPInstanceUID,
                             relationship_type=RelationshipTypeValues.CONTAINS)
            for image in images
        ),
    ])  # fmt: skip
    return group


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
