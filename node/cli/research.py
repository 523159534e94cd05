"""The researcher's verbs: simulated patients, training, evaluation."""

from __future__ import annotations

import json
from pathlib import Path

import click

from node.cli.progress import progress_bar
from node.errors import ConfigurationError

PHANTOMS = ("bone-scan",)
PLANNED_PHANTOMS = ("spect-ct", "lumbar-mr")
TRAINABLE = ("bone-scan",)
PLANNED_PIPELINES = ("spect-ct", "lumbar", "thorax")


def _here(name: str, there: tuple[str, ...], planned: tuple[str, ...], what: str) -> None:
    """Refuse a name that is not there, and tell one that is planned from one that never was."""
    if name in there:
        return
    if name in planned:
        raise ConfigurationError([f"{what} '{name}' is planned but not in this version; there is: {', '.join(there)}"])
    raise click.BadParameter(f"there is no {what} '{name}'; there is: {', '.join(there)}")


@click.command()
@click.argument("kind")
@click.option("--count", default=1, show_default=True, type=click.IntRange(min=1), help="How many patients.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="The first patient's seed.")
@click.option("--out", "out_dir", required=True, type=click.Path(path_type=Path), help="Folder for the studies.")
def phantom(kind: str, count: int, seed: int, out_dir: Path) -> None:
    """Make simulated studies of KIND (bone-scan) as DICOM, each with its truth masks beside it."""
    _here(kind, PHANTOMS, PLANNED_PHANTOMS, "phantom")
    from pipelines.phantoms import generate

    with progress_bar("simulating") as report:
        folders = generate(count, seed, out_dir, report)
    for folder in folders:
        click.echo(str(folder))


@click.command()
@click.argument("pipeline")
@click.option("--preset", type=click.Choice(["default", "paper"]), default="default", show_default=True)
@click.option("--patients", type=click.IntRange(min=4), help="Simulated patients to train on.")
@click.option("--steps", type=click.IntRange(min=1), help="Optimiser steps per network.")
@click.option("--seed", default=1, show_default=True, type=click.IntRange(min=0))
@click.option("--out", "out_dir", required=True, type=click.Path(path_type=Path), help="Folder for weights and cards.")
@click.option("--cache", type=click.Path(path_type=Path), default=Path(".cache"), show_default=True)
def train(
    pipeline: str, preset: str, patients: int | None, steps: int | None, seed: int, out_dir: Path, cache: Path
) -> None:
    """Train the networks of PIPELINE on simulated patients by the paper's recipe; resumes from its checkpoints."""
    _here(pipeline, TRAINABLE, PLANNED_PIPELINES, "pipeline")
    from pipelines.bone_scan.train import train as run

    run(preset=preset, patients=patients, steps=steps, seed=seed, out=out_dir, cache=cache)


@click.command()
@click.argument("pipeline")
@click.option("--count", default=50, show_default=True, type=click.IntRange(min=2), help="Held-out patients.")
@click.option("--seed", default=None, type=click.IntRange(min=0), help="First held-out seed (a fixed one by default).")
@click.option("--preset", default=None, help="Simulation preset (held-out by default; domain-shift).")
@click.option("--real", type=click.Path(exists=True, path_type=Path), help="A folder of labelled real data.")
@click.option("--json", "as_json", is_flag=True)
def evaluate(pipeline: str, count: int, seed: int | None, preset: str | None, real: Path | None, as_json: bool) -> None:
    """Print the paper's table for our weights on held-out simulated patients, the paper's figures beside it."""
    _here(pipeline, TRAINABLE, PLANNED_PIPELINES, "pipeline")
    if real is not None:
        raise ConfigurationError(["--real: bone-scan has no format of labelled real data yet; leave the option out"])
    from pipelines.bone_scan.evaluate import evaluate as run

    with progress_bar("evaluating") as report:
        outcome = run(count=count, seed=seed, preset=preset, progress=report)
    click.echo(json.dumps(outcome.as_json(), indent=2) if as_json else outcome.as_text())
