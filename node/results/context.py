"""What a result is written for, and what comes out: the plain values at the edges of this room.

`ResultContext` goes in beside the `Findings`; `ResultObject`s come out. Nothing here knows how an object is built.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from typing import Literal

from pydicom import Dataset, dcmwrite

ResultKind = Literal["seg", "sr", "sc"]

MANUFACTURER = "osteon"
"""Manufacturer (0008,0070) of every object: the maker of the software that wrote it."""

MODEL_NAME = "osteon"


@dataclass(frozen=True)
class NodeIdentity:
    """The device that wrote a result.

    station_name
        The node's AE title; becomes StationName (SH, 16 characters).
    device_serial
        Tells two nodes of one hospital apart; the device observer UID is derived from it.
    """

    station_name: str
    device_serial: str
    software_version: str
    institution_name: str = ""


@dataclass(frozen=True)
class ObjectReference:
    """An object written earlier, as the registry knows it."""

    kind: ResultKind
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str


@dataclass(frozen=True)
class Superseded:
    """The objects of the revision that this one replaces."""

    revision: int
    objects: tuple[ObjectReference, ...]


@dataclass(frozen=True)
class ResultContext:
    """Everything about a result that is not a finding.

    Attributes
    ----------
    job_key
        Stable name of the job; with kind and revision it decides every UID.
    revision
        1 for the first run; a deliberate re-run counts up.
    created_at
        Aware. Its own zone is the one written, because DICOM dates are local times: hand over the hospital's
        zone. Where the source states TimezoneOffsetFromUTC, that zone is used instead, and stated again.
    """

    job_key: str
    revision: int
    created_at: datetime
    node: NodeIdentity
    supersedes: Superseded | None = None

    def __post_init__(self) -> None:
        if not self.job_key:
            raise ValueError("a result needs a job key: its UIDs are derived from it")
        if self.revision < 1:
            raise ValueError(f"revisions start at 1, got {self.revision}")
        if self.created_at.tzinfo is None:
            raise ValueError("created_at must say its time zone")
        if self.supersedes is not None and self.supersedes.revision >= self.revision:
            raise ValueError(f"revision {self.revision} cannot supersede revision {self.supersedes.revision}")


@dataclass(frozen=True)
class ResultObject:
    """One DICOM object, ready to be filed and sent.

    source_modality
        Of the series that a segmentation was drawn on; "" for other kinds.
    """

    kind: ResultKind
    dataset: Dataset
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    description: str
    source_modality: str = ""

    @classmethod
    def of(cls, kind: ResultKind, dataset: Dataset, source_modality: str = "") -> ResultObject:
        """Wrap a finished dataset."""
        return cls(
            kind=kind,
            dataset=dataset,
            series_instance_uid=str(dataset.SeriesInstanceUID),
            sop_instance_uid=str(dataset.SOPInstanceUID),
            sop_class_uid=str(dataset.SOPClassUID),
            description=str(dataset.SeriesDescription),
            source_modality=source_modality,
        )

    def reference(self) -> ObjectReference:
        """How a later revision names this object."""
        return ObjectReference(self.kind, self.sop_class_uid, self.sop_instance_uid, self.series_instance_uid)

    def to_bytes(self) -> bytes:
        """The object in the DICOM File Format (PS3.10), Explicit VR Little Endian."""
        buffer = BytesIO()
        dcmwrite(buffer, self.dataset, enforce_file_format=True)
        return buffer.getvalue()
