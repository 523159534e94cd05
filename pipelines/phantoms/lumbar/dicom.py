"""A simulated MR series as DICOM: classic MR Image Storage, one object per slice.

Everything that names a person or a device says SYNTHETIC. UIDs are derived from preset, seed and look, so the same
scan is the same set of objects everywhere. Truth masks are written beside them (`study`), never into them.
"""

from __future__ import annotations

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, MRImageStorage

from pipelines.phantoms.lumbar.patient import LumbarPatient
from pipelines.phantoms.lumbar.series import Series
from pipelines.phantoms.nm_dicom import IMPLEMENTATION_UID, STUDY_DATE, STUDY_TIME, derived_uid


def series_datasets(patient: LumbarPatient, series: Series, number: int) -> list[FileDataset]:
    """Return the slices of a series as complete data sets with uint16 pixels, in the order of its slices.

    Parameters
    ----------
    number : SeriesNumber in the study, from 1.
    """
    key = ("lumbar-mr", patient.preset, patient.anatomy_preset, patient.seed, patient.look_seed)
    return [_slice(patient, series, number, index, key) for index in range(series.image.shape[0])]


def _slice(patient: LumbarPatient, series: Series, number: int, index: int, key: tuple[object, ...]) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = MRImageStorage
    meta.MediaStorageSOPInstanceUID = derived_uid("instance", *key, series.folder, index)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = IMPLEMENTATION_UID
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID = MRImageStorage
    ds.SOPInstanceUID = UID(meta.MediaStorageSOPInstanceUID)
    _add_patient_and_study(ds, patient, key)
    _add_series(ds, patient, series, number, key)
    _add_acquisition(ds, series)
    ds.InstanceNumber = index + 1
    ds.ImagePositionPatient = [f"{v:.5f}" for v in series.positions_mm[index]]
    ds.ImageOrientationPatient = [f"{v:.6f}" for v in series.orientations[index]]
    normal = np.cross(series.orientations[index][:3], series.orientations[index][3:])
    ds.SliceLocation = f"{float(normal @ series.positions_mm[index]):.4f}"
    _add_pixels(ds, series, index)
    return ds


def _add_patient_and_study(ds: Dataset, patient: LumbarPatient, key: tuple[object, ...]) -> None:
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.PatientName = f"SYNTHETIC^LUMBAR MR {patient.preset.upper()} {patient.seed}"
    ds.PatientID = f"SYNTHETIC-LUMBAR-{patient.anatomy_preset.upper()}-{patient.seed}"
    ds.PatientBirthDate = ""
    ds.PatientSex = ""
    ds.PatientAge = f"{int(patient.notes['age_years']):03d}Y"
    ds.PatientComments = "SYNTHETIC: simulated patient, no person"
    ds.StudyInstanceUID = derived_uid("study", *key)
    ds.StudyDate = ds.SeriesDate = ds.ContentDate = ds.AcquisitionDate = STUDY_DATE
    ds.StudyTime = ds.SeriesTime = ds.ContentTime = ds.AcquisitionTime = STUDY_TIME
    ds.StudyID = str(patient.seed)
    ds.AccessionNumber = ""
    ds.ReferringPhysicianName = ""
    ds.StudyDescription = "SYNTHETIC MR lumbar spine"


def _add_series(ds: Dataset, patient: LumbarPatient, series: Series, number: int, key: tuple[object, ...]) -> None:
    ds.Modality = "MR"
    ds.SeriesInstanceUID = derived_uid("series", *key, series.folder)
    ds.FrameOfReferenceUID = derived_uid("frame of reference", *key)
    ds.PositionReferenceIndicator = ""
    ds.SeriesNumber = number
    ds.SeriesDescription = series.description
    ds.ProtocolName = series.description
    ds.BodyPartExamined = "LSPINE"
    ds.PatientPosition = "HFS"
    ds.Manufacturer = "osteon"
    ds.ManufacturerModelName = "SYNTHETIC lumbar MR simulator"
    ds.DeviceSerialNumber = "SYNTHETIC"
    ds.SoftwareVersions = f"simulated, preset {patient.preset}"
    ds.ImageComments = "SYNTHETIC image of a simulated patient; not for diagnosis"


def _add_acquisition(ds: Dataset, series: Series) -> None:
    inversion = series.inversion_time_ms is not None
    ds.ImageType = ["ORIGINAL", "PRIMARY", "M", "IR" if inversion else "SE"]
    ds.ScanningSequence = ["SE", "IR"] if inversion else "SE"
    ds.SequenceVariant = ["SK", "MP"] if inversion else "SK"
    ds.ScanOptions = ""
    ds.MRAcquisitionType = "2D"
    ds.SequenceName = "*tir2d" if inversion else "*tse2d"
    ds.SliceThickness = f"{series.thickness_mm:.4f}"
    ds.SpacingBetweenSlices = f"{series.step_mm:.5f}"
    ds.RepetitionTime = f"{series.repetition_time_ms:g}"
    ds.EchoTime = f"{series.echo_time_ms:g}"
    if inversion:
        ds.InversionTime = f"{series.inversion_time_ms:g}"
    ds.EchoTrainLength = series.echo_train
    ds.EchoNumbers = 1
    ds.NumberOfAverages = "2"
    ds.MagneticFieldStrength = "1.5"
    ds.ImagingFrequency = "63.87"
    ds.ImagedNucleus = "1H"
    ds.FlipAngle = "150"
    ds.PixelBandwidth = "200"


def _add_pixels(ds: Dataset, series: Series, index: int) -> None:
    pixels = np.clip(np.rint(series.image[index]), 0, 65535).astype("<u2")
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.Rows, ds.Columns = pixels.shape
    ds.PixelSpacing = [f"{series.pixel_mm:.6f}"] * 2
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit = 15
    ds.PixelRepresentation = 0
    upper = float(np.percentile(series.image, 99.5))
    ds.WindowCenter, ds.WindowWidth = f"{upper / 2:.1f}", f"{max(upper, 1.0):.1f}"
    ds.PixelData = pixels.tobytes()
