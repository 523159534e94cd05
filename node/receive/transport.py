"""pynetdicom's transport and upper layer, with the path of an image cut short.

    socket --recv_into--> one buffer --views--> MessageReader --write--> partial file

pynetdicom moves each PDU through bytes objects, three queues and two threads that poll every millisecond. Here the
upper layer's own thread reads P-DATA from a buffer and hands views of it on, and it waits on the socket instead of
polling. All else, the state machine, negotiation, release and abort, is pynetdicom's: this is a subclass, not a fork.
It leans on names that pynetdicom 3.0 keeps private; `tests/receive` fails loudly when they change.
"""

from __future__ import annotations

import select
import socket
import ssl
import struct
import threading
from contextlib import suppress
from typing import Any, cast

import structlog
from pynetdicom.association import Association
from pynetdicom.dul import DULServiceProvider
from pynetdicom.pdu_primitives import A_P_ABORT
from pynetdicom.transport import AssociationSocket

from node.receive.command import MAX_COMMAND_BYTES, ProtocolError, p_data_pdus
from node.receive.messages import MessageReader

BUFFER_BYTES = 256 << 10
"""One read takes at most this much; twice the usual PDU, so that a PDU seldom needs more than one."""

MAX_CONTROL_PDU_BYTES = 1 << 20
"""Largest PDU other than P-DATA. 128 contexts with all 63 transfer syntaxes each make an A-ASSOCIATE-RQ of 0.3 MB."""

WAIT_S = 0.1
"""Longest wait for the peer before timers are looked at again."""

P_DATA_TF = 0x04
KNOWN_PDU_TYPES = range(0x01, 0x08)

ESTABLISHED = "Sta6"
AWAITING_CLOSE = "Sta13"
"""States of the upper layer (PS3.8 section 9.2)."""

INVALID_PDU = "Evt19"
CONNECTION_CLOSED = "Evt17"
"""Events of the upper layer (PS3.8 table 9-5)."""

log = structlog.get_logger(__name__)


class Doorbell(threading.Event):
    """Stands in for the checkpoint that pynetdicom's association thread passes every millisecond.

    With it the thread waits at the checkpoint until the upper layer has something for it, or `interval_s` for a look
    at its timers.
    """

    def __init__(self, interval_s: float) -> None:
        super().__init__()
        self._interval_s = interval_s

    def wait(self, timeout: float | None = None) -> bool:
        rung = super().wait(self._interval_s if timeout is None else timeout)
        self.clear()
        return rung


class ReadAheadSocket(AssociationSocket):
    """An accepted connection that is read into one buffer.

    Parameters
    ----------
    first_bytes
        What has been read from the connection already.
    stall_timeout_s
        How long a read in the middle of a PDU may wait.
    """

    def __init__(
        self, assoc: Association, connection: socket.socket, first_bytes: bytes, stall_timeout_s: float | None
    ):
        super().__init__(assoc, client_socket=connection)
        connection.settimeout(stall_timeout_s)
        self._buffer = bytearray(max(BUFFER_BYTES, len(first_bytes)))
        self._view = memoryview(self._buffer)
        self._start, self._end = 0, len(first_bytes)
        self._buffer[: self._end] = first_bytes
        self._connection = connection
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._wake_write.setblocking(False)
        self._poll = select.poll()
        self._poll.register(self._wake_read, select.POLLIN)
        self._poll.register(connection, select.POLLIN)

    def wake(self) -> None:
        """End a wait in `ready` from another thread."""
        try:
            self._wake_write.send(b"!")
        except OSError:
            return  # full: it will wake anyway; closed: there is no one to wake

    @property
    def ready(self) -> bool:
        """True if there is something to read; waits up to `WAIT_S` for it or for `wake`."""
        connection = self.socket
        if self._start < self._end:
            return True
        if connection is None or not self._is_connected:
            select.select([self._wake_read], [], [], 0.001)  # the thread is about to be ended; do not spin until then
            return False
        if isinstance(connection, ssl.SSLSocket) and connection.pending():
            return True
        # An event that waits to be acted on comes first.
        wait_s = WAIT_S if self.event_queue.empty() else 0
        found = {handle for handle, _ in self._poll.poll(wait_s * 1000)}
        if self._wake_read.fileno() in found:
            self._wake_read.recv(64)
            found.discard(self._wake_read.fileno())
        return bool(found)

    def read_some(self, limit: int) -> memoryview:
        """Between 1 and `limit` bytes, valid until the next read.

        Raises
        ------
        EOFError
            If the peer has closed the connection.
        OSError
            If the connection broke, or nothing came for `stall_timeout_s`.
        """
        if self._start == self._end:
            if self.socket is None:
                raise EOFError("the connection is closed")
            self._start, self._end = 0, self.socket.recv_into(self._view)
            if self._end == 0:
                raise EOFError("the peer closed the connection")
        taken = self._view[self._start : min(self._start + limit, self._end)]
        self._start += len(taken)
        return taken

    def read_exactly(self, size: int) -> bytes:
        """`size` bytes; raises as `read_some` does."""
        view = self.read_some(size)
        if len(view) == size:
            return bytes(view)
        parts = bytearray(view)
        while len(parts) < size:
            parts += self.read_some(size - len(parts))
        return bytes(parts)

    def _shutdown_socket(self) -> None:
        # Shut down only: the number of a closed handle may belong to another association before the thread that waits
        # on it has noticed. `release_resources` closes.
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)

    def release_resources(self) -> None:
        """Close all handles; called once both threads are done with them."""
        self._connection.close()
        self._wake_read.close()
        self._wake_write.close()


