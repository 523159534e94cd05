"""`osteon route`: which rule fires for these files, and why; received series routed again by the rules of now.

`again` writes the registry only, with an entry in the audit trail; a running node's sweep sees the jobs within seconds.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import click

from node.cli.main import config_options
from node.errors import PermanentError
from node.settings import load_configuration


@click.group()
def route() -> None:
    """Ask which rule fires for a series, and why; route received ones again."""


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


@route.command()
@click.argument("series_uids", nargs=-1, required=True, metavar="SERIES_UID...")
@config_options
def again(series_uids: tuple[str, ...], config_dir: Path | None, data_dir: Path | None) -> None:
    """Route complete series again, as after a change of the rules; only jobs that are missing are made."""
    from node.assemble.planner import Planner
    from node.assemble.route_again import route_again
    from node.cli.registry import opened_registry
    from node.registry.audit import console_actor
    from node.storage import LocalStorage

    configuration = load_configuration(config_dir, data_dir)
    refused = []
    with opened_registry(configuration) as registry:
        planner, storage = Planner.of(configuration), LocalStorage(configuration.data_dir)
        for uid in series_uids:
            try:
                with registry.transaction() as session:
                    done = route_again(session, console_actor(), planner, storage, uid, datetime.now(UTC))
            except PermanentError as error:
                refused.append(f"{uid}: {error}")
                continue
            click.echo(f"{uid}: {done.summary}")
            for job in done.jobs:
                click.echo(f"  job {job.id} ({job.pipeline}) {'is made' if job.made else 'was there'}: {job.state}")
    if refused:
        raise PermanentError("\n".join(refused))
