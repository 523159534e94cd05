"""What a header says against being a reconstructed bone SPECT, or the CT beside it, as a sentence.

Kind of object -> kind of image -> quality control -> another organ -> another tracer -> the first reason against it, or
none. A header that says nothing keeps nothing out (the pipeline then says so); whether the voxels can be a patient is
asked in `checks`. No pixels are read here.
"""

from __future__ import annotations

import re
from typing import Any

from pydicom import Dataset

NM_STORAGE = ("1.2.840.10008.5.1.4.1.1.20", "1.2.840.10008.5.1.4.1.1.5")
CT_STORAGE = ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2")

_L = r"A-Za-zÀ-ÖØ-öø-ÿ"


def _words(pattern: str) -> re.Pattern[str]:
    """Whole words; underscores and digits end a word, too, as people write them in descriptions."""
    return re.compile(rf"(?<![{_L}])(?:{pattern})(?![{_L}])", re.IGNORECASE)


_QUALITY_CONTROL = (
    _words(r"flood|uniform\w*|unif|bars?|four ?bar|linearity|qc|quality ?control|phan|phantom\w*|jas?z\w*|nema"),
    re.compile("质控|均匀性|泛源|模体"),
)
_OTHER_ORGAN = (
    _words(
        r"heart|cardi\w*|myocar\w*|coraz\w*|herz|brain|cereb\w*|datscan|lungs?|pulmon\w*|poumons?|ventil\w*|liver|"
        r"hepat\w*|spleen|renal|kidneys?|nephr\w*|dmsa|thyro\w*|parathy\w*|sentinel|lymph\w*|saliv\w*|parotid"
    ),
    re.compile("心|脑|肺|肝|脾|肾|甲状|淋巴|唾液|腮腺"),
)
_OTHER_AGENT = (
    _words(
        r"m?ibg|iobenguane|(?:sesta)?mibi|tetrofosmin|mag ?3|dmsa|dtpa|maa|hida|mebrofenin|pertechnetate|octreo\w*|"
        r"tektrotyd|psma|fdg|hmpao|exametazime|leu[ck]o\w*|wbc|\w*colloid|gallium|thallium|iod(?:ine|ide)|"
        r"i ?-?131|i ?-?123|in ?-?111|ga ?-?67|tl ?-?201|lu ?-?177|f ?-?18"
    ),
    re.compile("碘"),
)
_BONE = (
    _words(r"bones?|skelet\w*|knochen\w*|oss\w*|óse\w*|hueso\w*|mdp|hdp|hmdp|dpd|\w*dronate|\w*dronic|\w*phosphonate"),
    re.compile("骨"),
)
_DESCRIPTIONS = ("SeriesDescription", "StudyDescription", "ProtocolName", "PerformedProcedureStepDescription")
_OTHER_KINDS = {
    "STATIC": "a static view",
    "DYNAMIC": "a dynamic study",
    "GATED": "a gated study",
    "WHOLE BODY": "a whole-body scan",
    "TOMO": "the projections of a tomography, not reconstructed",
    "GATED TOMO": "the projections of a gated tomography",
    "RECON GATED TOMO": "a gated reconstruction",
}
_CT_KINDS = {
    "LOCALIZER": "a localiser",
    "MPR": "a reformatted image",
    "PROJECTION IMAGE": "a projection",
    "SCREEN SAVE": "a screen capture",
}

ADULT_YEARS = 16


def is_nm(header: Dataset) -> bool:
    """Tell a Nuclear Medicine image, by its class or by the modality it states."""
    return str(header.get("SOPClassUID", "")) in NM_STORAGE or _text(header, "Modality").upper() == "NM"


def is_ct(header: Dataset) -> bool:
    """Tell a CT image."""
    return str(header.get("SOPClassUID", "")) in CT_STORAGE or _text(header, "Modality").upper() == "CT"


def spect_refusal(header: Dataset) -> str | None:
    """Say why an object cannot be a reconstructed bone SPECT: what follows the series' name, or None."""
    if not is_nm(header):
        return f"is no Nuclear Medicine image (modality {_text(header, 'Modality') or 'not stated'})"
    kinds = _image_type(header)
    if len(kinds) > 2 and kinds[2] in _OTHER_KINDS:
        return f"is {_OTHER_KINDS[kinds[2]]} (ImageType {kinds[2]}); a reconstructed SPECT is needed"
    words = _described(header)
    if found := _first(_QUALITY_CONTROL, words):
        return f"is a measurement of quality control by its description ('{found}'), not a patient"
    region = " ".join([_text(header, "BodyPartExamined"), *_meanings(header, "AnatomicRegionSequence")])
    if found := _first(_OTHER_ORGAN, region):
        return f"is of another organ ('{found}'), not of bone"
    if not says_bone(header) and (found := _first(_OTHER_ORGAN, words)):
        return f"is of another organ by its description ('{found}'), not of bone"
    if found := _first(_OTHER_AGENT, f"{tracer(header)} {_text(header, 'ProtocolName')}"):
        return f"was made with another tracer ('{found}'), not with one for bone"
    return None


def ct_refusal(header: Dataset) -> str | None:
    """Say why an image cannot be a slice of the CT beside a SPECT: what follows the series' name, or None."""
    if not is_ct(header):
        return f"is no CT image (modality {_text(header, 'Modality') or 'not stated'})"
    for kind in _image_type(header):
        if kind in _CT_KINDS:
            return f"is {_CT_KINDS[kind]} (ImageType {kind})"
    return None


def is_child(header: Dataset) -> bool:
    """Tell a patient under `ADULT_YEARS` by the age, or by the dates of birth and study; False where neither says."""
    age = re.fullmatch(r"(\d{3})([DWMY])", _text(header, "PatientAge").upper())
    if age:
        return int(age[1]) / {"D": 365.25, "W": 52.18, "M": 12.0, "Y": 1.0}[age[2]] < ADULT_YEARS
    born, scanned = (_text(header, keyword) for keyword in ("PatientBirthDate", "StudyDate"))
    if not (re.fullmatch(r"\d{8}", born) and re.fullmatch(r"\d{8}", scanned)):
        return False
    return int(scanned) - int(born) < ADULT_YEARS * 10_000


def says_bone(header: Dataset) -> bool:
    """Tell whether anything in a header names bone or a tracer for it."""
    return _first(_BONE, f"{_described(header)} {tracer(header)} {_text(header, 'BodyPartExamined')}") is not None


def tracer(header: Dataset) -> str:
    """Return what is said of the radiopharmaceutical, in text and in codes."""
    said = []
    for item in header.get("RadiopharmaceuticalInformationSequence") or []:
        said += [_text(item, "Radiopharmaceutical"), *_meanings(item, "RadiopharmaceuticalCodeSequence")]
    return " ".join(part for part in said if part)


def _described(header: Dataset) -> str:
    return " ".join(part for part in (_text(header, keyword) for keyword in _DESCRIPTIONS) if part)


def _first(patterns: tuple[re.Pattern[str], ...], text: str) -> str | None:
    for pattern in patterns:
        if found := pattern.search(text.replace("_", " ")):
            return found.group()
    return None


def _image_type(header: Dataset) -> list[str]:
    value: Any = header.get("ImageType") or []
    return [str(part).strip().upper() for part in ([value] if isinstance(value, str) else value)]


def _meanings(holder: Dataset, keyword: str) -> list[str]:
    return [_text(item, "CodeMeaning") for item in holder.get(keyword) or []]


def _text(holder: Dataset, keyword: str) -> str:
    return str(holder.get(keyword, "") or "").strip()
