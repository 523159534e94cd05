"""Asking a destination whether it has an object: C-FIND at image level (PS3.4 annex C.4.1).

An archive that acknowledges a C-STORE has promised the object; this is the check that it can also be found, which is
what a viewer needs. Nothing is retrieved.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydicom import Dataset
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind  # type: ignore[attr-defined]

from node.deliver.scu_association import client_context
from node.errors import PermanentError, RetriableError
from node.settings.model import Destination

PENDING = (0xFF00, 0xFF01)
SUCCESS = 0x0000

FIND_TIMEOUT_S = 30.0
"""For each answer; an archive that needs longer to look up one UID is asked again later."""

MAX_ANSWERS = 1000
"""An archive that ignores the UID and lists everything is not followed for ever."""


@dataclass(frozen=True)
class Wanted:
    """The object asked for; the levels above it are required keys (PS3.4 C.4.1.3)."""

    study_uid: str
    series_uid: str
    sop_uid: str


def has_object(destination: Destination, calling_aet: str, wanted: Wanted) -> bool:
    """True if the destination lists the object.

    Raises
    ------
    RetriableError
        If it cannot be asked now, or does not answer to the end.
    PermanentError
        If it does not support the question.
    """
    try:
        association = _associate(destination, calling_aet)
        try:
            return _ask(association, destination, wanted)
        finally:
            association.release()
    except (OSError, ValueError, RuntimeError) as error:
        # pynetdicom's for a host that is not known, and for an association that ends before the question.
        raise RetriableError(f"{destination.name} could not be asked by C-FIND: {error}") from error


def _associate(destination: Destination, calling_aet: str) -> Association:
    ae = AE(ae_title=destination.calling_ae_title or calling_aet)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = FIND_TIMEOUT_S
    ae.connection_timeout = FIND_TIMEOUT_S
    ae.add_requested_context(StudyRootQueryRetrieveInformationModelFind)
    tls = (client_context(destination.tls), destination.host) if destination.tls else None
    association = ae.associate(destination.host, destination.port, ae_title=destination.ae_title, tls_args=tls)
    if association.is_established:
        return association
    if association.is_rejected:
        raise RetriableError(f"{destination.name} rejected the association for C-FIND")
    if association.acceptor.primitive is not None and not association.accepted_contexts and association.is_aborted:
        raise PermanentError(f"{destination.name} does not support C-FIND (study root); set its verify to none")
    raise RetriableError(f"{destination.name} cannot be reached at {destination.host}:{destination.port} for C-FIND")


def _ask(association: Association, destination: Destination, wanted: Wanted) -> bool:
    query = Dataset()
    query.QueryRetrieveLevel = "IMAGE"
    query.StudyInstanceUID = wanted.study_uid
    query.SeriesInstanceUID = wanted.series_uid
    query.SOPInstanceUID = wanted.sop_uid
    found = False
    answers = association.send_c_find(query, StudyRootQueryRetrieveInformationModelFind)
    for number, (status, identifier) in enumerate(answers):
        code = status.get("Status")
        if code is None:
            raise RetriableError(f"{destination.name} did not answer C-FIND to the end")
        if code in PENDING:
            # Compared here, too: some archives answer a query at this level with more than was asked for.
            found = found or (identifier is not None and identifier.get("SOPInstanceUID") == wanted.sop_uid)
            if number >= MAX_ANSWERS:
                association.abort()
                return found
        elif code != SUCCESS:
            raise RetriableError(f"{destination.name} answered C-FIND with status 0x{code:04X}")
    return found
