"""Volumes are read with every voxel at its place in the patient, whatever way the scanner laid out its frames.

The oracle is the world that the series were sampled from: asked at `Volume.patient_mm`, it must give the voxel's
value. Covered: orders of files and frames, all ways to lay out a sagittal stack, oblique ones, axial and coronal
ones, classic and Enhanced, rescale, MONOCHROME1, repeated files, real MR. Refusals are in test_volume_refusals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from pipelines.contract import ContentRefused
from pipelines.imaging.volume import SAGITTAL_AXES, Volume, orient, read_stack, read_volume, tilt_deg
from tests.imaging.mr_objects import AXIAL, CORONAL, SAGITTAL, MrSeries, classic_slices, enhanced_object, ramp, save

LAYOUTS = {
    "right to left": SAGITTAL,
    "left to right": (0, -1, 0, 0, 0, -1),
    "feet up": (0, 1, 0, 0, 0, 1),
    "rows along the spine": (0, 0, -1, 0, 1, 0),
    "axial": AXIAL,
    "coronal": CORONAL,
}


def turned(orientation: Sequence[float], degrees: float, axis: str) -> tuple[float, ...]:
    """An orientation turned about an axis of the patient."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    matrix = {"z": [[c, -s, 0], [s, c, 0], [0, 0, 1]], "y": [[c, 0, s], [0, 1, 0], [-s, 0, c]]}[axis]
    return tuple(np.concatenate([np.array(matrix) @ orientation[:3], np.array(matrix) @ orientation[3:]]))


def read(paths: Sequence[Path]) -> Volume:
    return read_volume(read_stack(paths))


def assert_every_voxel_at_its_place(volume: Volume, tolerance: float = 1.0) -> None:
    indices = np.argwhere(np.ones(volume.values.shape, bool))
    expected = ramp(volume.patient_mm(indices))
    np.testing.assert_allclose(volume.values.reshape(-1), expected, atol=tolerance)


def assert_sagittal(volume: Volume) -> None:
    """Axes run to the left, to the feet and to the back, each nearest to its own direction."""
    assert volume.directions[0] @ (1, 0, 0) > 0.7
    assert volume.directions[1] @ (0, 0, -1) > 0.7
    assert volume.directions[2] @ (0, 1, 0) > 0.7


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", ["classic", "enhanced"])
def test_every_voxel_is_where_the_scanner_saw_it(layout: str, kind: str, tmp_path: Path) -> None:
    series = MrSeries(orientation=LAYOUTS[layout])
    objects = classic_slices(series) if kind == "classic" else [enhanced_object(series, [3, 0, 8, 1, 2, 7, 4, 6, 5])]
    volume = read(save(objects, tmp_path))
    assert_sagittal(volume)
    # The Enhanced object is stored in steps of 2.
    assert_every_voxel_at_its_place(volume, tolerance=1.0 if kind == "classic" else 2.0)
    assert volume.values.dtype == np.float32


@pytest.mark.parametrize("degrees", [-30.0, 12.0, 30.0])
@pytest.mark.parametrize("axis", ["y", "z"])
def test_an_oblique_stack_gets_the_nearest_orientation_and_keeps_its_places(
    degrees: float, axis: str, tmp_path: Path
) -> None:
    series = MrSeries(orientation=turned(SAGITTAL, degrees, axis))
    stack = read_stack(save(classic_slices(series), tmp_path))
    volume = read_volume(stack)
    assert tilt_deg(stack.orientation, "L") == pytest.approx(abs(degrees), abs=0.01)
    assert_sagittal(volume)
    assert_every_voxel_at_its_place(volume)


def test_spacing_follows_the_axes(tmp_path: Path) -> None:
    sagittal = read(save(classic_slices(MrSeries()), tmp_path / "sagittal"))
    assert sagittal.spacing_mm == pytest.approx((4.0, 9.0, 8.0))
    axial = read(save(classic_slices(MrSeries(orientation=AXIAL)), tmp_path / "axial"))
    # Slices of an axial stack become rows, its columns slices.
    assert axial.spacing_mm == pytest.approx((8.0, 4.0, 9.0))
    assert axial.values.shape == (24, 9, 28)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_mask_goes_back_to_the_very_pixels_it_came_from(layout: str, tmp_path: Path) -> None:
    series = MrSeries(orientation=LAYOUTS[layout])
    volume = read(save(classic_slices(series), tmp_path))
    back = volume.grid.to_source(volume.values)
    assert len(volume.source.headers) == len(volume.source.frames) == series.shape[0]
    for frame, header in zip(back, volume.source.headers, strict=True):
        file = next(path for path in tmp_path.iterdir() if dcmread(path).SOPInstanceUID == header.SOPInstanceUID)
        np.testing.assert_array_equal(frame, dcmread(file).pixel_array)


