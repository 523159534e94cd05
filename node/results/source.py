"""Source headers -> what results may copy from them.

Real headers lack type 2 attributes, carry impossible dates and lengths, and name people in every script. Two things
are taken from a header, both on copies:

* the *identity* (patient and study attributes), copied unchanged where it is legal, because the archive files a
  result by it; what cannot be written (a birth date of zeros) becomes empty, what is missing and type 2 is added
  empty, and a missing type 1 attribute is a `PermanentError`, because no archive could file the result;
* a *view* for highdicom: the few attributes it reads, without any name in it (it quotes names in its warnings).

Pixel data is never touched here and geometry is read in `node.results.geometry`.
"""

from __future__ import annotations

import re
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime

from pydicom import DataElement, Dataset
from pydicom.config import disable_value_validation
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.uid import (
    UID,
    CTImageStorage,
    EnhancedCTImageStorage,
    EnhancedMRImageStorage,
    EnhancedPETImageStorage,
    MRImageStorage,
    NuclearMedicineImageStorage,
    PositronEmissionTomographyImageStorage,
)

from node.errors import PermanentError
from pipelines.contract import SourceSeries

TYPE_2_IDENTITY = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
    "StudyID",
)
"""Present in every result, empty where the source says nothing (PS3.3 C.7.1.1, C.7.2.1)."""

OPTIONAL_IDENTITY = (
    "IssuerOfPatientID",
    "TypeOfPatientID",
    "PatientBirthTime",
    "EthnicGroup",
    "PatientComments",
    "StudyDescription",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "AdditionalPatientHistory",
    "TimezoneOffsetFromUTC",
)
"""Copied where the source has them. Sequences are left out: a malformed one would spoil the result."""

_VIEW_ATTRIBUTES = (
    "Modality",
    "Manufacturer",
    "ManufacturerModelName",
    "StationName",
    "InstitutionName",
    "LossyImageCompression",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
)

_MODALITY_OF_CLASS = {
    CTImageStorage: "CT",
    EnhancedCTImageStorage: "CT",
    MRImageStorage: "MR",
    EnhancedMRImageStorage: "MR",
    NuclearMedicineImageStorage: "NM",
    PositronEmissionTomographyImageStorage: "PT",
    EnhancedPETImageStorage: "PT",
}

_PATIENT_SEXES = ("M", "F", "O")
_TIME = re.compile(r"^([01]\d|2[0-3])([0-5]\d([0-5]\d(\.\d{1,6})?)?)?$")
_AGE = re.compile(r"^\d{3}[DWMY]$")
_OFFSET = re.compile(r"^[+-](0\d|1[0-4])[0-5]\d$")


@dataclass(frozen=True)
class SourceInstance:
    """One source object: the cleaned identity and a header-only view of it."""

    header: Dataset
    view: Dataset


def source_instances(source: SourceSeries) -> list[SourceInstance]:
    """One entry per source object, in the order of `source.headers`.

    Raises
    ------
    PermanentError
        If a UID that names the study, series or object is missing (type 1).
    """
    if not source.headers:
        raise ValueError("a source series has at least one header")
    classes = _classes(source)
    return [SourceInstance(header, _view(source, header, classes)) for header in source.headers]


def source_references(source: SourceSeries) -> list[Dataset]:
    """Items of a sequence of references to the source's objects (PS3.3 10.8), one per object."""
    classes = _classes(source)
    items = []
    for header in source.headers:
        item = Dataset()
        item.ReferencedSOPInstanceUID = require(header, "SOPInstanceUID")
        known = classes.get(item.ReferencedSOPInstanceUID, source.frames[0].sop_class_uid)
        item.ReferencedSOPClassUID = require(header, "SOPClassUID", known)
        items.append(item)
    return items


def first_instance(source: SourceSeries) -> SourceInstance:
    """The first of the source's objects; see `source_instances`."""
    return SourceInstance(source.headers[0], _view(source, source.headers[0], _classes(source)))


