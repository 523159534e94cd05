"""Files put aside in `spool/refused`: kept for a person for a while, then deleted, and an event says so.

They were acknowledged but cannot be registered (see `node.assemble.ingest`), so no study and no rule stands for them,
and retention never meets them. Each lies beside a note with the reason.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog

from node.registry.database import Registry
from node.registry.events import add_event
from node.settings import Configuration
from node.storage import SpoolFolders
from node.storage.spool import REASON_SUFFIX

log = structlog.get_logger(__name__)

NAMES_TOLD = 20
"""Names in one event; the log has them all."""


class Refused:
    """Deletes what was put aside `retention.refused_days` ago."""

    def __init__(self, configuration: Configuration, registry: Registry) -> None:
        self._days = configuration.settings.retention.refused_days
        self._folder = SpoolFolders.create(configuration.data_dir).refused
        self._registry = registry

    def step(self, now: datetime) -> int:
        """Delete what is old enough; returns how many files, their notes not counted.

        The event is committed first: repeated after a crash it is there twice, never not at all.
        """
        if self._days is None:
            return 0
        before = now - timedelta(days=self._days)
        files = sorted(path for path in self._folder.iterdir() if not path.name.endswith(REASON_SUFFIX))
        old = [path for path in files if _put_aside_at(path) < before]
        if not old:
            return 0
        count = f"{len(old)} file{'s' if len(old) != 1 else ''}"
        with self._registry.transaction() as session:
            add_event(session, now, "refused.deleted", f"Deleted: {count} put aside in spool/refused more than "
                      f"{self._days:g} days ago.", level="warning",
                      data={"files": [path.name for path in old[:NAMES_TOLD]]})  # fmt: skip
        for path in old:
            path.unlink(missing_ok=True)
            _note(path).unlink(missing_ok=True)
            log.info("refused.deleted", file=path.name)
        return len(old)


def _note(path: Path) -> Path:
    return path.with_name(path.name + REASON_SUFFIX)


def _put_aside_at(path: Path) -> datetime:
    """When it was put aside; moving a file keeps the time of its arrival, so its note is asked first."""
    note = _note(path)
    return datetime.fromtimestamp((note if note.exists() else path).stat().st_mtime, UTC)
