"""Everything before an association: connections that are silent, in a TLS handshake, or half-way through their request.

    listening socket -> guest -> (TLS handshake) -> first PDU complete -> handed over as an association

One loop, no thread per connection: a socket that says nothing costs a file handle until `acse_timeout` and takes
nobody's place. Only a connection whose A-ASSOCIATE-RQ lies complete in memory becomes an association. When the room is
full the guest that has waited longest goes, so that silent sockets never lock out a scanner, which speaks at once.
"""

from __future__ import annotations

import errno
import selectors
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import structlog

MAX_GUESTS = 256
"""Connections that wait at once; each may hold up to `MAX_REQUEST_BYTES`, but only what it really sent."""

MAX_REQUEST_BYTES = 512 << 10
"""Longest A-ASSOCIATE-RQ: 128 contexts with every transfer syntax of the standard make 0.3 MB."""

TICK_S = 0.25
"""How often deadlines are looked at."""

GIVE_WAY_S = 0.002
"""How long a listener that is busier than another lets that one take a new connection first."""

EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
EXHAUSTED_PAUSE_S = 0.25
"""Out of file handles or memory: how long accepting rests, instead of filling the processor and the log."""

A_ASSOCIATE_RQ = 0x01
TLS_HANDSHAKE = 0x16
"""First byte of a TLS ClientHello (RFC 8446 section 5.1)."""

log = structlog.get_logger(__name__)

HandOver = Callable[[socket.socket, tuple[str, int], bytes], None]


@dataclass(eq=False)
class Guest:
    """A connection that is no association yet."""

    connection: socket.socket
    peer: tuple[str, int]
    deadline: float
    shaking_hands: bool
    received: bytearray = field(default_factory=bytearray)


def request_is_complete(received: bytes | bytearray) -> bool:
    """True once the first PDU is there, or it is plain that it will be none (pynetdicom then says so to the peer).

    Raises
    ------
    ValueError
        If it claims to be longer than any A-ASSOCIATE-RQ.
    """
    if not received:
        return False
    if received[0] != A_ASSOCIATE_RQ:
        return True
    if len(received) < 6:
        return False
    length = int.from_bytes(received[2:6], "big")
    if length > MAX_REQUEST_BYTES:
        raise ValueError(f"an association request of {length} bytes")
    return len(received) >= 6 + length


