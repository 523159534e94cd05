"""One accepted association, from the A-ASSOCIATE-RQ to its end.

    first bytes -> upper layer -> A-ASSOCIATE-RQ -> admission -> contexts -> established -> released, aborted or lost

Two threads: this one negotiates, releases and watches the time; the upper layer's own (see `transport`) reads, stores
and acknowledges. However it ends, the reception is told, and `on_end` is called once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty
from socket import socket
from typing import Any, cast

import structlog
from pynetdicom import AE, evt
from pynetdicom._globals import MODE_ACCEPTOR
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.transport import AddressInformation

from node.receive import contexts
from node.receive.admission import AdmissionRules, decide
from node.receive.messages import MessageReader
from node.receive.reception import Reception, SpoolRules
from node.receive.transport import WAIT_S, ReadAheadSocket, SpoolingUpperLayer
from node.settings.model import ListenSettings
from node.storage.local import SpoolFolders
from node.storage.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from node.storage.spool import AssociationEnd, AssociationRecord

CLOSING_S = 2.0
"""How long an association that is over may take to close its connection in good order."""

ASSOCIATE_RQ = b"\x01"
CALLED_TITLE, CALLING_TITLE = slice(10, 26), slice(26, 42)
"""Where the titles stand in an A-ASSOCIATE-RQ, from its first byte (PS3.8 table 9-11)."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class House:
    """What all associations of one listener share."""

    ae: AE
    rules: AdmissionRules
    spool: SpoolFolders
    spool_rules: SpoolRules
    new_token: Callable[[], str]
    open_associations: Callable[[], int]
    clock: Callable[[], float] = time.time


