"""The schema that migrations build is the one the models describe, on both databases, however many start at once.

Not covered: upgrades of a database with data in it, because there is only one step so far.
"""

from __future__ import annotations

import multiprocessing
from multiprocessing.synchronize import Barrier
from pathlib import Path
from queue import Queue

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect, text

from node.errors import PermanentError
from node.registry.database import Registry
from node.registry.migrate import head_revision, schema_revision, upgrade
from node.registry.models import Base

STARTERS = 4


def test_migrated_schema_equals_the_models(registry: Registry) -> None:
    with registry.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
        assert schema_revision(connection) == head_revision()


def test_partial_index_of_retention_is_partial(registry: Registry) -> None:
    """compare_metadata does not look at an index's condition."""
    with registry.engine.connect() as connection:
        table = "sqlite_master WHERE name" if registry.is_sqlite else "pg_indexes WHERE indexname"
        column = "sql" if registry.is_sqlite else "indexdef"
        definition = connection.execute(text(f"SELECT {column} FROM {table} = 'ix_series_with_files'")).scalar_one()
    assert "files_deleted_at IS NULL" in definition


def test_an_upgrade_of_an_upgraded_registry_changes_nothing(registry: Registry) -> None:
    before = inspect(registry.engine).get_table_names()
    upgrade(registry)
    assert inspect(registry.engine).get_table_names() == before


def test_a_database_of_a_newer_osteon_is_refused_with_a_way_out(registry: Registry) -> None:
    with registry.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(PermanentError, match=r"step '9999'.*newer version"):
        upgrade(registry)


def _start(url: str, barrier: Barrier, outcome: Queue[str]) -> None:
    registry = Registry(url)
    barrier.wait(timeout=120)
    try:
        upgrade(registry)
        with registry.engine.connect() as connection:
            outcome.put(schema_revision(connection) or "empty")
    except Exception as error:
        outcome.put(repr(error))
    finally:
        registry.dispose()


def _start_together(url: str) -> list[str]:
    context = multiprocessing.get_context("spawn")
    barrier, outcome = context.Barrier(STARTERS), context.Queue()
    processes = [context.Process(target=_start, args=(url, barrier, outcome)) for _ in range(STARTERS)]
    for process in processes:
        process.start()
    outcomes = [outcome.get(timeout=180) for _ in processes]
    for process in processes:
        process.join(timeout=30)
    return outcomes


@pytest.mark.slow
def test_processes_that_start_together_on_an_empty_sqlite_file_all_succeed(tmp_path: Path) -> None:
    assert _start_together(f"sqlite:///{tmp_path / 'new' / 'registry.sqlite'}") == [head_revision()] * STARTERS


@pytest.mark.slow
@pytest.mark.peer
def test_processes_that_start_together_on_an_empty_postgresql_all_succeed(postgres_url: str) -> None:
    assert _start_together(postgres_url) == [head_revision()] * STARTERS
