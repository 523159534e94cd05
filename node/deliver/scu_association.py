"""An association that we open: connected, negotiated, used for C-ECHO and C-STORE, released.

    open_association -> RequestedAssociation.store / .echo -> .release

pynetdicom negotiates and encodes; data sets go out as the bytes that the file holds. Everything that goes wrong becomes
an error whose text names the peer and the reason, `RetriableError` where a later attempt may help.
"""

from __future__ import annotations

import io
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, cast

from pynetdicom import AE
from pynetdicom._globals import MODE_REQUESTOR
from pynetdicom.association import Association
from pynetdicom.dimse_messages import C_ECHO_RQ, C_STORE_RQ
from pynetdicom.dimse_primitives import C_ECHO, C_STORE
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.presentation import build_context
from pynetdicom.transport import T_CONNECT, AddressInformation, AssociationSocket

from node.deliver.scu_files import OutgoingFile
from node.errors import PermanentError, RetriableError
from node.settings.model import TlsSettings
from node.storage.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

MAX_QUEUED_PDUS = 32
"""P-DATA waiting to be sent, so that a file of any size needs little memory."""

MAX_PDU_BYTES = 131072
"""What we take; what we send is bounded by the peer's own limit."""

REASONS = {
    (1, 3): "it does not know our AE title '{calling}' (calling AE title not recognised); add it there",
    (1, 7): "it does not answer to AE title '{called}' (called AE title not recognised); check the destination's title",
    (1, 2): "it does not support the DICOM application context",
    (2, 2): "it does not support this protocol version",
    (3, 1): "it is congested",
    (3, 2): "it has too many associations open",
}
"""Source and diagnostic of an A-ASSOCIATE-RJ (PS3.8 table 9-21) in words."""


@dataclass(frozen=True)
class Peer:
    """Whom we call, and as whom."""

    host: str
    port: int
    called_aet: str
    calling_aet: str
    tls: TlsSettings | None = None

    def __str__(self) -> str:
        return f"{self.called_aet} at {self.host}:{self.port}"


@dataclass(frozen=True)
class Timeouts:
    """Seconds: to connect, for the answer to an association request or release, for the answer to a message."""

    connect_s: float = 10.0
    acse_s: float = 30.0
    dimse_s: float = 120.0


class _ConnectedSocket(AssociationSocket):
    """pynetdicom's transport over a connection that is there already, so that its errors are ours to tell."""

    def __init__(self, assoc: Association, connection: socket.socket) -> None:
        self._assoc = assoc
        self._ready = threading.Event()
        self.socket = connection
        self._is_connected = False
        self._tls_args = None
        self.select_timeout = 0.5

    def connect(self, primitive: T_CONNECT) -> None:
        self._is_connected = True
        primitive.result = "Evt2"
        self.provider_queue.put(primitive)
        self._ready.set()


@dataclass(frozen=True)
class Answer:
    """The status of a response and its ErrorComment."""

    status: int
    comment: str


class RequestedAssociation:
    """An established association with `peer`; `accepted` tells the context ID of each SOP class and transfer syntax."""

    def __init__(self, assoc: Association, peer: Peer) -> None:
        self._assoc = assoc
        self._peer = peer
        self._message_id = 0
        self.accepted = {
            (str(c.abstract_syntax), str(c.transfer_syntax[0])): cast(int, c.context_id)
            for c in assoc.accepted_contexts
        }

    def echo(self, context_id: int) -> Answer:
        """C-ECHO; RetriableError if no answer comes."""
        request = C_ECHO()
        request.AffectedSOPClassUID = cast(Any, "1.2.840.10008.1.1")
        return self._exchange(C_ECHO_RQ(), request, context_id)

    def store(self, file: OutgoingFile, context_id: int, encoded: bytes | None = None) -> Answer:
        """C-STORE a file as it is, or the data set `encoded` in its stead; RetriableError if no answer comes."""
        request = C_STORE()
        request.AffectedSOPClassUID = cast(Any, file.sop_class_uid)
        request.AffectedSOPInstanceUID = cast(Any, file.sop_instance_uid)
        request.Priority = 2
        if encoded is None:
            request._dataset_path = (file.path, file.offset)
        else:
            request.DataSet = io.BytesIO(encoded)
        return self._exchange(C_STORE_RQ(), request, context_id)

    def release(self) -> None:
        """Release in good order; an association that is over already is left alone."""
        if self._assoc.is_established:
            self._assoc.acse.negotiate_release()

    def abort(self) -> None:
        """End it at once."""
        if self._assoc.is_established:
            self._assoc.abort()

    def _exchange(self, message: Any, request: Any, context_id: int) -> Answer:
        self._message_id = self._message_id % 65535 + 1
        request.MessageID = self._message_id
        message.primitive_to_message(request)
        layer = self._assoc.dul
        for p_data in message.encode_msg(context_id, self._assoc.dimse.maximum_pdu_size):
            while layer.to_provider_queue.qsize() >= MAX_QUEUED_PDUS and layer.is_alive():
                time.sleep(0.0005)
            layer.send_pdu(p_data)
        _, response = self._assoc.dimse.get_msg(block=True)
        if response is None or not response.is_valid_response:
            how = "did not answer in time" if layer.is_alive() and response is None else "ended the association"
            self.abort()
            raise RetriableError(f"{self._peer} {how}")
        return Answer(cast(int, response.Status), str(getattr(response, "ErrorComment", None) or ""))


