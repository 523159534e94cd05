"""A simulated scan as a DICOM object: Nuclear Medicine Image Storage, WHOLE BODY, two frames.

One multi-frame object holds the anterior and the posterior view (PS3.3 C.8.4.9, image type value 3 WHOLE BODY;
detector and energy vectors per frame, C.8.4.10 to C.8.4.11). Everything that names a person says SYNTHETIC. UIDs are
derived from preset and seed, so the same patient is the same object everywhere. Truth masks are written beside it
(`study`), never into it.
"""

from __future__ import annotations

import uuid

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, NuclearMedicineImageStorage

from pipelines.phantoms.bone_scan import SimulatedBoneScan

UID_NAMESPACE = uuid.UUID("6d8f2b1e-5a60-4d0e-9a56-52f0c1d0b7aa")
"""Namespace of the derived UIDs (UUIDv5, written as 2.25.*, PS3.5 B.2)."""

STUDY_DATE, STUDY_TIME = "20000101", "120000"
"""A date no clinical study of this kind would carry by chance; constant, so that files are reproducible."""

IMPLEMENTATION_UID = UID("2.25.208446211512341526873105241276423158714")
_SIDES = {
    "anterior": ("399321004", "Anterior projection", 180.0),
    "posterior": ("399001007", "Posterior projection", 0.0),
}
_BONE_SCAN_DURATION_MS = 900_000


def derived_uid(*parts: object) -> UID:
    """Return the UID that belongs to these parts, always the same."""
    return UID(f"2.25.{uuid.uuid5(UID_NAMESPACE, '/'.join(str(p) for p in parts)).int}")


def bone_scan_dataset(scan: SimulatedBoneScan) -> FileDataset:
    """Return the scan as a complete DICOM data set with uint16 pixels (frame, row, column)."""
    key = (scan.preset, scan.seed, f"{scan.scanner.counts:.0f}", len(scan.lesions))
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = NuclearMedicineImageStorage
    meta.MediaStorageSOPInstanceUID = derived_uid("instance", *key)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = IMPLEMENTATION_UID
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID = meta.MediaStorageSOPClassUID
    ds.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    _add_patient_and_study(ds, scan, key)
    _add_acquisition(ds, scan)
    _add_frames(ds, scan)
    _add_pixels(ds, scan)
    return ds


def _add_patient_and_study(ds: Dataset, scan: SimulatedBoneScan, key: tuple[object, ...]) -> None:
    patient = scan.patient
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.PatientName = f"SYNTHETIC^BONE SCAN {scan.preset.upper()} {scan.seed}"
    ds.PatientID = f"SYNTHETIC-{scan.preset.upper()}-{scan.seed}"
    ds.PatientBirthDate = ""
    ds.PatientSex = patient.sex
    ds.PatientAge = f"{patient.age_years:03d}Y"
    ds.PatientSize = f"{patient.height_mm / 1000:.3f}"
    ds.PatientWeight = f"{patient.weight_kg:.1f}"
    ds.PatientComments = "SYNTHETIC: simulated patient, no person"
    ds.StudyInstanceUID = derived_uid("study", *key)
    ds.SeriesInstanceUID = derived_uid("series", *key)
    ds.FrameOfReferenceUID = derived_uid("frame of reference", *key)
    ds.PositionReferenceIndicator = ""
    ds.StudyDate = ds.SeriesDate = ds.ContentDate = ds.AcquisitionDate = STUDY_DATE
    ds.StudyTime = ds.SeriesTime = ds.ContentTime = ds.AcquisitionTime = STUDY_TIME
    ds.StudyID = str(scan.seed)
    ds.AccessionNumber = ""
    ds.ReferringPhysicianName = ""
    ds.StudyDescription = "SYNTHETIC whole body bone scan"
    ds.SeriesDescription = "WHOLE BODY BONE"
    ds.Modality = "NM"
    ds.BodyPartExamined = "WHOLEBODY"
    ds.SeriesNumber = 1
    ds.InstanceNumber = 1
    ds.Manufacturer = "osteon"
    ds.ManufacturerModelName = "SYNTHETIC bone scan simulator"
    ds.DeviceSerialNumber = f"SYNTHETIC-{scan.scanner.name}"
    ds.SoftwareVersions = f"simulated, preset {scan.preset}"
    ds.ImageComments = "SYNTHETIC image of a simulated patient; not for diagnosis"