class SpoolingUpperLayer(DULServiceProvider):
    """The upper layer of an accepted association. `reader` is set before negotiation answers the peer."""

    def __init__(self, assoc: Association) -> None:
        super().__init__(assoc)
        self.reader: MessageReader | None = None
        self.connection_lost = False
        self.bell = Doorbell(WAIT_S)
        self.daemon = True
        # `ReadAheadSocket.ready` waits; the loop of the base class need not sleep as well.
        self._run_loop_delay = 0

    @property
    def quiet_s(self) -> float:
        """Seconds since the last byte came, or 0 in the middle of a message."""
        if self.reader is not None and self.reader.in_message:
            return 0.0
        timeout = self._idle_timer.timeout or 0.0
        return timeout - self._idle_timer.remaining

    def respond(self, context_id: int, command_set: bytes) -> None:
        """Send a response; only for this thread, while the association is established."""
        maximum = cast(int, self.assoc.requestor.maximum_length)
        cast(AssociationSocket, self.socket).send(p_data_pdus(context_id, command_set, maximum))

    def send_pdu(self, primitive: Any) -> None:
        super().send_pdu(primitive)
        self._wake()

    def kill_dul(self) -> None:
        super().kill_dul()
        self._wake()

    def stop_dul(self) -> bool:
        if self.state_machine.current_state != "Sta1":
            return False
        self.kill_dul()
        if threading.current_thread() is not self:
            self.join(timeout=1.0)
        return not self.is_alive()

    def run_reactor(self) -> None:
        """pynetdicom's loop; whatever ends it, the association thread learns of it."""
        try:
            super().run_reactor()
        except Exception as error:
            log.warning("association broken", error=f"{type(error).__name__}: {error}")
            cast(AssociationSocket, self.socket)._shutdown_socket()
            broken = A_P_ABORT()
            broken.provider_reason = 0x00
            self.to_user_queue.put(broken)
        finally:
            if self.reader is not None:
                self.reader.abandon()
            self.bell.set()

    def _wake(self) -> None:
        if self.socket is not None:
            cast(ReadAheadSocket, self.socket).wake()

    def _read_pdu_data(self) -> None:
        """Read what is there, one PDU; puts the event on the queue where the state machine must know of it."""
        connection = cast(ReadAheadSocket, self.socket)
        state = self.state_machine.current_state
        try:
            if state == AWAITING_CLOSE:
                connection.read_some(BUFFER_BYTES)  # whatever the peer still says no longer matters (AA-6, AA-7)
                return
            pdu_type, length = struct.unpack(">BxI", header := connection.read_exactly(6))
            if pdu_type == P_DATA_TF and state == ESTABLISHED:
                self._read_p_data(connection, length)
            elif pdu_type not in KNOWN_PDU_TYPES or length > MAX_CONTROL_PDU_BYTES:
                raise ProtocolError(f"no DICOM PDU (type 0x{pdu_type:02X}, {length} bytes)")
            else:
                self._read_control_pdu(header + connection.read_exactly(length))
        except ProtocolError as error:
            log.warning("association aborted", reason=str(error))
            self.event_queue.put(INVALID_PDU)
        except (OSError, EOFError) as error:
            log.debug("connection closed", reason=str(error), state=state)
            self.connection_lost = True
            self.event_queue.put(CONNECTION_CLOSED)

    def _read_control_pdu(self, encoded: bytes) -> None:
        try:
            pdu, event = self._decode_pdu(bytearray(encoded))
        except Exception as error:
            raise ProtocolError(f"a PDU that cannot be decoded: {type(error).__name__}: {error}") from error
        self._recv_pdu.put(pdu)
        self.event_queue.put(event)

    def _read_p_data(self, connection: ReadAheadSocket, length: int) -> None:
        """Read the presentation data values of one P-DATA-TF (PS3.8 section 9.3.5.1)."""
        reader = self.reader
        assert reader is not None
        while length:
            if length < 6:
                raise ProtocolError("a P-DATA-TF with a broken item")
            item_length, context_id, control = struct.unpack(">IBB", connection.read_exactly(6))
            size = item_length - 2
            length -= item_length + 4
            if size < 0 or length < 0:
                raise ProtocolError("a P-DATA-TF whose item lengths do not fit")
            # Bit 0: command set, else data set; bit 1: last fragment (PS3.8 annex E.2).
            if control & 1:
                if size > MAX_COMMAND_BYTES:
                    raise ProtocolError("the command set is too long")
                reader.command(context_id, connection.read_exactly(size) if size else b"", bool(control & 2))
                continue
            reader.data(context_id, memoryview(b""))
            while size:
                view = connection.read_some(size)
                size -= len(view)
                reader.data(context_id, view)
            if control & 2:
                reader.end_of_data()
        # In the middle of a message the peer is given `dimse_timeout`, between messages `network_timeout`.
        self._idle_timer.timeout = self.assoc.dimse_timeout if reader.in_message else self.assoc.network_timeout
