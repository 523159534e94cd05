"""Volumetric SEG on real CT, MR and reconstructed SPECT.

Oracles: highdicom's reader for the voxels, hand-computed plane positions for the place. dcmqi, which reads place and
voxels with code of its own, is in test_results_conformance.
Not covered: series that are no volume beyond the refusals here (pipelines check their content first).
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import highdicom
import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.config import disable_value_validation

from node.errors import PermanentError
from node.results import ResultObject, build_results
from node.results.geometry import plane_geometry
from pipelines.contract import Findings, FrameReference, SourceSeries
from tests.results.result_sources import context, volume_findings, volume_label_map, volume_source

VOLUMES = ["ct", "mr", "spect", "spect without frame of reference"]


def written(findings: Findings) -> Dataset:
    return read_back(build_results(findings, context())[0])


def read_back(item: ResultObject) -> Dataset:
    with disable_value_validation():
        return dcmread(BytesIO(item.to_bytes()))


@pytest.mark.parametrize("name", VOLUMES)
def test_highdicom_reads_every_voxel_back_on_its_source_frame(
    real_sources: dict[str, Findings], real_objects: dict, name: str
) -> None:
    segmentation = real_sources[name].segmentations[0]
    source = segmentation.source
    seg = highdicom.seg.Segmentation.from_dataset(read_back(real_objects[name]["seg"]))
    if source.frames[0].frame_number is None:
        read = seg.get_pixels_by_source_instance(
            [f.sop_instance_uid for f in source.frames], combine_segments=True, assert_missing_frames_are_empty=True
        )
    else:
        read = seg.get_pixels_by_source_frame(
            source.frames[0].sop_instance_uid,
            [f.frame_number or 0 for f in source.frames],
            combine_segments=True,
            assert_missing_frames_are_empty=True,
        )
    np.testing.assert_array_equal(read, segmentation.label_map)


@pytest.mark.parametrize("name", VOLUMES)
def test_only_planes_with_voxels_are_written(real_sources: dict[str, Findings], real_objects: dict, name: str) -> None:
    label_map = real_sources[name].segmentations[0].label_map
    expected = sum(int((label_map == number).any(axis=(1, 2)).sum()) for number in (1, 2))
    assert int(read_back(real_objects[name]["seg"]).NumberOfFrames) == expected


def test_spect_planes_follow_the_sign_of_the_spacing(shared_data: Path, read_header: Callable[[Path], Dataset]) -> None:
    header = read_header(shared_data / "nm" / "recon_tomo_ge_1.dcm")
    for sign in (-1, 1):
        header.SpacingBetweenSlices = sign * 4.0
        geometry = plane_geometry(volume_source([header]))
        detector = header.DetectorInformationSequence[0]
        assert list(detector.ImageOrientationPatient) == [1, 0, 0, 0, 1, 0], "so the normal is +z"
        expected = [float(v) for v in detector.ImagePositionPatient]
        expected[2] += sign * 4.0 * 49
        np.testing.assert_allclose(geometry.positions_mm[49], expected)
        assert geometry.spacing_mm == pytest.approx(4.0)


def test_plane_positions_in_the_object_are_those_of_the_source(real_sources: dict[str, Findings]) -> None:
    seg = written(real_sources["spect"])
    geometry = plane_geometry(real_sources["spect"].segmentations[0].source)
    for group in seg.PerFrameFunctionalGroupsSequence:
        frame = int(group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber)
        place = [float(v) for v in group.PlanePositionSequence[0].ImagePositionPatient]
        np.testing.assert_allclose(place, geometry.positions_mm[frame - 1], atol=1e-3)


def test_a_part_of_a_multi_frame_source_keeps_its_own_frame_numbers(real_sources: dict[str, Findings]) -> None:
    whole = real_sources["spect"].segmentations[0].source
    part = SourceSeries(whole.headers, whole.frames[10:30])
    label_map = volume_label_map((20, 70, 70))
    seg = highdicom.seg.Segmentation.from_dataset(written(volume_findings(part, label_map)))
    read = seg.get_pixels_by_source_frame(
        whole.frames[0].sop_instance_uid,
        list(range(11, 31)),
        combine_segments=True,
        assert_missing_frames_are_empty=True,
    )
    np.testing.assert_array_equal(read, label_map)


def test_a_source_without_frame_of_reference_gets_one_of_its_own(real_sources: dict[str, Findings]) -> None:
    findings = real_sources["spect without frame of reference"]
    header = findings.segmentations[0].source.headers[0]
    assert "FrameOfReferenceUID" not in header
    first = written(findings).FrameOfReferenceUID
    assert first.startswith("2.25.") and first == written(findings).FrameOfReferenceUID


def test_a_reconstruction_without_geometry_is_refused_with_a_sentence(
    shared_data: Path, read_header: Callable[[Path], Dataset]
) -> None:
    header = read_header(shared_data / "nm" / "recon_tomo_no_geometry.dcm")
    findings = volume_findings(volume_source([header]), volume_label_map((13, 64, 64)))
    with pytest.raises(PermanentError, match="no ImagePositionPatient"):
        build_results(findings, context())


def test_slices_at_different_angles_are_refused_with_a_sentence(
    shared_data: Path, read_header: Callable[[Path], Dataset]
) -> None:
    headers = [read_header(path) for path in sorted((shared_data / "mr_lspine_axial").iterdir())]
    shape = (len(headers), int(headers[0].Rows), int(headers[0].Columns))
    with pytest.raises(PermanentError, match="not parallel"):
        build_results(volume_findings(volume_source(headers), volume_label_map(shape)), context())


def test_two_slices_at_one_place_are_refused_with_a_sentence() -> None:
    headers = tuple(slice_header(z) for z in (0.0, 3.0, 3.0))
    frames = tuple(FrameReference(str(h.SOPClassUID), str(h.SOPInstanceUID)) for h in headers)
    with pytest.raises(PermanentError, match="same place"):
        plane_geometry(SourceSeries(headers, frames))


def slice_header(z_mm: float) -> Dataset:
    header = Dataset()
    header.SOPClassUID, header.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", f"2.25.{int(z_mm) + 1}"
    header.SeriesInstanceUID = "2.25.100"
    header.ImagePositionPatient, header.ImageOrientationPatient = [0, 0, z_mm], [1, 0, 0, 0, 1, 0]
    header.PixelSpacing, header.Rows, header.Columns = [1, 1], 8, 8
    return header