class WaitingRoom:
    """Accepts connections and hands over those that request an association.

    Parameters
    ----------
    listening
        A listening socket, possibly shared with other processes.
    tls
        TLS context where the port speaks TLS.
    timeout_s
        How long a guest may take to complete its request, handshake included.
    hand_over
        Called with the connection (blocking again), the peer's address and the bytes read so far.
    has_room
        False while no more associations can be taken; new connections then stay in the kernel's queue.
    gives_way
        True while another process on the same socket is less busy.
    """

    def __init__(
        self,
        listening: socket.socket,
        tls: ssl.SSLContext | None,
        timeout_s: float,
        hand_over: HandOver,
        has_room: Callable[[], bool] = lambda: True,
        gives_way: Callable[[], bool] = lambda: False,
    ) -> None:
        self._listening = listening
        self._tls = tls
        self._timeout_s = timeout_s
        self._hand_over = hand_over
        self._has_room = has_room
        self._gives_way = gives_way
        self._guests: dict[Guest, None] = {}
        self._wake_read, self._wake_write = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        self._stopped = False

    def stop(self) -> None:
        """Make `serve` return; from any thread or a signal handler."""
        self._stopped = True
        with suppress(OSError):
            self._wake_write.send(b"!")

    def serve(self, lifeline: int | None = None) -> None:
        """Accept until `stop` is called, or until the file handle `lifeline` becomes readable (its writer is gone).

        Afterwards the listening socket is closed and all guests are gone.
        """
        self._listening.setblocking(False)
        self._selector.register(self._wake_read, selectors.EVENT_READ)
        if lifeline is not None:
            self._selector.register(lifeline, selectors.EVENT_READ)
        listening = False
        while not self._stopped:
            if listening != self._has_room():
                listening = not listening
                if listening:
                    self._selector.register(self._listening, selectors.EVENT_READ)
                else:
                    self._selector.unregister(self._listening)
            for key, _ in self._selector.select(TICK_S):
                if isinstance(key.data, Guest):
                    self._attend(key.data)
                elif key.fileobj is self._listening:
                    self._accept()
                else:
                    self._stopped = True
            self._dismiss_late_guests()
        for guest in list(self._guests):
            self._dismiss(guest)
        for each in (self._selector, self._listening, self._wake_read, self._wake_write):
            each.close()

    def _accept(self) -> None:
        if self._gives_way():
            time.sleep(GIVE_WAY_S)
        try:
            connection, address = self._listening.accept()
        except BlockingIOError:
            return  # another process was faster
        except OSError as error:
            log.warning("connection not accepted", error=str(error))
            if error.errno in EXHAUSTED:
                time.sleep(EXHAUSTED_PAUSE_S)  # the connection stays in the queue, and would be taken up at once again
            return
        peer = (str(address[0]), int(address[1]))
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setblocking(False)
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        except OSError as error:
            log.debug("connection gone before it was looked at", peer=peer[0], error=str(error))
            connection.close()
            return
        if len(self._guests) >= MAX_GUESTS:
            oldest = next(iter(self._guests))
            log.warning("too many silent connections, the oldest is closed", peer=oldest.peer[0], waiting=MAX_GUESTS)
            self._dismiss(oldest)
        guest = Guest(connection, peer, time.monotonic() + self._timeout_s, shaking_hands=self._tls is not None)
        self._guests[guest] = None
        self._selector.register(connection, selectors.EVENT_READ, guest)

    def _attend(self, guest: Guest) -> None:
        """A guest's connection has something to say."""
        if guest not in self._guests:
            return  # dismissed in this very round
        try:
            if guest.shaking_hands:
                assert isinstance(guest.connection, ssl.SSLSocket)
                guest.connection.do_handshake()
                guest.shaking_hands = False
                self._selector.modify(guest.connection, selectors.EVENT_READ, guest)
            self._read(guest)
        except (ssl.SSLWantReadError, BlockingIOError):
            self._selector.modify(guest.connection, selectors.EVENT_READ, guest)
        except ssl.SSLWantWriteError:
            self._selector.modify(guest.connection, selectors.EVENT_WRITE, guest)
        except ssl.SSLError as error:
            log.warning(
                "TLS handshake failed",
                peer=guest.peer[0],
                reason=error.reason or str(error),
                hint="does the peer speak TLS, and does listen.tls.trusted know its certificate?",
            )
            self._dismiss(guest)
        except (OSError, ValueError) as error:
            log.warning("connection closed before an association", peer=guest.peer[0], reason=str(error))
            self._dismiss(guest)

    def _read(self, guest: Guest) -> None:
        while not request_is_complete(guest.received):
            received = guest.connection.recv(65536)
            if not received:
                # What a health check of a load balancer does, all day long.
                log.debug("connection closed without a word", peer=guest.peer[0])
                self._dismiss(guest)
                return
            guest.received += received
        if self._tls is None and guest.received[0] == TLS_HANDSHAKE:
            log.warning("the peer speaks TLS, this port does not (listen.tls)", peer=guest.peer[0])
        self._selector.unregister(guest.connection)
        del self._guests[guest]
        guest.connection.setblocking(True)
        self._hand_over(guest.connection, guest.peer, bytes(guest.received))

    def _dismiss_late_guests(self) -> None:
        now = time.monotonic()
        for guest in [g for g in self._guests if g.deadline < now]:
            log.info(
                "silent connection closed",
                peer=guest.peer[0],
                waited_s=self._timeout_s,
                in_tls_handshake=guest.shaking_hands,
                received_bytes=len(guest.received),
            )
            self._dismiss(guest)

    def _dismiss(self, guest: Guest) -> None:
        del self._guests[guest]
        self._selector.unregister(guest.connection)
        guest.connection.close()