@contextmanager
def open_association(
    peer: Peer, contexts: Sequence[tuple[str, Sequence[str]]], timeouts: Timeouts
) -> Iterator[RequestedAssociation]:
    """Associate with `peer`; released at the end of the `with`, aborted if it ends by an error.

    Parameters
    ----------
    contexts
        SOP class and proposed transfer syntaxes of each presentation context, at most 128.

    Raises
    ------
    RetriableError
        If the peer cannot be reached, is busy, or does not answer.
    PermanentError
        If it accepts none of the contexts.
    """
    with closing(_connect(peer, timeouts)) as connection:
        try:
            assoc = _prepare(peer, connection, contexts, timeouts)
        except OSError as error:
            raise RetriableError(f"{peer} closed the connection at once{_tls_hint(peer)}") from error
        try:
            assoc.request()
            _check_established(assoc, peer)
            association = RequestedAssociation(assoc, peer)
            try:
                yield association
            except BaseException:
                association.abort()
                raise
            association.release()
        finally:
            if assoc.dul.is_alive():
                assoc.dul.kill_dul()
                assoc.dul.join(timeout=timeouts.acse_s)


def _tls_hint(peer: Peer) -> str:
    """With TLS 1.3 a client learns only afterwards that its certificate was not accepted."""
    return "; does it trust our certificate?" if peer.tls is not None else ""


def _connect(peer: Peer, timeouts: Timeouts) -> socket.socket:
    try:
        connection = socket.create_connection((peer.host, peer.port), timeout=timeouts.connect_s)
    except socket.gaierror as error:
        raise RetriableError(f"the host '{peer.host}' of {peer} is not known: {error.strerror}") from error
    except UnicodeError as error:
        raise PermanentError(f"'{peer.host}' is no name of a host: {error}") from error
    except TimeoutError as error:
        raise RetriableError(f"{peer} cannot be reached: no answer within {timeouts.connect_s:g} s") from error
    except OSError as error:
        raise RetriableError(f"{peer} cannot be reached: {error.strerror or error}") from error
    try:
        # Without it a message's last packet waits for the peer's delayed acknowledgement, 40 ms each time.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if peer.tls is not None:
            connection = client_context(peer.tls).wrap_socket(connection, server_hostname=peer.host)
        connection.settimeout(timeouts.dimse_s)
    except ssl.SSLError as error:
        connection.close()
        # A peer that restarts, or a certificate that ran out over the weekend: both are cured without our help.
        raise RetriableError(f"no TLS with {peer}: {error.reason or error}; check the certificates") from error
    except OSError as error:
        connection.close()
        raise RetriableError(f"{peer} broke the connection: {error}") from error
    except RetriableError:
        connection.close()
        raise
    return connection


def client_context(tls: TlsSettings) -> ssl.SSLContext:
    """The client's side of a destination's TLS (PS3.15 annex B).

    Where `trusted` names the site's own authorities the host's name is not compared: inside a hospital certificates
    are made for devices, and addresses are numbers. Without it the system's authorities count, and the name does.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(tls.certificate, tls.key)
        if tls.trusted is not None:
            context.check_hostname = False
            context.load_verify_locations(tls.trusted)
        else:
            context.load_default_certs()
    except OSError as error:  # ssl.SSLError is one
        raise RetriableError(f"the destination's TLS files cannot be used: {error}") from error
    return context


def _prepare(
    peer: Peer, connection: socket.socket, contexts: Sequence[tuple[str, Sequence[str]]], timeouts: Timeouts
) -> Association:
    ae = AE(ae_title=peer.calling_aet)
    ae.acse_timeout, ae.dimse_timeout, ae.network_timeout = timeouts.acse_s, timeouts.dimse_s, None
    assoc = Association(ae, MODE_REQUESTOR)
    assoc.set_socket(_ConnectedSocket(assoc, connection))
    assoc.dul.daemon = True
    assoc.acceptor.ae_title = peer.called_aet
    assoc.acceptor.address_info = AddressInformation.from_tuple(connection.getpeername())
    assoc.requestor.address_info = AddressInformation.from_tuple(connection.getsockname())
    assoc.requestor.ae_title = peer.calling_aet
    assoc.requestor.maximum_length = MAX_PDU_BYTES
    assoc.requestor.implementation_class_uid = cast(Any, IMPLEMENTATION_CLASS_UID)
    assoc.requestor.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    requested = [build_context(abstract, list(syntaxes)) for abstract, syntaxes in contexts]
    for index, context in enumerate(requested):
        context.context_id = 2 * index + 1
    assoc.requestor.requested_contexts = requested
    return assoc


def _check_established(assoc: Association, peer: Peer) -> None:
    if assoc.is_established:
        return
    answer = assoc.acceptor.primitive
    if assoc.is_rejected and isinstance(answer, A_ASSOCIATE):
        known = REASONS.get((cast(int, answer.result_source), cast(int, answer.diagnostic)), "it gives no reason")
        reason = known.format(calling=peer.calling_aet, called=peer.called_aet)
        # Also what the protocol calls "rejected permanent": it is cured when somebody enters our AE title at the peer,
        # and a delivery that gave up at once would then have to be found and resumed by hand.
        raise RetriableError(f"{peer} rejected the association: {reason}")
    if isinstance(answer, A_ASSOCIATE) and answer.result == 0 and not assoc.accepted_contexts:
        raise PermanentError(f"{peer} accepts none of the proposed SOP classes and transfer syntaxes")
    raise RetriableError(
        f"{peer} aborted, closed the connection, or did not answer when an association was requested{_tls_hint(peer)}"
    )
