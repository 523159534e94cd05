"""`osteon bench seed`: fill an empty registry with a year of a busy hospital's work.

    Plan --node.bench.seed_rows--> rows --executemany (SQLite) or COPY (PostgreSQL)--> registry, statistics renewed

A million instances and 200,000 jobs take a minute or two. It refuses a registry that holds anything.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import select, text

from node.bench.seed_rows import Plan, tables
from node.errors import PermanentError
from node.registry.database import Registry
from node.registry.models import Study

__all__ = ["Plan", "seed"]

Rows = Iterable[tuple[Any, ...]]


def seed(registry: Registry, plan: Plan) -> None:
    """Fill an empty, migrated registry in one transaction.

    Raises
    ------
    PermanentError
        If there is a study in it already.
    """
    with registry.reading() as session:
        if session.scalar(select(Study.id).limit(1)) is not None:
            raise PermanentError("this registry holds studies; only an empty one is filled with made-up rows")
    connection: Any = registry.engine.raw_connection()
    try:
        fill = _fill_sqlite if registry.is_sqlite else _fill_postgres
        fill(connection.cursor(), plan)
        connection.commit()
    finally:
        connection.close()


def _fill_sqlite(cursor: Any, plan: Plan) -> None:
    cursor.execute("BEGIN")
    for table, columns, rows in tables(plan):
        marks = ", ".join("?" * len(columns.split()))
        cursor.executemany(f"INSERT INTO {table} ({', '.join(columns.split())}) VALUES ({marks})", rows)


def _fill_postgres(cursor: Any, plan: Plan) -> None:
    cursor.execute("SET TIME ZONE 'UTC'")  # the rows' times are UTC and do not say so
    for table, columns, rows in tables(plan):
        with cursor.copy(f"COPY {table} ({', '.join(columns.split())}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
        if "id" in columns.split():  # rows that the node adds later are numbered on from here
            cursor.execute(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), (SELECT max(id) FROM {table}))")


def settle(registry: Registry) -> None:
    """What a database does by itself over a year: statistics, and the write-ahead log folded in."""
    with registry.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if registry.is_sqlite:
            connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
        else:
            connection.execute(text("VACUUM ANALYZE"))
