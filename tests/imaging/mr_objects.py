"""MR series of a world that is known everywhere, for tests: classic single-frame objects and one Enhanced object.

A world is a function of patient coordinates (LPS, mm). A series samples it at the pixel centres that its own header
implies by the image plane equation (PS3.3 C.7.6.2.1.1), so whatever reads it can be asked about any place, and no
code that turns arrays is shared with what is tested.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset, FileDataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian, MRImageStorage

ROOT = "1.2.826.0.1.3680043.10.1.7"

World = Callable[[np.ndarray], np.ndarray]

SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def ramp(points_mm: np.ndarray) -> np.ndarray:
    """A world without two equal directions: each axis has a slope of its own."""
    return np.asarray(2000 + points_mm @ (3.0, 5.0, 7.0))


@dataclass(frozen=True)
class MrSeries:
    """Where a series' pixels lie and what its headers say; spacing_mm is (slice, row, column)."""

    orientation: tuple[float, ...] = SAGITTAL
    centre_mm: tuple[float, float, float] = (3.0, 10.0, -20.0)
    shape: tuple[int, int, int] = (9, 28, 24)
    spacing_mm: tuple[float, float, float] = (4.0, 9.0, 8.0)
    world: World = ramp
    number: int = 4
    description: str = "T2_TSE_SAG"
    study: str = f"{ROOT}.1"
    attributes: tuple[tuple[str, Any], ...] = ()

    def with_attributes(self, **attributes: Any) -> MrSeries:
        return replace(self, attributes=(*self.attributes, *attributes.items()))

    @property
    def uid(self) -> str:
        return f"{self.study}.{self.number}"

    @property
    def normal(self) -> np.ndarray:
        return np.cross(self.orientation[:3], self.orientation[3:])

    def position_mm(self, index: int) -> np.ndarray:
        """Centre of the first pixel of slice `index`, slices along the normal."""
        slices, rows, columns = self.shape
        row, column = np.array(self.orientation[:3]), np.array(self.orientation[3:])
        return (
            np.array(self.centre_mm)
            + (index - (slices - 1) / 2) * self.spacing_mm[0] * self.normal
            - (rows - 1) / 2 * self.spacing_mm[1] * column
            - (columns - 1) / 2 * self.spacing_mm[2] * row
        )

    def pixels(self, index: int) -> np.ndarray:
        """uint16 (rows, columns) of slice `index`."""
        return plane_pixels(self.world, self.position_mm(index), self.orientation, self.spacing_mm[1:], self.shape[1:])


def plane_pixels(
    world: World,
    position_mm: np.ndarray,
    orientation: Sequence[float],
    spacing_mm: Sequence[float],
    size: Sequence[int],
) -> np.ndarray:
    """Sample a world at the pixel centres of one plane."""
    rows, columns = np.mgrid[0 : size[0], 0 : size[1]]
    points = (
        np.asarray(position_mm)
        + (columns * spacing_mm[1])[..., None] * np.array(orientation[:3])
        + (rows * spacing_mm[0])[..., None] * np.array(orientation[3:])
    )
    return np.clip(np.rint(world(points)), 0, 65535).astype(np.uint16)


def classic_slices(series: MrSeries) -> list[FileDataset]:
    """One MR Image Storage object per slice."""
    slices = []
    for index in range(series.shape[0]):
        dataset = _image(series, MRImageStorage, index + 1)
        dataset.ImagePositionPatient = [round(float(v), 6) for v in series.position_mm(index)]
        dataset.ImageOrientationPatient = [round(v, 6) for v in series.orientation]
        dataset.PixelSpacing = list(series.spacing_mm[1:])
        dataset.SliceThickness = series.spacing_mm[0]
        dataset.SpacingBetweenSlices = series.spacing_mm[0]
        dataset.RepetitionTime, dataset.EchoTime, dataset.InversionTime = 3200.0, 102.0, None
        dataset.ScanningSequence, dataset.SequenceVariant, dataset.ScanOptions = "SE", "SK", None
        dataset.MRAcquisitionType, dataset.EchoTrainLength = "2D", 16
        _apply(dataset, series)
        dataset.PixelData = series.pixels(index).tobytes()
        slices.append(dataset)
    return slices


