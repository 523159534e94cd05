"""Who may open an association, and which contexts are accepted: pure decisions."""

from __future__ import annotations

import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
)
from pynetdicom import AllStoragePresentationContexts, QueryRetrievePresentationContexts
from pynetdicom.presentation import build_context

from node.receive.admission import AdmissionRules, Rejection, decide
from node.receive.contexts import is_storable, preference, supported
from node.receive.supervisor import LONGEST_DELAY_S, restart_delay

RULES = AdmissionRules("OSTEON", True, ("CT1", "MR 2"), 5)


def test_who_is_expected_comes_in_and_spaces_around_a_title_do_not_matter() -> None:
    assert decide("OSTEON", "CT1", 5, RULES) is None
    assert decide(" OSTEON  ", "MR 2 ", 1, RULES) is None


def test_a_wrong_called_title_is_rejected_with_its_reason_and_both_titles() -> None:
    rejection = decide("OSTEOM", "CT1", 1, RULES)
    assert isinstance(rejection, Rejection)
    assert (rejection.result, rejection.source, rejection.diagnostic) == (1, 1, 7)
    assert "OSTEOM" in rejection.sentence
    assert "'OSTEON'" in rejection.sentence
    assert decide("OSTEOM", "CT1", 1, AdmissionRules("OSTEON", False, (), 5)) is None


def test_a_calling_title_that_is_not_on_the_list_is_rejected_with_its_reason() -> None:
    rejection = decide("OSTEON", "CT9", 1, RULES)
    assert isinstance(rejection, Rejection)
    assert (rejection.result, rejection.source, rejection.diagnostic) == (1, 1, 3)
    assert "CT9" in rejection.sentence


def test_one_association_too_many_is_rejected_for_the_moment_only() -> None:
    rejection = decide("OSTEON", "CT1", 6, RULES)
    assert isinstance(rejection, Rejection)
    assert (rejection.result, rejection.source, rejection.diagnostic) == (2, 3, 2)


def test_every_storage_class_that_pynetdicom_knows_is_storable() -> None:
    missing = [c.abstract_syntax for c in AllStoragePresentationContexts if not is_storable(str(c.abstract_syntax))]
    assert not missing


@pytest.mark.parametrize(
    "uid",
    [
        "1.2.840.10008.5.1.4.1.1.66.7",  # Label Map Segmentation
        "1.2.840.10008.5.1.4.1.1.30",  # Parametric Map
        "1.2.840.10008.5.1.4.1.1.5",  # Nuclear Medicine Image, retired in 1993
        "1.2.840.113619.4.30",  # a vendor's own
        "1.2.840.10008.5.1.4.1.1.999.9",  # newer than any dictionary
    ],
)
def test_new_retired_and_private_classes_are_storable(uid: str) -> None:
    assert is_storable(uid)


@pytest.mark.parametrize(
    "uid",
    [
        "1.2.840.10008.1.3.10",  # Media Storage Directory
        "1.2.840.10008.1.20.1",  # Storage Commitment
        "1.2.840.10008.5.1.4.1.2.2.1",  # Study Root FIND
        "1.2.840.10008.1.2.1",  # a transfer syntax
        "1.2.840.10008.1.40",  # Procedural Event Logging
    ],
)
def test_what_is_never_sent_with_c_store_is_not_storable(uid: str) -> None:
    assert not is_storable(uid)


def test_query_classes_are_not_supported() -> None:
    assert supported(QueryRetrievePresentationContexts) == []


def test_the_senders_first_transfer_syntax_counts_but_explicit_before_implicit() -> None:
    assert preference([JPEG2000Lossless, ExplicitVRLittleEndian]) == [JPEG2000Lossless, ExplicitVRLittleEndian]
    assert preference([ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian]) == [
        ExplicitVRLittleEndian,
        DeflatedExplicitVRLittleEndian,
        ImplicitVRLittleEndian,
    ]


def test_a_private_transfer_syntax_is_never_chosen() -> None:
    private = "1.2.840.113619.5.2"
    assert preference([private, ImplicitVRLittleEndian]) == [ImplicitVRLittleEndian]
    (context,) = supported([build_context("1.2.840.10008.5.1.4.1.1.2", [private])])
    assert private not in context.transfer_syntax


def test_a_process_that_keeps_dying_is_restarted_ever_more_slowly_but_always() -> None:
    delays = [restart_delay(deaths) for deaths in range(40)]
    assert delays[0] == 0
    assert delays == sorted(delays)
    assert delays[-1] == LONGEST_DELAY_S
