"""`osteon compare`: a paper's comparison of networks on simulated patients."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import click

from node.cli.progress import progress_bar


@click.command()
@click.argument("pipeline", type=click.Choice(["spect-ct"]))
@click.option("--full", is_flag=True, help="The paper's budget: 93 patients, five folds, 256 mm; days on a CPU.")
@click.option("--patients", type=click.IntRange(min=4), help="Simulated patients in all (10).")
@click.option("--folds", type=click.IntRange(min=2), help="Folds, split by patient (2).")
@click.option("--steps", type=click.IntRange(min=1), help="Steps of every training (60).")
@click.option("--network", "networks", multiple=True, help="One of the nine, may be given again; all by default.")
@click.option("--first", default=0, show_default=True, type=click.IntRange(min=0), help="Seed of the first patient.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0))
@click.option("--cache", type=click.Path(path_type=Path), default=Path(".cache"), show_default=True)
@click.option("--json", "as_json", is_flag=True, help="All figures as JSON.")
def compare(
    pipeline: str,
    full: bool,
    patients: int | None,
    folds: int | None,
    steps: int | None,
    networks: tuple[str, ...],
    first: int,
    seed: int,
    cache: Path,
    as_json: bool,
) -> None:
    """Train the paper's networks of PIPELINE on the same small, stated budget and print its tables 2 and 3 for them."""
    from pipelines.spect_ct.compare import FULL, Budget
    from pipelines.spect_ct.compare import compare as run
    from pipelines.spect_ct.encoders.unet import NETWORKS

    unknown = sorted(set(networks) - set(NETWORKS))
    if unknown:
        raise click.BadParameter(f"no network '{', '.join(unknown)}'; there are: {', '.join(NETWORKS)}")
    given = {"patients": patients, "folds": folds, "steps": steps}
    budget = replace(FULL if full else Budget(), **{key: value for key, value in given.items() if value is not None})
    if budget.patients < budget.folds:
        raise click.UsageError(f"{budget.patients} patients cannot be split into {budget.folds} folds")
    with progress_bar("comparing") as report:
        outcome = run(cache, budget, networks or tuple(NETWORKS), seed, progress=report, first=first)
    click.echo(json.dumps(outcome.to_json(), indent=2) if as_json else outcome.table())
