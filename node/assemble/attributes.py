"""What is kept of a series' header for rules, and how it is found in a data set.

Most names are DICOM keywords. Some gather what the standard scatters over sequences or leaves to be worked out:

    Orientation        "axial", "coronal", "sagittal" or "oblique", from ImageOrientationPatient
    Radiopharmaceutical, Radionuclide, AnatomicRegion, View    texts and code values, of all items
    RowColumnRatio     Rows / Columns: about 4 for a whole-body scan
    ProjectionView     "anterior" or "posterior", of a nuclear-medicine object with one frame whose header says so
    AcquiredAt         when it was acquired, by the device's clock, as 2026-03-01T12:00:00
    AnyDescription     all texts in which people say what a series is: of series, study, protocol and procedure
    InstanceCount, CallingAET, CalledAET, MadeByOsteon         known to the registry, not to the data set

A rule may name any other public attribute of the data set, or one inside sequences as `Sequence.Keyword`; it is then
kept for all series received from then on, and read from a file where an older series is explained or routed again
(`stored_headers`). Patient data cannot be named.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from pydicom import Dataset
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.tag import BaseTag, Tag

from node.assemble.text import clean_text, repair_text
from pipelines.imaging.views import INSTANCE_TEXT, FrameHeader, decide_views

MAX_VALUES = 32
"""Values kept of one attribute."""

MAX_ITEMS = 16
"""Items looked at per sequence."""

OBLIQUE_BELOW = 0.8
"""A plane whose normal has no component above this (37 degrees) is oblique; lumbar discs are imaged up to 30 off."""

OWN_MANUFACTURER = "osteon"
"""Manufacturer (0008,0070) of everything that node.results writes."""


@dataclass(frozen=True)
class Kept:
    """One name and where its value may stand; the first path with a value counts, or all of them if `gather`."""

    name: str
    paths: tuple[str, ...]
    gather: bool = False


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_PLAIN = _words(
    "Modality SOPClassUID ImageType SeriesDescription StudyDescription ProtocolName PerformedProcedureStepDescription "
    "RequestedProcedureDescription BodyPartExamined Laterality Manufacturer ManufacturerModelName StationName "
    "InstitutionName SeriesNumber InstanceNumber FrameOfReferenceUID PatientPosition Rows Columns NumberOfFrames "
    "SamplesPerPixel PhotometricInterpretation SpacingBetweenSlices ScanOptions SequenceName ScanningSequence "
    "SequenceVariant SpectrallySelectedSuppression MRAcquisitionType FlipAngle EchoTrainLength MagneticFieldStrength "
    "ContrastBolusAgent ConvolutionKernel KVP WholeBodyTechnique TypeOfDetectorMotion ConversionType "
    "BurnedInAnnotation ImagesInAcquisition NumberOfSeriesRelatedInstances SeriesType"
)

_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")


def _in_groups(path: str) -> tuple[str, ...]:
    """Where enhanced multi-frame objects keep it (PS3.3 C.7.6.16)."""
    return tuple(f"{group}.{path}" for group in _GROUPS)


_RADIOPHARMACEUTICAL = "RadiopharmaceuticalInformationSequence"

KEPT: tuple[Kept, ...] = (
    *(Kept(keyword, (keyword,)) for keyword in _PLAIN),
    Kept(
        "ImageOrientationPatient",
        (
            "ImageOrientationPatient",
            "DetectorInformationSequence.ImageOrientationPatient",
            *_in_groups("PlaneOrientationSequence.ImageOrientationPatient"),
        ),
    ),
    Kept("PixelSpacing", ("PixelSpacing", *_in_groups("PixelMeasuresSequence.PixelSpacing"))),
    Kept("SliceThickness", ("SliceThickness", *_in_groups("PixelMeasuresSequence.SliceThickness"))),
    Kept("EchoTime", ("EchoTime", *_in_groups("MREchoSequence.EffectiveEchoTime"))),
    Kept("RepetitionTime", ("RepetitionTime", *_in_groups("MRTimingAndRelatedParametersSequence.RepetitionTime"))),
    Kept("InversionTime", ("InversionTime", *_in_groups("MRModifierSequence.InversionTimes"))),
    Kept(
        "Radiopharmaceutical",
        (
            f"{_RADIOPHARMACEUTICAL}.Radiopharmaceutical",
            f"{_RADIOPHARMACEUTICAL}.RadiopharmaceuticalCodeSequence.CodeMeaning",
            f"{_RADIOPHARMACEUTICAL}.RadiopharmaceuticalCodeSequence.CodeValue",
        ),
        gather=True,
    ),
    Kept(
        "Radionuclide",
        (
            f"{_RADIOPHARMACEUTICAL}.RadionuclideCodeSequence.CodeMeaning",
            f"{_RADIOPHARMACEUTICAL}.RadionuclideCodeSequence.CodeValue",
            "EnergyWindowInformationSequence.EnergyWindowName",
        ),
        gather=True,
    ),
    Kept(
        "AnatomicRegion",
        (
            "AnatomicRegionSequence.CodeMeaning",
            "AnatomicRegionSequence.CodeValue",
            *_in_groups("FrameAnatomySequence.AnatomicRegionSequence.CodeMeaning"),
            *_in_groups("FrameAnatomySequence.AnatomicRegionSequence.CodeValue"),
        ),
        gather=True,
    ),
    Kept(
        "View",
        ("ViewCodeSequence.CodeMeaning", "DetectorInformationSequence.ViewCodeSequence.CodeMeaning"),
        gather=True,
    ),
)

_DESCRIPTIONS = (
    "SeriesDescription",
    "ProtocolName",
    "StudyDescription",
    "PerformedProcedureStepDescription",
    "RequestedProcedureDescription",
)

DERIVED = (
    "AnyDescription",
    "Orientation",
    "RowColumnRatio",
    "ProjectionView",
    "AcquiredAt",
    "InstanceCount",
    "CallingAET",
    "CalledAET",
    "MadeByOsteon",
)
"""Names that no data set holds under that name."""

_MOMENTS = ("AcquisitionDateTime", "AcquisitionDate", "AcquisitionTime", "SeriesDate", "SeriesTime")
_DIGITS = re.compile(r"\d+")

_KEPT_NAMES = frozenset(kept.name for kept in KEPT) | frozenset(DERIVED)
_TEXT_VRS = frozenset(_words("AE AS CS DA DT LO LT SH ST TM UC UI UR UT"))
_CHARACTER_SET_VRS = frozenset(_words("LO LT SH ST UC UT"))
_INTEGER_VRS = frozenset(_words("IS US SS UL SL UV SV"))
_REAL_VRS = frozenset(_words("DS FL FD"))
_PATIENT_GROUP = 0x0010
_NOT_IDENTIFYING = frozenset({"PatientSex", "PatientAge", "PatientSize", "PatientWeight"})


def attribute_problem(name: str) -> str | None:
    """Why a rule cannot ask for `name` (a keyword, or `Sequence.Keyword`); None if it can."""
    if name in _KEPT_NAMES:
        return None
    *sequences, keyword = name.split(".")
    for part in sequences:
        tag = tag_for_keyword(part)
        if tag is None or dictionary_VR(tag) != "SQ":
            return f"'{part}' is not the keyword of a DICOM sequence"
    tag = tag_for_keyword(keyword)
    if tag is None:
        return f"'{keyword}' is not a DICOM keyword, nor one of {', '.join(DERIVED)}"
    vr = dictionary_VR(tag)
    if vr == "PN" or (tag >> 16 == _PATIENT_GROUP and keyword not in _NOT_IDENTIFYING):
        return f"'{keyword}' is patient data, which rules cannot ask for"
    if vr not in _TEXT_VRS | _INTEGER_VRS | _REAL_VRS:
        return f"'{keyword}' holds no text or number (its VR is {vr})"
    return None


def is_always_kept(name: str) -> bool:
    """Whether the intake keeps it of every series, asked for by a rule or not."""
    return name in _KEPT_NAMES


def top_level_keywords(extra: Iterable[str] = ()) -> list[str]:
    """Keywords that a reader must not skip so that `collect_headers` finds everything."""
    names = {path.split(".")[0] for kept in KEPT for path in kept.paths}
    names.update(_MOMENTS, ("PatientOrientation",), INSTANCE_TEXT)
    return sorted(names | {name.split(".")[0] for name in extra if name not in _KEPT_NAMES})


def collect_headers(dataset: Dataset, extra: Iterable[str] = ()) -> dict[str, Any]:
    """The attributes that rules may ask for; what is absent, empty or unreadable is left out.

    Parameters
    ----------
    dataset
        A data set as read (values still raw).
    extra
        Names beyond `KEPT` that rules ask for.

    Returns
    -------
    dict
        Name to text, number or list of these; fit for JSON and for any database.
    """
    wanted = [*KEPT, *(Kept(name, (name,)) for name in sorted(set(extra)) if name not in _KEPT_NAMES)]
    character_sets = _character_sets(dataset)
    headers: dict[str, Any] = {}
    for kept in wanted:
        values: list[str | int | float] = []
        for path in kept.paths:
            found = _values(dataset, _tags(path), kept.gather, character_sets)
            values += [value for value in found if value not in values] if kept.gather else found
            if values and not kept.gather:
                break
        if values:
            values = values[:MAX_VALUES]
            headers[kept.name] = values[0] if len(values) == 1 else values
    return headers | _derive(headers) | _acquired_at(dataset) | _projection_view(dataset, headers)


def _derive(headers: dict[str, Any]) -> dict[str, Any]:
    derived: dict[str, Any] = {}
    descriptions = [headers[name] for name in _DESCRIPTIONS if isinstance(headers.get(name), str)]
    if descriptions:
        derived["AnyDescription"] = list(dict.fromkeys(descriptions))
    orientation = plane_orientation(headers.get("ImageOrientationPatient"))
    if orientation:
        derived["Orientation"] = orientation
    rows, columns = headers.get("Rows"), headers.get("Columns")
    if isinstance(rows, int) and isinstance(columns, int) and rows > 0 and columns > 0:
        derived["RowColumnRatio"] = round(rows / columns, 3)
    return derived


def _acquired_at(dataset: Dataset) -> dict[str, Any]:
    """`AcquiredAt` from the first of `_MOMENTS` that the data set holds: a DT, or a DA and the TM behind it."""
    texts = {keyword: _first_text(dataset, keyword) for keyword in _MOMENTS}
    # Dots stand before fractions of a second, and in dates of ACR-NEMA times.
    whole = {key: text if key.endswith("Date") else text.split(".")[0] for key, text in texts.items()}
    digits = {key: "".join(_DIGITS.findall(text)) for key, text in whole.items()}
    for day, clock in ((_MOMENTS[0], ""), (_MOMENTS[1], _MOMENTS[2]), (_MOMENTS[3], _MOMENTS[4])):
        stamp = (digits[day] + digits.get(clock, ""))[:14]
        if len(stamp) < 12:
            continue
        try:
            return {"AcquiredAt": datetime.strptime(stamp.ljust(14, "0"), "%Y%m%d%H%M%S").isoformat()}  # noqa: DTZ007
        except ValueError:
            continue
    return {}


def _projection_view(dataset: Dataset, headers: dict[str, Any]) -> dict[str, Any]:
    if headers.get("Modality") != "NM" or headers.get("NumberOfFrames", 1) != 1:
        return {}
    try:
        detectors = list(dataset.get("DetectorInformationSequence") or ())
        decision = decide_views([FrameHeader(dataset, detectors[0] if detectors else None, alone=True)])
    except Exception:  # malformed: whatever pydicom makes of it must not stop the intake
        return {}
    return {} if decision.assumed else {"ProjectionView": decision.views[0]}


def _first_text(dataset: Dataset, keyword: str) -> str:
    values = _values(dataset, _tags(keyword), False, ())
    return str(values[0]) if values else ""


def plane_orientation(cosines: Any) -> str | None:
    """The anatomical plane of an image from its direction cosines (PS3.3 C.7.6.2.1.1), None if they are no plane.

    Parameters
    ----------
    cosines
        Row x, y, z then column x, y, z, in the patient's LPS frame.
    """
    if not isinstance(cosines, list) or len(cosines) != 6 or not all(isinstance(c, int | float) for c in cosines):
        return None
    row, column = cosines[:3], cosines[3:]
    normal = (
        row[1] * column[2] - row[2] * column[1],
        row[2] * column[0] - row[0] * column[2],
        row[0] * column[1] - row[1] * column[0],
    )
    length = math.hypot(*normal)  # infinite where numbers are absurd, and never an error
    if not 0.5 < length < 1.5:  # two unit vectors at right angles give 1; this is no plane
        return None
    for component, name in zip(normal, ("sagittal", "coronal", "axial"), strict=True):
        if abs(component) / length >= OBLIQUE_BELOW:
            return name
    return "oblique"


@cache
def _tags(path: str) -> tuple[BaseTag, ...]:
    """The tags along a path; looking keywords up for each file would cost more than reading it."""
    return tuple(Tag(keyword) for keyword in path.split("."))


def _values(
    dataset: Dataset, path: Sequence[BaseTag], gather: bool, character_sets: tuple[str, ...]
) -> list[str | int | float]:
    """The values at a path: of the first item of each sequence that has any, or of all items if `gather`."""
    try:
        element = dataset[path[0]]
        if len(path) == 1:
            return list(_plain_values(element, character_sets))
        items = [item for item in list(element.value)[:MAX_ITEMS] if isinstance(item, Dataset)]
    except Exception:  # absent or malformed: whatever pydicom makes of it must not stop the intake
        return []
    values: list[str | int | float] = []
    for item in items:
        values += _values(item, path[1:], gather, character_sets)
        if values and (not gather or len(values) >= MAX_VALUES):
            break
    return values


def _character_sets(dataset: Dataset) -> tuple[str, ...]:
    try:
        value = dataset.get("SpecificCharacterSet") or ()
    except Exception:  # as above
        return ()
    return (value,) if isinstance(value, str) else tuple(str(part) for part in value)


def _plain_values(element: DataElement, character_sets: tuple[str, ...]) -> Iterator[str | int | float]:
    value = element.value
    if value is None or isinstance(value, bytes) or element.VR not in _TEXT_VRS | _INTEGER_VRS | _REAL_VRS:
        return
    several = [value] if isinstance(value, str) or not isinstance(value, Sequence) else list(value)
    if isinstance(value, Sequence) and not isinstance(value, str) and element.VR in _TEXT_VRS:
        several = several[:MAX_VALUES]
        # Trailing empty values go, inner ones stay: ImageType[2] must stay the third value.
        while several and not str(several[-1]).strip():
            several.pop()
    for part in several[:MAX_VALUES]:
        if element.VR in _TEXT_VRS:
            # Codes are ASCII by the standard and read as Latin, whatever the character set; some devices write Chinese.
            declared = character_sets if element.VR in _CHARACTER_SET_VRS else ()
            text = clean_text(repair_text(str(part), declared))
            if text or len(several) > 1:
                yield text
        else:
            number = _number(part, integer=element.VR in _INTEGER_VRS)
            if number is not None:
                yield number


def _number(value: Any, *, integer: bool) -> int | float | None:
    try:
        number = float(value)
        if not math.isfinite(number):
            return None
        if integer:
            whole = int(value)
            return whole if abs(whole) < 2**53 else None
        return number
    except (TypeError, ValueError, OverflowError):
        return None
