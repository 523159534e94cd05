"""`osteon users`: the dashboard's accounts and API tokens from the console of the node.

Whoever can run this can read the database; no login is asked for. Everything is written to the audit trail as done
by `console:` and the system's name of the user.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import click
from sqlalchemy import select
from sqlalchemy.orm import Session

from node.cli.main import config_options
from node.cli.registry import opened_registry
from node.dashboard.security import passwords
from node.registry import accounts, credentials
from node.registry.account_models import User
from node.registry.audit import console_actor
from node.registry.roles import Role
from node.settings import load_configuration

ROLES = click.Choice([role.value for role in Role])


@contextmanager
def _writing(config_dir: Path | None, data_dir: Path | None, *, may_begin: bool = False) -> Iterator[Session]:
    configuration = load_configuration(config_dir, data_dir)
    with opened_registry(configuration, may_begin=may_begin) as registry, registry.transaction() as session:
        yield session


def _now() -> datetime:
    return datetime.now(UTC)


def _new_password(name: str) -> str:
    """Asked for twice on a terminal, else one line of standard input; so it stands in no shell history."""
    if sys.stdin.isatty():
        password = str(click.prompt("Password", hide_input=True, confirmation_prompt=True))
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    passwords.check_strength(password, name)
    return passwords.hash_password(password)


@click.group()
def users() -> None:
    """Make and manage accounts and API tokens of the dashboard."""


@users.command("list")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@config_options
def list_users(as_json: bool, config_dir: Path | None, data_dir: Path | None) -> None:
    """All accounts with role, state and last login."""
    with _writing(config_dir, data_dir) as session:
        rows = [
            {
                "name": user.name,
                "role": user.role,
                "disabled": user.disabled,
                "created_at": user.created_at.isoformat(),
                "last_login_at": user.last_login_at.isoformat() if user.last_login_at else None,
            }
            for user in session.scalars(select(User).order_by(User.name))
        ]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        state = "disabled" if row["disabled"] else "enabled"
        click.echo(f"{row['name']:<24} {row['role']:<9} {state:<9} {row['last_login_at'] or 'never logged in'}")
    if not rows:
        click.echo("there is no account yet; `osteon users add NAME --role admin` makes one")


@users.command()
@click.argument("name")
@click.option("--role", type=ROLES, default=Role.VIEWER.value, show_default=True)
@config_options
def add(name: str, role: str, config_dir: Path | None, data_dir: Path | None) -> None:
    """Make the account NAME, also before the first start; the password is asked for, or read from standard input."""
    hashed = _new_password(accounts.normal_name(name))
    with _writing(config_dir, data_dir, may_begin=True) as session:
        user = accounts.add_user(session, console_actor(), name, Role(role), hashed, _now())
        credentials.forget_setup_codes(session)
    click.echo(f"the account {user.name} is made; role {role}")


@users.command()
@click.argument("name")
@config_options
def password(name: str, config_dir: Path | None, data_dir: Path | None) -> None:
    """Give NAME another password; the account is logged out everywhere."""
    hashed = _new_password(name)
    with _writing(config_dir, data_dir) as session:
        accounts.set_password(session, console_actor(), accounts.find_user(session, name), hashed, _now())
    click.echo(f"{name} has a new password")


@users.command("role")
@click.argument("name")
@click.argument("new_role", type=ROLES, metavar="ROLE")
@config_options
def change_role(name: str, new_role: str, config_dir: Path | None, data_dir: Path | None) -> None:
    """Give NAME another ROLE: viewer, operator or admin."""
    with _writing(config_dir, data_dir) as session:
        accounts.set_role(session, console_actor(), accounts.find_user(session, name), Role(new_role), _now())
    click.echo(f"{name} is now {new_role}")


@users.command()
@click.argument("name")
@config_options
def disable(name: str, config_dir: Path | None, data_dir: Path | None) -> None:
    """Shut NAME out: logged out everywhere, API tokens do not work."""
    with _writing(config_dir, data_dir) as session:
        accounts.set_disabled(session, console_actor(), accounts.find_user(session, name), True, _now())
    click.echo(f"{name} is shut out; `osteon users enable {name}` undoes it")


@users.command()
@click.argument("name")
@config_options
def enable(name: str, config_dir: Path | None, data_dir: Path | None) -> None:
    """Let NAME in again."""
    with _writing(config_dir, data_dir) as session:
        accounts.set_disabled(session, console_actor(), accounts.find_user(session, name), False, _now())
    click.echo(f"{name} can log in again")


@users.command()
@click.argument("name")
@click.option("--role", type=ROLES, default=Role.VIEWER.value, show_default=True)
@config_options
def token(name: str, role: str, config_dir: Path | None, data_dir: Path | None) -> None:
    """Print a new API token called NAME, for a program such as Prometheus; it is shown this once."""
    with _writing(config_dir, data_dir) as session:
        made = credentials.add_token(session, console_actor(), name, Role(role), None, _now())
    click.echo(made)