def test_frames_of_an_enhanced_object_keep_their_own_numbers(tmp_path: Path) -> None:
    order = [3, 0, 8, 1, 2, 7, 4, 6, 5]
    volume = read(save([enhanced_object(MrSeries(), order)], tmp_path))
    assert [frame.frame_number for frame in volume.source.frames] == [order.index(place) + 1 for place in range(9)]
    assert len(volume.source.headers) == 1


def test_classic_and_enhanced_give_the_same_volume(tmp_path: Path) -> None:
    series = MrSeries(orientation=turned(SAGITTAL, 8, "z"))
    classic = read(save(classic_slices(series), tmp_path / "classic"))
    enhanced = read(save([enhanced_object(series, list(range(8, -1, -1)))], tmp_path / "enhanced"))
    np.testing.assert_allclose(enhanced.values, classic.values, atol=2)
    np.testing.assert_allclose(enhanced.origin_mm, classic.origin_mm)
    np.testing.assert_allclose(enhanced.directions, classic.directions)


def test_each_slice_is_rescaled_by_its_own_header(tmp_path: Path) -> None:
    slices = classic_slices(MrSeries())
    for number, dataset in enumerate(slices):
        slope = 1.0 + number
        dataset.RescaleSlope, dataset.RescaleIntercept = slope, -7.0
        dataset.PixelData = np.rint((dataset.pixel_array + 7.0) / slope).astype(np.uint16).tobytes()
    assert_every_voxel_at_its_place(read(save(slices, tmp_path)), tolerance=6.0)


@pytest.mark.parametrize("modality", ["CT", "NM", "PT"])
def test_values_with_a_meaning_of_their_own_are_not_turned_round_however_they_are_shown(tmp_path: Path, modality):
    plain = read(save(classic_slices(MrSeries()), tmp_path / "plain"))
    shown = MrSeries().with_attributes(PhotometricInterpretation="MONOCHROME1", Modality=modality)
    np.testing.assert_array_equal(read(save(classic_slices(shown), tmp_path / "shown")).values, plain.values)


def test_an_mr_image_shown_dark_for_bright_is_turned_round(tmp_path: Path) -> None:
    plain = read(save(classic_slices(MrSeries()), tmp_path / "plain"))
    slices = classic_slices(MrSeries().with_attributes(PhotometricInterpretation="MONOCHROME1"))
    inverted = read(save(slices, tmp_path / "inverted"))
    np.testing.assert_allclose(inverted.values, plain.values.max() - plain.values)


def test_a_file_that_comes_twice_counts_once_and_is_said(tmp_path: Path) -> None:
    slices = classic_slices(MrSeries())
    paths = save(slices, tmp_path) + save(slices[:2], tmp_path, "again")
    stack = read_stack(paths)
    assert len(stack.frames) == 9
    assert stack.remarks == ("2 file(s) repeat an image of the series and were left out",)


def test_other_orientations_can_be_asked_for(tmp_path: Path) -> None:
    stack = read_stack(save(classic_slices(MrSeries(orientation=AXIAL)), tmp_path))
    volume = read_volume(stack, ("H", "P", "L"))
    assert volume.grid.axes == (0, 1, 2) and volume.grid.turned == (False, False, False)
    assert_every_voxel_at_its_place(volume)
    with pytest.raises(ValueError, match="right angles"):
        orient(stack, ("H", "F", "L"))


def test_pixels_of_another_size_than_promised_are_refused(tmp_path: Path) -> None:
    slices = classic_slices(MrSeries())
    paths = save(slices, tmp_path)
    stack = read_stack(paths)
    lying = replace(stack, frames=tuple(replace(frame, size=(28, 20)) for frame in stack.frames))
    with pytest.raises(ContentRefused, match=r'Series 4 "T2_TSE_SAG".*not of the size'):
        read_volume(lying)


def test_a_real_sagittal_series_in_decubitus_is_read_in_patient_space(shared_data: Path) -> None:
    paths = sorted((shared_data / "mr_sagittal_brain").iterdir())
    volume = read(paths)
    assert volume.header.PatientPosition == "HFDL"
    assert volume.values.shape == (35, 256, 256) and volume.spacing_mm == pytest.approx((4.8, 1.015625, 1.015625))
    np.testing.assert_allclose(volume.origin_mm, (-81.6, -130, 130), atol=1e-3)
    assert_sagittal(volume)
    # The rightmost slice is the first one of the canonical order.
    rightmost = min(paths, key=lambda path: float(dcmread(path).ImagePositionPatient[0]))
    np.testing.assert_array_equal(volume.values[0], dcmread(rightmost).pixel_array)
    assert orient(volume.stack, SAGITTAL_AXES) == volume.grid
