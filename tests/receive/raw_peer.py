"""A peer that speaks DICOM by the bytes, so that a test can say what no library would let it say.

Written from PS3.8 and PS3.7 alone; it shares no code with the node or with pynetdicom.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping, Sequence

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
VERIFICATION = "1.2.840.10008.1.1"
IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
TIMEOUT_S = 20.0

ASSOCIATE_AC, ASSOCIATE_RJ, P_DATA, RELEASE_RQ, RELEASE_RP, ABORT = 2, 3, 4, 5, 6, 7


class PeerGone(Exception):
    """The other side closed the connection, or aborted."""


def _item(kind: int, body: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(body)) + body


def associate_request(
    contexts: Mapping[int, tuple[str, Sequence[str]]], called: str = "OSTEON", calling: str = "SCANNER"
) -> bytes:
    """An A-ASSOCIATE-RQ (PS3.8 table 9-11)."""
    items = [_item(0x10, APPLICATION_CONTEXT.encode())]
    for context_id, (abstract, syntaxes) in contexts.items():
        body = struct.pack("Bxxx", context_id) + _item(0x30, abstract.encode())
        items.append(_item(0x20, body + b"".join(_item(0x40, syntax.encode()) for syntax in syntaxes)))
    user = _item(0x51, struct.pack(">I", 65536)) + _item(0x52, b"1.2.3.4")
    items.append(_item(0x50, user))
    body = struct.pack(">Hxx16s16s32x", 1, called.encode().ljust(16), calling.encode().ljust(16)) + b"".join(items)
    return struct.pack(">BxI", 1, len(body)) + body


def element(number: int, value: bytes) -> bytes:
    """An element of group 0000 in Implicit VR Little Endian."""
    return struct.pack("<HHI", 0, number, len(value)) + value


def us(value: int) -> bytes:
    return struct.pack("<H", value)


def uid(value: str | bytes) -> bytes:
    encoded = value.encode() if isinstance(value, str) else value
    return encoded + b"\0" * (len(encoded) % 2)


def command_set(*elements: bytes) -> bytes:
    """A command set with its group length."""
    body = b"".join(elements)
    return element(0x0000, struct.pack("<I", len(body))) + body


def store_command(sop_class: str | bytes, sop_instance: str | bytes, message_id: int = 1, data: bool = True) -> bytes:
    """The command set of a C-STORE-RQ (PS3.7 table 9.3-1)."""
    return command_set(
        element(0x0002, uid(sop_class)),
        element(0x0100, us(0x0001)),
        element(0x0110, us(message_id)),
        element(0x0700, us(0)),
        element(0x0800, us(0x0001 if data else 0x0101)),
        element(0x1000, uid(sop_instance)),
    )


def echo_command(message_id: int = 1) -> bytes:
    return command_set(
        element(0x0002, uid(VERIFICATION)),
        element(0x0100, us(0x0030)),
        element(0x0110, us(message_id)),
        element(0x0800, us(0x0101)),
    )


def pdv(context_id: int, control: int, data: bytes) -> bytes:
    return struct.pack(">IBB", len(data) + 2, context_id, control) + data


def p_data(*pdvs: bytes) -> bytes:
    body = b"".join(pdvs)
    return struct.pack(">BxI", P_DATA, len(body)) + body


def small_data_set(sop_class: str = CT, sop_instance: str = "1.2.3", extra: bytes = b"") -> bytes:
    """SOP class and instance UID in Implicit VR Little Endian, and whatever follows."""

    def implicit(group: int, number: int, value: bytes) -> bytes:
        return struct.pack("<HHI", group, number, len(value)) + value

    return implicit(8, 0x16, uid(sop_class)) + implicit(8, 0x18, uid(sop_instance)) + extra


class RawPeer:
    """A TCP connection with DICOM's framing; closed at the end of the `with`."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.accepted: dict[int, str] = {}

    def __enter__(self) -> RawPeer:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise PeerGone from error

    def read_pdu(self) -> tuple[int, bytes]:
        """Type and body of the next PDU; PeerGone if there is none."""
        header = self._read(6)
        kind, length = struct.unpack(">BxI", header)
        return kind, self._read(length)

    def associate(self, contexts: Mapping[int, tuple[str, Sequence[str]]], **titles: str) -> tuple[int, bytes]:
        """Request an association; returns the answer and notes the accepted contexts with their transfer syntaxes."""
        self.send(associate_request(contexts, **titles))
        kind, body = self.read_pdu()
        if kind == ASSOCIATE_AC:
            self._note_contexts(body)
        return kind, body

    def store(
        self, context_id: int, sop_class: str | bytes, sop_instance: str | bytes, data: bytes, fragment: int = 16000
    ) -> int:
        """C-STORE; returns the status. PeerGone if the association ends instead."""
        self.send(p_data(pdv(context_id, 3, store_command(sop_class, sop_instance))))
        pieces = [data[start : start + fragment] for start in range(0, len(data), fragment)] or [b""]
        for piece in pieces[:-1]:
            self.send(p_data(pdv(context_id, 0, piece)))
        self.send(p_data(pdv(context_id, 2, pieces[-1])))
        return self.status()

    def echo(self, context_id: int) -> int:
        self.send(p_data(pdv(context_id, 3, echo_command())))
        return self.status()

    def status(self) -> int:
        """The status of the next response."""
        return struct.unpack("<H", self.response()[0x0900])[0]

    def response(self) -> dict[int, bytes]:
        """The command elements of the next response."""
        command = b""
        while True:
            kind, body = self.read_pdu()
            if kind != P_DATA:
                raise PeerGone(f"PDU type {kind}")
            while body:
                length, _, control = struct.unpack(">IBB", body[:6])
                command += body[6 : 4 + length]
                body = body[4 + length :]
                if control == 3:
                    return self._elements(command)

    def release(self) -> None:
        self.send(struct.pack(">BxI4x", RELEASE_RQ, 4))
        kind, _ = self.read_pdu()
        if kind != RELEASE_RP:
            raise PeerGone(f"PDU type {kind}")

    def abort(self) -> None:
        self.send(struct.pack(">BxI4x", ABORT, 4))

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            try:
                piece = self.socket.recv(size - len(data))
            except ConnectionResetError as error:
                raise PeerGone from error
            if not piece:
                raise PeerGone
            data += piece
        return data

    def _note_contexts(self, body: bytes) -> None:
        rest = body[68:]
        while rest:
            kind, length = struct.unpack(">BxH", rest[:4])
            item, rest = rest[4 : 4 + length], rest[4 + length :]
            if kind == 0x21 and item[2] == 0:
                self.accepted[item[0]] = item[8:].decode()

    @staticmethod
    def _elements(command: bytes) -> dict[int, bytes]:
        found = {}
        while command:
            _, number, length = struct.unpack("<HHI", command[:8])
            found[number] = command[8 : 8 + length]
            command = command[8 + length :]
        return found


def echoes(port: int, called: str = "OSTEON") -> bool:
    """True if a new association answers C-ECHO with success."""
    with RawPeer(port) as peer:
        if peer.associate({1: (VERIFICATION, [IMPLICIT])}, called=called)[0] != ASSOCIATE_AC:
            return False
        answered = peer.echo(1) == 0
        peer.release()
        return answered


__all__ = ["CT", "EXPLICIT", "IMPLICIT", "PeerGone", "RawPeer", "echoes"]
