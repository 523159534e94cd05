"""Codes of the bone-scan pipeline's findings; private ones stand in the project's scheme 99OSTEON."""

from __future__ import annotations

from pydicom.sr.coding import Code

SCHEME = "99OSTEON"

BSTBI = Code("BSTBI", SCHEME, "Bone scan tumour burden index")
FRACTION = Code("BSTBI-FRACTION", SCHEME, "Lesions' fraction of uptake outside the bladder")
BSTBI_COUNTS = Code("BSTBI-COUNTS", SCHEME, "Bone scan tumour burden index of counts")
FOCI = Code("FOCI", SCHEME, "Number of foci")
PIXELS = Code("PIXELS", SCHEME, "Size in pixels")
CONTRAST = Code("LESION-TO-BACKGROUND", SCHEME, "Lesion to background ratio")
BLADDER_PROBABILITY = Code("BLADDER-PROBABILITY", SCHEME, "Probability that the bladder is seen")
METASTASIS_PROBABILITY = Code("111047", "DCM", "Probability of cancer")

AREA = Code("42798000", "SCT", "Area")
COUNTS = Code("110820", "DCM", "Nuclear Medicine Projection Activity")

MEAN = Code("373098007", "SCT", "Mean")
MAXIMUM = Code("56851009", "SCT", "Maximum")
TOTAL = Code("255619001", "SCT", "Total")

NO_UNITS = Code("1", "UCUM", "no units")
RATIO = Code("{ratio}", "UCUM", "ratio")
PERCENT = Code("%", "UCUM", "Percent")
SQUARE_MM = Code("mm2", "UCUM", "square millimeter")
COUNTS_UNIT = Code("{counts}", "UCUM", "Counts")
PIXELS_UNIT = Code("{pixels}", "UCUM", "pixels")
FOCI_UNIT = Code("{foci}", "UCUM", "foci")

ABNORMAL_STRUCTURE = Code("49755003", "SCT", "Morphologically Abnormal Structure")
SECONDARY_NEOPLASM = Code("14799000", "SCT", "Neoplasm, Secondary")
BONE_METASTASIS = Code("94222008", "SCT", "Bony metastasis")
ANATOMICAL_STRUCTURE = Code("91723000", "SCT", "Anatomical Structure")
BLADDER = Code("89837001", "SCT", "Bladder")
