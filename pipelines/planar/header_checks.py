"""What a header says against being a delayed whole-body bone scan, as a sentence a person can act on.

One instance's header -> kind of object, kind of image, words of quality control, radiopharmaceutical, words of the
early phases, time since injection -> the first reason against it, or none. Descriptions lie, so this alone lets no
series in (`checks` looks at the counts); and a header that says nothing keeps none out.

No pixels are read here.
"""

from __future__ import annotations

import re
from datetime import date, datetime, time
from typing import Any

from pydicom import Dataset
from pydicom.uid import UID

NM_IMAGE_STORAGE = ("1.2.840.10008.5.1.4.1.1.20", "1.2.840.10008.5.1.4.1.1.5")
SECONDARY_CAPTURE = (
    "1.2.840.10008.5.1.4.1.1.7",
    "1.2.840.10008.5.1.4.1.1.7.2",
    "1.2.840.10008.5.1.4.1.1.7.3",
)

OTHER_IMAGE_TYPES = {
    "STATIC": "a static view",
    "DYNAMIC": "a dynamic study",
    "GATED": "a gated study",
    "TOMO": "a tomographic acquisition",
    "GATED TOMO": "a gated tomographic acquisition",
    "RECON TOMO": "a tomographic reconstruction",
    "RECON GATED TOMO": "a gated tomographic reconstruction",
}
"""Values of Image Type 3 (PS3.3 C.8.4.9.1.1) that are no whole-body scan."""

MINIMUM_MINUTES = 60
"""Scans sooner after the injection show blood pool and soft tissue; bone scans are taken after 2 to 4 hours."""

LATEST_MINUTES = 24 * 60
"""A longer span is a clock's mistake, not a delay: by then four half-lives of technetium-99m are gone."""

_L = r"A-Za-zÀ-ÖØ-öø-ÿ"


def _words(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![{_L}0-9])(?:{pattern})(?![{_L}0-9])", re.IGNORECASE)


_QUALITY_CONTROL = (
    _words(r"flood|uniformity|unif\w*|bars?|four ?bar|linearity|cor|center of rotation|qc|quality control|jas?z\w*"),
    re.compile("质控|均匀性|泛源|线性测试"),
)
_EARLY_PHASE = (
    _words(
        r"blood ?pool|pool|flow|perfusion|angio\w*|early|fr(?:ü|ue)h\w*|weichteilphase|dynami\w*|"
        r"phase ?(?:1|2|i|ii)|(?:1|2)\.? ?phase|(?:1st|2nd|first|second) phase"
    ),
    re.compile("血池|血流|灌注|早期|动脉相|动态"),
)
_DELAYED = (
    _words(r"delay\w*|late|sp(?:ä|ae)t\w*|mineral\w*|[2-6] ?(?:h|hr|hrs|hour|hours|std)"),
    re.compile("延迟|延时"),
)
_BONE = (
    _words(
        r"bone\w*|skelet\w*|knochen\w*|os|osse\w*|ósse\w*|óse\w*|hueso\w*|mdp|hdp|hmdp|dpd|\w*dronate|\w*phosphonate"
    ),
    re.compile("骨"),
)
_OTHER_AGENT = (
    _words(
        r"m?ibg|iobenguane|(?:sesta)?mibi|tetrofosmin|mag ?3|tiatide|dmsa|succimer|dtpa|pentetate|maa|hida|mebrofenin|"
        r"pertechnetate|octreo\w*|tektrotyd|edotreotide|psma|fdg|hmpao|exametazime|leu[ck]o\w*|wbc|\w*colloid|gallium|"
        r"thallium|iod(?:ine|ide)|131 ?-?i|i ?-?131|123 ?-?i|i ?-?123|111 ?-?in|in ?-?111|67 ?-?ga|ga ?-?67|201 ?-?tl|"
        r"tl ?-?201|lu ?-?177|177 ?-?lu|f ?-?18|18 ?-?f|ra ?-?223|sm ?-?153|y ?-?90"
    ),
    re.compile("碘"),
)
_TECHNETIUM = re.compile("tc|technet|tecnec|锝", re.IGNORECASE)
_NO_DATE = date.min


def header_refusal(header: Dataset) -> str | None:
    """Say why an instance cannot be a view of a delayed whole-body bone scan.

    Parameters
    ----------
    header
        The instance's header, without pixels.

    Returns
    -------
    str or None
        One sentence, or None where the header speaks against nothing.
    """
    for rule in (_kind_of_object, _kind_of_image, _quality_control, _radiopharmaceutical, _early_words, _too_early):
        reason = rule(header)
        if reason:
            return reason
    return None


def minutes_after_injection(header: Dataset) -> float | None:
    """Return the minutes from injection to acquisition, or None where the header does not say or cannot be right."""
    acquired = _moment(header, "AcquisitionDateTime", "AcquisitionDate", "AcquisitionTime")
    if acquired is None:
        return None
    for item in header.get("RadiopharmaceuticalInformationSequence") or []:
        stated = _moment(item, "RadiopharmaceuticalStartDateTime", None, "RadiopharmaceuticalStartTime")
        if stated is None:
            continue
        if stated.date() == _NO_DATE:
            stated = datetime.combine(acquired.date(), stated.time())
        minutes = (acquired - stated).total_seconds() / 60.0
        if 0.0 <= minutes <= LATEST_MINUTES:
            return minutes
    return None


