"""The simulated SPECT as DICOM: ONE multi-frame Nuclear Medicine object (RECON TOMO), as real scanners write it.

Geometry stands in DetectorInformationSequence[0]; frame i lies at its ImagePositionPatient + i x SpacingBetweenSlices
x (row x column), and the spacing is signed: in GE and Mediso files it is negative, frames then run from the head to
the feet. PS3.3 C.8.4.8 (NM image), C.8.4.9 (vectors), C.8.4.11 (detectors), C.8.4.15 (reconstruction).
"""

from __future__ import annotations

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileDataset
from pydicom.uid import NuclearMedicineImageStorage

from pipelines.phantoms.nm_dicom import add_tracer_and_patient_position
from pipelines.phantoms.spect_ct.identity import new_instance
from pipelines.phantoms.spect_ct.patient import SpectCtPatient

STORED_MAXIMUM = 30_000.0
"""Stored counts are scaled so that the hottest voxel has this value, as workstations do."""


def spect_dataset(
    patient: SpectCtPatient, frame_of_reference: str, head_first: bool, series_number: int = 10
) -> FileDataset:
    """Return the SPECT.

    Parameters
    ----------
    head_first : frames run from the head to the feet, with a negative SpacingBetweenSlices.
    """
    ds = new_instance(patient, NuclearMedicineImageStorage, "spect", 1)
    ds.Modality = "NM"
    ds.SeriesNumber = series_number
    ds.SeriesDescription = "Bone SPECT OSEM AC" if patient.settings.spect.corrects_attenuation else "Bone SPECT OSEM"
    ds.FrameOfReferenceUID = frame_of_reference
    ds.ImageType = ["ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION"]
    _add_acquisition(ds, patient)
    _add_geometry(ds, patient, head_first)
    _add_pixels(ds, patient.spect[::-1] if head_first else patient.spect)
    return ds


def _add_acquisition(ds: Dataset, patient: SpectCtPatient) -> None:
    ds.CountsAccumulated = patient.total_counts
    ds.AcquisitionTerminationCondition = "TIME"
    ds.NumberOfEnergyWindows = ds.NumberOfDetectors = 1
    add_tracer_and_patient_position(ds, ("129.5", "150.5"), "830")
    rotation = Dataset()
    rotation.StartAngle, rotation.AngularStep = "180", f"{360 / patient.settings.spect.views:g}"
    rotation.RotationDirection, rotation.ScanArc = "CC", "360"
    rotation.NumberOfFramesInRotation = patient.settings.spect.views
    rotation.ActualFrameDuration = 10_000
    rotation.RadialPosition = ["250"] * patient.settings.spect.views
    ds.RotationInformationSequence = [rotation]
    ds.NumberOfRotations = 1


def _add_geometry(ds: Dataset, patient: SpectCtPatient, head_first: bool) -> None:
    grid = patient.spect_grid
    x, y, _ = grid.origin_mm
    z = grid.coordinates(0)[-1 if head_first else 0]
    detector = Dataset()
    detector.CollimatorGridName = "LEHR"
    detector.CollimatorType = "PARA"
    detector.FieldOfViewShape = "RECTANGLE"
    detector.FieldOfViewDimensions = [533, 387]
    detector.StartAngle = "180"
    detector.ImagePositionPatient = [f"{v:.5f}" for v in (x, y, z)]
    detector.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
    ds.DetectorInformationSequence = [detector]
    ds.NumberOfSlices = grid.shape[0]
    ds.SliceThickness = f"{grid.spacing_mm[0]:g}"
    ds.SpacingBetweenSlices = f"{-grid.spacing_mm[0] if head_first else grid.spacing_mm[0]:g}"
    ds.PixelSpacing = [f"{v:g}" for v in grid.spacing_mm[1:]]


def _add_pixels(ds: Dataset, spect: np.ndarray) -> None:
    frames, rows, columns = spect.shape
    scale = STORED_MAXIMUM / max(float(spect.max()), 1e-6)
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.NumberOfFrames = frames
    ds.FrameIncrementPointer = [0x00540080]
    ds.SliceVector = list(range(1, frames + 1))
    ds.Rows, ds.Columns = rows, columns
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit, ds.PixelRepresentation = 15, 0
    ds.WindowCenter, ds.WindowWidth = f"{STORED_MAXIMUM / 4:g}", f"{STORED_MAXIMUM / 2:g}"
    ds.PixelData = np.ascontiguousarray(np.rint(spect * scale), "<u2").tobytes()
