"""Derived UIDs and repeatability.

Covered: same input, same bytes; what changes with revision, job and tracking identifier; what a re-run names.
Not covered: that an archive really treats a resend as the same object (tests of delivery).
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta

import pytest
from pydicom import Dataset

from node.results import Superseded, build_results
from node.results.uids import object_uid, tracking_uid
from pipelines.contract import Findings
from tests.results.result_sources import CREATED_AT, context, planar_findings


def uids_in(dataset: Dataset) -> set[str]:
    """Every UID of the dataset that was derived (2.25...)."""
    found: set[str] = set()
    for element in dataset.iterall():
        if element.VR == "UI":
            values = [element.value] if isinstance(element.value, str) else element.value
            found.update(str(v) for v in values if str(v).startswith("2.25."))
    return found


def test_the_same_findings_and_context_give_the_same_bytes(planar: Findings) -> None:
    first = [item.to_bytes() for item in build_results(planar, context())]
    second = [item.to_bytes() for item in build_results(planar, context())]
    assert first == second


def test_another_moment_changes_dates_but_no_uid(planar: Findings) -> None:
    earlier = build_results(planar, context())
    later = build_results(planar, context(created_at=CREATED_AT + timedelta(hours=1)))
    for one, other in zip(earlier, later, strict=True):
        assert uids_in(one.dataset) == uids_in(other.dataset)
        assert one.dataset.InstanceCreationTime != other.dataset.InstanceCreationTime


def test_a_new_revision_makes_new_objects_but_tracks_the_same_lesions(planar: Findings) -> None:
    first = build_results(planar, context())
    again = build_results(planar, context(revision=2, supersedes=Superseded(1, tuple(o.reference() for o in first))))
    for one, other in zip(first, again, strict=True):
        assert one.sop_instance_uid != other.sop_instance_uid
        assert one.series_instance_uid != other.series_instance_uid
        assert int(other.dataset.SeriesNumber) > int(one.dataset.SeriesNumber)
    tracked = [{s.TrackingUID for s in objects[0].dataset.SegmentSequence} for objects in (first, again)]
    assert tracked[0] == tracked[1]


def test_a_new_revision_names_what_it_supersedes(planar: Findings) -> None:
    first = build_results(planar, context())
    again = build_results(planar, context(revision=2, supersedes=Superseded(1, tuple(o.reference() for o in first))))
    seg, report = again[0].dataset, again[1].dataset
    predecessor = report.PredecessorDocumentsSequence[0]
    assert predecessor.StudyInstanceUID == report.StudyInstanceUID
    series = predecessor.ReferencedSeriesSequence[0]
    assert series.SeriesInstanceUID == first[1].series_instance_uid
    assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == first[1].sop_instance_uid
    assert first[0].sop_instance_uid in seg.ContentDescription
    assert "replaces" in seg.SeriesDescription


def test_a_first_revision_names_no_predecessor(planar_objects: dict) -> None:
    assert "PredecessorDocumentsSequence" not in planar_objects["sr"].dataset


def test_another_job_on_the_same_source_makes_other_objects(planar: Findings) -> None:
    one, other = build_results(planar, context()), build_results(planar, context(job_key="job-2"))
    source = str(planar.segmentations[0].source.headers[0].SOPInstanceUID)
    shared = uids_in(one[0].dataset) & uids_in(other[0].dataset)
    assert source in shared
    assert {o.sop_instance_uid for o in one}.isdisjoint(o.sop_instance_uid for o in other)


def test_derived_uids_are_legal_and_their_parts_cannot_be_confused() -> None:
    uid = object_uid("job", "seg", 1, "0")
    assert re.fullmatch(r"2\.25\.(0|[1-9]\d*)", uid) and len(uid) <= 64
    assert object_uid("job", "seg", 11, "") != object_uid("job", "seg", 1, "1")
    assert tracking_uid("a", "bc") != tracking_uid("ab", "c")


def test_a_rank_is_the_same_lesion_only_where_the_same_lesions_were_ranked(planar: Findings) -> None:
    def tracked(findings: Findings, revision: int) -> set[str]:
        objects = build_results(findings, context(revision=revision))
        return {str(e.value) for o in objects for e in o.dataset.iterall() if e.keyword == "TrackingUID"}

    once = replace(planar, numbering="anterior 10 20")
    assert tracked(once, 1)
    assert tracked(once, 1) == tracked(once, 2), "a re-run on the same images"
    assert tracked(once, 1).isdisjoint(tracked(replace(planar, numbering="anterior 90 20"), 2))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"revision": 0}, "start at 1"),
        ({"job_key": ""}, "job key"),
        ({"created_at": CREATED_AT.replace(tzinfo=None)}, "time zone"),
        ({"supersedes": Superseded(1, ())}, "cannot supersede"),
    ],
)
def test_a_context_that_cannot_be_right_is_refused(changes: dict, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        context(**changes)


def test_times_are_written_in_the_zone_of_creation_or_that_of_the_source(planar: Findings) -> None:
    report = build_results(planar, context())[1].dataset
    assert (str(report.ContentDate), str(report.ContentTime)) == ("20260302", "093015")
    source = planar.segmentations[0].source
    header = source.headers[0].copy()
    header.TimezoneOffsetFromUTC = "-0530"
    findings = planar_findings(type(source)((header,), source.frames, True, source.view_names))
    moved = build_results(findings, context())
    for item in moved:
        assert item.dataset.TimezoneOffsetFromUTC == "-0530"
    assert (str(moved[1].dataset.ContentDate), str(moved[1].dataset.ContentTime)) == ("20260301", "200015")
