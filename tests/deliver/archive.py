"""A small archive for tests, on pynetdicom: stores in memory, answers C-FIND, and misbehaves on demand."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pydicom import Dataset
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelFind,
    Verification,
)

from node.deliver.scu import RESULT_CLASSES


@dataclass
class Archive:
    """What it received, in order, and what it is to answer.

    Attributes
    ----------
    statuses
        C-STORE status by SOP class; success for the others. Refused objects are not kept.
    hidden
        SOP instance UIDs that C-FIND does not list.
    """

    port: int = 0
    received: list[Dataset] = field(default_factory=list)
    associations: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    hidden: set[str] = field(default_factory=set)
    questions: int = 0

    def forget(self) -> None:
        """Be as new."""
        self.received.clear()
        self.statuses.clear()
        self.hidden.clear()
        self.associations = self.questions = 0

    def kinds(self) -> list[str]:
        """What it received, in order, as kinds of result."""
        names = {uid: kind for kind, uid in RESULT_CLASSES.items()}
        return [names[str(dataset.SOPClassUID)] for dataset in self.received]

    def uids(self) -> list[str]:
        return [str(dataset.SOPInstanceUID) for dataset in self.received]

    def _store(self, event: Any) -> int:
        status = self.statuses.get(str(event.request.AffectedSOPClassUID), 0x0000)
        if status == 0x0000:
            self.received.append(event.dataset)
        return status

    def _find(self, event: Any) -> Iterator[tuple[int, Dataset | None]]:
        self.questions += 1
        wanted = event.identifier.SOPInstanceUID
        for dataset in self.received:
            if dataset.SOPInstanceUID == wanted and wanted not in self.hidden:
                answer = Dataset()
                answer.QueryRetrieveLevel = "IMAGE"
                answer.SOPInstanceUID = wanted
                yield 0xFF00, answer
        yield 0x0000, None

    def _associated(self, _event: Any) -> None:
        self.associations += 1


@contextmanager
def running_archive(archive: Archive, port: int = 0, ae_title: str = "ARCHIVE", find: bool = True) -> Iterator[Archive]:
    """Serve on loopback; `archive.port` is the port."""
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
    ae = AE(ae_title=ae_title)
    ae.require_called_aet = True
    ae.supported_contexts = AllStoragePresentationContexts
    ae.add_supported_context(Verification)
    ae.add_supported_context(RESULT_CLASSES["seg"])
    if find:
        ae.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
    server = ae.start_server(
        ("127.0.0.1", port),
        block=False,
        evt_handlers=[
            (evt.EVT_C_STORE, archive._store),
            (evt.EVT_C_FIND, archive._find),
            (evt.EVT_ESTABLISHED, archive._associated),
        ],
    )
    assert server is not None
    archive.port = server.server_address[1]
    try:
        yield archive
    finally:
        server.shutdown()
