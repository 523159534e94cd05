"""`osteon bench`: speed, measured, with peers beside us in the same run where they are installed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import click


def _show(result: dict[str, Any], text: Callable[[dict[str, Any]], str], as_json: bool) -> None:
    click.echo(json.dumps(result, indent=2) if as_json else text(result))


def _say(text: str) -> None:
    click.echo(text, err=True)


json_option = click.option("--json", "as_json", is_flag=True, help="The figures as JSON.")


@click.group()
def bench() -> None:
    """Measure speed; everything runs on loopback in temporary folders and stops by itself."""


@bench.command()
@click.option("--images", default=200, show_default=True, type=click.IntRange(4, 5000), help="CT slices per round.")
@click.option("--parallel", default=4, show_default=True, type=click.IntRange(1, 16), help="Senders at once.")
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1, 20))
@json_option
def receive(images: int, parallel: int, rounds: int, as_json: bool) -> None:
    """Images per second over C-STORE, beside DCMTK's storescp, Orthanc and pynetdicom."""
    from node.bench.receive import as_text, bench_receive

    _show(bench_receive(images=images, parallel=parallel, rounds=rounds, say=_say), as_text, as_json)


@bench.command()
@click.option("--frames", default=100, show_default=True, type=click.IntRange(1, 1000))
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1, 50))
@json_option
def encode(frames: int, rounds: int, as_json: bool) -> None:
    """A label map to a SEG file, beside highdicom and dcmqi."""
    from node.bench.encode import bench_encode, text

    _show(bench_encode(frames=frames, rounds=rounds), text, as_json)


@bench.command()
@click.option("--pipeline", default="bone-scan", show_default=True)
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1, 100))
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@json_option
def infer(pipeline: str, rounds: int, device: str, as_json: bool) -> None:
    """One study through a pipeline, networks loaded, stage by stage."""
    from node.bench.infer import bench_infer, text

    _show(bench_infer(pipeline=pipeline, rounds=rounds, device=device), text, as_json)


@bench.command()
@click.option("--studies", default=5, show_default=True, type=click.IntRange(1, 200))
@click.option("--quiet", default=5.0, show_default=True, type=click.FloatRange(0), help="completion.released_quiet_s")
@json_option
def turnaround(studies: int, quiet: float, as_json: bool) -> None:
    """Last byte received to SEG and SR stored in Orthanc, with and without inference."""
    from node.bench.turnaround import bench_turnaround, text

    _show(bench_turnaround(studies=studies, released_quiet_s=quiet, say=_say), text, as_json)


@bench.command()
@click.option("--instances", default=1_000_000, show_default=True, type=click.IntRange(1))
@click.option("--jobs", default=200_000, show_default=True, type=click.IntRange(1))
@click.option("--rounds", default=40, show_default=True, type=click.IntRange(4, 1000), help="Requests a page.")
@click.option(
    "--database", "url", default="", help="SQLAlchemy URL of an empty or seeded registry; default: a new file."
)
@json_option
def dashboard(instances: int, jobs: int, rounds: int, url: str, as_json: bool) -> None:
    """How long every page of the dashboard takes over a large registry."""
    from node.bench.dashboard import bench_dashboard, text

    _show(bench_dashboard(instances, jobs, rounds, url, say=_say), text, as_json)


@bench.command("seed")
@click.argument("url")
@click.option("--instances", default=1_000_000, show_default=True, type=click.IntRange(1))
@click.option("--jobs", default=200_000, show_default=True, type=click.IntRange(1))
def seed_registry(url: str, instances: int, jobs: int) -> None:
    """Fill the empty registry at URL (SQLAlchemy) with made-up rows, to try the dashboard on a year of work."""
    from datetime import UTC, datetime

    from node.bench.seed import Plan, seed, settle
    from node.registry.database import Registry
    from node.registry.migrate import upgrade

    registry = Registry(url)
    upgrade(registry)
    seed(registry, Plan(instances, jobs, datetime.now(UTC)))
    settle(registry)
    registry.dispose()
    click.echo(f"{instances} instances and {jobs} jobs are in {registry.engine.url.render_as_string()}")
