"""`osteon job`: what an operator does about jobs and results from the command line.

Everything here writes the registry only, with an entry in the audit trail as done by `console:` and the system's name
of the user; a running node's sweep sees it within seconds and acts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import click
from sqlalchemy.orm import Session

from node.cli.main import config_options
from node.cli.registry import opened_registry
from node.registry import destinations, job_actions, queries
from node.registry.audit import console_actor
from node.settings import load_configuration


@contextmanager
def _writing(config_dir: Path | None, data_dir: Path | None) -> Iterator[Session]:
    with opened_registry(load_configuration(config_dir, data_dir)) as registry, registry.transaction() as session:
        yield session


def _now() -> datetime:
    return datetime.now(UTC)


@click.group()
def job() -> None:
    """List, retry, cancel or re-run jobs; resend results."""


@job.command("list")
@click.option("--json", "as_json", is_flag=True, help="As JSON, with everything the status page shows.")
@config_options
def list_jobs(as_json: bool, config_dir: Path | None, data_dir: Path | None) -> None:
    """The newest jobs with their state, the reason, and how far their results have come."""
    with _writing(config_dir, data_dir) as session:
        jobs = queries.overview(session, _now()).recent_jobs
    if as_json:
        click.echo(json.dumps([vars(one) for one in jobs], indent=2, default=str))
        return
    for one in jobs:
        delivered = ", ".join(f"{count} {state}" for state, count in one.deliveries.items()) or "nothing to deliver"
        click.echo(f"{one.id:>6}  {one.state:<9}  {one.pipeline} r{one.revision}  {delivered}  {one.study_uid}")
        if one.reason:
            click.echo(f"        {one.reason}")


@job.command()
@click.argument("job_id", type=int)
@config_options
def retry(job_id: int, config_dir: Path | None, data_dir: Path | None) -> None:
    """Queue a failed or cancelled job again."""
    with _writing(config_dir, data_dir) as session:
        job_actions.retry(session, console_actor(), job_id, _now())
    click.echo(f"job {job_id} is queued again")


@job.command()
@click.argument("job_id", type=int)
@config_options
def cancel(job_id: int, config_dir: Path | None, data_dir: Path | None) -> None:
    """Cancel a job; one that runs is stopped at its next step. `retry` undoes it."""
    with _writing(config_dir, data_dir) as session:
        state = job_actions.cancel(session, console_actor(), job_id, _now())
    asked = state.value == "running"
    click.echo(f"job {job_id} runs; its worker was asked to stop" if asked else f"job {job_id} is cancelled")


@job.command()
@click.argument("job_id", type=int)
@config_options
def rerun(job_id: int, config_dir: Path | None, data_dir: Path | None) -> None:
    """Run a finished job again as a new revision, which supersedes the earlier results."""
    with _writing(config_dir, data_dir) as session:
        new = job_actions.rerun(session, console_actor(), job_id, _now())
    click.echo(f"job {new} is queued as the next revision of job {job_id}")


@job.command()
@click.argument("destination")
@config_options
def resend(destination: str, config_dir: Path | None, data_dir: Path | None) -> None:
    """Send everything again that failed at DESTINATION."""
    load_configuration(config_dir, data_dir).destination(destination)
    with _writing(config_dir, data_dir) as session:
        count = destinations.resend_all_failed(session, console_actor(), destination, _now())
    click.echo(f"{count} deliveries to {destination} are due again")


@job.command()
@click.argument("series_uid")
@config_options
def complete(series_uid: str, config_dir: Path | None, data_dir: Path | None) -> None:
    """Take a series as complete now, without waiting for its quiet period."""
    with _writing(config_dir, data_dir) as session:
        job_actions.complete_series(session, console_actor(), series_uid, _now())
    click.echo("the series is taken as complete at the next step of upkeep")
