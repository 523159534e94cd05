"""What `osteon doctor` says of Redis, the database and the listener, asked of the real ones."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from node.diagnosis import check_database, check_listener, check_redis
from node.jobs.embedded_redis import embedded_url
from node.registry.database import Registry
from node.registry.migrate import head_revision
from node.settings import Configuration, Settings
from tests.fixtures.queue import configuration, running_redis
from tests.fixtures.registry import sqlite_registry
from tests.receive.listening import listening, make_configuration

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


def as_it_runs(chosen: Configuration, port: int) -> Configuration:
    """The configuration of a listener that was given a free port, with that port in it."""
    listen = chosen.settings.listen.model_copy(update={"port": port})
    return Configuration(Settings(listen=listen), (), chosen.config_dir, chosen.data_dir)


@pytest.mark.parametrize(
    "listen",
    [
        {},
        {"host": "0.0.0.0"},
        {"host": "127.0.0.2"},  # one interface's address, where 127.0.0.1 does not answer
        {"allow_calling_aets": ["CT1", "GAMMA2"]},
        {"allow_calling_aets": ["OSTEON"], "ae_title": "OSTEON"},
    ],
)
def test_a_listener_that_runs_is_found_wherever_it_listens_and_whomever_it_lets_in(
    tmp_path: Path, listen: dict[str, Any]
) -> None:
    chosen = make_configuration(tmp_path, **listen)
    with listening(chosen) as running:
        found = check_listener(as_it_runs(chosen, running.port))
    assert (found.outcome, found.sentence.endswith(" answers C-ECHO")) == ("ok", True), found.sentence
    gone = check_listener(as_it_runs(chosen, running.port))
    assert (gone.outcome, "start it with `osteon serve`" in gone.sentence) == ("warning", True), gone.sentence


def test_a_listener_with_tls_is_found_by_its_port_and_not_asked_for_an_echo(tmp_path: Path) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    made = (
        "req",
        "-x509",
        "-subj",
        "/CN=node",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        "node.key",
        "-out",
        "node.pem",
    )
    subprocess.run([openssl, *made], cwd=tmp_path, check=True, capture_output=True, timeout=60)
    tls = {"certificate": tmp_path / "node.pem", "key": tmp_path / "node.key", "trusted": tmp_path / "node.pem"}
    chosen = make_configuration(tmp_path, tls=tls)
    with listening(chosen) as running:
        found = check_listener(as_it_runs(chosen, running.port))
    assert (found.outcome, "C-ECHO not asked (TLS)" in found.sentence) == ("ok", True), found.sentence
    gone = check_listener(as_it_runs(chosen, running.port))
    assert (gone.outcome, "start it with `osteon serve`" in gone.sentence) == ("warning", True), gone.sentence
