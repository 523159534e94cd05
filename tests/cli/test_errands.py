"""Errands for a node that is not there: refused with the way out, not done on an empty registry made on the spot."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import select

from node.cli.main import cli
from node.errors import ConfigurationError
from node.registry.account_models import ApiToken, User
from node.registry.database import Registry
from node.settings import load_configuration
from tests.conftest import REPOSITORY
from tests.fixtures.registry import sqlite_registry

__all__ = ["sqlite_registry"]

ERRANDS = (
    *("users list", "users token prometheus", "users disable anna", "users enable anna", "users role anna viewer"),
    *("job list", "job retry 1", "job cancel 1", "job rerun 1", "job complete 1.2"),
    *("destination list", "destination resume pacs", "destination dismiss pacs", "route again 1.2"),
)


def osteon(command: str, *arguments: str, typed: str = "", **environment: str) -> Result:
    """A command line, run in this process."""
    return CliRunner().invoke(cli, [*shlex.split(command), *arguments], input=typed, env=environment)


def refusal(done: Result) -> str:
    """The sentence of a refused errand."""
    assert isinstance(done.exception, ConfigurationError), done.output
    return str(done.exception)


@pytest.mark.parametrize("errand", ERRANDS)
def test_an_errand_without_a_node_names_the_folder_and_makes_nothing_there(errand: str, tmp_path: Path) -> None:
    folder = tmp_path / "osteon-data"
    said = refusal(osteon(errand, "--data", str(folder)))
    assert str(folder) in said and "--data or OSTEON_DATA" in said
    assert not folder.exists()


def test_a_password_for_an_account_of_no_node_is_refused(tmp_path: Path) -> None:
    refusal(osteon("users password anna", "--data", str(tmp_path), typed="a-long-and-strange-sentence-4711\n"))
    assert list(tmp_path.iterdir()) == []


def test_a_configured_file_that_is_missing_is_named_with_its_setting(tmp_path: Path) -> None:
    missing = tmp_path / "gone.sqlite"
    said = refusal(osteon("job list", "--data", str(tmp_path), OSTEON_DATABASE_URL=f"sqlite:///{missing}"))
    assert str(missing) in said and "OSTEON_DATABASE_URL" in said
    assert not missing.exists()


def test_the_first_account_can_be_made_before_the_first_start(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    done = osteon("users add anna --role admin", "--data", str(folder), typed="a-long-and-strange-sentence-4711\n")
    assert done.exit_code == 0, done.output
    registry = Registry(load_configuration(data_dir=folder, environment={}).database_url)
    with registry.reading() as session:
        assert session.scalars(select(User.name)).all() == ["anna"]
    registry.dispose()
    assert "anna" in osteon("users list", "--data", str(folder)).output


def test_the_command_that_prometheus_yml_gives_makes_a_token_of_a_viewer(
    sqlite_registry: Registry, tmp_path: Path
) -> None:
    lines = (REPOSITORY / "deploy" / "prometheus" / "prometheus.yml").read_text().splitlines()
    comment = " ".join(line.lstrip("# ").rstrip("\\") for line in lines if line.startswith("#"))
    command = comment.split("/bin/osteon ")[1].split(" > ")[0]
    here = command.replace("/etc/osteon", str(REPOSITORY / "config")).replace("/var/lib/osteon", str(tmp_path))
    done = osteon(here)
    assert done.exit_code == 0, done.output
    with sqlite_registry.reading() as session:
        (token,) = session.scalars(select(ApiToken)).all()
    assert (token.name, token.role) == ("prometheus", "viewer")
