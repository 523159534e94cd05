"""`summary.json`: one study's result for scripts and people, without patient attributes.

The models below are its schema, and `summary.schema.json` beside this file is that schema written out (a test keeps
the two the same). Fields may be added under one `schema` number; a change of meaning counts it up.

Codes are objects of value, scheme and meaning; a quantity has either a value or the reason why there is none;
`number` of a region is the one on the overlay picture and in the report.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydicom.sr.coding import Code

from node.results.context import ResultObject
from node.results.segments import written_segments
from pipelines.contract import Findings, Quantity, Region, Segmentation

SUMMARY_SCHEMA: Final = "osteon.summary/1"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CodeEntry(_Strict):
    """A coded concept."""

    value: str
    scheme: str
    meaning: str


class QuantityEntry(_Strict):
    """A measured number, or the reason why there is none."""

    name: CodeEntry
    value: float | None
    unit: CodeEntry
    derivation: CodeEntry | None = None
    method: str = ""
    reason: str = ""


class RegionEntry(_Strict):
    """A measured region."""

    number: int = Field(description="number on the overlay picture and in the report, from 1")
    tracking_id: str
    label: str
    finding: CodeEntry
    segmentation: int = Field(description="index into `segmentations`")
    segment: int | None = Field(description="segment number in the SEG, null where nothing was written")
    finding_site: CodeEntry | None = None
    laterality: CodeEntry | None = None
    view: str = ""
    location: str = ""
    quantities: list[QuantityEntry]


class SegmentEntry(_Strict):
    """A segment of a SEG."""

    number: int
    label: str
    category: CodeEntry
    type: CodeEntry
    tracking_id: str
    colour_rgb: tuple[int, int, int]
    pixels: int = Field(description="pixels or voxels of the source grid")


class SegmentationEntry(_Strict):
    """What was drawn on one source series."""

    source_series_instance_uid: str
    planar: bool
    views: list[str]
    frames: int
    rows: int
    columns: int
    segments: list[SegmentEntry]


class ModelEntry(_Strict):
    """Weights used."""

    name: str
    version: str
    sha256: str
    trained_on: str
    simulated_only: bool = True


class ObjectEntry(_Strict):
    """A DICOM object that was written."""

    kind: Literal["seg", "sr", "sc"]
    description: str
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str


class Summary(_Strict):
    """One study's result."""

    schema_: Literal["osteon.summary/1"] = Field(default=SUMMARY_SCHEMA, alias="schema")
    pipeline: str
    pipeline_version: str
    algorithm: str
    models: list[ModelEntry]
    study_instance_uid: str
    conclusion: str
    limitations: list[str]
    quantities: list[QuantityEntry]
    regions: list[RegionEntry]
    segmentations: list[SegmentationEntry]
    objects: list[ObjectEntry]
    details: dict[str, Any] = Field(description="pipeline's own JSON values, not under this schema")


def summary(findings: Findings, objects: Sequence[ResultObject]) -> dict[str, object]:
    """The JSON-ready summary of findings and the objects written for them.

    Raises
    ------
    pydantic.ValidationError
        If the findings hold something that does not fit the schema.
    """
    written = [written_segments(s).number_of for s in findings.segmentations]
    entry = Summary(
        schema=SUMMARY_SCHEMA,
        pipeline=findings.pipeline,
        pipeline_version=findings.pipeline_version,
        algorithm=findings.algorithm_name,
        models=[ModelEntry(**vars(model)) for model in findings.models],
        study_instance_uid=str(findings.segmentations[0].source.headers[0].StudyInstanceUID),
        conclusion=findings.conclusion,
        limitations=list(findings.limitations),
        quantities=[_quantity(q) for q in findings.quantities],
        regions=[_region(n, r, written) for n, r in enumerate(findings.regions, start=1)],
        segmentations=[_segmentation(s, written[i]) for i, s in enumerate(findings.segmentations)],
        objects=[
            ObjectEntry(
                kind=o.kind,
                description=o.description,
                sop_class_uid=o.sop_class_uid,
                sop_instance_uid=o.sop_instance_uid,
                series_instance_uid=o.series_instance_uid,
            )
            for o in objects
        ],
        details=dict(findings.details),
    )
    return entry.model_dump(mode="json", by_alias=True)


def json_schema() -> dict[str, object]:
    """The JSON Schema of a summary (draft 2020-12)."""
    return Summary.model_json_schema(by_alias=True, mode="serialization")


def _code(code: Code) -> CodeEntry:
    return CodeEntry(value=code.value, scheme=code.scheme_designator, meaning=code.meaning)


def _optional(code: Code | None) -> CodeEntry | None:
    return _code(code) if code is not None else None


def _quantity(quantity: Quantity) -> QuantityEntry:
    return QuantityEntry(
        name=_code(quantity.name),
        value=None if quantity.value is None else float(quantity.value),
        unit=_code(quantity.unit),
        derivation=_optional(quantity.derivation),
        method=quantity.method,
        reason=quantity.reason,
    )


def _region(number: int, region: Region, written: list[dict[int, int]]) -> RegionEntry:
    return RegionEntry(
        number=number,
        tracking_id=region.tracking_id,
        label=region.label,
        finding=_code(region.finding),
        segmentation=region.segmentation,
        segment=written[region.segmentation].get(region.segment_number),
        finding_site=_optional(region.finding_site),
        laterality=_optional(region.laterality),
        view=region.view,
        location=region.location,
        quantities=[_quantity(q) for q in region.quantities],
    )


def _segmentation(segmentation: Segmentation, number_of: dict[int, int]) -> SegmentationEntry:
    frames, rows, columns = segmentation.label_map.shape
    return SegmentationEntry(
        source_series_instance_uid=segmentation.source.series_instance_uid,
        planar=segmentation.source.planar,
        views=list(segmentation.source.view_names),
        frames=frames,
        rows=rows,
        columns=columns,
        segments=[
            SegmentEntry(
                number=number_of[s.number],
                label=s.label,
                category=_code(s.category),
                type=_code(s.type),
                tracking_id=s.tracking_id,
                colour_rgb=s.colour_rgb,
                pixels=int(segmentation.pixels_by_frame(s.number).sum()),
            )
            for s in sorted(segmentation.segments, key=lambda s: s.number)
            if s.number in number_of
        ],
    )
