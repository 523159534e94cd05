"""Results that nobody will ever ask for: stored by an attempt that died, and never registered.

    store's results, a day old --registered?--> left alone
                               \\-> their job has ended --> deleted, and an event says so

A worker stores its results before it registers them. If it dies in between, the next attempt writes the same names
again; but a job that then fails, or is called off, leaves them behind without a row. What belongs to a job that is
still open stays, and so does what belongs to a job that this registry does not know: the store may have another owner.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import groupby, islice

import structlog

from node.registry.database import Registry
from node.registry.events import add_event
from node.registry.leftovers import Revision, revision
from node.registry.states import OPEN_JOB_STATES
from node.storage import RESULTS, Storage, StoredFile, revision_of

log = structlog.get_logger(__name__)

LEAST_AGE = timedelta(days=1)
"""Younger files may belong to an attempt that is about to register them; the longest takes minutes."""

FILES_PER_STEP = 500


class Orphans:
    """Walks through the store's results, a bounded step at a time, and deletes those without an owner."""

    def __init__(self, registry: Registry, storage: Storage) -> None:
        self._registry = registry
        self._storage = storage
        self._listing: Iterator[StoredFile] | None = None

    def step(self, now: datetime) -> bool:
        """Look at some files; True while there are more, so that another step may follow at once."""
        if self._listing is None:
            self._listing = self._storage.files(RESULTS)
        looked_at = list(islice(self._listing, FILES_PER_STEP))
        old = [file for file in looked_at if now - file.changed_at >= LEAST_AGE]
        for owner, files in groupby(old, key=lambda file: revision_of(file.key)):
            if owner is not None:
                self._look(*owner, [file.key for file in files], now)
        if len(looked_at) < FILES_PER_STEP:
            self._listing = None
        return self._listing is not None

    def _look(self, key: str, number: int, files: Sequence[str], now: datetime) -> None:
        with self._registry.reading() as session:
            if not orphans(revision(session, key, number), files):
                return
        with self._registry.transaction() as session:
            # Asked again under a lock: a person may have had the job tried again.
            found = revision(session, key, number, lock=True)
            lost = orphans(found, files)
            if found is None or not lost:
                return
            for file in lost:
                self._storage.delete(file)
            count = f"{len(lost)} file{'s' if len(lost) != 1 else ''}"
            add_event(session, now, "result.orphans_deleted", f"Deleted: {count} that an unfinished attempt had "
                      "stored.", study_id=found.study_id, job_id=found.job_id)  # fmt: skip
        log.info("orphans.deleted", job=found.job_id, files=len(lost))


def orphans(owner: Revision | None, files: Sequence[str]) -> list[str]:
    """Which of a revision's files nobody will ever ask for."""
    if owner is None or owner.state in OPEN_JOB_STATES:
        return []
    return [file for file in files if file not in owner.keys]
