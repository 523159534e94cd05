"""Findings -> result objects: which objects a study gets, in the order they are sent.

One SEG per segmentation that has voxels (an empty one gets none: the report says so), one report, one secondary
capture per segmentation. Pure: no file, network or clock is touched, and the same input gives the same bytes.
"""

from __future__ import annotations

from node.results.capture import secondary_capture
from node.results.context import ResultContext, ResultObject
from node.results.report import structured_report
from node.results.report_items import WrittenSegmentation
from node.results.seg_planar import planar_seg
from node.results.seg_volume import volume_seg
from node.results.segments import written_segments
from node.results.source import source_modality
from pipelines.contract import Findings


def build_results(findings: Findings, context: ResultContext) -> list[ResultObject]:
    """All DICOM objects of one study: segmentations, then the report, then the captures.

    Raises
    ------
    PermanentError
        If the source lacks what a valid object needs: the UIDs of study, series or object, or, for a volume, its
        geometry.
    ValueError
        If the findings contradict themselves (no segmentation, label map of another size than the source).
    """
    _check(findings)
    written = tuple(_write_segmentation(findings, index, context) for index in range(len(findings.segmentations)))
    objects = [
        ResultObject.of("seg", item.seg, source_modality(item.segmentation.source))
        for item in written
        if item.seg is not None
    ]
    objects.append(ResultObject.of("sr", structured_report(findings, written, context)))
    for index in range(len(findings.segmentations)):
        objects.append(ResultObject.of("sc", secondary_capture(findings, index, context)))
    return objects


def _write_segmentation(findings: Findings, index: int, context: ResultContext) -> WrittenSegmentation:
    segmentation = findings.segmentations[index]
    written = written_segments(segmentation)
    if not written.segments:
        return WrittenSegmentation(segmentation, written, None)
    write = planar_seg if segmentation.source.planar else volume_seg
    return WrittenSegmentation(segmentation, written, write(findings, index, written, context))


def _check(findings: Findings) -> None:
    if not findings.segmentations:
        raise ValueError("findings without a segmentation name no source series, so no result can refer to one")
    for segmentation in findings.segmentations:
        header = segmentation.source.headers[0]
        size = (int(header.get("Rows") or 0), int(header.get("Columns") or 0))
        if size != (0, 0) and segmentation.label_map.shape[1:] != size:
            raise ValueError(f"label map {segmentation.label_map.shape[1:]} is not of the source's size {size}")
    for region in findings.regions:
        if not 0 <= region.segmentation < len(findings.segmentations):
            raise ValueError(
                f"region '{region.tracking_id}' names segmentation {region.segmentation}, which is not there"
            )
