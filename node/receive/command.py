"""Command sets: decoding a request's, encoding its response (PS3.7 section 6.3 and annex E).

A command set is a short list of elements in Implicit VR Little Endian, always of group 0000. Decoding it here by hand,
bounded and without a DICOM library, keeps the path of an image short, and lets a damaged UID be answered with a status
where a library would give up the association.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

MAX_COMMAND_BYTES = 65536
"""A C-STORE-RQ has some 300 bytes; more than this is no command."""

C_STORE_RQ = 0x0001
C_ECHO_RQ = 0x0030
C_CANCEL_RQ = 0x0FFF
RESPONSE = 0x8000
"""Set in the command field of every response."""

NO_DATA_SET = 0x0101

GROUP_LENGTH = 0x0000
AFFECTED_SOP_CLASS_UID = 0x0002
COMMAND_FIELD = 0x0100
MESSAGE_ID = 0x0110
MESSAGE_ID_BEING_RESPONDED_TO = 0x0120
COMMAND_DATA_SET_TYPE = 0x0800
STATUS = 0x0900
ERROR_COMMENT = 0x0902
AFFECTED_SOP_INSTANCE_UID = 0x1000

_HEADER = struct.Struct("<HHI")


class ProtocolError(Exception):
    """The peer does not speak DICOM here; the association is aborted."""


@dataclass(frozen=True)
class StoreRequest:
    """A C-STORE request. The UIDs are what the peer wrote, padding removed; they are not validated."""

    context_id: int
    message_id: int
    sop_class_uid: str
    sop_instance_uid: str
    has_data_set: bool


def decode_elements(encoded: bytes) -> dict[int, bytes]:
    """The elements of a command set: element number of group 0000 -> value as it stands.

    Raises
    ------
    ProtocolError
        If the bytes are not a command set.
    """
    elements: dict[int, bytes] = {}
    offset = 0
    while offset < len(encoded):
        if offset + _HEADER.size > len(encoded):
            raise ProtocolError("the command set ends within an element")
        group, element, length = _HEADER.unpack_from(encoded, offset)
        offset += _HEADER.size
        if group != 0 or offset + length > len(encoded):
            raise ProtocolError("the command set is damaged")
        elements[element] = encoded[offset : offset + length]
        offset += length
    return elements


def number(elements: dict[int, bytes], element: int) -> int:
    """The value of an element with VR US; ProtocolError if it is missing or of another length."""
    value = elements.get(element, b"")
    if len(value) != 2:
        raise ProtocolError(f"the command has no usable element (0000,{element:04X})")
    return int.from_bytes(value, "little")


def _uid(elements: dict[int, bytes], element: int) -> str:
    return elements.get(element, b"").decode("ascii", "replace").rstrip("\0 ")


def store_request(elements: dict[int, bytes], context_id: int) -> StoreRequest:
    """The C-STORE request that these elements are (PS3.7 table 9.3-1)."""
    return StoreRequest(
        context_id=context_id,
        message_id=number(elements, MESSAGE_ID),
        sop_class_uid=_uid(elements, AFFECTED_SOP_CLASS_UID),
        sop_instance_uid=_uid(elements, AFFECTED_SOP_INSTANCE_UID),
        has_data_set=number(elements, COMMAND_DATA_SET_TYPE) != NO_DATA_SET,
    )


def _element(element: int, value: bytes) -> bytes:
    return _HEADER.pack(0, element, len(value)) + value


def _us(element: int, value: int) -> bytes:
    return _element(element, struct.pack("<H", value))


def _text(element: int, value: str, padding: bytes) -> bytes:
    encoded = value.encode("ascii", "replace")
    return _element(element, encoded + padding * (len(encoded) % 2))


def store_response(request: StoreRequest, status: int, comment: str = "") -> bytes:
    """The command set of a C-STORE-RSP (PS3.7 table 9.3-2)."""
    sop_class = _text(AFFECTED_SOP_CLASS_UID, request.sop_class_uid[:64], b"\0")
    optional = _text(ERROR_COMMENT, comment, b" ") if comment else b""
    optional += _text(AFFECTED_SOP_INSTANCE_UID, request.sop_instance_uid[:64], b"\0")
    return _response(C_STORE_RQ, request.message_id, status, sop_class, optional)


def plain_response(elements: dict[int, bytes], status: int) -> bytes:
    """The command set of a response to any other request, with nothing in it but the status."""
    sop_class = _text(AFFECTED_SOP_CLASS_UID, _uid(elements, AFFECTED_SOP_CLASS_UID)[:64], b"\0")
    return _response(number(elements, COMMAND_FIELD), number(elements, MESSAGE_ID), status, sop_class, b"")


def _response(request_field: int, message_id: int, status: int, sop_class: bytes, optional: bytes) -> bytes:
    body = b"".join(
        [
            sop_class,
            _us(COMMAND_FIELD, request_field | RESPONSE),
            _us(MESSAGE_ID_BEING_RESPONDED_TO, message_id),
            _us(COMMAND_DATA_SET_TYPE, NO_DATA_SET),
            _us(STATUS, status),
            optional,
        ]
    )
    return _element(GROUP_LENGTH, struct.pack("<I", len(body))) + body


def p_data_pdus(context_id: int, command_set: bytes, max_pdu_bytes: int) -> bytes:
    """P-DATA-TF PDUs that carry a command set alone (PS3.8 section 9.3.5 and annex E.2).

    `max_pdu_bytes` is the peer's maximum length of the variable field of a P-DATA-TF; 0 is unlimited.
    """
    # 6 bytes of each variable field are the item's length, context and control header.
    size = max(max_pdu_bytes - 6, 2) if max_pdu_bytes else len(command_set)
    pdus = []
    for start in range(0, len(command_set), size):
        fragment = command_set[start : start + size]
        control = 0x03 if start + size >= len(command_set) else 0x01
        pdus.append(struct.pack(">BxIIBB", 0x04, len(fragment) + 6, len(fragment) + 2, context_id, control) + fragment)
    return b"".join(pdus)
