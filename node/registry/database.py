"""The connection to the database: one engine per process, short transactions.

SQLite runs in WAL mode with a busy time-out, because listener, workers and dashboard are processes of their own;
PostgreSQL serves where several hosts share the work.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, event
from sqlalchemy.engine import Engine, make_url
from sqlalchemy.orm import Session, sessionmaker

SQLITE_BUSY_MS = 30_000
"""How long a writer waits for another on SQLite; longer than any transaction of ours."""

WAL_RETRY_S = 0.05
"""Pause before a new file is tried again that another process is just turning into WAL mode."""


class Registry:
    """The database of studies, series, instances, jobs, results, deliveries and events.

    Parameters
    ----------
    url
        SQLAlchemy URL, `sqlite:///...` or `postgresql+psycopg://...`.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        parsed = make_url(url)
        if parsed.drivername == "sqlite" and parsed.database:
            Path(parsed.database).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # hide_parameters: an error's text travels far, and the values of a statement are patient data.
        self.engine: Engine = create_engine(url, pool_pre_ping=parsed.drivername != "sqlite", hide_parameters=True)
        if parsed.drivername == "sqlite":
            _prepare_sqlite(self.engine)
        self._sessions = sessionmaker(self.engine, expire_on_commit=False)

    @property
    def is_sqlite(self) -> bool:
        return self.engine.dialect.name == "sqlite"

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A session whose work is committed at the end of the block, or rolled back if it raises.

        On SQLite the transaction takes the write lock at once (BEGIN IMMEDIATE), so that a read followed by a
        write cannot fail half-way because another process wrote in between.
        """
        with self._sessions() as session, session.begin():
            if self.is_sqlite:
                session.connection(execution_options={"osteon_write": True})
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session for reading; nothing is committed."""
        with self._sessions() as session:
            yield session

    def dispose(self) -> None:
        """Close all connections (before a fork, at the end of a process)."""
        self.engine.dispose()


def _prepare_sqlite(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the begin handler below says BEGIN itself
        connection.execute(f"PRAGMA busy_timeout={SQLITE_BUSY_MS}")
        _turn_into_wal(connection)
        # FULL, not NORMAL: a file leaves the inbox once its row is committed, so a commit must survive a power cut.
        for pragma in ("synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        write = connection.get_execution_options().get("osteon_write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _turn_into_wal(connection: sqlite3.Connection) -> None:
    """Turn the file into WAL mode, waiting for other processes that open the same new file.

    SQLite does not apply the busy time-out to this change: it fails at once while another connection holds a lock.
    """
    deadline = time.monotonic() + SQLITE_BUSY_MS / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(WAL_RETRY_S)
