"""Series that are no volume are refused with a sentence that names the series and the reason.

Covered: the real traps in `geometry_traps`, the real axial lumbar stack, and one constructed series per kind of
trouble. What can be read is in test_volume.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import pytest
from pydicom import Dataset

from pipelines.contract import ContentRefused
from pipelines.imaging.volume import read_stack
from tests.imaging.mr_objects import AXIAL, MrSeries, classic_slices, enhanced_object, save


def refusal(objects: list[Dataset], folder: Path) -> str:
    with pytest.raises(ContentRefused) as refused:
        read_stack(save(objects, folder))
    return str(refused.value)


def second_echo() -> list[Dataset]:
    slices = classic_slices(MrSeries())
    for number, dataset in enumerate(deepcopy(slices)):
        dataset.SOPInstanceUID, dataset.EchoTime = f"{dataset.SOPInstanceUID}.2", 20.0
        slices.insert(2 * number, dataset)
    return slices


def moved(change: Callable[[Dataset, int], None]) -> list[Dataset]:
    slices = classic_slices(MrSeries())
    for number, dataset in enumerate(slices):
        change(dataset, number)
    return slices


def shift(dataset: Dataset, axis: int, mm: float) -> None:
    position = [float(v) for v in dataset.ImagePositionPatient]
    position[axis] += mm
    dataset.ImagePositionPatient = position


def tilt(dataset: Dataset, number: int) -> None:
    shift(dataset, 2, 1.0 * number)


def stretch(dataset: Dataset, number: int) -> None:
    shift(dataset, 0, -0.4 * number**2)


def other_orientation(dataset: Dataset, number: int) -> None:
    if number == 4:
        dataset.ImageOrientationPatient = list(AXIAL)


def other_size(dataset: Dataset, number: int) -> None:
    if number == 4:
        dataset.Rows, dataset.PixelData = 14, dataset.PixelData[: 14 * 24 * 2]


def other_spacing(dataset: Dataset, number: int) -> None:
    if number == 4:
        dataset.PixelSpacing = [9.0, 8.5]


def other_frame_of_reference(dataset: Dataset, number: int) -> None:
    if number > 4:
        dataset.FrameOfReferenceUID = f"{dataset.FrameOfReferenceUID}.2"


def without(keyword: str) -> Callable[[Dataset, int], None]:
    def remove(dataset: Dataset, number: int) -> None:
        if number == 2:
            del dataset[keyword]

    return remove


def with_a_gap() -> list[Dataset]:
    slices = classic_slices(MrSeries())
    del slices[5]
    return slices


def two_stacks() -> list[Dataset]:
    dataset = enhanced_object(MrSeries())
    for number, group in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        group.FrameContentSequence[0].StackID = "1" if number < 5 else "2"
        if number >= 5:
            group.PlanePositionSequence[0] = deepcopy(
                dataset.PerFrameFunctionalGroupsSequence[number - 5].PlanePositionSequence[0]
            )
    return [dataset]


def without_functional_groups() -> list[Dataset]:
    dataset = enhanced_object(MrSeries())
    del dataset.PerFrameFunctionalGroupsSequence
    return [dataset]


def two_enhanced_objects() -> list[Dataset]:
    again = enhanced_object(MrSeries())
    again.SOPInstanceUID = f"{again.SOPInstanceUID}.2"
    return [enhanced_object(MrSeries()), again]


TROUBLES: dict[str, tuple[Callable[[], list[Dataset]], str]] = {
    "two echoes": (second_echo, r"18 images at 9 place\(s\): several echoes \(EchoTime (20|102)\.0 and (20|102)\.0\)"),
    "tilt": (lambda: moved(tilt), r"8\.0 mm off to the side, as under a tilted gantry \(14 degrees\)"),
    "growing steps": (lambda: moved(stretch), "unevenly spaced"),
    "gap": (with_a_gap, r"slices 5 and 6 lie 8\.0 mm apart where the others are 4\.0 mm.*; 1 slice\(s\) are missing"),
    "orientations": (lambda: moved(other_orientation), "mixes 2 orientations up to 90 degrees apart"),
    "sizes": (lambda: moved(other_size), r"different sizes \(24 x 14, 24 x 28 pixels\)"),
    "spacings": (lambda: moved(other_spacing), "different pixel spacings"),
    "frames of reference": (lambda: moved(other_frame_of_reference), "2 frames of reference"),
    "no position": (lambda: moved(without("ImagePositionPatient")), "without a position"),
    "no orientation": (lambda: moved(without("ImageOrientationPatient")), "without an orientation"),
    "no spacing": (lambda: moved(without("PixelSpacing")), "no usable pixel spacing"),
    "one slice": (lambda: classic_slices(MrSeries())[:1], "a single slice"),
    "two stacks in one object": (two_stacks, r"several stacks \(StackID 1 and 2\)"),
    "no functional groups": (without_functional_groups, "without functional groups"),
    "two multi-frame objects": (two_enhanced_objects, "holds 2 objects of which 2 have several frames"),
}  # fmt: skip


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_series_that_is_no_volume_is_refused_by_name_and_reason(trouble: str, tmp_path: Path) -> None:
    build, reason = TROUBLES[trouble]
    said = refusal(build(), tmp_path)
    assert said.startswith('Series 4 "T2_TSE_SAG"')
    assert re.search(reason, said), said
    assert said.endswith(".") and said.count("\n") == 0


def test_a_series_without_number_and_description_is_named_by_its_uid(tmp_path: Path) -> None:
    slices = classic_slices(MrSeries(description="").with_attributes(SeriesNumber=None, SeriesDescription=None))[:1]
    assert refusal(slices, tmp_path).startswith("The series whose UID ends in 3.10.1.7.1.4 ")


def test_an_object_without_uids_is_refused_by_its_file(tmp_path: Path) -> None:
    slices = classic_slices(MrSeries())
    paths = save(slices, tmp_path)
    del slices[0]["SeriesInstanceUID"]
    slices[0].save_as(paths[0], enforce_file_format=True)
    with pytest.raises(ContentRefused, match=f"{paths[0].name}: SeriesInstanceUID is missing"):
        read_stack(paths)


REAL = {
    "gantrytilting__001": "tilted gantry (14 degrees)",
    "notavolume__001": "4 images at 1 place(s): several acquisitions (AcquisitionNumber",
    "sliceincrement__001": "1 slice(s) are missing",
    "sliceincrement__002": "tilted gantry",
    "sliceorientation__001": "mixes 2 orientations up to 9",
}


@pytest.mark.parametrize("trap", REAL)
def test_the_real_traps_are_refused(trap: str, shared_data: Path) -> None:
    paths = sorted((shared_data / "geometry_traps").glob(f"{trap}*"))
    assert len(paths) > 1
    with pytest.raises(ContentRefused) as refused:
        read_stack(paths)
    assert REAL[trap] in str(refused.value)


def test_real_slices_that_follow_the_discs_are_refused(shared_data: Path) -> None:
    with pytest.raises(ContentRefused, match=r"orientations up to .* degrees apart.*follow the discs"):
        read_stack(sorted((shared_data / "mr_lspine_axial").iterdir()))
