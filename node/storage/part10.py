"""The DICOM file header, written and read by hand (PS3.10 section 7.1).

The listener puts it in front of every data set that arrives; it is the only part of a received file that osteon
writes. The sender looks for it in front of what it sends, and makes do without. No data set is decoded here.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from node import __version__

IMPLEMENTATION_CLASS_UID = "2.25.127341961781661904044463183513639464133"
"""ImplementationClassUID (0002,0012) of osteon: `node.results.uids` derives the same (a test holds them together)."""

IMPLEMENTATION_VERSION_NAME = f"OSTEON_{__version__}"[:16]
"""ImplementationVersionName (0002,0013), SH: at most 16 characters."""

PREAMBLE = bytes(128) + b"DICM"

HEADER_MAX_BYTES = 65536
"""How much of a file is looked at for its header; a real one has some 400 bytes."""

IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2"
EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
EXPLICIT_VR_BIG_ENDIAN = "1.2.840.10008.1.2.2"

_LONG_LENGTH_VRS = frozenset({b"OB", b"OW", b"UN", b"SQ", b"UT"})


def _element(element: int, vr: bytes, value: bytes) -> bytes:
    """One element of group 0002, Explicit VR Little Endian, padded to even length (UI and OB with zero)."""
    if len(value) % 2:
        value += b"\0" if vr in (b"UI", b"OB") else b" "
    if vr in _LONG_LENGTH_VRS:
        return struct.pack("<HH2sHI", 0x0002, element, vr, 0, len(value)) + value
    return struct.pack("<HH2sH", 0x0002, element, vr, len(value)) + value


def file_header(sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, source_aet: str = "") -> bytes:
    """Preamble and File Meta Information for a data set that follows as it is.

    Parameters
    ----------
    sop_class_uid, sop_instance_uid, transfer_syntax_uid
        ASCII, as negotiated and as named in the C-STORE request.
    source_aet
        SourceApplicationEntityTitle (0002,0016): who sent it; left out where empty.
    """
    elements = [
        _element(0x0001, b"OB", b"\0\1"),
        _element(0x0002, b"UI", sop_class_uid.encode("ascii")),
        _element(0x0003, b"UI", sop_instance_uid.encode("ascii")),
        _element(0x0010, b"UI", transfer_syntax_uid.encode("ascii")),
        _element(0x0012, b"UI", IMPLEMENTATION_CLASS_UID.encode("ascii")),
        _element(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME.encode("ascii")),
    ]
    if source_aet:
        elements.append(_element(0x0016, b"AE", source_aet.encode("ascii")))
    body = b"".join(elements)
    return PREAMBLE + _element(0x0000, b"UL", struct.pack("<I", len(body))) + body


@dataclass(frozen=True)
class FileHeader:
    """What a file's header says, "" where it does not, and where the data set begins."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    data_set_offset: int


def read_header(start: bytes) -> FileHeader | None:
    """The header in front of a data set; where there is none, the transfer syntax is guessed from the data set.

    Parameters
    ----------
    start
        The first bytes of the file, up to `HEADER_MAX_BYTES`.

    Returns
    -------
    FileHeader or None
        None if it is neither a DICOM file nor a data set that begins with group 0008.
    """
    has_preamble = start[128:132] == b"DICM"
    values: dict[int, bytes] = {}
    offset = len(PREAMBLE) if has_preamble else 0
    while start[offset : offset + 2] == b"\x02\x00" and offset + 12 <= len(start):
        element = int.from_bytes(start[offset + 2 : offset + 4], "little")
        vr = start[offset + 4 : offset + 6]
        if not vr.isalpha():  # a header in Implicit VR, against the standard
            size, length = 8, int.from_bytes(start[offset + 4 : offset + 8], "little")
        elif vr in _LONG_LENGTH_VRS:
            size, length = 12, int.from_bytes(start[offset + 8 : offset + 12], "little")
        else:
            size, length = 8, int.from_bytes(start[offset + 6 : offset + 8], "little")
        values[element] = start[offset + size : offset + size + length]
        offset += size + length
    guessed = _guess_transfer_syntax(start[offset : offset + 6])
    if not values and not guessed:
        return None
    texts = {element: values.get(element, b"").decode("ascii", "replace").rstrip("\0 ") for element in (2, 3, 0x10)}
    return FileHeader(texts[2], texts[3], texts[0x10] or guessed, offset)


def _guess_transfer_syntax(first: bytes) -> str:
    """The plain transfer syntax in which these are the first bytes of a data set's group 0008, "" if in none."""
    if first[:2] == b"\0\x08":
        return EXPLICIT_VR_BIG_ENDIAN
    if first[:2] != b"\x08\0":
        return ""
    return EXPLICIT_VR_LITTLE_ENDIAN if first[4:6].isalpha() and first[4:6].isupper() else IMPLICIT_VR_LITTLE_ENDIAN
