"""One received file, read as far as the registry needs it: identity, digest, and what rules may ask for.

The digest covers the data set only. The file meta information in front of it is the receiver's (it names the
association's parties), so that a resend over another association has the same digest.
"""

from __future__ import annotations

import hashlib
import warnings
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
from pydicom import Dataset
from pydicom.datadict import tag_for_keyword
from pydicom.filereader import read_dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian

from node.assemble.attributes import OWN_MANUFACTURER, collect_headers, top_level_keywords
from node.assemble.text import clean_text, repair_text
from node.errors import PermanentError
from node.storage import is_valid_uid

PREAMBLE_BYTES = 128
MAX_META_BYTES = 1 << 20
"""Longest file meta information that is believed."""

MAX_INFLATED_BYTES = 64 << 20
"""How far a deflated data set is inflated to find its header; a small file can inflate to any size."""

MAX_EXPECTED_COUNT = 100_000
"""Instances in one series; a header that promises more is not believed."""

_LONG_VRS = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
_PIXEL_TAGS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
_IDENTITY = (
    "SOPInstanceUID",
    "SOPClassUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "PatientID",
    "IssuerOfPatientID",
    "PatientName",
    "AccessionNumber",
    "StudyDate",
)
# What this node writes: SEG, label map SEG, the SR classes and secondary captures.
_RESULT_CLASSES = ("1.2.840.10008.5.1.4.1.1.66.", "1.2.840.10008.5.1.4.1.1.88.", "1.2.840.10008.5.1.4.1.1.7")


class UnregistrableError(PermanentError):
    """The file cannot be registered; the text says why."""


@dataclass(frozen=True)
class FileDigest:
    """sha256 (hex) of a file's data set, and the size of the whole file in bytes."""

    sha256: str
    byte_count: int


@dataclass(frozen=True)
class InstanceFile:
    """What one file says of itself. Texts are clean but not clipped to any column; UIDs are valid."""

    study_uid: str
    series_uid: str
    sop_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    patient_id: str = field(repr=False)
    patient_id_issuer: str = field(repr=False)
    patient_name: str = field(repr=False)
    accession_number: str = field(repr=False)
    study_date: str
    expected_count: int | None
    headers: dict[str, Any]

    def text(self, name: str) -> str:
        """A header as one text; "" where there is none."""
        value = self.headers.get(name, "")
        return "\\".join(str(part) for part in value) if isinstance(value, list) else str(value)


def data_set_offset(head: bytes) -> int:
    """Where the data set begins in a file whose first bytes are `head` (PS3.10 7.1).

    The elements of group 0002 are walked one by one, because their group length is wrong in many files.
    """
    if head[PREAMBLE_BYTES : PREAMBLE_BYTES + 4] != b"DICM":
        return 0
    position = PREAMBLE_BYTES + 4
    while head[position : position + 2] == b"\x02\x00" and position + 8 <= len(head):
        if head[position + 4 : position + 6] in _LONG_VRS:
            position += 12 + int.from_bytes(head[position + 8 : position + 12], "little")
        else:
            position += 8 + int.from_bytes(head[position + 6 : position + 8], "little")
    return position


