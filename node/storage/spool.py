"""The inbox as a journal: its file names and the records of the associations that filled it.

    inbox/<association>.assoc              JSON, written durably before the association's first acknowledgement
    inbox/<SOP instance UID>~<association>~<number>.dcm   one acknowledged instance (DICOM Part 10)
    inbox/<association>.end                one word, the association is over and how it ended (see `AssociationEnd`)

Only the name of an instance and its bytes are durable promises; who sent it is told by the association's record.
The listener writes here, `node.assemble` reads and empties. After a crash the folder alone is enough to go on.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from node.storage.local import fsync_folder
from node.storage.protocol import is_valid_uid

REASON_SUFFIX = ".reason.json"
"""Ending of the note that lies beside a file in `spool/refused`."""


@dataclass(frozen=True)
class AssociationRecord:
    """Who opened an association. `token` is unique per association; times are seconds since 1970 in UTC."""

    token: str
    calling_aet: str
    called_aet: str
    peer_address: str
    opened_at: float


class AssociationEnd(StrEnum):
    """How an association ended; only a released one said itself that it had sent all it wanted to.

    UNKNOWN stands for marks without a word: older versions wrote them, and so does a power cut.
    """

    RELEASED = "released"
    ABORTED = "aborted"
    LOST = "lost"
    KILLED = "killed"
    UNKNOWN = ""


@dataclass(frozen=True)
class InboxEntry:
    """One acknowledged instance in the inbox."""

    path: Path
    sop_instance_uid: str
    association: str
    number: int


def instance_name(sop_instance_uid: str, association: str, number: int) -> str:
    """The inbox name of an instance; the UID must have been validated (ValueError otherwise)."""
    if not is_valid_uid(sop_instance_uid):
        raise ValueError(f"not a valid UID: {sop_instance_uid[:80]!r}")
    return f"{sop_instance_uid}~{association}~{number}.dcm"


def parse_instance_name(path: Path) -> InboxEntry | None:
    """The entry behind an inbox file, or None for association records and strangers."""
    if path.suffix != ".dcm":
        return None
    parts = path.stem.split("~")
    if len(parts) != 3 or not is_valid_uid(parts[0]) or not parts[2].isdigit():
        return None
    return InboxEntry(path, parts[0], parts[1], int(parts[2]))


def write_association(inbox: Path, record: AssociationRecord) -> None:
    """Write the record durably."""
    target = inbox / f"{record.token}.assoc"
    partial = inbox / f".{record.token}.assoc.partial"
    with partial.open("w", encoding="utf-8") as file:
        json.dump(asdict(record), file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(target)
    fsync_folder(inbox)


def read_association(inbox: Path, token: str) -> AssociationRecord | None:
    """The record of that association; None if it is missing or damaged."""
    try:
        return AssociationRecord(**json.loads((inbox / f"{token}.assoc").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def mark_ended(inbox: Path, token: str, how: AssociationEnd) -> None:
    """Say that the association is over, and how; OSError if the disk fails.

    Not fsynced: a lost or empty mark only delays completion to its quiet period. Renamed into place, so that nobody
    reads half a mark, from a name of this process, because several may find the same listener dead.
    """
    partial = inbox / f".{token}.{os.getpid()}.end.partial"
    try:
        partial.write_text(how.value, encoding="ascii")
        partial.replace(inbox / f"{token}.end")
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def ended_associations(inbox: Path) -> dict[str, AssociationEnd]:
    """Token -> how it ended, of the associations that are over, in the order of their ends."""
    marks = sorted((path.stat().st_mtime_ns, path.stem, _read_end(path)) for path in inbox.glob("*.end"))
    return {token: how for _, token, how in marks}


def _read_end(mark: Path) -> AssociationEnd:
    try:
        return AssociationEnd(mark.read_text(encoding="ascii").strip())
    except (OSError, ValueError):  # no word of ours, or no text at all
        return AssociationEnd.UNKNOWN


def forget_association(inbox: Path, token: str) -> None:
    """Remove the record and mark of an association that is over and has no instance left in the inbox."""
    for suffix in (".assoc", ".end"):
        (inbox / f"{token}{suffix}").unlink(missing_ok=True)
