"""The codes that results are written with, beyond those the pipelines bring along in their findings.

Public codes are those of pydicom's copy of PS3.16 and SNOMED CT; a test holds them against it. What no public
scheme covers stands in the private scheme 99OSTEON, and every object that uses a private scheme identifies it in
its CodingSchemeIdentificationSequence (PS3.3 C.12.1.1.1): readers may not guess.
"""

from __future__ import annotations

from collections.abc import Iterator

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from pydicom import Dataset
from pydicom.sr.coding import Code

from node.results.uids import CODING_SCHEME_UID

PRIVATE_SCHEME = "99OSTEON"
PRIVATE_SCHEME_NAME = "osteon private codes"
PRIVATE_SCHEME_VERSION = "1"

ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")
COMMENT = Code("121106", "DCM", "Comment")
CONCLUSION = Code("121077", "DCM", "Conclusion")
IMAGE_VIEW = Code("111031", "DCM", "Image View")
LATERALITY = Code("272741003", "SCT", "Laterality")
MORPHOLOGICALLY_ABNORMAL = Code("49755003", "SCT", "Morphologically Abnormal Structure")
SEGMENTATION_DERIVATION = Code("113076", "DCM", "Segmentation")
SOURCE_IMAGE = Code("121322", "DCM", "Source image for image processing operation")
QUALITATIVE_EVALUATIONS = Code("C0034375", "UMLS", "Qualitative Evaluations")
"""Container of TID 1500 row 12 for what is said of the whole study in words."""

LIMITATION = Code("LIMITATION", PRIVATE_SCHEME, "Limitation of the analysis")
RESEARCH_USE = Code("RESEARCH-USE", PRIVATE_SCHEME, "Research use statement")
SOURCE = Code("260753009", "SCT", "Source (attribute)")
LOCATION = Code("LOCATION", PRIVATE_SCHEME, "Location in words")
PICTURE_NUMBER = Code("PICTURE-NUMBER", PRIVATE_SCHEME, "Number on the overlay picture")

VIEW_CODES = {
    "anterior": Code("399321004", "SCT", "Anterior projection"),
    "posterior": Code("399001007", "SCT", "Posterior projection"),
}
"""CID 26, Nuclear Medicine Projections."""

_PROCEDURES = {
    "NM": Code("49118-3", "LN", "NM unspecified body region"),
    "PT": Code("44136-0", "LN", "PET unspecified body region"),
    "CT": Code("25045-6", "LN", "CT unspecified body region"),
    "MR": Code("25056-3", "LN", "MRI unspecified body region"),
}


def procedure_reported(modality: str) -> Code:
    """CID 100 code for Procedure Reported; the body region is in the findings, not here.

    Anything but CT, MR and PET is taken for nuclear medicine: old scans come as "OT" or as Secondary Capture.
    """
    return _PROCEDURES.get(modality, _PROCEDURES["NM"])


def private_schemes(dataset: Dataset) -> list[CodingSchemeIdentificationItem]:
    """Identification items for every private scheme (designator 99...) used anywhere in the dataset."""
    items = []
    for designator in sorted(set(_designators(dataset))):
        if not designator.startswith("99"):
            continue
        if designator == PRIVATE_SCHEME:
            item = CodingSchemeIdentificationItem(
                designator,
                name=PRIVATE_SCHEME_NAME,
                version=PRIVATE_SCHEME_VERSION,
                responsible_organization="osteon",
            )
            item.CodingSchemeUID = CODING_SCHEME_UID
        else:
            item = CodingSchemeIdentificationItem(designator, name=f"Private scheme {designator}")
        items.append(item)
    return items


def _designators(dataset: Dataset) -> Iterator[str]:
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                yield from _designators(item)
        elif element.keyword == "CodingSchemeDesignator":
            yield str(element.value)
