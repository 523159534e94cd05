"""DICOM files and an inbox as the listener leaves it, for the tests of this room."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from node.settings import Configuration, load_configuration
from node.settings.load import REPOSITORY_CONFIG
from node.storage import SpoolFolders
from node.storage.spool import AssociationEnd, AssociationRecord, instance_name, mark_ended, write_association
from tests.fixtures.running_node import write_configuration

ROOT = "1.2.826.0.1.3680043.10.1"
NM_IMAGE = "1.2.840.10008.5.1.4.1.1.20"
CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def data_set(sop: int = 1, series: int = 1, study: int = 1, **attributes: Any) -> Dataset:
    """A whole-body bone scan's header with a few pixels; attributes override, None leaves one out."""
    values = {
        "SOPClassUID": NM_IMAGE,
        "SOPInstanceUID": f"{ROOT}.{study}.{series}.{sop}",
        "SeriesInstanceUID": f"{ROOT}.{study}.{series}",
        "StudyInstanceUID": f"{ROOT}.{study}",
        "PatientID": "PID-4711",
        "PatientName": "SECRET^PATIENT",
        "Modality": "NM",
        "ImageType": ["ORIGINAL", "PRIMARY", "WHOLE BODY", "EMISSION"],
        "SeriesDescription": "WB BONE",
        "StudyDate": "20260301",
        "Rows": 16,
        "Columns": 4,
        "NumberOfFrames": 2,
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 0,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "PixelData": bytes(256),
    } | attributes
    dataset = Dataset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # senders write what pydicom warns of
        for keyword, value in values.items():
            if value is not None:
                setattr(dataset, keyword, value)
    return dataset


def part10(dataset: Dataset, sending_aet: str = "SCANNER", transfer_syntax: str = ExplicitVRLittleEndian) -> bytes:
    """The data set as a file whose meta information names the sender, as a receiver writes it."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.get("SOPClassUID") or NM_IMAGE
    meta.MediaStorageSOPInstanceUID = dataset.get("SOPInstanceUID") or f"{ROOT}.99"
    meta.TransferSyntaxUID = transfer_syntax
    meta.SendingApplicationEntityTitle = sending_aet
    dataset.file_meta = meta
    buffer = BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def configure(tmp_path: Path, **environment: str) -> Configuration:
    """The shipped configuration over a data folder below `tmp_path`."""
    return load_configuration(REPOSITORY_CONFIG, tmp_path / "data", environment)


def switched_on(tmp_path: Path, *rules: str) -> Configuration:
    """The shipped configuration with these rules switched on."""
    return load_configuration(write_configuration(tmp_path / "config", {}, [], rules), tmp_path / "data", {})


@dataclass
class Inbox:
    """An inbox that is filled as the listener fills it."""

    folders: SpoolFolders
    count: int = field(default=0)

    @classmethod
    def of(cls, configuration: Configuration) -> Inbox:
        return cls(SpoolFolders.create(configuration.data_dir))

    @property
    def path(self) -> Path:
        return self.folders.inbox

    def open(self, token: str, calling_aet: str = "SCANNER") -> None:
        """The record of an association."""
        write_association(self.path, AssociationRecord(token, calling_aet, "OSTEON", "127.0.0.1", NOW.timestamp()))

    def put(self, content: bytes | Dataset, token: str = "a1", sop_uid: str = "", at: datetime = NOW) -> Path:
        """One acknowledged instance, written at a time."""
        if not (self.path / f"{token}.assoc").exists():
            self.open(token)
        if isinstance(content, Dataset):
            sop_uid = sop_uid or content.SOPInstanceUID
            content = part10(content)
        self.count += 1
        path = self.path / instance_name(sop_uid or f"{ROOT}.77.{self.count}", token, self.count)
        path.write_bytes(content)
        os.utime(path, (at.timestamp() + self.count / 1000, at.timestamp() + self.count / 1000))
        return path

    def end(self, token: str = "a1", how: AssociationEnd = AssociationEnd.RELEASED) -> None:
        """The association is over."""
        mark_ended(self.path, token, how)

    def left(self) -> list[str]:
        """Names of all files that are still here."""
        return sorted(path.name for path in self.path.iterdir())
