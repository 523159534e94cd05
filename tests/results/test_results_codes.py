"""Codes: public ones as pydicom's copy of PS3.16 and SNOMED CT has them, private ones identified."""

from __future__ import annotations

from typing import Any

import pydicom.sr._concepts_dict
import pytest
from pydicom.sr.coding import Code

from node.results import codes
from node.results.codes import PRIVATE_SCHEME, VIEW_CODES, procedure_reported

# UMLS "Qualitative Evaluations" stands in TID 1500 itself, in no context group, so pydicom's tables lack it.
NOT_IN_THE_TABLES = {("C0034375", "UMLS")}

ALL_CODES = [value for value in vars(codes).values() if isinstance(value, Code)] + [
    *VIEW_CODES.values(),
    *(procedure_reported(modality) for modality in ("NM", "PT", "CT", "MR")),
]
PUBLIC = [
    c
    for c in ALL_CODES
    if c.scheme_designator != PRIVATE_SCHEME and (c.value, c.scheme_designator) not in NOT_IN_THE_TABLES
]


CONCEPTS: dict[str, dict[str, Any]] = pydicom.sr._concepts_dict.concepts


@pytest.mark.parametrize("code", PUBLIC, ids=lambda c: f"{c.scheme_designator} {c.value}")
def test_a_public_code_means_what_the_standard_says(code: Code) -> None:
    meanings = {
        entry[code.value][0].lower() for entry in CONCEPTS[code.scheme_designator].values() if code.value in entry
    }
    assert code.meaning.lower() in meanings


def test_private_code_values_fit_a_code_value() -> None:
    private = [c for c in ALL_CODES if c.scheme_designator == PRIVATE_SCHEME]
    assert private and all(len(c.value) <= 16 and len(c.meaning) <= 64 for c in private)


def test_an_unknown_modality_is_reported_as_nuclear_medicine() -> None:
    assert procedure_reported("OT") == procedure_reported("NM")
