"""Planar scans from files: layouts, energy windows, several instances and series, what is left out and refused."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom import Dataset

from pipelines.contract import ContentRefused
from pipelines.imaging.planar import photopeak_window, read_planar_scan
from tests.imaging.nm_objects import detector, draw_body, nm_object, save, view_code

FRONT, BACK = draw_body(seed=1), draw_body(seed=2, hot=[(300, 100, 6, 200)])


def accept(header: Dataset) -> None:
    return None


def energy_window(low: float, high: float) -> Dataset:
    limits = Dataset()
    limits.EnergyWindowLowerLimit, limits.EnergyWindowUpperLimit = low, high
    item = Dataset()
    item.EnergyWindowRangeSequence = [limits]
    return item


def test_one_object_with_a_frame_per_detector(tmp_path):
    dataset = nm_object(np.stack([BACK, FRONT]), [detector(0), detector(180)])
    scan = read_planar_scan([save(dataset, tmp_path)], accept)
    assert [view.name for view in scan.views] == ["anterior", "posterior"]
    np.testing.assert_array_equal(scan.views[0].counts, FRONT)
    assert [view.reference.frame_number for view in scan.views] == [2, 1]
    assert scan.views[0].spacing_mm == (2.26, 2.26)
    ((source, indices),) = scan.groups()
    assert source.planar
    assert source.view_names == ("anterior", "posterior")
    assert [frame.frame_number for frame in source.frames] == [2, 1]
    assert len(source.headers) == 1
    assert indices == (0, 1)


def test_the_detector_vector_says_which_item_belongs_to_which_frame(tmp_path):
    dataset = nm_object(np.stack([BACK, FRONT]), [detector(180), detector(0)], DetectorVector=[2, 1])
    scan = read_planar_scan([save(dataset, tmp_path)], accept)
    np.testing.assert_array_equal(scan.views[0].counts, FRONT)


def test_a_single_frame_object_per_view_in_one_series_or_in_two(tmp_path):
    for series in (("1.2.3.1", "1.2.3.1"), ("1.2.3.1", "1.2.3.2")):
        first = save(nm_object(BACK, [detector(0)], series_uid=series[0]), tmp_path, "a.dcm")
        second = save(nm_object(FRONT, [detector(180)], series_uid=series[1], InstanceNumber=2), tmp_path, "b.dcm")
        scan = read_planar_scan([first, second], accept)
        np.testing.assert_array_equal(scan.views[0].counts, FRONT)
        np.testing.assert_array_equal(scan.views[1].counts, BACK)
        groups = scan.groups()
        assert len(groups) == len(set(series))
        assert sum(len(source.frames) for source, _ in groups) == 2
        assert all(len(source.headers) == len(source.frames) for source, _ in groups)
        assert all(frame.frame_number is None for source, _ in groups for frame in source.frames)


def test_one_view_alone_is_a_scan_and_an_unnamed_one_is_assumed_anterior(tmp_path):
    scan = read_planar_scan([save(nm_object(BACK, [detector(0)]), tmp_path)], accept)
    assert [view.name for view in scan.views] == ["posterior"]
    assert not scan.assumed
    scan = read_planar_scan([save(nm_object(FRONT), tmp_path)], accept)
    assert [view.name for view in scan.views] == ["anterior"]
    assert scan.assumed


@pytest.mark.parametrize("shared", [detector(0), detector(180), detector(None, [-1, 0, 0, 0, 0, -1])])
def test_two_views_whose_headers_carry_the_same_evidence_are_both_kept_in_an_order_that_is_assumed(tmp_path, shared):
    described = {"SeriesDescription": "WB 3h post inj", "ProtocolName": "Bone post"}
    first = save(nm_object(FRONT, [shared], **described), tmp_path, "a.dcm")
    second = save(nm_object(BACK, [shared], InstanceNumber=2, **described), tmp_path, "b.dcm")
    scan = read_planar_scan([first, second], accept)
    assert [view.name for view in scan.views] == ["anterior", "posterior"]
    np.testing.assert_array_equal(scan.views[0].counts, FRONT)
    np.testing.assert_array_equal(scan.views[1].counts, BACK)
    assert scan.assumed


@pytest.mark.parametrize("named", [{"ImageID": "WB POST"}, {}])
def test_two_images_that_are_called_the_same_view_are_one_and_its_copy(tmp_path, named):
    item = detector(0) if named else detector(0, ViewCodeSequence=view_code("399001007", "x"))
    first = save(nm_object(BACK, [item], **named), tmp_path, "a.dcm")
    second = save(nm_object(BACK // 2, [item], InstanceNumber=2, **named), tmp_path, "b.dcm")
    scan = read_planar_scan([first, second], accept)
    assert [view.name for view in scan.views] == ["posterior"]
    np.testing.assert_array_equal(scan.views[0].counts, BACK)
    assert not scan.assumed
    assert any("left out" in remark for remark in scan.remarks)


def test_the_photopeak_is_picked_from_several_energy_windows(tmp_path):
    stack = np.stack([FRONT * 0 + 1, FRONT * 0 + 2, FRONT, BACK])
    dataset = nm_object(
        stack,
        [detector(180), detector(0)],
        EnergyWindowVector=[1, 1, 2, 2],
        DetectorVector=[1, 2, 1, 2],
        EnergyWindowInformationSequence=[energy_window(108, 125), energy_window(126, 154)],
    )
    scan = read_planar_scan([save(dataset, tmp_path)], accept)
    np.testing.assert_array_equal(scan.views[0].counts, FRONT)
    np.testing.assert_array_equal(scan.views[1].counts, BACK)
    assert [view.reference.frame_number for view in scan.views] == [3, 4]


def test_energy_windows_without_the_photopeak_are_refused():
    header = Dataset()
    header.EnergyWindowInformationSequence = [energy_window(328, 400)]
    with pytest.raises(ContentRefused, match=r"140 keV of technetium-99m \(windows: 328-400 keV\)"):
        photopeak_window(header)
    assert photopeak_window(Dataset()) == (None, "")


def test_dynamic_and_tomographic_frame_vectors_are_refused(tmp_path):
    for tag in (0x00540100, 0x00540080, 0x00540070):
        dataset = nm_object(np.stack([FRONT, BACK]), FrameIncrementPointer=[0x00540020, tag])
        with pytest.raises(ContentRefused, match="dynamic, gated or tomographic"):
            read_planar_scan([save(dataset, tmp_path)], accept)


def test_more_frames_than_views_are_refused(tmp_path):
    dataset = nm_object(np.stack([FRONT, BACK, FRONT]))
    with pytest.raises(ContentRefused, match="3 frames in one energy window"):
        read_planar_scan([save(dataset, tmp_path)], accept)


def test_originals_are_preferred_and_the_rest_is_said_to_be_left_out(tmp_path):
    copy = nm_object(FRONT // 2, [detector(180)], ImageType=["DERIVED", "SECONDARY", "WHOLE BODY", "EMISSION"])
    original = nm_object(np.stack([FRONT, BACK]), [detector(180), detector(0)], InstanceNumber=7)
    scan = read_planar_scan([save(copy, tmp_path, "a.dcm"), save(original, tmp_path, "b.dcm")], accept)
    np.testing.assert_array_equal(scan.views[0].counts, FRONT)
    assert any("left out" in remark for remark in scan.remarks)


def test_instances_that_the_rule_refuses_are_left_out_and_alone_they_refuse_the_scan(tmp_path):
    good = save(nm_object(np.stack([FRONT, BACK]), [detector(180), detector(0)]), tmp_path, "good.dcm")
    spot = save(nm_object(draw_body(256, 256), ImageType=["ORIGINAL", "PRIMARY", "STATIC"]), tmp_path, "spot.dcm")

    def no_statics(header: Dataset) -> str | None:
        return "A static view." if "STATIC" in header.ImageType else None

    assert len(read_planar_scan([spot, good], no_statics).views) == 2
    with pytest.raises(ContentRefused, match=r"A static view\."):
        read_planar_scan([spot], no_statics)


def test_objects_without_identity_cannot_be_referred_to(tmp_path):
    with pytest.raises(ContentRefused, match="SeriesInstanceUID is missing"):
        read_planar_scan([save(nm_object(FRONT, SeriesInstanceUID=None), tmp_path)], accept)


def test_no_files_at_all_are_refused():
    with pytest.raises(ContentRefused, match="no files"):
        read_planar_scan([], accept)


def test_headers_carry_no_pixels(tmp_path):
    scan = read_planar_scan([save(nm_object(FRONT), tmp_path)], accept)
    assert "PixelData" not in scan.views[0].header
