"""Planar SEG: what is in each frame, and what the object says about where frames belong.

Oracles: pydicom's own decoding of one-bit pixels, and highdicom's reader of segmentations.
Not covered here: dciodvfy (test_results_conformance) and the viewer (tests/viewer).
"""

from __future__ import annotations

from copy import deepcopy
from io import BytesIO

import highdicom
import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from node.results import build_results
from pipelines.contract import Findings
from tests.results.result_sources import (
    ANTERIOR_IOP,
    BLADDER_SEGMENT,
    LESION,
    context,
    header_of,
    planar_findings,
    planar_label_map,
    planar_source,
    whole_body,
)


def written(findings: Findings) -> Dataset:
    """The SEG as it is read back from its bytes."""
    return dcmread(BytesIO(build_results(findings, context())[0].to_bytes()))


def frames_of(seg: Dataset) -> dict[tuple[int, int], np.ndarray]:
    """(segment number, source frame) -> mask, decoded by pydicom."""
    pixels = seg.pixel_array.reshape(int(seg.NumberOfFrames), seg.Rows, seg.Columns)
    found = {}
    for group, frame in zip(seg.PerFrameFunctionalGroupsSequence, pixels, strict=True):
        segment = int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        image = group.DerivationImageSequence[0].SourceImageSequence[0]
        found[(segment, int(image.get("ReferencedFrameNumber", 0)))] = frame.astype(bool)
    return found


def test_every_frame_holds_its_segment_on_its_view(planar: Findings) -> None:
    label_map = planar.segmentations[0].label_map
    frames = frames_of(written(planar))
    assert set(frames) == {(1, 1), (1, 2), (2, 1)}, "the bladder is on the anterior view only"
    for (segment, view), mask in frames.items():
        np.testing.assert_array_equal(mask, label_map[view - 1] == segment)


@pytest.mark.parametrize("size", [(256, 64), (101, 37), (33, 3)])
def test_highdicom_reads_the_label_map_back_from_any_size(size: tuple[int, int]) -> None:
    dataset = whole_body(*size)
    label_map = np.random.default_rng(3).integers(0, 3, (2, *size)).astype(np.uint8)
    findings = planar_findings(planar_source([dataset]), label_map, regions=())
    seg = highdicom.seg.Segmentation.from_dataset(written(findings))
    read = seg.get_pixels_by_source_frame(dataset.SOPInstanceUID, [1, 2], combine_segments=True)
    np.testing.assert_array_equal(read, label_map)


def test_a_single_frame_secondary_capture_is_referenced_without_a_frame_number() -> None:
    dataset = single_view()
    findings = planar_findings(planar_source([dataset], ("anterior",)))
    seg = written(findings)
    image = seg.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0].SourceImageSequence[0]
    assert "ReferencedFrameNumber" not in image
    assert list(seg.PatientOrientation) == ["L", "F"], "seen from the front, rows run to the patient's left"
    read = highdicom.seg.Segmentation.from_dataset(seg).get_pixels_by_source_instance(
        [dataset.SOPInstanceUID], combine_segments=True
    )
    np.testing.assert_array_equal(read, findings.segmentations[0].label_map)


def test_two_single_frame_instances_make_one_object_that_names_both() -> None:
    views = [single_view(), single_view("2.25.2")]
    findings = planar_findings(planar_source(views))
    seg = written(findings)
    series = seg.ReferencedSeriesSequence[0]
    assert [i.ReferencedSOPInstanceUID for i in series.ReferencedInstanceSequence] == [v.SOPInstanceUID for v in views]
    read = highdicom.seg.Segmentation.from_dataset(seg).get_pixels_by_source_instance(
        [v.SOPInstanceUID for v in views], combine_segments=True
    )
    np.testing.assert_array_equal(read, findings.segmentations[0].label_map)


