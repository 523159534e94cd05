"""Anterior or posterior: which side of the body each frame of a projection shows.

Evidence differs in what it is worth. From the most to the least trustworthy:

1. the detector's Start Angle (0054,0200): degrees about the patient from the back, so 180 is anterior and 0 or 360
   posterior (PS3.3 C.8.4.11);
2. orientation, of the detector (0020,0037) or of the image (0020,0020): columns that run to the patient's left are
   seen from the front. Some files carry the same one on both detectors, which says nothing;
3. the view code (0054,0220) and text, private elements included, in several languages;
4. the order of the frames: anterior first.

Each kind is asked about all frames together and believed only if it tells two frames apart (or names a lone one).
Text that speaks of time ("3h post", "post injection") or of complaints ("back pain") names no view.
The functions are pure; they read headers and decide nothing about content.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydicom import Dataset

ANTERIOR = "anterior"
POSTERIOR = "posterior"

ANGLE_TOLERANCE_DEG = 45.0
"""A detector this close to 0 or 180 degrees looks at the back or the front; between lie the obliques and laterals."""

COSINE_TOLERANCE = 0.3
"""How far direction cosines may stray from the axes."""

VIEW_CODES = {"399321004": ANTERIOR, "G-5215": ANTERIOR, "399001007": POSTERIOR, "G-5216": POSTERIOR}
"""CID 26 emissive projections by code value, SNOMED CT and SRT. Radiographic AP and PA are left out: they name the
beam's way through the patient, and files differ in what they mean by them without a beam."""

_LETTERS = r"A-Za-zÀ-ÖØ-öø-ÿ"
_WORDS = {
    ANTERIOR: r"anterior|anteriore|antérieure?|ant|vorne|vorn|ventral|front|frontal",
    POSTERIOR: r"posterior|posteriore|postérieure?|post|pos|hinten|dorsal|back|rear",
}
_IDEOGRAMS = {ANTERIOR: r"前[位面后後]|正位|前像|腹侧", POSTERIOR: r"[后後][位面]|背[位面]|[后後]像|背侧"}
_PATTERNS = {
    view: re.compile(rf"(?<![{_LETTERS}])(?:{_WORDS[view]})(?![{_LETTERS}])|{_IDEOGRAMS[view]}", re.IGNORECASE)
    for view in (ANTERIOR, POSTERIOR)
}

_ASIDES = re.compile(
    rf"(?<![{_LETTERS}])(?:"
    rf"(?:status|st\.?)\s+post(?![{_LETTERS}])"
    rf"|\d\s*-?\s*(?:h|hrs?|hours?|std|stunden?|mins?|minutes?|minuten|days?|tage?)\b[\s.,-]*post(?![{_LETTERS}])"
    r"|post[\s.,:-]*(?:inj|iny|void|mi[ck]t|therap|treat|op\b|op[eé]r|surg|chemo|radi|rt\b|tx\b|trauma|fract|fra[ck]tur"
    r"|stress|exerc|dose|lasix|furo|contrast|mdp|hdp|hmdp|dpd|tc\b|tc-?99)"
    r"|(?:low(?:er)?\s+)?back[\s-]*(?:pain|ache|injur|surg|trauma|complain|problem)"
    rf")[{_LETTERS}]*",
    re.IGNORECASE,
)
"""Phrases in which "post" means after and "back" a place that hurts. "3h POST" is read as one of them: it may name the
view or the time, and is no evidence."""

IMAGE_TEXT = ("ImageID", "ImageComments")
"""Those that speak of the image, not of its series."""

INSTANCE_TEXT = ("ImageID", "SeriesDescription", "ImageComments", "ProtocolName")
"""Attributes whose text may name the view of a single-frame instance."""


@dataclass(frozen=True)
class FrameHeader:
    """What is known about one frame: its instance's header, its detector's item, and whether it is alone in there."""

    instance: Dataset
    detector: Dataset | None
    alone: bool


@dataclass(frozen=True)
class ViewDecision:
    """Views by frame, the kind of evidence that decided, and remarks a person should see.

    `assumed` is True where no evidence told the views and the order of the frames was taken.
    """

    views: tuple[str, ...]
    evidence: str
    assumed: bool = False
    remarks: tuple[str, ...] = ()


def decide_views(frames: Sequence[FrameHeader]) -> ViewDecision:
    """Tell the views of one or two frames.

    Raises
    ------
    ValueError
        If there are none or more than two frames.
    """
    if not 1 <= len(frames) <= 2:
        raise ValueError(f"views are decided for one or two frames, got {len(frames)}")
    answers = {
        "detector start angle": [_by_start_angle(frame) for frame in frames],
        "orientation": [_by_orientation(frame) for frame in frames],
        "view code": [_by_view_code(frame) for frame in frames],
        "text": [_by_text(frame) for frame in frames],
    }
    settled = {kind: views for kind, found in answers.items() if (views := _settle(found)) is not None}
    if not settled:
        views = (ANTERIOR, POSTERIOR)[: len(frames)]
        return ViewDecision(views, "frame order (nothing in the header names the view)", assumed=True)
    kind, views = next(iter(settled.items()))
    against = [other for other, theirs in settled.items() if theirs != views]
    remarks = tuple(f"the {other} says otherwise and was overruled by the {kind}" for other in against)
    return ViewDecision(views, kind, remarks=remarks)


