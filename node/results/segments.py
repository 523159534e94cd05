"""Which segments are written, under which numbers, and how they are described.

A segment without a voxel is dropped; the rest are numbered 1, 2, 3 ... as BINARY objects demand (PS3.3 C.8.20.2).
The mapping is kept, because the report refers to the numbers that were written.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from highdicom import AlgorithmIdentificationSequence
from highdicom.color import CIELabColor
from highdicom.seg import SegmentAlgorithmTypeValues, SegmentDescription
from highdicom.sr import CodedConcept

from node.results.codes import ARTIFICIAL_INTELLIGENCE
from node.results.context import MANUFACTURER, ResultContext
from node.results.source import source_modality
from node.results.stamp import LO_LENGTH
from node.results.uids import tracking_uid
from pipelines.contract import Findings, Segment, Segmentation


@dataclass(frozen=True)
class WrittenSegments:
    """The segments that have voxels.

    Attributes
    ----------
    label_map
        Same shape as the segmentation's, with the written numbers.
    segments
        In the order of the written numbers.
    number_of
        Number in the findings -> number written.
    """

    label_map: np.ndarray
    segments: tuple[Segment, ...]
    number_of: dict[int, int]


def written_segments(segmentation: Segmentation) -> WrittenSegments:
    """Drop empty segments and number the rest from 1."""
    kept = tuple(s for s in sorted(segmentation.segments, key=lambda s: s.number) if s.number in segmentation.boxes)
    number_of = {segment.number: index for index, segment in enumerate(kept, start=1)}
    largest = max((s.number for s in segmentation.segments), default=0)
    table = np.zeros(max(largest, max(segmentation.boxes, default=0)) + 1, dtype=np.uint16)
    for old, new in number_of.items():
        table[old] = new
    return WrittenSegments(table[segmentation.label_map], kept, number_of)


def segmentation_title(findings: Findings, index: int) -> str:
    """What a SEG is called: where a result has several, with the modality it was drawn on, to be told in a list."""
    if len(findings.segmentations) == 1:
        return "segmentation"
    return f"segmentation {source_modality(findings.segmentations[index].source)}".rstrip()


def algorithm_parameters(findings: Findings) -> list[str]:
    """Which weights were used, one line per model (Algorithm Parameters)."""
    return [
        f"weights {model.name} {model.version} sha256:{model.sha256} trained on {model.trained_on}"
        for model in findings.models
    ]


def describe(findings: Findings, written: WrittenSegments, context: ResultContext) -> list[SegmentDescription]:
    """Segment Sequence items (PS3.3 C.8.20.4) for the written segments."""
    algorithm = AlgorithmIdentificationSequence(
        name=findings.algorithm_name[:LO_LENGTH],
        family=ARTIFICIAL_INTELLIGENCE,
        version=findings.pipeline_version[:LO_LENGTH],
        source=MANUFACTURER,
    )
    if findings.models:
        algorithm[0].AlgorithmParameters = "; ".join(algorithm_parameters(findings))
    descriptions = []
    for segment in written.segments:
        item = SegmentDescription(
            segment_number=written.number_of[segment.number],
            segment_label=segment.label[:LO_LENGTH],
            segmented_property_category=segment.category,
            segmented_property_type=segment.type,
            algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=algorithm,
            tracking_uid=tracking_uid(context.job_key, segment.tracking_id, findings.numbering),
            tracking_id=segment.tracking_id,
            anatomic_regions=[segment.anatomic_region] if segment.anatomic_region is not None else None,
            display_color=CIELabColor.from_rgb(*segment.colour_rgb),
        )
        if segment.laterality is not None:
            modifier = CodedConcept.from_code(segment.laterality)
            item.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [modifier]
        words = [segment.description, findings.research_statement]
        item.SegmentDescription = ". ".join(word.rstrip(".") for word in words if word)
        descriptions.append(item)
    return descriptions