def test_the_object_says_what_viewers_need_and_nothing_that_misleads_them(planar: Findings) -> None:
    seg = written(planar)
    assert seg.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert (seg.SegmentationType, seg.BitsAllocated, seg.Rows, seg.Columns) == ("BINARY", 1, 256, 64)
    assert "FrameOfReferenceUID" not in seg
    assert not seg.PatientOrientation, "the two views differ, so no one orientation is true"
    for group in seg.PerFrameFunctionalGroupsSequence:
        assert "PlanePositionSequence" not in group and "PlaneOrientationSequence" not in group
    for series in seg.ReferencedSeriesSequence:
        assert all("ReferencedFrameNumber" not in item for item in series.ReferencedInstanceSequence)
    shared = seg.SharedFunctionalGroupsSequence[0]
    assert [float(v) for v in shared.PixelMeasuresSequence[0].PixelSpacing] == [2.26, 2.26]
    assert all("RecommendedDisplayCIELabValue" in segment for segment in seg.SegmentSequence)


def test_the_first_detector_orients_both_views() -> None:
    stated = written(planar_findings(planar_source([whole_body(128, 32)])))
    silent = written(planar_findings(planar_source([whole_body(128, 32, detector_iop=False)])))
    for seg, expected in ((stated, ANTERIOR_IOP), (silent, [1, 0, 0, 0, 1, 0])):
        shared = seg.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0]
        assert [float(v) for v in shared.ImageOrientationPatient] == expected


def test_a_source_without_pixel_spacing_gets_no_made_up_one() -> None:
    dataset = whole_body(128, 32)
    del dataset.PixelSpacing
    seg = written(planar_findings(planar_source([dataset])))
    assert "PixelMeasuresSequence" not in seg.SharedFunctionalGroupsSequence[0]


def test_segments_without_pixels_are_dropped_and_the_rest_renumbered() -> None:
    dataset = whole_body(128, 32)
    label_map = planar_label_map(2, 128, 32)
    label_map[label_map == LESION.number] = 0
    seg = written(planar_findings(planar_source([dataset]), label_map))
    assert [(int(s.SegmentNumber), s.SegmentLabel) for s in seg.SegmentSequence] == [(1, BLADDER_SEGMENT.label)]
    frames = frames_of(seg)
    assert set(frames) == {(1, 1)}
    np.testing.assert_array_equal(frames[(1, 1)], label_map[0] == BLADDER_SEGMENT.number)


def test_an_empty_result_has_no_seg_but_says_so_in_report_and_picture() -> None:
    dataset = whole_body(128, 32)
    objects = build_results(planar_findings(planar_source([dataset]), np.zeros((2, 128, 32), np.uint8)), context())
    assert [o.kind for o in objects] == ["sr", "sc"]
    texts = [e.value for e in objects[0].dataset.iterall() if e.keyword == "TextValue"]
    assert any("No lesion segmented" in text for text in texts)


def test_a_label_map_of_another_size_than_the_source_is_refused() -> None:
    findings = planar_findings(planar_source([whole_body(128, 32)]))
    findings.segmentations[0].source.headers[0].Columns = 33
    with pytest.raises(ValueError, match="is not of the source's size"):
        build_results(findings, context())


def test_writing_leaves_headers_and_label_map_as_they_were(planar: Findings) -> None:
    before = deepcopy(planar.segmentations[0])
    build_results(planar, context())
    after = planar.segmentations[0]
    np.testing.assert_array_equal(before.label_map, after.label_map)
    np.testing.assert_array_equal(before.display, after.display)
    assert list(before.source.headers) == list(after.source.headers)


def single_view(sop_instance_uid: str = "2.25.1") -> Dataset:
    """A single-frame Secondary Capture of Modality NM, as old scans come."""
    dataset = header_of(whole_body(256, 64))
    dataset.SOPClassUID, dataset.SOPInstanceUID = SecondaryCaptureImageStorage, sop_instance_uid
    for keyword in ("NumberOfFrames", "DetectorInformationSequence", "FrameIncrementPointer"):
        del dataset[keyword]
    return dataset