def _add_acquisition(ds: Dataset, scan: SimulatedBoneScan) -> None:
    scanner = scan.scanner
    ds.ImageType = ["ORIGINAL", "PRIMARY", "WHOLE BODY", "EMISSION"]
    ds.CountsAccumulated = int(scan.counts.sum())
    ds.AcquisitionTerminationCondition = "MANU"
    ds.ActualFrameDuration = _BONE_SCAN_DURATION_MS
    ds.WholeBodyTechnique = "1PS"
    ds.ScanLength = round(scanner.scan_length_mm)
    ds.ScanVelocity = f"{scanner.scan_length_mm / (_BONE_SCAN_DURATION_MS / 1000):.3f}"
    ds.NumberOfEnergyWindows = 1
    ds.NumberOfDetectors = 2
    ds.EnergyWindowVector = [1, 1]
    ds.DetectorVector = [1, 2]
    add_tracer_and_patient_position(ds, ("126", "154"), "740")


def add_tracer_and_patient_position(ds: Dataset, window_kev: tuple[str, str], dose_mbq: str) -> None:
    """Add energy window, radiopharmaceutical, and a patient who lies on the back, head first."""
    limits = Dataset()
    limits.EnergyWindowLowerLimit, limits.EnergyWindowUpperLimit = window_kev
    window = Dataset()
    window.EnergyWindowName = "Tc-99m"
    window.EnergyWindowRangeSequence = [limits]
    ds.EnergyWindowInformationSequence = [window]
    radionuclide = _code("43794004", "SCT", "99m Technetium")
    agent = Dataset()
    agent.RadionuclideCodeSequence = [radionuclide]
    agent.Radiopharmaceutical = "Tc-99m MDP"
    agent.RadiopharmaceuticalRoute = "INTRAVENOUS"
    agent.RadiopharmaceuticalCodeSequence = [_code("433796002", "SCT", "Technetium Tc^99m^ medronate")]
    agent.RadionuclideTotalDose = dose_mbq
    ds.RadiopharmaceuticalInformationSequence = [agent]
    orientation = _code("102538003", "SCT", "recumbent")
    orientation.PatientOrientationModifierCodeSequence = [_code("40199007", "SCT", "supine")]
    ds.PatientOrientationCodeSequence = [orientation]
    ds.PatientGantryRelationshipCodeSequence = [_code("102540008", "SCT", "headfirst")]


def _add_frames(ds: Dataset, scan: SimulatedBoneScan) -> None:
    """Detector 1 is anterior (start angle 180), detector 2 posterior (0); each knows its view and orientation."""
    detectors = []
    for name, (code, meaning, angle) in _SIDES.items():
        detector = Dataset()
        detector.CollimatorGridName = "LEHR"
        detector.CollimatorType = "PARA"
        detector.FieldOfViewShape = "RECTANGLE"
        detector.FieldOfViewDimensions = [round(scan.scanner.field_mm), 400]
        detector.StartAngle = f"{angle:g}"
        left = 1.0 if name == "anterior" else -1.0
        detector.ImageOrientationPatient = [left, 0.0, 0.0, 0.0, 0.0, -1.0]
        detector.ImagePositionPatient = [-left * scan.scanner.columns * scan.scanner.pixel_mm / 2, 0.0, 0.0]
        detector.ViewCodeSequence = [_code(code, "SCT", meaning)]
        detectors.append(detector)
    ds.DetectorInformationSequence = detectors


def _add_pixels(ds: Dataset, scan: SimulatedBoneScan) -> None:
    frames, rows, columns = scan.counts.shape
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.NumberOfFrames = frames
    ds.FrameIncrementPointer = [0x00540010, 0x00540020]
    ds.Rows, ds.Columns = rows, columns
    ds.PixelSpacing = [f"{scan.scanner.pixel_mm:.5f}"] * 2
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit = 15
    ds.PixelRepresentation = 0
    ds.WindowCenter, ds.WindowWidth = _display_window(scan.counts)
    ds.PixelData = np.ascontiguousarray(scan.counts, "<u2").tobytes()


def _display_window(counts: np.ndarray) -> tuple[str, str]:
    """Centre and width so that the hottest thousandth of the counted pixels is saturated."""
    upper = float(np.percentile(counts[counts > 0], 99.5)) if (counts > 0).any() else 1.0
    return f"{upper / 2:.1f}", f"{max(upper, 1.0):.1f}"


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item