def identity(header: Dataset) -> Dataset:
    """Patient and study attributes of a header that a result carries, legal ones unchanged."""
    found = Dataset()
    with disable_value_validation():
        for keyword in TYPE_2_IDENTITY + OPTIONAL_IDENTITY:
            element = _legal(header, keyword)
            if element is not None:
                found.add(element)
            elif keyword in TYPE_2_IDENTITY:
                found.add(DataElement(keyword, dictionary_VR(keyword), None))
        # The two go together (type 1C): "removed" alone, as some anonymisers write it, is not valid.
        removed, method = _legal(header, "PatientIdentityRemoved"), _legal(header, "DeidentificationMethod")
        if removed is not None and method is not None:
            found.add(removed)
            found.add(method)
    return found


def source_modality(source: SourceSeries) -> str:
    """What made a series, as a DICOM modality: by its class where that says it, because some senders write OT."""
    known = _MODALITY_OF_CLASS.get(UID(source.frames[0].sop_class_uid))
    return known or str(source.headers[0].get("Modality") or "").strip().upper()


def require(header: Dataset, keyword: str, fallback: str = "") -> str:
    """Value of a type 1 attribute, or `fallback`.

    Raises
    ------
    PermanentError
        If both are empty.
    """
    with disable_value_validation():
        value = str(header.get(keyword) or fallback).strip()
    if not value:
        tag = tag_for_keyword(keyword) or 0
        raise PermanentError(
            f"the source image has no {keyword} ({tag >> 16:04X},{tag & 0xFFFF:04X}), so no archive could file a "
            "result under it; have the image corrected where it was made and send it again"
        )
    return value


def _classes(source: SourceSeries) -> dict[str, str]:
    """The SOP class of each object, by its UID."""
    return {frame.sop_instance_uid: frame.sop_class_uid for frame in source.frames}


def _view(source: SourceSeries, header: Dataset, classes: dict[str, str]) -> Dataset:
    """What highdicom reads of a source object, with empty patient attributes (`identity` fills them in later)."""
    view = Dataset()
    view.StudyInstanceUID = require(header, "StudyInstanceUID")
    view.SeriesInstanceUID = require(header, "SeriesInstanceUID")
    view.SOPInstanceUID = require(header, "SOPInstanceUID")
    # Some senders leave the data set's SOP class empty and fill in the file meta only; the reader knows it then.
    known = classes.get(str(view.SOPInstanceUID), source.frames[0].sop_class_uid)
    view.SOPClassUID = require(header, "SOPClassUID", known)
    view.Modality = ""
    with disable_value_validation():
        for keyword in _VIEW_ATTRIBUTES:
            element = _legal(header, keyword)
            if element is not None:
                view.add(element)
        for keyword in TYPE_2_IDENTITY:
            view.add(DataElement(keyword, dictionary_VR(keyword), None))
    view.Rows = int(require(header, "Rows"))
    view.Columns = int(require(header, "Columns"))
    return view


def _legal(header: Dataset, keyword: str) -> DataElement | None:
    """A copy of the element if it has a value that may be written, else None."""
    if keyword not in header:
        return None
    try:
        element = header[keyword]
    except (ValueError, TypeError, OverflowError):
        # pydicom converts on access, and a number that is none cannot be converted.
        return None
    if str(element.VR) != dictionary_VR(keyword):
        return None
    if element.value is None or element.VM == 0 or str(element.value) == "":
        return None
    return deepcopy(element) if _is_legal(keyword, str(element.VR), element.value) else None


def _is_legal(keyword: str, vr: str, value: object) -> bool:
    text = str(value)
    if keyword == "PatientSex":
        return text in _PATIENT_SEXES
    if keyword == "TimezoneOffsetFromUTC":
        return _OFFSET.match(text) is not None
    if vr == "DA":
        return _is_date(text)
    if vr == "TM":
        return _TIME.match(text) is not None
    if vr == "AS":
        return _AGE.match(text) is not None
    if vr == "DS" and keyword.startswith("Patient"):
        return _is_number(text)
    return True


def _is_date(text: str) -> bool:
    if len(text) != 8 or not text.isdigit():
        return False
    try:
        datetime.strptime(text, "%Y%m%d")  # noqa: DTZ007 - a calendar date has no zone
    except ValueError:
        return False
    return True


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
