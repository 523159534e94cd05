"""`osteon doctor`: is everything in place, in plain words."""

from __future__ import annotations

import json
from pathlib import Path

import click

from node.cli.main import EXIT_FAILED, config_options
from node.settings import load_configuration

MARKS = {"ok": ("ok", "green"), "warning": ("note", "yellow"), "failed": ("FAILED", "red")}


@click.command()
@click.option("--destination", help="Check only this destination.")
@click.option("--json", "as_json", is_flag=True, help="The findings as JSON.")
@config_options
def doctor(destination: str | None, as_json: bool, config_dir: Path | None, data_dir: Path | None) -> None:
    """Check configuration, rules, database, Redis, disk, weights, GPU, listener and every destination.

    Changes nothing. Exit code 1 if something is in the way of a study; 2 if the configuration cannot be read.
    """
    from node.diagnosis import diagnose

    configuration = load_configuration(config_dir, data_dir)
    found = []
    for check in diagnose(configuration, destination):
        found.append(check)
        if not as_json:
            mark, colour = MARKS[check.outcome]
            click.echo(f"{click.style(f'{mark:>6}', fg=colour)}  {check.subject}: {check.sentence}")
    if as_json:
        rows = [{"subject": c.subject, "outcome": c.outcome, "sentence": c.sentence} for c in found]
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
    if any(check.outcome == "failed" for check in found):
        raise SystemExit(EXIT_FAILED)
