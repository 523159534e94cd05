"""A process gets its connection while others hold the same SQLite file.

The peer is another connection of Python's sqlite3 that holds the write lock of a file not yet in WAL mode.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from node.registry import database
from node.registry.database import Registry

HELD_S = 0.3


@pytest.fixture
def held_file(tmp_path: Path) -> Iterator[Path]:
    """A database file whose write lock another connection holds for `HELD_S`."""
    path = tmp_path / "registry.sqlite"
    holder = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    holder.execute("BEGIN IMMEDIATE")
    holder.execute("CREATE TABLE held (number INTEGER)")
    release = threading.Timer(HELD_S, holder.execute, ("COMMIT",))
    release.start()
    yield path
    release.join()
    holder.close()


def test_a_new_sqlite_file_that_another_process_is_writing_is_waited_for(held_file: Path) -> None:
    registry = Registry(f"sqlite:///{held_file}")
    with registry.reading() as session:
        assert session.execute(text("PRAGMA journal_mode")).scalar() == "wal"
    registry.dispose()


def test_a_sqlite_file_that_stays_locked_is_an_error_in_the_end(
    held_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "SQLITE_BUSY_MS", 50)
    registry = Registry(f"sqlite:///{held_file}")
    with pytest.raises(OperationalError, match="locked"), registry.reading() as session:
        session.execute(text("SELECT 1"))
    registry.dispose()