def own_view(frame: FrameHeader) -> str | None:
    """Return the view that a view code or a lone image's own text names: evidence about the image alone.

    Angles and orientations may be copied from one detector to the other, a series' description belongs to all images.
    """
    texts = [str(frame.instance.get(keyword, "")) for keyword in IMAGE_TEXT] if frame.alone else []
    return _by_view_code(frame) or next((view for text in texts if (view := view_from_text(text))), None)


def view_from_text(text: str) -> str | None:
    """Return the view that a text names; None if it names neither or both, or speaks of a time or of pain alone."""
    words = _ASIDES.sub(" ", text.replace("_", " "))
    named = [view for view, pattern in _PATTERNS.items() if pattern.search(words)]
    return named[0] if len(named) == 1 else None


def _settle(found: list[str | None]) -> tuple[str, ...] | None:
    """Complete one kind's answers; None where it does not tell the frames apart."""
    if len(found) == 1:
        return (found[0],) if found[0] else None
    first, second = found
    other = {ANTERIOR: POSTERIOR, POSTERIOR: ANTERIOR}
    if first and second:
        return (first, second) if first != second else None
    if first:
        return first, other[first]
    return (other[second], second) if second else None


def _by_start_angle(frame: FrameHeader) -> str | None:
    angle = _first_number(frame.detector, "StartAngle")
    if angle is None:
        return None
    from_front = abs((angle - 180.0 + 180.0) % 360.0 - 180.0)
    if from_front <= ANGLE_TOLERANCE_DEG:
        return ANTERIOR
    return POSTERIOR if from_front >= 180.0 - ANGLE_TOLERANCE_DEG else None


def _by_orientation(frame: FrameHeader) -> str | None:
    cosines = _numbers(frame.detector, "ImageOrientationPatient")
    if len(cosines) == 6:
        # Rows of a whole-body scan run to the feet (-z); columns then run left (+x) from the front.
        upright = abs(cosines[5] + 1.0) <= COSINE_TOLERANCE
        if upright and abs(abs(cosines[0]) - 1.0) <= COSINE_TOLERANCE:
            return ANTERIOR if cosines[0] > 0 else POSTERIOR
    if frame.alone:
        along = [str(part).strip().upper() for part in _values(frame.instance, "PatientOrientation")]
        if len(along) == 2 and along[1][:1] in ("F", "H") and along[0][:1] in ("L", "R"):
            # Upside down (H) turns the picture by 180 degrees, so left and right change places.
            return ANTERIOR if (along[0][0] == "L") == (along[1][0] == "F") else POSTERIOR
    return None


def _by_view_code(frame: FrameHeader) -> str | None:
    for item in _values(frame.detector, "ViewCodeSequence"):
        view = VIEW_CODES.get(str(item.get("CodeValue", "")).strip().upper())
        view = view or view_from_text(str(item.get("CodeMeaning", "")))
        if view:
            return view
    return None


def _by_text(frame: FrameHeader) -> str | None:
    texts = list(_private_texts(frame.detector)) if frame.detector is not None else []
    if frame.alone:
        texts += [str(frame.instance.get(keyword, "")) for keyword in INSTANCE_TEXT]
        texts += list(_private_texts(frame.instance))
    return next((view for text in texts if (view := view_from_text(text))), None)


def _private_texts(dataset: Dataset) -> Iterator[str]:
    for element in dataset:
        if element.tag.is_private and element.VR in ("LO", "SH", "CS", "ST", "LT", "UT", "UN", "OB"):
            if "Patient" in element.name:
                continue  # a patient may be called Post
            value = element.value
            if isinstance(value, bytes):
                # Unknown private elements come as bytes; only short printable ones are text.
                text = value.rstrip(b"\0 ").decode("ascii", "ignore") if len(value) <= 64 else ""
                yield text if text.isprintable() else ""
            else:
                yield str(value)


def _values(dataset: Dataset | None, keyword: str) -> list[Any]:
    value = dataset.get(keyword) if dataset is not None else None
    if value is None or isinstance(value, str):
        return str(value).split("\\") if value else []
    try:
        return list(value)
    except TypeError:
        return [value]


def _numbers(dataset: Dataset | None, keyword: str) -> list[float]:
    try:
        return [float(part) for part in _values(dataset, keyword)]
    except (TypeError, ValueError):
        return []


def _first_number(dataset: Dataset | None, keyword: str) -> float | None:
    numbers = _numbers(dataset, keyword)
    return numbers[0] if numbers else None
