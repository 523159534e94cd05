"""Measurement groups of the report (TID 1410, 1411, 1501 of PS3.16): one for the study, one per region.

Two readers pull in different directions. The templates allow one kind of place per group (outline *or* segment).
OHIF 3.13 draws one outline per tracking UID, merges the groups that share one, and stops loading the whole report
at a group that has no outline at all. So every tracking UID gets an outline:

* study: the borders of the views (of the key frame in a volume) are the region that its figures were taken from;
* a region that shares its segment with others (lesions): its own outline (TID 1410), and each figure names the SEG
  frame it was inferred from;
* a region that is its segment of a volume, alone on it or beside parts of it: the segment (TID 1411) with the
  figures, then its outline (TID 1410) under the same tracking UID, that of the segment;
* further outlines of a region: one group each, without figures, with tracking UIDs of their own;
* a written segment that no region speaks for: as a region alone, without figures.

Only a region that shares its segment and brings no contour ends without an outline (TID 1501): there is no telling
which part of the segment it is.
"""

from __future__ import annotations

from typing import Any

from highdicom.sr import (
    AlgorithmIdentification,
    FindingSite,
    MeasurementsAndQualitativeEvaluations,
    PlanarROIMeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    TrackingIdentifier,
    VolumetricROIMeasurementsAndQualitativeEvaluations,
)
from highdicom.sr.value_types import ContentSequence

from node.results.codes import ARTIFICIAL_INTELLIGENCE, IMAGE_VIEW, LATERALITY, LOCATION, PICTURE_NUMBER, VIEW_CODES
from node.results.context import MANUFACTURER, ResultContext
from node.results.outline import segment_outline, whole_frame
from node.results.report_items import (
    WrittenSegmentation,
    add_comments,
    add_texts,
    image_region,
    measurements,
    missing,
    referenced_segment,
    segmentation_frame,
)
from node.results.segments import algorithm_parameters
from node.results.uids import tracking_uid
from pipelines.contract import Contour, Findings, Region, Segment, Segmentation

STUDY_TRACKING_ID = "study"
STUDY_COMMENT = "Figures of the whole study; the outline marks the images they belong to."
NOTHING_SEGMENTED = "No lesion segmented: the segmentation is empty."


def measurement_groups(
    findings: Findings, written: tuple[WrittenSegmentation, ...], context: ResultContext
) -> list[ContentSequence]:
    """All groups: study, regions in the order of the findings, segments that no region speaks for."""
    builder = _Groups(findings, written, context)
    groups = [builder.study()]
    for number, region in enumerate(findings.regions, start=1):
        groups.extend(builder.region(number, region))
    spoken_for = {(region.segmentation, region.segment_number) for region in findings.regions}
    for index, item in enumerate(written):
        for segment in item.written.segments:
            if (index, segment.number) not in spoken_for:
                groups.extend(builder.segment(item, segment))
    return groups


