"""The SOP class and instance UID that a data set names itself, read from its first bytes.

They stand near the front of every data set, (0008,0016) and (0008,0018), and the listener compares them with the
request's, since an instance filed under another one's name would be confused with it for ever. Nothing else of a data
set is looked at, and what cannot be told from the first bytes is not guessed: then the request's word counts.
"""

from __future__ import annotations

import struct

HEAD_BYTES = 2048
"""Enough for what may precede (0008,0018): character set, instance creation, a group length, ImageType."""

SOP_CLASS = (0x0008, 0x0016)
SOP_INSTANCE = (0x0008, 0x0018)

_NOT_PEEKED = frozenset({"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"})
"""Deflated transfer syntaxes (PS3.5 annex A.5, A.8 and the HTJ2K counterpart): the data set does not stand in clear."""

_IMPLICIT = "1.2.840.10008.1.2"
_BIG_ENDIAN = "1.2.840.10008.1.2.2"
_LONG_LENGTH_VRS = frozenset(
    {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
)
_UNDEFINED_LENGTH = 0xFFFFFFFF


def peek_uids(head: bytes, transfer_syntax: str) -> tuple[str, str]:
    """The data set's SOP class UID and SOP instance UID; "" where the first bytes do not tell.

    Parameters
    ----------
    head
        The first bytes of the data set, up to `HEAD_BYTES`.
    transfer_syntax
        As negotiated.
    """
    found = {SOP_CLASS: "", SOP_INSTANCE: ""}
    if transfer_syntax not in _NOT_PEEKED:
        order = ">" if transfer_syntax == _BIG_ENDIAN else "<"
        offset = 0
        while (step := _element_at(head, offset, order, transfer_syntax == _IMPLICIT)) is not None:
            tag, start, offset = step
            if tag > SOP_INSTANCE or offset > len(head):
                break
            if tag in found:
                found[tag] = head[start:offset].decode("ascii", "replace").rstrip("\0 ")
    return found[SOP_CLASS], found[SOP_INSTANCE]


def _element_at(head: bytes, offset: int, order: str, implicit: bool) -> tuple[tuple[int, int], int, int] | None:
    """Tag, start and end of the value of the element at `offset`; None if it is cut off or not plain."""
    if offset + 12 > len(head):
        return None
    group, element = struct.unpack_from(f"{order}HH", head, offset)
    if implicit:
        length, start = struct.unpack_from(f"{order}I", head, offset + 4)[0], offset + 8
    elif head[offset + 4 : offset + 6] in _LONG_LENGTH_VRS:
        length, start = struct.unpack_from(f"{order}I", head, offset + 8)[0], offset + 12
    else:
        length, start = struct.unpack_from(f"{order}H", head, offset + 6)[0], offset + 8
    if length == _UNDEFINED_LENGTH:
        return None
    return (group, element), start, start + length
