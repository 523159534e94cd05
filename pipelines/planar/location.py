"""Where on the body a focus lies: a region and a side, in words and in codes.

row and column on the working grid + body frame + view -> fraction of the body's height and distance from the midline
-> region -> side. Proportions are of the whole outline, toes included, of adults lying on their back with the arms
down; they name a neighbourhood, not a bone: on a projection the sternum covers the spine, and a hand may lie over
the hip. Words say so where it matters.

Sides are the patient's: an anterior view shows the patient's right on the image's left, a posterior view on its right.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.sr.coding import Code

from pipelines.planar.outline import BodyFrame

RIGHT = Code("24028007", "SCT", "Right")
LEFT = Code("7771000", "SCT", "Left")

MIDLINE_MM = 20.0
"""Foci closer to the midline than this have no side: half a lumbar vertebra."""

SKULL = Code("89546000", "SCT", "Skull")
CERVICAL_SPINE = Code("122494005", "SCT", "Cervical spine")
THORACIC_SPINE = Code("122495006", "SCT", "Thoracic spine")
LUMBAR_SPINE = Code("122496007", "SCT", "Lumbar spine")
THORAX = Code("272710004", "SCT", "Bone of thorax")
SHOULDER = Code("16982005", "SCT", "Shoulder")
UPPER_LIMB = Code("371195002", "SCT", "Bone of upper limb")
PELVIS = Code("118645006", "SCT", "Pelvis")
SACRUM = Code("54735007", "SCT", "Sacrum")
LOWER_LIMB = Code("72001000", "SCT", "Bone of lower limb")


@dataclass(frozen=True)
class Location:
    """A place on the body: region code, side (None on the midline) and both in words."""

    region: Code
    laterality: Code | None
    words: str


@dataclass(frozen=True)
class _Zone:
    """From `above` to `below` (fractions of height), up to `reach` (fraction of height) beside the midline."""

    above: float
    below: float
    reach: float
    region: Code
    words: str
    words_anterior: str = ""


_FAR = 9.0
_SPINE = 0.021
"""Half the spine's width (and the sternum's) as a fraction of height: 36 mm in a body of 1.72 m."""

_ZONES = (
    _Zone(-_FAR, 0.135, 0.085, SKULL, "skull"),
    _Zone(-_FAR, 0.135, _FAR, UPPER_LIMB, "upper limb"),
    _Zone(0.135, 0.17, 0.013, CERVICAL_SPINE, "cervical spine", "cervical spine or jaw"),
    _Zone(0.135, 0.15, 0.05, SKULL, "skull or jaw"),
    _Zone(0.135, 0.17, 0.045, THORAX, "base of the neck"),
    _Zone(0.17, 0.325, _SPINE, THORACIC_SPINE, "thoracic spine", "sternum or thoracic spine"),
    _Zone(0.325, 0.405, _SPINE, LUMBAR_SPINE, "lumbar spine"),
    _Zone(0.405, 0.48, _SPINE, SACRUM, "sacrum", "sacrum or pubic region"),
    _Zone(0.135, 0.225, 0.07, THORAX, "upper ribs or scapula", "upper ribs or clavicle"),
    _Zone(0.135, 0.225, 0.14, SHOULDER, "shoulder"),
    _Zone(0.225, 0.34, 0.098, THORAX, "ribs or scapula", "ribs"),
    _Zone(0.34, 0.375, 0.09, THORAX, "lower ribs or flank"),
    _Zone(0.375, 0.455, 0.1, PELVIS, "pelvis"),
    _Zone(0.455, 0.53, 0.064, PELVIS, "pelvis"),
    _Zone(0.455, 0.56, 0.1, LOWER_LIMB, "hip or upper thigh"),
    _Zone(-_FAR, 0.56, _FAR, UPPER_LIMB, "upper limb"),
    _Zone(0.56, 0.65, 0.13, LOWER_LIMB, "thigh"),
    _Zone(0.56, 0.65, _FAR, UPPER_LIMB, "hand"),
    _Zone(0.65, 0.755, _FAR, LOWER_LIMB, "knee region"),
    _Zone(0.755, 0.92, _FAR, LOWER_LIMB, "lower leg"),
    _Zone(0.92, _FAR, _FAR, LOWER_LIMB, "foot"),
)
"""Searched in order; the first zone that holds the point names it."""


def locate(row: float, column: float, frame: BodyFrame, view: str) -> Location:
    """Name the place of a point.

    Parameters
    ----------
    row, column
        On the working grid, the upper left corner of the first pixel at (0, 0).
    frame
        The body's frame on that grid.
    view
        "anterior" or "posterior".
    """
    height = frame.height_fraction(row)
    lateral_mm = frame.lateral_mm(column)
    beside = abs(lateral_mm) / (frame.height_rows * frame.spacing_mm)
    zone = next(z for z in _ZONES if z.above <= height < z.below and beside <= z.reach)
    words = zone.words_anterior if view == "anterior" and zone.words_anterior else zone.words
    if abs(lateral_mm) < MIDLINE_MM:
        return Location(zone.region, None, f"{words}, midline")
    patients_right = (lateral_mm < 0) == (view == "anterior")
    side = RIGHT if patients_right else LEFT
    return Location(zone.region, side, f"{words}, {side.meaning.lower()}")
