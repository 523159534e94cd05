"""Codes of the bone-scan pipeline's findings, beside those that planar pipelines share."""

from __future__ import annotations

from pydicom.sr.coding import Code

from pipelines.planar.codes import *  # noqa: F403
from pipelines.planar.codes import SCHEME

BSTBI = Code("BSTBI", SCHEME, "Bone scan tumour burden index")
FRACTION = Code("BSTBI-FRACTION", SCHEME, "Lesions' fraction of uptake outside the bladder")
BSTBI_COUNTS = Code("BSTBI-COUNTS", SCHEME, "Bone scan tumour burden index of counts")
BLADDER_PROBABILITY = Code("BLADDER-PROBABILITY", SCHEME, "Probability that the bladder is seen")

NO_UNITS = Code("1", "UCUM", "no units")

ANATOMICAL_STRUCTURE = Code("91723000", "SCT", "Anatomical Structure")
BLADDER = Code("89837001", "SCT", "Bladder")
