"""`osteon destination`: pause and resume the places results go to, and see what waits for them.

Writes the registry only, with an entry in the audit trail; the delivery workers of a running node follow within
seconds. Whether a destination answers is `osteon doctor --destination NAME`; `osteon job resend NAME` sends again.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import click

from node.cli.main import config_options
from node.cli.registry import opened_registry
from node.registry import destinations, queries_overview
from node.registry.audit import console_actor
from node.settings import load_configuration


@click.group()
def destination() -> None:
    """Pause, resume or list the places results go to."""


@destination.command("list")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@config_options
def list_destinations(as_json: bool, config_dir: Path | None, data_dir: Path | None) -> None:
    """Every destination with what waits for it, what failed there, and whether it is paused."""
    configuration = load_configuration(config_dir, data_dir)
    with opened_registry(configuration) as registry, registry.reading() as session:
        rows = queries_overview.destinations(session, [one.name for one in configuration.destinations])
        pauses = destinations.paused(session)
    found = [{**vars(row), "paused_since": pauses[row.name].since if row.name in pauses else None} for row in rows]
    if as_json:
        click.echo(json.dumps(found, indent=2, default=str))
        return
    for row in found:
        state = f"paused since {row['paused_since']:%Y-%m-%d %H:%M} UTC" if row["paused_since"] else "open"
        click.echo(f"{row['name']}: {state}, {row['pending']} waiting, {row['failed']} failed")


@destination.command()
@click.argument("name")
@config_options
def pause(name: str, config_dir: Path | None, data_dir: Path | None) -> None:
    """Send nothing more to NAME; its results wait until `osteon destination resume NAME`."""
    configuration = load_configuration(config_dir, data_dir)
    configuration.destination(name)
    with opened_registry(configuration) as registry, registry.transaction() as session:
        changed = destinations.pause(session, console_actor(), name, datetime.now(UTC))
    click.echo(f"{name} is paused; its results wait" if changed else f"{name} was paused already")


@destination.command()
@click.argument("name")
@config_options
def resume(name: str, config_dir: Path | None, data_dir: Path | None) -> None:
    """Send to NAME again what waits for it; also for one that is no longer in destinations.yaml."""
    with opened_registry(load_configuration(config_dir, data_dir)) as registry, registry.transaction() as session:
        changed = destinations.resume(session, console_actor(), name, datetime.now(UTC))
    click.echo(f"{name} is resumed" if changed else f"{name} was not paused")


@destination.command()
@click.argument("name")
@config_options
def dismiss(name: str, config_dir: Path | None, data_dir: Path | None) -> None:
    """Set aside what failed at NAME: it is not sent and no failure any more; also for one that is gone."""
    with opened_registry(load_configuration(config_dir, data_dir)) as registry, registry.transaction() as session:
        count = destinations.dismiss_all_failed(session, console_actor(), name, datetime.now(UTC))
    click.echo(f"{count} results for {name} are set aside")
