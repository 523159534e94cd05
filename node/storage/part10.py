"""The DICOM file header, written by hand (PS3.10 section 7.1).

The listener puts it in front of every data set that arrives; it is the only part of a received file that osteon
writes. Nothing here looks at a data set, and nothing here imports a DICOM library.
"""

from __future__ import annotations

import struct

from node import __version__

IMPLEMENTATION_CLASS_UID = "2.25.127341961781661904044463183513639464133"
"""ImplementationClassUID (0002,0012) of osteon: `node.results.uids` derives the same (a test holds them together)."""

IMPLEMENTATION_VERSION_NAME = f"OSTEON_{__version__}"[:16]
"""ImplementationVersionName (0002,0013), SH: at most 16 characters."""

PREAMBLE = bytes(128) + b"DICM"

_LONG_LENGTH_VRS = frozenset({b"OB"})


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
