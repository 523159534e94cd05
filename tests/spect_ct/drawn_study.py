"""A small SPECT/CT study drawn by formula: a body, a spine, hot lesions, as arrays and as DICOM.

Positions are LPS mm; arrays are (slice, row, column), slices to the head, rows to the back, columns to the left. The
two grids differ in spacing and origin on purpose.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, NuclearMedicineImageStorage, generate_uid

STUDY, FRAME = "1.2.826.0.1.3680043.10.1.1", "1.2.826.0.1.3680043.10.1.2"


@dataclass(frozen=True)
class Field:
    """Where voxels lie: shape, spacing (slice, row, column), LPS origin of the first voxel."""

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    origin_mm: tuple[float, float, float]

    def coordinates(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """x, y, z of every voxel."""
        z, y, x = (self.origin_mm[2 - a] + np.arange(self.shape[a]) * self.spacing_mm[a] for a in range(3))
        zz, yy, xx = np.meshgrid(z, y, x, indexing="ij")
        return xx, yy, zz

    def ball(self, centre: tuple[float, float, float], radius: float) -> np.ndarray:
        """Voxels whose centre lies in a ball."""
        x, y, z = self.coordinates()
        return (x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2 <= radius**2

    def tube(self, radius_x: float, radius_y: float, middle_y: float = 0.0) -> np.ndarray:
        """Voxels in an upright elliptic cylinder."""
        x, y, _ = self.coordinates()
        return (x / radius_x) ** 2 + ((y - middle_y) / radius_y) ** 2 <= 1


SPECT_FIELD = Field((24, 64, 64), (4.8, 4.8, 4.8), (-151.2, -151.2, -55.2))
CT_FIELD = Field((36, 160, 160), (3.0, 1.9, 1.9), (-151.05, -151.05, -52.5))
LESIONS = (((40.0, 30.0, -20.0), 12.0), ((-50.0, 45.0, 25.0), 9.0))
"""Centre and radius of two lesions, one on the patient's left and low, one on the right and high."""


def counts(field: Field = SPECT_FIELD, lesions=LESIONS) -> np.ndarray:
    """Counts: soft tissue 100, spine 400, lesions 2500."""
    values = np.zeros(field.shape, np.float32)
    values[field.tube(120, 90)] = 100
    values[field.tube(18, 18, 55)] = 400
    for centre, radius in lesions:
        values[field.ball(centre, radius)] = 2500
    return values


def hounsfield(field: Field = CT_FIELD, lesions=LESIONS) -> np.ndarray:
    """HU: air, soft tissue 40, spine 250, lesions 700."""
    values = np.full(field.shape, -1000, np.float32)
    values[field.tube(120, 90)] = 40
    values[field.tube(18, 18, 55)] = 250
    for centre, radius in lesions:
        values[field.ball(centre, radius)] = 700
    return values


def _instance(sop_class: str, series: str, number: int, **values) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = sop_class, ExplicitVRLittleEndian
    meta.MediaStorageSOPInstanceUID = f"{series}.{number}"
    ds = FileDataset("", {}, preamble=b"\0" * 128, file_meta=meta)
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, f"{series}.{number}"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = STUDY, series, FRAME
    ds.PatientID, ds.PatientName, ds.StudyID = "SYNTHETIC-1", "SYNTHETIC^STUDY", "1"
    ds.PatientBirthDate, ds.PatientSex = "19600101", "F"
    ds.StudyDate, ds.StudyTime = "20240301", "101500"
    ds.AccessionNumber, ds.ReferringPhysicianName = "", ""
    ds.Manufacturer = "SYNTHETIC"
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit, ds.InstanceNumber = 15, number
    for key, value in values.items():
        setattr(ds, key, value)
    return ds


def write_spect(path: Path, values: np.ndarray, field: Field = SPECT_FIELD, head_first: bool = False, **more) -> Path:
    """One multi-frame NM object; `head_first` stacks from the head, with a negative spacing."""
    x, y, z = field.origin_mm
    step = field.spacing_mm[0]
    ds = _instance(
        NuclearMedicineImageStorage, f"{STUDY}.10", 1, Modality="NM", SeriesNumber=10,
        SeriesDescription="Bone SPECT", ImageType=["ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION"],
    )  # fmt: skip
    detector = Dataset()
    detector.ImagePositionPatient = [x, y, z + (len(values) - 1) * step * head_first]
    detector.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.DetectorInformationSequence = [detector]
    ds.SpacingBetweenSlices = -step if head_first else step
    ds.SliceThickness, ds.PixelSpacing = step, list(field.spacing_mm[1:])
    stack = values[::-1] if head_first else values
    ds.NumberOfFrames, ds.Rows, ds.Columns = stack.shape
    ds.SliceVector = list(range(1, len(stack) + 1))
    ds.PixelRepresentation = 0
    ds.PixelData = np.rint(stack).astype("<u2").tobytes()
    for key, value in more.items():
        if value is None:
            delattr(ds, key)
        else:
            setattr(ds, key, value)
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)
    return path


def write_ct(
    folder: Path, values: np.ndarray, field: Field = CT_FIELD, series: str = "2", study: str = STUDY, **more
) -> list[Path]:
    """One CT image per slice, file names in no order of place."""
    folder.mkdir(parents=True, exist_ok=True)
    x, y, z = field.origin_mm
    paths = []
    for number, plane in enumerate(values):
        ds = _instance(
            CTImageStorage, f"{study}.{series}", number + 1, Modality="CT", SeriesNumber=int(series),
            SeriesDescription="CT AC bone", ImageType=["ORIGINAL", "PRIMARY", "AXIAL"], ConvolutionKernel="B70s",
        )  # fmt: skip
        ds.ImagePositionPatient = [x, y, z + number * field.spacing_mm[0]]
        ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        ds.PixelSpacing, ds.SliceThickness = list(field.spacing_mm[1:]), field.spacing_mm[0]
        ds.Rows, ds.Columns = plane.shape
        ds.PixelRepresentation, ds.RescaleIntercept, ds.RescaleSlope, ds.KVP = 1, 0, 1, 130
        ds.PixelData = np.rint(plane).astype("<i2").tobytes()
        for key, value in more.items():
            setattr(ds, key, value)
        path = folder / f"{(number * 7) % len(values):03d}.dcm"
        ds.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def new_uid() -> str:
    """A UID that nothing else has."""
    return str(generate_uid())
