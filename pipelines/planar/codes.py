"""Codes that the findings of planar pipelines share; private ones stand in the project's scheme 99OSTEON."""

from __future__ import annotations

from pydicom.sr.coding import Code

SCHEME = "99OSTEON"

FOCI = Code("FOCI", SCHEME, "Number of foci")
PIXELS = Code("PIXELS", SCHEME, "Size in pixels")
CONTRAST = Code("LESION-TO-BACKGROUND", SCHEME, "Lesion to background ratio")
METASTASIS_PROBABILITY = Code("111047", "DCM", "Probability of cancer")

AREA = Code("42798000", "SCT", "Area")
COUNTS = Code("110820", "DCM", "Nuclear Medicine Projection Activity")

MEAN = Code("373098007", "SCT", "Mean")
MAXIMUM = Code("56851009", "SCT", "Maximum")
TOTAL = Code("255619001", "SCT", "Total")

RATIO = Code("{ratio}", "UCUM", "ratio")
PERCENT = Code("%", "UCUM", "Percent")
SQUARE_MM = Code("mm2", "UCUM", "square millimeter")
COUNTS_UNIT = Code("{counts}", "UCUM", "Counts")
PIXELS_UNIT = Code("{pixels}", "UCUM", "pixels")
FOCI_UNIT = Code("{foci}", "UCUM", "foci")

ABNORMAL_STRUCTURE = Code("49755003", "SCT", "Morphologically Abnormal Structure")
SECONDARY_NEOPLASM = Code("14799000", "SCT", "Neoplasm, Secondary")
BONE_METASTASIS = Code("94222008", "SCT", "Bony metastasis")
