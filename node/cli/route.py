"""`osteon route explain`: which rule fires for these files, and why."""

from __future__ import annotations

import json
from pathlib import Path

import click

from node.cli.main import config_options
from node.settings import load_configuration


@click.group()
def route() -> None:
    """Ask which rule fires for a series, and why."""


@route.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="The whole trace as JSON.")
@config_options
def explain(paths: tuple[Path, ...], as_json: bool, config_dir: Path | None, data_dir: Path | None) -> None:
    """Print every rule, every condition and the value seen, for each series among PATHS."""
    from node.assemble.explain import explain as explain_paths
    from node.assemble.explain import explain_text

    traces = explain_paths(load_configuration(config_dir, data_dir), paths)
    if as_json:
        click.echo(json.dumps([trace.as_json() for trace in traces], indent=2, ensure_ascii=False))
    else:
        click.echo("\n\n".join(explain_text(trace) for trace in traces))