def digest_file(path: Path) -> FileDigest:
    """Digest of the data set in `path`; OSError if it cannot be read."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        head = file.read(MAX_META_BYTES)
        digest.update(memoryview(head)[min(data_set_offset(head), len(head)) :])
        size = len(head)
        while chunk := file.read(1 << 20):
            digest.update(chunk)
            size += len(chunk)
    return FileDigest(digest.hexdigest(), size)


def read_instance(path: Path, extra: Iterable[str] = (), acknowledged_uid: str = "") -> InstanceFile:
    """Read the header of one file.

    Parameters
    ----------
    extra
        Names of attributes that rules ask for beyond the usual ones.
    acknowledged_uid
        SOP Instance UID under which the file was acknowledged; serves where the data set has none.

    Raises
    ------
    UnregistrableError
        If it is not DICOM, or lacks a UID without which it has no place.
    OSError
        If the file cannot be read.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is odd in a header is the sender's affair; what matters is checked below
        dataset, meta = _read(path, (*_IDENTITY, *top_level_keywords(extra)))
        headers = collect_headers(dataset, extra)
        identity = {keyword: _identity(dataset, keyword) for keyword in _IDENTITY}
        sop_uid = _valid(identity["SOPInstanceUID"]) or _valid(_identity(meta, "MediaStorageSOPInstanceUID"))
        sop_class = _valid(identity["SOPClassUID"]) or _valid(_identity(meta, "MediaStorageSOPClassUID"))
        transfer_syntax = _valid(_identity(meta, "TransferSyntaxUID"))
    for keyword, name in (("StudyInstanceUID", "study"), ("SeriesInstanceUID", "series")):
        uid = identity[keyword]
        if not uid:
            raise UnregistrableError(f"it names no {name} ({keyword} is missing or empty), so it has no place here")
        if not is_valid_uid(uid):
            raise UnregistrableError(f"its {keyword} is not a valid UID: '{uid[:80]}'")
    sop_uid = sop_uid or acknowledged_uid
    if not sop_uid:
        raise UnregistrableError("it has no valid SOPInstanceUID")
    if sop_class:
        headers["SOPClassUID"] = sop_class
    if _is_result(headers):
        headers["MadeByOsteon"] = True
    return InstanceFile(
        study_uid=identity["StudyInstanceUID"],
        series_uid=identity["SeriesInstanceUID"],
        sop_uid=sop_uid,
        sop_class_uid=sop_class,
        transfer_syntax_uid=transfer_syntax,
        patient_id=identity["PatientID"],
        patient_id_issuer=identity["IssuerOfPatientID"],
        patient_name=identity["PatientName"],
        accession_number=identity["AccessionNumber"],
        study_date=identity["StudyDate"],
        expected_count=_expected_count(headers),
        headers=headers,
    )


def _read(path: Path, keywords: Iterable[str]) -> tuple[Dataset, Dataset]:
    """(data set without pixels, file meta); whatever pydicom raises becomes UnregistrableError."""
    tags = sorted({tag for tag in map(tag_for_keyword, keywords) if tag is not None})
    try:
        with path.open("rb") as file:
            meta = pydicom.filereader.read_file_meta_info(path) if _has_preamble(path) else Dataset()
            if meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
                return _read_deflated(path, tags), meta
            file.seek(0)
            dataset = pydicom.dcmread(file, stop_before_pixels=True, force=True, specific_tags=list(tags))
            return dataset, meta
    except OSError as error:
        if error.errno is not None:  # the disk's fault, not the file's: pydicom's own OSErrors carry no errno
            raise
        raise UnregistrableError("it cannot be parsed as DICOM (an element is cut off or damaged)") from error
    except Exception as error:
        raise UnregistrableError(f"it cannot be parsed as DICOM ({type(error).__name__})") from error


def _has_preamble(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(PREAMBLE_BYTES + 4)[PREAMBLE_BYTES:] == b"DICM"


def _read_deflated(path: Path, tags: list[int]) -> Dataset:
    with path.open("rb") as file:
        offset = data_set_offset(file.read(MAX_META_BYTES))
        file.seek(offset)
        inflated = zlib.decompressobj(-zlib.MAX_WBITS).decompress(file.read(MAX_INFLATED_BYTES), MAX_INFLATED_BYTES)
    return read_dataset(
        BytesIO(inflated),
        is_implicit_VR=False,
        is_little_endian=True,
        stop_when=lambda tag, _vr, _length: tag in _PIXEL_TAGS,
        specific_tags=list(tags),
    )


def _identity(dataset: Dataset, keyword: str) -> str:
    try:
        value = dataset.get(keyword)
        character_sets = dataset.get("SpecificCharacterSet") or ()
    except Exception:  # an undecodable value is as good as none; pydicom raises many kinds
        return ""
    if value is None or isinstance(value, bytes):
        return ""
    declared = (character_sets,) if isinstance(character_sets, str) else tuple(map(str, character_sets))
    return clean_text(repair_text(str(value), declared), limit=1024)


def _valid(uid: str) -> str:
    return uid if is_valid_uid(uid) else ""


def _expected_count(headers: dict[str, Any]) -> int | None:
    for name in ("NumberOfSeriesRelatedInstances", "ImagesInAcquisition"):
        value = headers.get(name)
        if isinstance(value, int) and 0 < value <= MAX_EXPECTED_COUNT:
            return value
    return None


def _is_result(headers: dict[str, Any]) -> bool:
    """Written by this node or another osteon: known by its maker and class even where the registry forgot it."""
    maker = str(headers.get("Manufacturer", "")).casefold()
    return maker == OWN_MANUFACTURER and str(headers.get("SOPClassUID", "")).startswith(_RESULT_CLASSES)