def enhanced_object(series: MrSeries, order: Sequence[int] | None = None) -> FileDataset:
    """One Enhanced MR Image Storage object; `order` lists the slices in the order of its frames."""
    order = list(range(series.shape[0])) if order is None else list(order)
    dataset = _image(series, EnhancedMRImageStorage, 1)
    dataset.NumberOfFrames = len(order)
    shared = Dataset()
    shared.PixelMeasuresSequence = [_item(
        PixelSpacing=list(series.spacing_mm[1:]), SliceThickness=series.spacing_mm[0],
        SpacingBetweenSlices=series.spacing_mm[0],
    )]  # fmt: skip
    shared.PlaneOrientationSequence = [_item(ImageOrientationPatient=[round(v, 6) for v in series.orientation])]
    shared.MRTimingAndRelatedParametersSequence = [_item(RepetitionTime=3200.0, EchoTrainLength=16, FlipAngle=90.0)]
    shared.MREchoSequence = [_item(EffectiveEchoTime=102.0)]
    shared.MRModifierSequence = [_item(InversionRecovery="NO", SpectrallySelectedExcitation="NONE")]
    shared.PixelValueTransformationSequence = [_item(RescaleSlope=2.0, RescaleIntercept=-5.0, RescaleType="US")]
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.PerFrameFunctionalGroupsSequence = []
    for number, index in enumerate(order, start=1):
        group = Dataset()
        group.PlanePositionSequence = [
            _item(ImagePositionPatient=[round(float(v), 6) for v in series.position_mm(index)])
        ]
        group.FrameContentSequence = [
            _item(StackID="1", InStackPositionNumber=number, DimensionIndexValues=[1, number])
        ]
        group.MRImageFrameTypeSequence = [_item(FrameType=["ORIGINAL", "PRIMARY", "T2", "NONE"])]
        dataset.PerFrameFunctionalGroupsSequence.append(group)
    dataset.EchoPulseSequence, dataset.SpectrallySelectedSuppression = "SPIN", "NONE"
    _apply(dataset, series)
    dataset.PixelData = np.stack([(series.pixels(index) + 5) // 2 for index in order]).tobytes()
    return dataset


def save(datasets: Sequence[Dataset], folder: Path, prefix: str = "image") -> list[Path]:
    """Write objects as files whose names say nothing about their order."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, dataset in enumerate(datasets):
        path = folder / f"{prefix}{(number * 7 + 3) % 97:02d}-{number}.dcm"
        copy.deepcopy(dataset).save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def _image(series: MrSeries, sop_class: str, instance: int) -> FileDataset:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, f"{series.uid}.{instance}"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = series.study, series.uid
    dataset.FrameOfReferenceUID = f"{series.study}.99"
    dataset.Modality, dataset.SeriesNumber, dataset.InstanceNumber = "MR", series.number, instance
    dataset.SeriesDescription = series.description
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate = "SYNTHETIC^MR", "SYNTHETIC-MR", ""
    dataset.PatientSex, dataset.PatientPosition = "O", "HFS"
    dataset.StudyDate, dataset.StudyTime, dataset.StudyID, dataset.AccessionNumber = "20260302", "081500", "1", "A1"
    dataset.Manufacturer, dataset.ReferringPhysicianName, dataset.PositionReferenceIndicator = "SYNTHETIC", "", ""
    dataset.ContentDate, dataset.ContentTime = "20260302", "083000"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "NORM"]
    dataset.BodyPartExamined = "LSPINE"
    dataset.Rows, dataset.Columns = series.shape[1:]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 0
    return dataset


def _apply(dataset: Dataset, series: MrSeries) -> None:
    for keyword, value in series.attributes:
        if value is None:
            dataset.pop(keyword, None)
        else:
            setattr(dataset, keyword, value)


def _item(**attributes: Any) -> Dataset:
    item = Dataset()
    for keyword, value in attributes.items():
        setattr(item, keyword, value)
    return item