def _kind_of_object(header: Dataset) -> str | None:
    sop_class = UID(str(header.get("SOPClassUID", "") or ""))
    modality = str(header.get("Modality", "") or "").upper()
    if sop_class not in NM_IMAGE_STORAGE + SECONDARY_CAPTURE:
        kind = sop_class.name if sop_class else "SOP class missing"
        return f"Not a nuclear medicine image: {kind}, modality {modality or 'not stated'}."
    if sop_class in SECONDARY_CAPTURE and modality != "NM":
        return f"A secondary capture of modality {modality or 'not stated'}; bone scans come with modality NM."
    if modality not in ("NM", "OT", "ST", ""):
        return f"The modality is {modality}, a bone scan's is NM."
    return None


def _kind_of_image(header: Dataset) -> str | None:
    kind = header.get("ImageType") or []
    kinds = [kind] if isinstance(kind, str) else [str(value) for value in kind]
    third = kinds[2].strip().upper() if len(kinds) > 2 else ""
    if third in OTHER_IMAGE_TYPES:
        return f"The image type says {third}: {OTHER_IMAGE_TYPES[third]}, not a whole-body scan."
    if len(kinds) > 3 and kinds[3].strip().upper() == "TRANSMISSION":
        return "The image type says TRANSMISSION: an attenuation scan, not an emission scan."
    return None


def _quality_control(header: Dataset) -> str | None:
    text = _text(header, "SeriesDescription", "StudyDescription", "ProtocolName", "ImageID", "BodyPartExamined")
    word = _first(_QUALITY_CONTROL, text)
    return f"The description says '{word}': a quality-control acquisition, not a patient." if word else None


def _radiopharmaceutical(header: Dataset) -> str | None:
    for nuclide in _code_meanings(header, "RadionuclideCodeSequence"):
        if not _TECHNETIUM.search(nuclide):
            return f"The radionuclide is stated as '{nuclide}'; a bone scan's is technetium-99m."
    stated = " ; ".join(_radiopharmaceuticals(header))
    word = _first(_OTHER_AGENT, stated)
    if word and not _first(_BONE, stated):
        return f"The radiopharmaceutical is stated as '{word}', which is no bone agent."
    described = _text(header, "SeriesDescription", "ProtocolName", "StudyDescription", "BodyPartExamined")
    word = _first(_OTHER_AGENT, described)
    if word and not _first(_BONE, f"{described} {stated}"):
        return f"The description names '{word}', which is no bone agent."
    return None


def _early_words(header: Dataset) -> str | None:
    text = _text(header, "SeriesDescription", "ImageID")
    word = _first(_EARLY_PHASE, text)
    if word and not _first(_DELAYED, text):
        return f"The series is described as '{word}': an early phase, not the delayed scan that shows bone."
    return None


def _too_early(header: Dataset) -> str | None:
    minutes = minutes_after_injection(header)
    if minutes is not None and minutes < MINIMUM_MINUTES:
        return (
            f"Acquired {minutes:.0f} minutes after the injection: an early phase; bone scans are taken after 2 to 4 "
            "hours."
        )
    return None


def _first(patterns: tuple[re.Pattern[str], ...], text: str) -> str | None:
    """Return the first match's text, lower case, or None."""
    for pattern in patterns:
        found = pattern.search(text)
        if found:
            return found.group(0).lower()
    return None


def _text(header: Dataset, *keywords: str) -> str:
    return " ; ".join(str(header.get(keyword, "") or "") for keyword in keywords).replace("_", " ")


def _code_meanings(header: Dataset, keyword: str) -> list[str]:
    items = header.get("RadiopharmaceuticalInformationSequence") or []
    meanings = [str(code.get("CodeMeaning", "") or "") for item in items for code in item.get(keyword) or []]
    return [meaning.replace("^", "").replace("_", " ") for meaning in meanings if meaning]


def _radiopharmaceuticals(header: Dataset) -> list[str]:
    items = header.get("RadiopharmaceuticalInformationSequence") or []
    named = [str(item.get("Radiopharmaceutical", "") or "").replace("_", " ") for item in items]
    return [name for name in named if name] + _code_meanings(header, "RadiopharmaceuticalCodeSequence")


def _moment(dataset: Dataset, both: str, date_keyword: str | None, time_keyword: str) -> datetime | None:
    """Return a DT, or a DA and TM together, without zone; a TM alone comes with the date `_NO_DATE`."""
    stamp = _digits(dataset.get(both))
    if len(stamp) >= 12:
        return _parse(stamp[:14].ljust(14, "0"))
    clock = _digits(dataset.get(time_keyword))[:6].ljust(6, "0")
    if not _digits(dataset.get(time_keyword)):
        return None
    day = _digits(dataset.get(date_keyword)) if date_keyword else ""
    if len(day) == 8:
        return _parse(day + clock)
    try:
        return datetime.combine(_NO_DATE, time(int(clock[:2]), int(clock[2:4]), min(int(clock[4:6]), 59)))
    except ValueError:
        return None


def _parse(stamp: str) -> datetime | None:
    try:
        return datetime.strptime(stamp, "%Y%m%d%H%M%S")  # noqa: DTZ007 - DICOM clocks are local and often zoneless
    except ValueError:
        return None


def _digits(value: Any) -> str:
    return re.sub(r"\D", "", str(value or "").split(".")[0])
