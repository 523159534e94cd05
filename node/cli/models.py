"""`osteon models`: the weights that are installed, and their cards."""

from __future__ import annotations

import json
from pathlib import Path

import click

from node.cli.main import EXIT_FAILED, config_options
from node.errors import PermanentError
from node.settings import load_configuration
from pipelines.contract import WeightsError
from pipelines.contract import weights as store
from pipelines.contract.figures import Measured, measured_figures


@click.group()
def models() -> None:
    """List, verify and install weights."""


@models.command("list")
@click.option("--json", "as_json", is_flag=True, help="All cards as JSON, with every figure.")
@config_options
def list_models(as_json: bool, config_dir: Path | None, data_dir: Path | None) -> None:
    """List all weights with what they were trained on and their main figures beside the paper's."""
    found = _installed(config_dir, data_dir)
    if as_json:
        rows = [
            {
                "name": model.name,
                "file": str(model.weights_path),
                "in_use": not model.hidden,
                "problem": model.problem,
                "card": model.card.model_dump(mode="json") if model.card else None,
            }
            for model in found
        ]
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    for model in found:
        state = "hidden by the site's own" if model.hidden else "in use"
        click.echo(f"{model.name}  ({state})  {model.weights_path}")
        if model.card is None:
            click.echo(f"  problem: {model.problem}")
            continue
        click.echo(f"  {model.card.pipeline}, {model.card.network}, version {model.card.version}")
        click.echo(f"  trained on: {model.card.training_data}")
        for measured in measured_figures(model.card.metrics):
            for line in _figure_lines(measured):
                click.echo(f"  {line}")


@models.command()
@config_options
def verify(config_dir: Path | None, data_dir: Path | None) -> None:
    """Compare every weights file with the sha256 in its card."""
    failed = False
    for model in _installed(config_dir, data_dir):
        try:
            store.verify(model)
            click.echo(f"{model.name}: intact ({model.weights_path})")
        except WeightsError as error:
            failed = True
            click.echo(f"{model.name}: {error}")
    if failed:
        raise SystemExit(EXIT_FAILED)


@models.command()
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@config_options
def install(source: Path, config_dir: Path | None, data_dir: Path | None) -> None:
    """Install SOURCE (card, weights file, or a folder with one model) into the site's weights folder."""
    try:
        model = store.install(source, load_configuration(config_dir, data_dir).weights_dir)
    except WeightsError as error:
        raise PermanentError(str(error)) from error
    click.echo(f"installed {model.weights_path}; a worker loads it when it starts next")


@models.command()
@click.argument("folders", nargs=-1, required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder for the mean and its card.")
def average(folders: tuple[Path, ...], out: Path) -> None:
    """Write the mean of the weights in FOLDERS, which one training went through; measure it before you use it."""
    from pipelines.training.averaging import average as mean_of

    try:
        cards = mean_of(folders, out)
    except WeightsError as error:
        raise PermanentError(str(error)) from error
    for card in cards:
        click.echo(f"{card.name} {card.version}: mean of {len(folders)} weights, in {out}; no figures yet")


def _figure_lines(measured: Measured) -> list[str]:
    """Return a heading and a line for each figure: ours, its interval and the paper's."""
    kind = "simulated" if measured.simulated else "real"
    count = "" if measured.count is None else f"{measured.count} "
    lines = [f"{measured.patients}: {count}{kind} patients"]
    for figure in measured.figures:
        value = "not measured" if figure.value is None else f"{figure.value:.3f}"
        low_high = "" if figure.interval is None else "{:.3f} to {:.3f}".format(*figure.interval)
        paper = "" if figure.paper is None else f"paper {figure.paper:.3f}"
        lines.append(f"  {figure.name.replace('_', ' '):30}{value:14}{low_high:16}{paper}".rstrip())
    return lines


def _installed(config_dir: Path | None, data_dir: Path | None) -> list[store.InstalledModel]:
    weights_dir = load_configuration(config_dir, data_dir).weights_dir
    return store.find_models(store.weights_folders(weights_dir, store.shipped_folders()))
