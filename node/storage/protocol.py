"""Storage keys and the protocol that every store fulfils."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from node.errors import PermanentError

# PS3.5 9.1: components of digits, no more than 64 characters. A leading zero in a component is forbidden there
# but common in the field and harmless in a path, so it is let through.
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_KEY_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
UID_MAX_LENGTH = 64

RESULTS = "results"
"""What the keys of all results begin with."""

_RESULT_KEY = re.compile(rf"{RESULTS}/([^/]+)/r([0-9]{{1,9}})/[^/]+")


def is_valid_uid(uid: str) -> bool:
    """True if `uid` may be used in a path: digits and single dots, 1 to 64 characters."""
    return len(uid) <= UID_MAX_LENGTH and _UID.fullmatch(uid) is not None


def check_key(key: str) -> str:
    """Return `key` if each of its parts is plain; a key that could leave the store raises PermanentError."""
    if not key or any(not _KEY_PART.fullmatch(part) for part in key.split("/")):
        raise PermanentError(f"'{key[:80]}' is not a storage key")
    return key


def instance_key(study_uid: str, series_uid: str, sop_uid: str, version: int) -> str:
    """The storage key of a received instance; raises PermanentError on an invalid UID."""
    for name, uid in (("study", study_uid), ("series", series_uid), ("SOP", sop_uid)):
        if not is_valid_uid(uid):
            raise PermanentError(f"the {name} instance UID '{uid[:80]}' is not a valid UID")
    return f"received/{study_uid}/{series_uid}/{sop_uid}.v{version}.dcm"


def result_key(job_key: str, revision: int, name: str) -> str:
    """The storage key of a result: a file of that name in the folder of its job's revision."""
    return check_key(f"{RESULTS}/{job_key}/r{revision}/{name}")


def revision_of(key: str) -> tuple[str, int] | None:
    """The job key and revision that a result's storage key names; None for what is no result's."""
    found = _RESULT_KEY.fullmatch(key)
    return (found[1], int(found[2])) if found else None


@dataclass(frozen=True)
class StoredFile:
    """A file that lies in the store; `changed_at` is when its content was written, in UTC."""

    key: str
    byte_count: int
    changed_at: datetime


class Storage(Protocol):
    """Durable files by key."""

    def adopt(self, source: Path, key: str) -> None:
        """Move a local file into the store under `key`, durably; the same key again replaces it."""
        ...

    def local_path(self, key: str) -> AbstractContextManager[Path]:
        """A local path with the content of `key`, valid inside the `with`. FileNotFoundError if there is none."""
        ...

    def exists(self, key: str) -> bool: ...

    def delete(self, key: str) -> None:
        """Delete `key`; absent is fine."""
        ...

    def files(self, prefix: str) -> Iterator[StoredFile]:
        """Every file whose key begins with `prefix` and "/", those of one folder after each other.

        What comes or goes meanwhile may be listed or not.
        """
        ...

    def free_bytes(self) -> int:
        """Bytes that can still be written."""
        ...
