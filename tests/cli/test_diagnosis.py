"""What `osteon doctor` says of Redis and the database, asked of the real ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import text

from node.diagnosis import check_database, check_redis
from node.jobs.embedded_redis import embedded_url
from node.registry.database import Registry
from node.registry.migrate import head_revision
from tests.fixtures.queue import configuration, running_redis
from tests.fixtures.registry import sqlite_registry

__all__ = ["sqlite_registry"]


def test_a_redis_on_a_socket_is_asked_in_celerys_notation(tmp_path: Path) -> None:
    folder = tmp_path / "with blanks"
    folder.mkdir()
    chosen = configuration(tmp_path, queue={"url": embedded_url(folder)})
    assert check_redis(chosen).outcome == "failed"
    with running_redis(folder):
        found = check_redis(chosen)
    assert (found.outcome, "version" in found.sentence) == ("ok", True), found.sentence


def test_a_redis_url_that_cannot_be_read_is_told_without_the_password(tmp_path: Path) -> None:
    found = check_redis(configuration(tmp_path, queue={"url": "redis://:gehe#im@host:6379/0"}))
    assert found.outcome == "failed"
    assert "OSTEON_REDIS_URL" in found.sentence and "gehe" not in found.sentence


@pytest.mark.parametrize(
    ("statement", "outcome", "words"),
    [
        (None, "ok", "schema step"),
        ("DELETE FROM alembic_version", "ok", "the next start brings it to"),
        ("UPDATE alembic_version SET version_num = '9999'", "failed", "install the newer version"),
    ],
)
def test_the_schema_of_the_database_is_told(
    sqlite_registry: Registry, tmp_path: Path, statement: str | None, outcome: str, words: str
) -> None:
    if statement:
        with sqlite_registry.engine.begin() as connection:
            connection.execute(text(statement))
    found = check_database(configuration(tmp_path, registry={"url": sqlite_registry.url}))
    assert (found.outcome, words in found.sentence) == (outcome, True), found.sentence
    assert outcome == "failed" or head_revision() in found.sentence


def test_looking_at_an_empty_database_changes_nothing_in_it(tmp_path: Path) -> None:
    file = tmp_path / "registry.sqlite"
    file.touch()
    assert check_database(configuration(tmp_path)).outcome == "ok"
    assert file.stat().st_size == 0 and [path.name for path in tmp_path.iterdir()] == [file.name]
