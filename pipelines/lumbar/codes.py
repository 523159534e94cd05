"""Codes of the lumbar pipeline's findings: SNOMED CT where it has one, else the project's private scheme 99OSTEON.

Vertebrae, discs and their levels are those of CID 7603, 7604 and 1003, the vertebral bodies those of the HL7
radiotherapy guide (CodeX) that maps TG-263 names to SNOMED CT. No public code was found for a neural foramen (280734009
"vertebral foramen" is the ring around the cord), for a sixth lumbar vertebra, for heights at a place of a body or disc,
or for the disc height index.
"""

from __future__ import annotations

from pydicom.sr.coding import Code

SCHEME = "99OSTEON"


def _sct(value: str, meaning: str) -> Code:
    return Code(value, "SCT", meaning)


_VERTEBRAE = {
    "T1": "64864005", "T2": "53733008", "T3": "1626008", "T4": "73071006", "T5": "56401006", "T6": "45296009",
    "T7": "62487009", "T8": "11068009", "T9": "82687006", "T10": "7610001", "T11": "12989004", "T12": "23215003",
    "L1": "66794005", "L2": "14293000", "L3": "36470004", "L4": "11994002", "L5": "49668003",
}  # fmt: skip
_BODIES = {
    "T1": "56094003", "T2": "50060007", "T3": "73138009", "T4": "86197001", "T5": "6105006", "T6": "32430008",
    "T7": "71737002", "T8": "77435000", "T9": "33766003", "T10": "48405002", "T11": "52120002", "T12": "280849005",
    "L1": "61032001", "L2": "53983007", "L3": "55492004", "L4": "71996003", "L5": "21799000",
}  # fmt: skip
_DISCS = {
    "T1/T2": "40908007", "T2/T3": "6004007", "T3/T4": "2620004", "T4/T5": "82965004", "T5/T6": "72692000",
    "T6/T7": "74401007", "T7/T8": "28693002", "T8/T9": "9188009", "T9/T10": "113209001", "T10/T11": "34959001",
    "T11/T12": "1537001", "T12/L1": "76206002", "L1/L2": "80064006", "L2/L3": "67459009", "L3/L4": "62551000",
    "L4/L5": "84020006", "L5/S1": "715056000",
}  # fmt: skip

_LEVELS = {
    "T1/T2": "243908006", "T2/T3": "243909003", "T3/T4": "243910008", "T4/T5": "243911007", "T5/T6": "243912000",
    "T6/T7": "243913005", "T7/T8": "243914004", "T8/T9": "243915003", "T9/T10": "243916002", "T10/T11": "243917006",
    "T11/T12": "243918001", "T12/L1": "243926009", "L1/L2": "243920003", "L2/L3": "243921004", "L3/L4": "243922006",
    "L4/L5": "243923001", "L5/S1": "243927000",
}  # fmt: skip


def _private(value: str, meaning: str) -> Code:
    return Code(value, SCHEME, meaning)


_VARIANT_LEVELS = {"L4/S1": "L4-S1", "L5/L6": "L5-L6", "L6/S1": "L6-S1"}

VERTEBRA = {level: _sct(value, f"{level} vertebra") for level, value in _VERTEBRAE.items()}
BODY = {level: _sct(value, f"Body of {level} vertebra") for level, value in _BODIES.items()}
DISC = {level: _sct(value, f"{level} disc") for level, value in _DISCS.items()}
LEVEL = {level: _sct(value, f"Level of {level} intervertebral disc") for level, value in _LEVELS.items()}

# Patients with four or six lumbar vertebrae; no public code was found.
VERTEBRA["L6"] = _private("L6-VERTEBRA", "L6 vertebra")
BODY["L6"] = _private("L6-BODY", "Body of L6 vertebra")
DISC |= {level: _private(f"{value}-DISC", f"{level} disc") for level, value in _VARIANT_LEVELS.items()}
LEVEL |= {
    level: _private(f"{value}-LEVEL", f"Level of {level} intervertebral disc")
    for level, value in _VARIANT_LEVELS.items()
}

ANY_BODY = _sct("3572006", "Body of vertebra")
CANAL = _sct("61853006", "Vertebral canal")
CORD = _sct("2748008", "Spinal cord")
SACRUM = _sct("54735007", "Sacrum")
LUMBAR_SPINE = _sct("122496007", "Lumbar spine")
FORAMEN = Code("NEURAL-FORAMEN", SCHEME, "Neural foramen")
ANATOMICAL_STRUCTURE = _sct("91723000", "Anatomical Structure")

SIDES = {"right": _sct("24028007", "Right"), "left": _sct("7771000", "Left")}

VOLUME = _sct("118565006", "Volume")
AREA = _sct("42798000", "Area")
ANTERIOR_HEIGHT = Code("ANT-HEIGHT", SCHEME, "Anterior height")
MIDDLE_HEIGHT = Code("MID-HEIGHT", SCHEME, "Middle height")
POSTERIOR_HEIGHT = Code("POST-HEIGHT", SCHEME, "Posterior height")
MEAN_HEIGHT = Code("MEAN-HEIGHT", SCHEME, "Mean height")
DEPTH = Code("AP-DEPTH", SCHEME, "Anteroposterior depth")
WEDGE_RATIO = Code("WEDGE-RATIO", SCHEME, "Wedge ratio (anterior/posterior height)")
HEIGHT_INDEX = Code("DISC-HEIGHT-IX", SCHEME, "Disc height index")
SAC_DIAMETER = Code("SAC-AP-DIAMETER", SCHEME, "Anteroposterior diameter of the thecal sac")
SAC_AREA = Code("SAC-AREA", SCHEME, "Cross-sectional area of the thecal sac")
SAC_VOLUME = Code("SAC-VOLUME", SCHEME, "Volume of the thecal sac with cord and cauda equina")

MM = Code("mm", "UCUM", "mm")
SQUARE_MM = Code("mm2", "UCUM", "square millimeter")
CUBIC_CM = Code("cm3", "UCUM", "cubic centimeter")
RATIO = Code("{ratio}", "UCUM", "ratio")
