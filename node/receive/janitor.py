"""What killed listeners leave behind: partial files, records of associations without an end.

`sweep_spool` is called when a listener starts, when its supervisor finds one dead, and by upkeep on a timer; all at
once does no harm.
Nothing that was acknowledged is ever removed here: instances in the inbox are not looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import structlog

from node.receive.liveness import ALIVE_SUFFIX, is_alive, process_of
from node.storage.local import SpoolFolders
from node.storage.spool import AssociationEnd, mark_ended

ABANDONED_S = 60.0
"""Age from which a `.new` or unfinished `.end` mark belongs to no process that is just writing it."""

log = structlog.get_logger(__name__)


def sweep_spool(spool: SpoolFolders, older_than_s: float, now: float) -> int:
    """Both of the below; what the file system does not allow now is told, and left to the next time.

    Returns
    -------
    int
        How many partial files were removed and associations marked.
    """
    done = 0
    try:
        done += len(mark_orphans(spool))
        done += sweep_partials(spool, older_than_s, now)
    except OSError as error:
        log.error("spool not swept", file=error.filename, error=error.strerror)
    return done


def sweep_partials(spool: SpoolFolders, older_than_s: float, now: float) -> int:
    """Remove partial files of processes that are gone, and any that was not written to for `older_than_s`.

    Parameters
    ----------
    older_than_s
        `spool.stale_partial_s`; must be longer than a sender may pause in the middle of an instance.
    now
        Seconds since 1970 in UTC.

    Returns
    -------
    int
        How many were removed.
    """
    removed = 0
    for path, token in _partial_files(spool):
        try:
            if is_alive(spool.partial, process_of(token)) and now - path.stat().st_mtime <= older_than_s:
                continue
            path.unlink()
        except FileNotFoundError:
            continue  # finished, or swept by another, in this moment
        removed += 1
    if removed:
        log.info("partial files removed", count=removed)
    _sweep_marks(spool, now)
    return removed


def mark_orphans(spool: SpoolFolders) -> list[str]:
    """Mark associations as ended by a kill whose process could not do so any more; returns their tokens."""
    orphans = []
    for record in spool.inbox.glob("*.assoc"):
        token = record.stem
        if record.with_suffix(".end").exists() or is_alive(spool.partial, process_of(token)):
            continue
        if record.exists():
            mark_ended(spool.inbox, token, AssociationEnd.KILLED)
            orphans.append(token)
    if orphans:
        log.warning("associations lost with their listener", count=len(orphans))
    return orphans


def _partial_files(spool: SpoolFolders) -> Iterator[tuple[Path, str]]:
    """Partial instances, and association records that were never renamed; each with its token."""
    for path in spool.partial.glob("*.part"):
        yield path, path.name.partition("~")[0]
    for path in spool.inbox.glob(".*.assoc.partial"):
        yield path, path.name.removeprefix(".").removesuffix(".assoc.partial")


def _sweep_marks(spool: SpoolFolders, now: float) -> None:
    for path in spool.partial.glob(f"*{ALIVE_SUFFIX}"):
        if not is_alive(spool.partial, path.stem):
            path.unlink(missing_ok=True)
    for path in (*spool.partial.glob("*.new"), *spool.inbox.glob(".*.end.partial")):
        try:
            if now - path.stat().st_mtime > ABANDONED_S:
                path.unlink()
        except FileNotFoundError:
            continue