class InboundAssociation(Association):
    """An association that somebody opened with us.

    Parameters
    ----------
    house
        What it shares with the others.
    connection, peer
        The accepted connection and the peer's address.
    first_bytes
        What was already read: the A-ASSOCIATE-RQ, as a rule.
    on_end
        Called once, in this thread, when both threads are done.
    """

    def __init__(
        self,
        house: House,
        connection: socket,
        peer: tuple[str, int],
        first_bytes: bytes,
        on_end: Callable[[InboundAssociation], None],
    ) -> None:
        super().__init__(house.ae, MODE_ACCEPTOR)
        self._house = house
        self._peer = peer
        self._on_end = on_end
        self._reception: Reception | None = None
        self._layer = self.dul = SpoolingUpperLayer(self)
        self._reactor_checkpoint = self._layer.bell
        # The timers of the layer that the base class made go to ours.
        self.acse_timeout, self.network_timeout = house.ae.acse_timeout, house.ae.network_timeout
        self._line = ReadAheadSocket(self, connection, padded_with_spaces(first_bytes), house.ae.dimse_timeout)
        self.set_socket(self._line)
        self.name = f"association-{peer[0]}:{peer[1]}"
        self.acceptor.maximum_length = house.ae.maximum_pdu_size
        self.acceptor.ae_title = house.ae.ae_title
        self.acceptor.address_info = AddressInformation.from_tuple(connection.getsockname())
        self.acceptor.implementation_class_uid = house.ae.implementation_class_uid
        self.acceptor.implementation_version_name = house.ae.implementation_version_name
        self.requestor.address_info = AddressInformation.from_tuple(peer)

    @property
    def quiet_s(self) -> float:
        """Seconds since the peer last said something; 0 in the middle of a message."""
        return self._layer.quiet_s

    def never_begun(self) -> None:
        """Close the connection of an association for which no thread could be started."""
        self._line.release_resources()

    def run_reactor(self) -> None:
        """The thread: negotiate, serve, end."""
        try:
            self._layer.start()
            self._started_dul = True
            request = self._first_primitive()
            if isinstance(request, A_ASSOCIATE):
                self._negotiate(request)
                if self.is_established:
                    self._run_reactor()
        except Exception:
            log.exception("association broken", peer=self._peer[0])
        finally:
            try:
                self._close()
            finally:
                self._on_end(self)  # or its place among the open associations would never be free again

    def _bind_defaults(self) -> None:
        # Without pynetdicom's logging handlers: they look at every PDU.
        for event in evt._INTERVENTION_EVENTS:
            self.bind(event, evt.get_default_handler(event))
        self.bind(evt.EVT_FSM_TRANSITION, self._ring)

    def _ring(self, _event: Any) -> None:
        self._layer.bell.set()

    def _first_primitive(self) -> object:
        """What the upper layer has first to say; None if the connection ends or stays silent before that."""
        deadline = time.monotonic() + (self.acse_timeout or 0.0)
        while time.monotonic() < deadline and self._layer.is_alive():
            try:
                return self._layer.to_user_queue.get(timeout=WAIT_S)
            except Empty:
                continue
        return None

    def _negotiate(self, request: A_ASSOCIATE) -> None:
        self.requestor.primitive = request
        called, calling = str(request.called_ae_title), str(request.calling_ae_title)
        rejection = decide(called, calling, self._house.open_associations(), self._house.rules)
        if rejection is not None:
            log.warning("association rejected", peer=self._peer[0], reason=rejection.sentence)
            self.acse.send_reject(rejection.result, rejection.source, rejection.diagnostic)
            return
        record = AssociationRecord(
            self._house.new_token(), calling.strip(), called.strip(), self._peer[0], self._house.clock()
        )
        self._reception = Reception(self._house.spool, self._house.spool_rules, record)
        self._layer.reader = MessageReader(self._reception, lambda: self._accepted_cx, self._layer.respond)
        self.acceptor.supported_contexts = contexts.supported(request.presentation_context_definition_list)
        self.acse.negotiate_association()
        log.info(
            "association opened",
            association=record.token,
            peer=self._peer[0],
            calling=record.calling_aet,
            called=record.called_aet,
            contexts=len(self._accepted_cx),
            contexts_refused=len(self._rejected_cx),
        )

    def _close(self) -> None:
        """Let the state machine end in good order, then end it in any case."""
        if not self._started_dul:
            self.never_begun()
            return
        deadline = time.monotonic() + CLOSING_S
        while self._layer.is_alive() and time.monotonic() < deadline and not self._layer.stop_dul():
            self._layer.bell.wait(0.05)
        self._line._shutdown_socket()
        self._layer.kill_dul()
        self._layer.join()
        self._line.release_resources()
        if self._reception is not None:
            how = self._how_it_ended()
            self._reception.end(how)
            log.info(
                "association ended",
                association=self._reception.record.token,
                how=how.value,
                stored=self._reception.stored,
                refused=self._reception.refused,
                bytes=self._reception.bytes,
                seconds=round(self._house.clock() - self._reception.record.opened_at, 3),
            )

    def _how_it_ended(self) -> AssociationEnd:
        if self.is_released:
            return AssociationEnd.RELEASED
        return AssociationEnd.LOST if self._layer.connection_lost else AssociationEnd.ABORTED


def padded_with_spaces(request: bytes) -> bytes:
    """An A-ASSOCIATE-RQ whose AE titles end in spaces, as PS3.8 table 9-11 wants, where the peer padded with NUL.

    Some devices do; pynetdicom would abort them, which from outside looks like a network fault.
    """
    for field in (CALLED_TITLE, CALLING_TITLE):
        title = request[field]
        if request[:1] == ASSOCIATE_RQ and title.endswith(b"\0"):
            request = request[: field.start] + title.rstrip(b"\0").ljust(len(title)) + request[field.stop :]
    return request


def make_ae(listen: ListenSettings) -> AE:
    """pynetdicom's application entity with the listener's title, size of PDUs and timeouts."""
    ae = AE(ae_title=listen.ae_title)
    ae.maximum_pdu_size = listen.max_pdu_bytes
    ae.acse_timeout = listen.acse_timeout_s
    ae.dimse_timeout = listen.dimse_timeout_s
    ae.network_timeout = listen.network_timeout_s
    ae.implementation_class_uid = cast(Any, IMPLEMENTATION_CLASS_UID)
    ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    return ae
