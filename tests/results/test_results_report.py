"""The Structured Report: figures, places, words.

Oracle: highdicom's reader (srread) for the figures; for what OHIF needs, its own rules as read in its source (it
stops loading a report at a tracking UID without coordinates).
Not covered: dciodvfy and dsrdump (test_results_conformance).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from io import BytesIO

import highdicom
import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.config import disable_value_validation
from pydicom.sr.coding import Code

from node.results import ResultObject, Superseded, build_results
from node.results.uids import tracking_uid
from pipelines.contract import Contour, Findings, Quantity
from tests.results.result_sources import (
    BSTBI,
    NO_UNITS,
    context,
    planar_findings,
    planar_source,
    whole_body,
)
from tests.results.test_results_many_segments import sagittal, spine


def report_of(findings: Findings, **changes: object) -> Dataset:
    objects = build_results(findings, context(**changes))
    return read_back(next(item for item in objects if item.kind == "sr"))


def read_back(item: ResultObject) -> Dataset:
    with disable_value_validation():
        return dcmread(BytesIO(item.to_bytes()))


def groups_of(report: Dataset) -> list[Dataset]:
    """Measurement groups in document order."""
    measured = next(i for i in report.ContentSequence if concept(i) == "126010")
    return [i for i in measured.ContentSequence if concept(i) == "125007"]


def concept(item: Dataset) -> str:
    code = item.ConceptNameCodeSequence[0]
    return str(code.get("CodeValue") or code.LongCodeValue)


def items(group: Dataset, value_type: str) -> list[Dataset]:
    return [i for i in group.ContentSequence if i.ValueType == value_type]


def tracking(group: Dataset) -> tuple[str, str]:
    identifier = next(i.TextValue for i in group.ContentSequence if concept(i) == "112039")
    return identifier, next(i.UID for i in group.ContentSequence if concept(i) == "112040")


def numbers(group: Dataset) -> dict[tuple[str, str], float]:
    """(concept, derivation) -> value."""
    found = {}
    for item in items(group, "NUM"):
        derivation = [c for c in item.get("ContentSequence", []) if concept(c) == "121401"]
        how = derivation[0].ConceptCodeSequence[0].CodeMeaning if derivation else ""
        found[(item.ConceptNameCodeSequence[0].CodeMeaning, how)] = item.MeasuredValueSequence[0].FloatingPointValue
    return found


def texts(dataset: Dataset) -> list[str]:
    return [e.value for e in dataset.iterall() if e.keyword == "TextValue"]


def test_highdicom_reads_the_same_numbers_from_the_report(planar: Findings, tmp_path) -> None:
    path = tmp_path / "report.dcm"
    path.write_bytes(next(o for o in build_results(planar, context()) if o.kind == "sr").to_bytes())
    content = highdicom.sr.srread(path).content
    assert isinstance(content, highdicom.sr.MeasurementReport)
    for region in planar.regions:
        (group,) = content.get_planar_roi_measurement_groups(tracking_uid=tracking_uid("job-1", region.tracking_id))
        expected = [(q.name.meaning, q.value, q.unit.value) for q in region.quantities if q.value is not None]
        assert [(m.name.meaning, m.value, m.unit.value) for m in group.get_measurements()] == expected
        assert group.finding_type == region.finding
        roi = group.roi
        assert roi is not None
        np.testing.assert_allclose(roi.value, region.contours[0].points)
    (study,) = content.get_volumetric_roi_measurement_groups(tracking_uid=tracking_uid("job-1", "study"))
    assert [(m.name.meaning, m.value) for m in study.get_measurements()] == [
        (q.name.meaning, q.value) for q in planar.quantities
    ]


def test_each_region_says_finding_site_side_view_and_place(planar: Findings) -> None:
    group = groups_of(report_of(planar))[1]
    site = next(i for i in group.ContentSequence if concept(i) == "363698007")
    assert site.ConceptCodeSequence[0].CodeMeaning == "Bone"
    assert site.ContentSequence[0].ConceptCodeSequence[0].CodeMeaning == "Right"
    view = next(i for i in group.ContentSequence if concept(i) == "111031")
    assert view.ConceptCodeSequence[0].CodeValue == "399321004", "anterior projection"
    assert "ribs, 3rd to 5th" in texts(group)
    assert "1: Lesion 1, anterior" in texts(group), "the number on the overlay picture"


def test_each_outline_lies_on_the_frame_of_its_view(planar: Findings) -> None:
    for group, region in zip(groups_of(report_of(planar))[1:], planar.regions, strict=True):
        (outline,) = items(group, "SCOORD")
        reference = outline.ContentSequence[0].ReferencedSOPSequence[0]
        assert int(reference.ReferencedFrameNumber) == ("anterior", "posterior").index(region.view) + 1
        assert outline.GraphicType == "POLYLINE"
        points = np.reshape(outline.GraphicData, (-1, 2))
        np.testing.assert_allclose(points[0], points[-1], err_msg="closed")


def test_each_figure_of_a_lesion_names_the_seg_frame_it_came_from(planar: Findings) -> None:
    objects = build_results(planar, context())
    seg = objects[0].dataset
    for group, region in zip(groups_of(objects[1].dataset)[1:], planar.regions, strict=True):
        for number in items(group, "NUM"):
            (image,) = [c for c in number.ContentSequence if c.ValueType == "IMAGE"]
            reference = image.ReferencedSOPSequence[0]
            assert reference.ReferencedSOPInstanceUID == seg.SOPInstanceUID
            assert "ReferencedSegmentNumber" not in reference
            frame = seg.PerFrameFunctionalGroupsSequence[int(reference.ReferencedFrameNumber) - 1]
            assert frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber == region.segment_number
            assert frame.FrameContentSequence[0].FrameLabel == region.view


@pytest.mark.parametrize("name", ["planar", "nm1", "ct", "spect"])
def test_every_tracking_uid_has_one_outline_so_that_ohif_draws_it(
    name: str, planar_objects: dict, request: pytest.FixtureRequest
) -> None:
    objects = planar_objects if name == "planar" else request.getfixturevalue("real_objects")[name]
    outlines: dict[str, int] = defaultdict(int)
    for group in groups_of(read_back(objects["sr"])):
        identifier, uid = tracking(group)
        outlines[uid] += len(items(group, "SCOORD")) if identifier != "study" else min(1, len(items(group, "SCOORD")))
    assert outlines and set(outlines.values()) == {1}


def test_further_outlines_of_a_lesion_are_tracked_by_themselves(planar: Findings) -> None:
    first = planar.regions[0]
    second = Contour(0, first.contours[0].points + 20.0)
    findings = replace(planar, regions=(replace(first, contours=(*first.contours, second)), *planar.regions[1:]))
    groups = groups_of(report_of(findings))
    identifiers = [tracking(group) for group in groups]
    assert len({uid for _, uid in identifiers}) == len(identifiers)
    extra = groups[[name for name, _ in identifiers].index(f"{first.tracking_id} outline 2")]
    assert not items(extra, "NUM"), "the figures stand once"


def test_a_lesion_alone_on_its_segment_refers_to_the_segment(real_objects: dict) -> None:
    seg = real_objects["ct"]["seg"].dataset
    groups = groups_of(real_objects["ct"]["sr"].dataset)
    for number, segment in enumerate(seg.SegmentSequence, start=1):
        figures, outline = [g for g in groups if tracking(g)[1] == segment.TrackingUID]
        (reference,) = [i for i in figures.ContentSequence if concept(i) == "121191"]
        assert reference.ReferencedSOPSequence[0].ReferencedSegmentNumber == number
        assert items(figures, "NUM") and not items(outline, "NUM")


def test_a_missing_figure_is_left_out_and_explained(planar: Findings) -> None:
    nothing = Quantity(BSTBI, None, NO_UNITS, reason="all activity lies in the bladder")
    report = report_of(replace(planar, quantities=(nothing,)))
    study = groups_of(report)[0]
    assert numbers(study) == {}
    assert "Bone scan tumour burden index is not given: all activity lies in the bladder" in texts(study)
    lesion = groups_of(report)[1]
    assert ("Nuclear Medicine Projection Activity", "Maximum") not in numbers(lesion)
    assert numbers(lesion)[("Nuclear Medicine Projection Activity", "Mean")] == 123.456789012345
    assert any("Maximum) is not given: a frame was clipped" in text for text in texts(lesion))


def test_what_no_code_covers_is_said_beside_the_figure(planar: Findings) -> None:
    study = groups_of(report_of(planar))[0]
    (index,) = [i for i in items(study, "NUM") if concept(i) == "BSTBI"]
    assert texts(index) == ["K=5, mean of 4 images, unedited"]


def test_private_codes_are_identified_and_public_ones_are_not(planar: Findings) -> None:
    report = report_of(planar)
    (scheme,) = report.CodingSchemeIdentificationSequence
    assert scheme.CodingSchemeDesignator == "99OSTEON" and scheme.CodingSchemeUID.startswith("2.25.")
    used = {e.value for e in report.iterall() if e.keyword == "CodingSchemeDesignator"}
    assert "99OSTEON" in used and "SCT" in used


def test_conclusion_limitations_and_research_statement_are_in_the_document(planar: Findings) -> None:
    report = report_of(planar)
    evaluations = next(i for i in report.ContentSequence if concept(i) == "C0034375")
    words = {concept(i): i.TextValue for i in evaluations.ContentSequence}
    assert words["121077"] == planar.conclusion
    assert words["LIMITATION"] == planar.limitations[0]
    assert words["RESEARCH-USE"] == "Research use, trained on simulated data"


def test_results_of_a_sites_own_weights_do_not_say_that_they_were_trained_on_simulated_data(planar: Findings) -> None:
    own = replace(planar, models=tuple(replace(model, simulated_only=False) for model in planar.models))
    assert planar.models
    for item in build_results(own, context()):
        assert b"simulated data" not in item.to_bytes()
    for item in build_results(replace(own, models=(*own.models, *planar.models)), context()):
        assert b"simulated data" in item.to_bytes() or item.kind == "sc", "a picture shows it"


def test_the_document_is_complete_preliminary_and_unverified(planar: Findings) -> None:
    report = report_of(planar)
    assert (report.CompletionFlag, report.PreliminaryFlag, report.VerificationFlag) == (
        "COMPLETE",
        "PRELIMINARY",
        "UNVERIFIED",
    )
    assert "VerifyingObserverSequence" not in report


def test_the_algorithm_and_its_weights_are_named_in_every_group(planar: Findings) -> None:
    for group in groups_of(report_of(planar)):
        names = {concept(i): i for i in group.ContentSequence}
        assert names["111001"].TextValue == planar.algorithm_name
        assert planar.models[0].sha256 in names["111002"].TextValue
        assert names["111000"].ConceptCodeSequence[0].CodeValue == "123110", "artificial intelligence"


def test_the_report_lists_source_and_segmentation_as_evidence(planar: Findings) -> None:
    objects = build_results(planar, context())
    report = objects[1].dataset
    evidence = {
        instance.ReferencedSOPInstanceUID
        for study in report.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for instance in series.ReferencedSOPSequence
    }
    assert evidence == {planar.segmentations[0].source.frames[0].sop_instance_uid, objects[0].sop_instance_uid}


def test_the_image_library_has_each_image_once_by_series_and_describes_a_series_once() -> None:
    findings = spine(sagittal())
    content = report_of(findings).ContentSequence
    order = [concept(item) for item in content]
    assert order.index("111028") < order.index("126010"), "TID 1500: the library before what was measured"
    (group,) = content[order.index("111028")].ContentSequence
    assert concept(group) == "126200"
    listed = [i.ReferencedSOPSequence[0] for i in items(group, "IMAGE")]
    headers = findings.segmentations[0].source.headers
    assert [(r.ReferencedSOPClassUID, r.ReferencedSOPInstanceUID) for r in listed] == [
        (h.SOPClassUID, h.SOPInstanceUID) for h in headers
    ]
    assert not any("ContentSequence" in i for i in items(group, "IMAGE"))
    (modality,) = items(group, "CODE")
    assert modality.ConceptCodeSequence[0].CodeValue == "MR"
    sizes = {concept(i): int(i.MeasuredValueSequence[0].NumericValue) for i in items(group, "NUM")}
    assert sizes == {"110910": headers[0].Rows, "110911": headers[0].Columns}


def test_a_predecessor_without_a_report_leaves_the_sequence_out(planar: Findings) -> None:
    report = report_of(planar, revision=2, supersedes=Superseded(1, ()))
    assert "PredecessorDocumentsSequence" not in report


def test_a_long_outline_is_thinned_to_what_an_element_holds() -> None:
    findings = planar_findings(planar_source([whole_body(128, 32)]))
    angle = np.linspace(0, 2 * np.pi, 30001)
    circle = Contour(0, np.stack([16 + 9 * np.cos(angle), 60 + 9 * np.sin(angle)], axis=1))
    region = replace(findings.regions[0], contours=(circle,))
    (outline,) = items(groups_of(report_of(replace(findings, regions=(region,))))[1], "SCOORD")
    points = np.reshape(outline.GraphicData, (-1, 2))
    assert len(points) <= 8191
    np.testing.assert_allclose(points[0], points[-1], atol=1e-6)
    np.testing.assert_allclose(np.hypot(points[:, 0] - 16, points[:, 1] - 60), 9, atol=1e-4)


def test_long_private_codes_are_written_as_long_code_values(planar: Findings) -> None:
    code = Code("BSTBI-ANTERIOR-WINDOW-1", "99OSTEON", "BSTBI, anterior, upper window")
    report = report_of(replace(planar, quantities=(Quantity(code, 0.25, NO_UNITS),)))
    assert numbers(groups_of(report)[0]) == {("BSTBI, anterior, upper window", ""): 0.25}
