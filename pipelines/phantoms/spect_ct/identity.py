"""Who and what a simulated study claims to be: the header modules that all its series share, and its UIDs.

Everything that would name a person says SYNTHETIC. UIDs are derived from preset and seed, so the same patient is the
same objects everywhere.
"""

from __future__ import annotations

from pydicom import Dataset
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from pipelines.phantoms.nm_dicom import IMPLEMENTATION_UID, STUDY_DATE, STUDY_TIME, derived_uid
from pipelines.phantoms.spect_ct.patient import SpectCtPatient

BODY_PARTS = {"thorax": "CHEST", "thoracolumbar": "SPINE", "pelvis": "PELVIS"}


def study_uid(patient: SpectCtPatient, *parts: object) -> UID:
    """Return a UID that belongs to this study and the parts named."""
    return derived_uid("spect-ct", patient.preset, patient.seed, *parts)


def new_instance(patient: SpectCtPatient, sop_class: UID, series: str, number: int) -> FileDataset:
    """Return a data set with its identity, patient and study; series and image modules are the caller's."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = study_uid(patient, series, number)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = IMPLEMENTATION_UID
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, meta.MediaStorageSOPInstanceUID
    ds.SeriesInstanceUID = study_uid(patient, series)
    ds.InstanceNumber = number
    _add_patient(ds, patient)
    ds.Manufacturer = "osteon"
    ds.ManufacturerModelName = "SYNTHETIC SPECT/CT simulator"
    ds.DeviceSerialNumber = f"SYNTHETIC-{patient.preset.upper()}"
    ds.SoftwareVersions = f"simulated, preset {patient.preset}"
    ds.ImageComments = "SYNTHETIC image of a simulated patient; not for diagnosis"
    ds.BodyPartExamined = BODY_PARTS[patient.settings.region]
    ds.PositionReferenceIndicator = ""
    return ds


def _add_patient(ds: Dataset, patient: SpectCtPatient) -> None:
    person = patient.patient
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.PatientName = f"SYNTHETIC^SPECT CT {patient.preset.upper()} {patient.seed}"
    ds.PatientID = f"SYNTHETIC-SPECTCT-{patient.preset.upper()}-{patient.seed}"
    ds.PatientBirthDate = ""
    ds.PatientSex = person.sex
    ds.PatientAge = f"{person.age_years:03d}Y"
    ds.PatientSize = f"{person.height_mm / 1000:.3f}"
    ds.PatientWeight = f"{person.weight_kg:.1f}"
    ds.PatientComments = "SYNTHETIC: simulated patient, no person"
    ds.StudyInstanceUID = study_uid(patient, "study")
    ds.StudyDate = ds.SeriesDate = ds.ContentDate = ds.AcquisitionDate = STUDY_DATE
    ds.StudyTime = ds.SeriesTime = ds.ContentTime = ds.AcquisitionTime = STUDY_TIME
    ds.StudyID = str(patient.seed)
    ds.AccessionNumber = ""
    ds.ReferringPhysicianName = ""
    ds.StudyDescription = "SYNTHETIC bone SPECT/CT"
