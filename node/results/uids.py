"""Derived UIDs: job key + kind + revision -> UUIDv5 -> 2.25.<number> (PS3.5 B.2).

A second run of the same revision, or a resend, makes the same UIDs, so an archive sees the same objects and never
twins. Nothing random is drawn anywhere in this room.
"""

from __future__ import annotations

import uuid

OSTEON_NAMESPACE = uuid.UUID("5bb4d3a0-6d0a-5c5e-9a43-0f6c6c0a7e21")
"""Fixed for ever: changing it would give every stored result a twin on its next run."""

_SEPARATOR = "\x1f"
"""ASCII unit separator: cannot occur in a key or a UID, so ("ab", "c") and ("a", "bc") differ."""


def derive_uid(*parts: str | int) -> str:
    """A UID under 2.25 from the parts; same parts, same UID; at most 44 characters."""
    name = uuid.uuid5(OSTEON_NAMESPACE, _SEPARATOR.join(str(part) for part in parts))
    return f"2.25.{name.int}"


def object_uid(job_key: str, kind: str, revision: int, extra: str = "") -> str:
    """UID of something that belongs to one revision: an instance, a series, a dimension organization."""
    return derive_uid("object", job_key, kind, revision, extra)


def tracking_uid(job_key: str, tracking_id: str, numbering: str = "") -> str:
    """Tracking Unique Identifier (112040, DCM) of a region or segment.

    The revision is left out on purpose: what a re-run finds again under the same tracking identifier stays the same.
    Where identifiers are ranks that holds for the same `Findings.numbering` only: "lesion-1" of a later revision, with
    a CT that came late, may be another lesion.
    """
    return derive_uid("tracking", job_key, tracking_id, *([numbering] if numbering else []))


def device_uid(device_serial: str) -> str:
    """Device Observer UID (121012, DCM) of a node."""
    return derive_uid("device", device_serial)


def frame_of_reference_uid(series_instance_uid: str) -> str:
    """Frame of reference for a source that names none; the same for every result on that series."""
    return derive_uid("frame-of-reference", series_instance_uid)


IMPLEMENTATION_CLASS_UID = derive_uid("implementation-class")
"""ImplementationClassUID (0002,0012) of osteon."""

CODING_SCHEME_UID = derive_uid("coding-scheme", "99OSTEON")
"""UID of the private coding scheme 99OSTEON."""