class _Groups:
    """Builds the groups of one report."""

    def __init__(self, findings: Findings, written: tuple[WrittenSegmentation, ...], context: ResultContext) -> None:
        self._findings = findings
        self._written = written
        self._context = context
        self._has_marks = any(region.mark for region in findings.regions)

    def study(self) -> ContentSequence:
        """Figures of the whole study."""
        first = self._written[0].segmentation
        group = VolumetricROIMeasurementsAndQualitativeEvaluations(
            referenced_regions=[image_region(first, border) for border in _study_borders(first)],
            tracking_identifier=self._tracking(STUDY_TRACKING_ID),
            algorithm_id=self._algorithm(),
            measurements=measurements(self._findings.quantities) or None,
        )
        add_comments(group, [STUDY_COMMENT, *missing(self._findings.quantities)])
        if all(item.seg is None for item in self._written):
            add_comments(group, [NOTHING_SEGMENTED])
        return group

    def region(self, number: int, region: Region) -> list[ContentSequence]:
        """One region's groups; the first one carries its figures."""
        item = self._written[region.segmentation]
        segment = next((s for s in item.written.segments if s.number == region.segment_number), None)
        # The longest outline is the one that stands with the figures.
        contours = sorted(region.contours, key=lambda contour: -len(contour.points))
        tracking_id = region.tracking_id
        groups: list[ContentSequence]
        if segment is not None and self._is_whole_segment(region):
            tracking_id = segment.tracking_id
            contours = contours or [segment_outline(item.segmentation, segment.number)]
            values = self._common(region, tracking_id, measurements(region.quantities))
            groups = [
                VolumetricROIMeasurementsAndQualitativeEvaluations(
                    referenced_segment=referenced_segment(item, segment), **values
                ),
                self._outline(item.segmentation, contours.pop(0), tracking_id, region),
            ]
        elif contours:
            contour = contours.pop(0)
            source = segmentation_frame(item, region.segment_number, contour.frame)
            values = self._common(region, tracking_id, measurements(region.quantities, source))
            place = image_region(item.segmentation, contour)
            groups = [PlanarROIMeasurementsAndQualitativeEvaluations(referenced_region=place, **values)]
        else:
            values = self._common(region, tracking_id, measurements(region.quantities))
            groups = [MeasurementsAndQualitativeEvaluations(**values)]
        self._describe(groups[0], number, region)
        for part, contour in enumerate(contours, start=2):
            groups.append(self._outline(item.segmentation, contour, f"{tracking_id} outline {part}", region))
        return groups

    def segment(self, item: WrittenSegmentation, segment: Segment) -> list[ContentSequence]:
        """A segment as a whole, without figures."""
        group = VolumetricROIMeasurementsAndQualitativeEvaluations(
            referenced_segment=referenced_segment(item, segment),
            tracking_identifier=self._tracking(segment.tracking_id),
            finding_type=segment.type,
            finding_category=segment.category,
            finding_sites=[FindingSite(segment.anatomic_region)] if segment.anatomic_region is not None else None,
            algorithm_id=self._algorithm(),
        )
        add_comments(group, [segment.label])
        contour = segment_outline(item.segmentation, segment.number)
        return [group, self._outline(item.segmentation, contour, segment.tracking_id)]

    def _is_whole_segment(self, region: Region) -> bool:
        """Whether a region is its segment: alone on it, or the only one there that brings no outline of a part.

        On a planar source a segment spans views and a region is on one, so it never is the whole segment.
        """
        if self._written[region.segmentation].segmentation.source.planar:
            return False
        place = (region.segmentation, region.segment_number)
        others = [r for r in self._findings.regions if (r.segmentation, r.segment_number) == place and r is not region]
        return not others or (not region.contours and all(other.contours for other in others))

    def _outline(
        self, segmentation: Segmentation, contour: Contour, tracking_id: str, region: Region | None = None
    ) -> ContentSequence:
        return PlanarROIMeasurementsAndQualitativeEvaluations(
            referenced_region=image_region(segmentation, contour),
            tracking_identifier=self._tracking(tracking_id),
            finding_type=region.finding if region is not None else None,
            algorithm_id=self._algorithm(),
        )

    def _common(self, region: Region, tracking_id: str, figures: list[Any]) -> dict[str, Any]:
        """Constructor values that all group templates share."""
        evaluations = []
        if region.view in VIEW_CODES:
            evaluations.append(QualitativeEvaluation(IMAGE_VIEW, VIEW_CODES[region.view]))
        if region.laterality is not None and region.finding_site is None:
            evaluations.append(QualitativeEvaluation(LATERALITY, region.laterality))
        sites = [FindingSite(region.finding_site, region.laterality)] if region.finding_site is not None else None
        return {
            "tracking_identifier": self._tracking(tracking_id),
            "finding_type": region.finding,
            "finding_sites": sites,
            "algorithm_id": self._algorithm(),
            "measurements": figures or None,
            "qualitative_evaluations": evaluations or None,
        }

    def _describe(self, group: ContentSequence, number: int, region: Region) -> None:
        """Say what the region is called, where it is, and which figures are missing."""
        if region.mark or not self._has_marks:
            add_texts(group, [(PICTURE_NUMBER, f"{region.mark or number}: {region.label}")])
        else:  # pictures with marks show no numbers
            add_comments(group, [region.label])
        if region.location:
            add_texts(group, [(LOCATION, region.location)])
        if region.view and region.view not in VIEW_CODES:
            add_comments(group, [f"View: {region.view}"])
        add_comments(group, missing(region.quantities))

    def _tracking(self, identifier: str) -> TrackingIdentifier:
        uid = tracking_uid(self._context.job_key, identifier, self._findings.numbering)
        return TrackingIdentifier(uid=uid, identifier=identifier)

    def _algorithm(self) -> AlgorithmIdentification:
        return AlgorithmIdentification(
            name=self._findings.algorithm_name,
            version=self._findings.pipeline_version,
            parameters=algorithm_parameters(self._findings),
            family=ARTIFICIAL_INTELLIGENCE,
            manufacturer=MANUFACTURER,
        )


def _study_borders(segmentation: Segmentation) -> list[Contour]:
    frames, rows, columns = segmentation.label_map.shape
    if segmentation.source.planar:
        return [whole_frame(frame, rows, columns) for frame in range(frames)]
    key = segmentation.key_frames[0] if segmentation.key_frames else frames // 2
    return [whole_frame(key, rows, columns)]
