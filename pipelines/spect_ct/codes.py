"""Codes of the SPECT/CT findings: public ones where there are any, else the project's private scheme 99OSTEON.

The nature of a lesion is undetermined (the paper's label has no class), so no code here says tumour or metastasis, and
the network's probability is not DICOM's "Probability of cancer".
"""

from __future__ import annotations

from pydicom.sr.coding import Code

SCHEME = "99OSTEON"


def _sct(value: str, meaning: str) -> Code:
    return Code(value, "SCT", meaning)


ABNORMAL_STRUCTURE = _sct("49755003", "Morphologically Abnormal Structure")
LESION = _sct("52988006", "Lesion")
BONE = _sct("272673000", "Bone")
SIDES = {"right": _sct("24028007", "Right"), "left": _sct("7771000", "Left")}

VOLUME = _sct("118565006", "Volume")
COUNTS = Code("110821", "DCM", "Nuclear Medicine Tomographic Activity")
ATTENUATION = Code("112031", "DCM", "Attenuation Coefficient")
CONTRAST = Code("LESION-TO-BACKGROUND", SCHEME, "Lesion to background ratio")
PROBABILITY = Code("LESION-PROBABILITY", SCHEME, "Probability of a lesion by the network")
LESIONS = Code("LESIONS", SCHEME, "Number of lesions")
TOTAL_VOLUME = Code("LESION-VOLUME", SCHEME, "Volume of all lesions")

MEAN = _sct("373098007", "Mean")
MAXIMUM = _sct("56851009", "Maximum")

CUBIC_CM = Code("cm3", "UCUM", "cubic centimeter")
COUNTS_UNIT = Code("{counts}", "UCUM", "Counts")
RATIO = Code("{ratio}", "UCUM", "ratio")
HOUNSFIELD = Code("[hnsf'U]", "UCUM", "Hounsfield unit")
PERCENT = Code("%", "UCUM", "Percent")
LESIONS_UNIT = Code("{lesions}", "UCUM", "lesions")
