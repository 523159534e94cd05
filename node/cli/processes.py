"""The verbs that are processes: serve, listen, worker, upkeep, dashboard."""

from __future__ import annotations

from pathlib import Path

import click

from node.cli.main import config_options
from node.settings import load_configuration


@click.command()
@config_options
def serve(config_dir: Path | None, data_dir: Path | None) -> None:
    """Start everything in one: listener, embedded Redis, worker, upkeep and dashboard.

    Runs until SIGTERM or Ctrl-C and then drains: running jobs finish or go back to the queue.
    """
    from node.supervise import serve as run

    raise SystemExit(run(load_configuration(config_dir, data_dir)))


@click.command()
@config_options
def listen(config_dir: Path | None, data_dir: Path | None) -> None:
    """Receive DICOM over C-STORE into the spool."""
    from node.receive import run_listeners

    configuration = load_configuration(config_dir, data_dir)
    _logs(configuration, "listen")
    run_listeners(configuration)


@click.command()
@click.option(
    "--queue",
    "queues",
    multiple=True,
    type=click.Choice(["infer", "deliver", "upkeep"]),
    default=["infer"],
    show_default=True,
    help="Queue to serve; may be given several times. A worker that delivers serves upkeep, too.",
)
@click.option("--name", help="Name of this worker; default is host and process number.")
@config_options
def worker(queues: tuple[str, ...], name: str | None, config_dir: Path | None, data_dir: Path | None) -> None:
    """Run jobs (infer), deliveries (deliver) or questions whether results arrived (upkeep), one at a time."""
    from node.jobs.worker import run_worker

    configuration = load_configuration(config_dir, data_dir)
    _logs(configuration, "worker")
    served = dict.fromkeys((*queues, *(["upkeep"] if "deliver" in queues else [])))
    run_worker(configuration, list(served), name)


@click.command()
@config_options
def upkeep(config_dir: Path | None, data_dir: Path | None) -> None:
    """Register what arrived, assemble series, route, sweep lost work, delete what is old."""
    from node.jobs.upkeep import run_upkeep

    configuration = load_configuration(config_dir, data_dir)
    _logs(configuration, "upkeep")
    run_upkeep(configuration)


@click.command()
@config_options
def dashboard(config_dir: Path | None, data_dir: Path | None) -> None:
    """Serve the dashboard, its JSON API, /healthz and /metrics."""
    from node.dashboard.app import run_dashboard

    configuration = load_configuration(config_dir, data_dir)
    _logs(configuration, "dashboard")
    run_dashboard(configuration)


def _logs(configuration, component: str) -> None:
    from node.logs import configure_logging

    configure_logging(configuration.settings.log, component)
