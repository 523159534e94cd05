"""Who may open an association: called and calling AE title, and how many at once.

    A-ASSOCIATE-RQ -> decide -> None (come in) or Rejection (A-ASSOCIATE-RJ with its reason, and a sentence for the log)

AE titles are the commonest mistake when a scanner is set up, and from outside they look like a network fault: the
sentence names both titles and the setting, so that nobody goes looking for a cable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

REJECTED_PERMANENT = 1
REJECTED_TRANSIENT = 2
SERVICE_USER = 1
SERVICE_PROVIDER_PRESENTATION = 3
CALLING_AE_NOT_RECOGNISED = 3
CALLED_AE_NOT_RECOGNISED = 7
LOCAL_LIMIT_EXCEEDED = 2


@dataclass(frozen=True)
class Rejection:
    """Result, source and diagnostic of an A-ASSOCIATE-RJ (PS3.8 table 9-21), and why in one sentence."""

    result: int
    source: int
    diagnostic: int
    sentence: str


@dataclass(frozen=True)
class AdmissionRules:
    """What `listen` in osteon.yaml says about who may come in."""

    ae_title: str
    require_called_aet: bool
    allow_calling_aets: Sequence[str]
    max_associations: int


def decide(called_aet: str, calling_aet: str, open_associations: int, rules: AdmissionRules) -> Rejection | None:
    """Whether this association may be opened; `open_associations` counts it too.

    AE titles are compared without leading and trailing spaces, which are not significant (PS3.5 section 6.2).
    """
    called, calling = called_aet.strip(), calling_aet.strip()
    if rules.require_called_aet and called != rules.ae_title.strip():
        return Rejection(
            REJECTED_PERMANENT,
            SERVICE_USER,
            CALLED_AE_NOT_RECOGNISED,
            f"the peer '{calling}' called AE title '{called}', but this node is '{rules.ae_title}' "
            "(set the peer's destination, or listen.ae_title)",
        )
    allowed = {title.strip() for title in rules.allow_calling_aets}
    if allowed and calling not in allowed:
        return Rejection(
            REJECTED_PERMANENT,
            SERVICE_USER,
            CALLING_AE_NOT_RECOGNISED,
            f"the peer calls itself '{calling}', which listen.allow_calling_aets does not name",
        )
    if open_associations > rules.max_associations:
        return Rejection(
            REJECTED_TRANSIENT,
            SERVICE_PROVIDER_PRESENTATION,
            LOCAL_LIMIT_EXCEEDED,
            f"'{calling}' found {rules.max_associations} associations open (listen.max_associations)",
        )
    return None
