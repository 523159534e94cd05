"""What the headers of an MR series say of how it was taken, in one shape for classic and Enhanced objects.

planes -> `MrAcquisition`: kind of object and image, repetition, echo and inversion times, pulse sequence, ways of
fat suppression, the words people wrote. Classic objects state these at their top level (PS3.3 C.8.3.1), Enhanced ones
in functional groups and in terms of their own (C.8.13); here they carry the same names.

Facts only: whether they make a T2-weighted lumbar spine is for a pipeline to say.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pydicom.uid import UID

from pipelines.imaging.volume_frames import FramePlane, Planes, numbers

MR_STORAGE = ("1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1", "1.2.840.10008.5.1.4.1.1.4.4")
"""MR Image, Enhanced MR Image and Legacy Converted Enhanced MR Image Storage."""

SERIES_TEXTS = ("SeriesDescription", "ProtocolName")
STUDY_TEXTS = ("StudyDescription", "RequestedProcedureDescription", "PerformedProcedureStepDescription")

_SUPPRESSION_OPTIONS = re.compile(r"FS|FATSAT|FAT_?SAT\w*|SPAIR|SPIR|SPECIAL\w*|CHESS|WE|WATER_?EXC\w*|FAT_?SUP\w*")
"""Scan Options that mean fat suppression: FS is the standard's term, the others are scanners' own."""

_INVERSION_SEQUENCE = re.compile(r"\*?T?IR")
"""Sequence names of scanners that begin with an inversion pulse: *tir2d, *ir."""

_NO_SUPPRESSION = frozenset({"", "NONE", "NO", "SILICON GEL"})


@dataclass(frozen=True)
class MrAcquisition:
    """How a series was taken; None or empty where the headers do not say.

    Attributes
    ----------
    sop_class
        Name of the objects' class.
    orientation
        Six direction cosines: along a row, then along a column.
    is_mr
        Objects of a class and modality for MR images.
    image_type
        Values of Image Type and, in Enhanced objects, of the first frame's Frame Type; capitals.
    repetition_ms, echo_ms, inversion_ms
        The echo time is the effective one; an inversion time of 0 means none.
    is_spin_echo
        False for gradient echoes without a refocusing pulse; None where not stated.
    has_inversion
        An inversion pulse was stated in words or by its time.
    fat_suppression
        What states that fat (or water) is suppressed, as "ScanOptions FS"; "" where nothing does.
    diffusion
        A b-value above 0 is stated.
    series_text, study_text
        What people wrote about the series, and about the whole examination.
    body_part
        Body Part Examined and anatomic region codes' meanings.
    """

    sop_class: str
    orientation: tuple[float, ...] | None
    is_mr: bool
    image_type: tuple[str, ...]
    repetition_ms: float | None
    echo_ms: float | None
    inversion_ms: float | None
    is_spin_echo: bool | None
    has_inversion: bool
    fat_suppression: str
    diffusion: bool
    series_text: str
    study_text: str
    body_part: str


def read_acquisition(planes: Planes) -> MrAcquisition:
    """Collect what the headers of a series say; its first plane speaks for all."""
    frame = planes.frames[0]
    header = frame.header
    sop_class = UID(str(header.SOPClassUID))
    inversion_ms = _number(frame, "InversionTime", "InversionTimes")
    sequence = {*_words(frame, "ScanningSequence"), *_words(frame, "EchoPulseSequence")}
    spin, gradient = bool(sequence & {"SE", "SPIN", "BOTH"}), bool(sequence & {"GR", "GRADIENT"})
    return MrAcquisition(
        sop_class=sop_class.name,
        orientation=frame.orientation,
        is_mr=sop_class in MR_STORAGE and str(header.get("Modality", "") or "").strip().upper() in ("MR", ""),
        image_type=_words(frame, "ImageType") + _words(frame, "FrameType"),
        repetition_ms=_positive(_number(frame, "RepetitionTime")),
        echo_ms=_positive(_number(frame, "EffectiveEchoTime", "EchoTime")),
        inversion_ms=_positive(inversion_ms),
        is_spin_echo=spin if spin or gradient else None,
        has_inversion="IR" in sequence
        or "YES" in _words(frame, "InversionRecovery")
        or any(_INVERSION_SEQUENCE.match(word) for word in _words(frame, "SequenceName"))
        or _positive(inversion_ms) is not None,
        fat_suppression=_fat_suppression(frame),
        diffusion=(_number(frame, "DiffusionBValue") or 0.0) > 0.0,
        series_text=_texts(frame, SERIES_TEXTS),
        study_text=_texts(frame, STUDY_TEXTS),
        body_part=_body_part(frame),
    )


def _fat_suppression(frame: FramePlane) -> str:
    for option in _words(frame, "ScanOptions"):
        if _SUPPRESSION_OPTIONS.fullmatch(option):
            return f"ScanOptions {option}"
    for value in _words(frame, "SpectrallySelectedSuppression"):
        if value not in _NO_SUPPRESSION:
            return f"SpectrallySelectedSuppression {value}"
    if "WATER" in _words(frame, "SpectrallySelectedExcitation"):
        return "SpectrallySelectedExcitation WATER"
    return ""


def _body_part(frame: FramePlane) -> str:
    meanings = [str(item.get("CodeMeaning", "") or "") for item in frame.value("AnatomicRegionSequence") or []]
    return " ; ".join(filter(None, [_texts(frame, ("BodyPartExamined",)), *dict.fromkeys(meanings)]))


def _texts(frame: FramePlane, keywords: tuple[str, ...]) -> str:
    texts = [" ".join(str(frame.header.get(keyword, "") or "").replace("_", " ").split()) for keyword in keywords]
    return " ; ".join(text for text in texts if text)


def _words(frame: FramePlane, keyword: str) -> tuple[str, ...]:
    value = frame.value(keyword)
    if value is None:
        return ()
    parts = value.split("\\") if isinstance(value, str) else list(value)
    return tuple(str(part).strip().upper() for part in parts)


def _number(frame: FramePlane, *keywords: str) -> float | None:
    """The first number that any of the attributes holds."""
    for keyword in keywords:
        value = frame.value(keyword)
        several = value if hasattr(value, "__iter__") and not isinstance(value, str) else [value]
        for part in several:
            found = numbers(part, 1)
            if found:
                return found[0]
    return None


def _positive(value: float | None) -> float | None:
    return value if value is not None and value > 0.0 else None
