"""Which presentation contexts the listener accepts.

Verification, and everything that can be stored: each storage class of the standard, retired, new or private, in each
transfer syntax of the standard. Bytes are kept as they come, so that nothing depends on being able to decode them.
"""

from __future__ import annotations

from collections.abc import Iterable

from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.presentation import PresentationContext, build_context

VERIFICATION = "1.2.840.10008.1.1"

STANDARD_ROOT = "1.2.840.10008."

STANDARD_STORAGE_ROOT = "1.2.840.10008.5.1.4."
"""Storage classes that are newer than pydicom's dictionary lie here (PS3.6 annex A)."""

NOT_STORED = frozenset({"1.2.840.10008.1.3.10", "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.2"})
"""Named "Storage", but never sent with C-STORE: media directory, storage commitment (push and pull)."""


def is_storable(abstract_syntax: str) -> bool:
    """True for a storage SOP class: the standard's, or one that no dictionary knows and that may well be one."""
    uid = UID(abstract_syntax)
    if uid in NOT_STORED:
        return False
    if uid.type:
        return bool(uid.type == "SOP Class" and "Storage" in uid.name)
    return not uid.startswith(STANDARD_ROOT) or uid.startswith(STANDARD_STORAGE_ROOT)


def is_readable(transfer_syntax: str) -> bool:
    """True for a transfer syntax of the standard, retired ones included; a private one could not be read again."""
    return bool(UID(transfer_syntax).type == "Transfer Syntax")


def preference(proposed: Iterable[str]) -> list[UID]:
    """The proposed transfer syntaxes in the order in which they are accepted.

    The sender's own order, since its first is usually what the file is in and saves it a conversion; but Explicit VR
    goes before Implicit VR, which loses the types of private elements.
    """
    order = [UID(uid) for uid in proposed if is_readable(uid)]
    if ExplicitVRLittleEndian in order and ImplicitVRLittleEndian in order:
        implicit, explicit = order.index(ImplicitVRLittleEndian), order.index(ExplicitVRLittleEndian)
        if implicit < explicit:
            order[implicit], order[explicit] = order[explicit], order[implicit]
    return order


def supported(proposed: Iterable[PresentationContext]) -> list[PresentationContext]:
    """What to support of the contexts that a requestor proposed; pynetdicom negotiates with the result.

    Abstract syntaxes that are missing from it are rejected with 3, contexts without a common transfer syntax with 4
    (PS3.8 table 9-18).
    """
    syntaxes: dict[str, list[UID]] = {}
    for context in proposed:
        abstract = str(context.abstract_syntax)
        if abstract == VERIFICATION or is_storable(abstract):
            known = syntaxes.setdefault(abstract, [])
            known += [uid for uid in map(UID, context.transfer_syntax) if uid not in known]
    # A class of which no proposed transfer syntax is known gets one that was not proposed, and so the right reason.
    return [
        build_context(abstract, [*(preference(order) or [ImplicitVRLittleEndian])])
        for abstract, order in syntaxes.items()
    ]
