"""The researcher's verbs: simulated patients, training, evaluation."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click

from node.cli.progress import progress_bar
from node.cli.weights import need_weights
from node.errors import ConfigurationError

PHANTOMS = ("bone-scan", "lumbar-mr", "spect-ct")
TRAINABLE = ("bone-scan", "lumbar", "spect-ct", "thorax")
EVALUATED = {"bone-scan": 50, "lumbar": 60, "spect-ct": 30, "thorax": 200}
"""Patients of an evaluation where no number is given."""


def _here(name: str, there: tuple[str, ...], what: str) -> None:
    """Refuse a name that is not there."""
    if name not in there:
        raise click.BadParameter(f"there is no {what} '{name}'; there is: {', '.join(there)}")


@click.command()
@click.argument("kind")
@click.option("--count", default=1, show_default=True, type=click.IntRange(min=1), help="How many patients.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="The first patient's seed.")
@click.option("--out", "out_dir", required=True, type=click.Path(path_type=Path), help="Folder for the studies.")
@click.option("--companions", is_flag=True, help="lumbar-mr: also T1, STIR and axial T2 series of each examination.")
def phantom(kind: str, count: int, seed: int, out_dir: Path, companions: bool) -> None:
    """Make simulated studies of KIND (bone-scan, lumbar-mr, spect-ct) as DICOM, each with its truth masks beside it."""
    _here(kind, PHANTOMS, "phantom")
    from pipelines.phantoms import generate
    from pipelines.phantoms.lumbar import generate_lumbar
    from pipelines.phantoms.spect_ct import generate as generate_spect_ct

    _refuse_options_of_others(kind, {"--companions": (companions, ("lumbar-mr",))})
    make: dict[str, Callable[..., list[Path]]] = {
        "bone-scan": generate,
        "lumbar-mr": partial(generate_lumbar, companions=companions),
        "spect-ct": generate_spect_ct,
    }
    with progress_bar("simulating") as report:
        scans = make[kind](count, seed, out_dir, report)
    for scan in scans:
        click.echo(str(scan))


@click.command()
@click.argument("pipeline")
@click.option("--preset", type=click.Choice(["default", "paper"]), default="default", show_default=True)
@click.option(
    "--patients", type=click.IntRange(min=4), help="Simulated patients (lumbar 300, spect-ct 100, others 400)."
)
@click.option("--steps", type=click.IntRange(min=1), help="Steps (the preset's by default).")
@click.option(
    "--start",
    type=click.Path(exists=True, path_type=Path),
    help="bone-scan, lumbar, spect-ct: folder of weights to go on from (random ones by default).",
)
@click.option("--first", type=click.IntRange(min=0), help="bone-scan, spect-ct: seed of the first patient (0).")
@click.option(
    "--only",
    type=click.Choice(["cache", "coarse", "fine", "ribs", "network", "operating-point"]),
    help="lumbar, spect-ct: the simulated patients alone (cache), or one network on what there is of them; bone-scan: "
    "the operating point of the weights in --start.",
)
@click.option(
    "--learning-rate",
    type=click.FloatRange(0, min_open=True),
    help="bone-scan, lumbar, spect-ct: the highest learning rate (the preset's).",
)
@click.option(
    "--labelled-fraction",
    type=click.FloatRange(0, 1),
    help="thorax: share of the patients whose labels are used (0.37).",
)
@click.option("--aggregated", is_flag=True, help="thorax: learn from both views added.")
@click.option(
    "--hours",
    default=0.0,
    type=click.FloatRange(0),
    help="Wall-clock limit, 0 for none.",
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0))
@click.option("--out", "out_dir", required=True, type=click.Path(path_type=Path), help="Folder for weights and cards.")
@click.option("--cache", type=click.Path(path_type=Path), default=Path(".cache"), show_default=True)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
def train(
    pipeline: str,
    start: Path | None,
    first: int | None,
    only: str | None,
    learning_rate: float | None,
    labelled_fraction: float | None,
    aggregated: bool,
    patients: int | None,
    hours: float,
    out_dir: Path,
    **common: Any,
) -> None:
    """Train the networks of PIPELINE on simulated patients by the paper's recipe; resumes from its checkpoints."""
    _here(pipeline, TRAINABLE, "pipeline")
    _refuse_options_of_others(
        pipeline,
        {
            "--start": (start, ("bone-scan", "lumbar", "spect-ct")),
            "--first": (first, ("bone-scan", "spect-ct")),
            "--only": (only, ("bone-scan", "lumbar", "spect-ct")),
            "--learning-rate": (learning_rate, ("bone-scan", "lumbar", "spect-ct")),
            "--labelled-fraction": (labelled_fraction, ("thorax",)),
            "--aggregated": (aggregated, ("thorax",)),
        },
    )
    if patients is not None:
        common["patients"] = patients
    with progress_bar("training") as report:
        common |= {"seconds": hours * 3600, "out": out_dir, "progress": report}
        if pipeline == "lumbar":
            if only in ("network", "operating-point"):
                raise click.UsageError(f"--only {only}: lumbar knows cache, coarse, fine and ribs")
            from pipelines.lumbar.train import train as train_lumbar

            cards = train_lumbar(**common, start=start, only=only or "", learning_rate=learning_rate)
        elif pipeline == "spect-ct":
            if only not in (None, "cache", "network"):
                raise click.UsageError(f"--only {only}: spect-ct knows cache and network")
            from pipelines.spect_ct.train import train as train_spect_ct

            more: dict[str, Any] = {"first": first or 0, "learning_rate": learning_rate}
            cards = train_spect_ct(**common, start=start, only=only or "", **more)
        elif pipeline == "thorax":
            from pipelines.thorax.train import PAPERS_FRACTION
            from pipelines.thorax.train import train as train_thorax

            fraction = PAPERS_FRACTION if labelled_fraction is None else labelled_fraction
            cards = (train_thorax(**common, labelled_fraction=fraction, aggregated=aggregated),)
        else:
            if only not in (None, "operating-point"):
                raise click.UsageError(f"--only {only}: bone-scan knows operating-point")
            if only and start is None:
                raise click.UsageError("--only operating-point: --start names the folder of the weights")
            from pipelines.bone_scan.train import train as train_bone_scan

            more = {"first": first or 0, "learning_rate": learning_rate}
            cards = (train_bone_scan(**common, start=start, only=only or "", **more),)
    for card in cards:
        click.echo(f"{out_dir / card.name}.safetensors  {card.steps} steps  sha256 {card.sha256[:12]}")
    if cards:
        click.echo("measure them with `osteon evaluate`, install them with `osteon models install`")


def _refuse_options_of_others(pipeline: str, options: dict[str, tuple[object, tuple[str, ...]]]) -> None:
    """Refuse options that were given but belong to other pipelines; None and False are not given."""
    for name, (value, pipelines) in options.items():
        if value is not None and value is not False and pipeline not in pipelines:
            raise click.UsageError(f"{name}: an option of {', '.join(pipelines)}; leave it out")


@click.command()
@click.argument("pipeline")
@click.option(
    "--count", type=click.IntRange(min=2), help="Held-out patients (bone-scan 50, lumbar 60, spect-ct 30, thorax 200)."
)
@click.option("--seed", type=click.IntRange(min=0), help="First held-out seed; by default one that training never saw.")
@click.option(
    "--preset",
    type=click.Choice(["held_out", "domain_shift"]),
    default="held_out",
    show_default=True,
    help="Physics of the simulation: other settings than in training, or settings far outside them.",
)
@click.option(
    "--weights", type=click.Path(exists=True, path_type=Path), help="Folder of weights to use before those that ship."
)
@click.option(
    "--real", type=click.Path(exists=True, path_type=Path), help="lumbar: a folder of labelled real volumes (.npz)."
)
@click.option(
    "--out",
    "out_dir",
    type=click.Path(path_type=Path),
    help="Folder for pictures: of every result (lumbar, spect-ct), of the figures (bone-scan), of the curve and for "
    "what was trained for it (thorax).",
)
@click.option(
    "--volumes",
    type=click.IntRange(min=0),
    help="spect-ct: whole volumes of so many patients only, evenly spread over all (of 100 with 12: the seeds 4, 12, "
    "20, ... after the first), of the others the slices of the largest lesions.",
)
@click.option("--curve", is_flag=True, help="thorax: train with 0, 10, 37 and 100 % of the labels, draw the curve.")
@click.option("--ablations", is_flag=True, help="thorax: train the other rows of the paper's tables 3, 5 and 6.")
@click.option(
    "--burden",
    is_flag=True,
    help="bone-scan: the index at other doses, with more metastases, after therapy (6 patients).",
)
@click.option("--minutes", type=click.FloatRange(min=0.01), help="thorax: training of each such row (30).")
@click.option("--cache", type=click.Path(path_type=Path), help="thorax: folder of simulated patients (.cache).")
@click.option("--record", is_flag=True, help="Write the figures into the model cards of --weights.")
@click.option("--json", "as_json", is_flag=True, help="All figures, and every patient's, as JSON.")
def evaluate(
    pipeline: str,
    count: int | None,
    seed: int | None,
    preset: str,
    weights: Path | None,
    real: Path | None,
    out_dir: Path | None,
    volumes: int | None,
    curve: bool,
    ablations: bool,
    burden: bool,
    minutes: float | None,
    cache: Path | None,
    record: bool,
    as_json: bool,
) -> None:
    """Print the paper's table for our weights on held-out simulated patients, the paper's figures beside it."""
    _here(pipeline, TRAINABLE, "pipeline")
    need_weights(pipeline, weights)
    if record and (burden or curve or ablations):
        raise click.UsageError("--record: model cards take the figures of the held-out patients alone; leave it out")
    if record and weights is None:
        raise click.UsageError("--record: name the folder of weights whose cards take the figures, with --weights")
    _refuse_options_of_others(
        pipeline,
        {
            "--real": (real, ("lumbar",)),
            "--volumes": (volumes, ("spect-ct",)),
            "--curve": (curve, ("thorax",)),
            "--ablations": (ablations, ("thorax",)),
            "--burden": (burden, ("bone-scan",)),
            "--minutes": (minutes, ("thorax",)),
            "--cache": (cache, ("thorax",)),
        },
    )
    if curve or ablations:
        outcome = _compare_thorax(curve, ablations, minutes or 30.0, count, seed, out_dir, cache)
        click.echo(json.dumps(outcome.to_json(), indent=2) if as_json else outcome.table())
        return
    if burden:
        study = _study_burden(count, seed, weights, out_dir)
        click.echo(json.dumps(study.to_json(), indent=2) if as_json else study.table())
        return
    more: dict[str, Any] = {}
    module: Any
    if pipeline == "lumbar":
        from pipelines.lumbar import evaluate as module

        more = {"real": real, "out": out_dir}
    elif pipeline == "spect-ct":
        from pipelines.spect_ct import evaluate as module

        more = {"out": out_dir, "volumes": volumes}
    elif pipeline == "thorax":
        from pipelines.thorax import evaluate as module

        more = {"cache": cache} if cache else {}
    else:
        from pipelines.bone_scan import evaluate as module

        more = {"out": out_dir}
    from pipelines.contract import ComputeOptions
    from pipelines.training.labelled import LabelledDataError

    first = module.EVALUATION_SEED if seed is None else seed
    options = ComputeOptions(weights_dir=weights)
    with progress_bar("evaluating") as report:
        try:
            outcome = module.evaluate(count or EVALUATED[pipeline], first, preset, report, options, **more)
        except LabelledDataError as error:
            raise ConfigurationError([f"--real: {error}"]) from error
    if record and weights is not None:
        module.measure_into_cards(outcome, weights)
    click.echo(json.dumps(outcome.to_json(), indent=2) if as_json else outcome.table())


def _study_burden(count: int | None, seed: int | None, weights: Path | None, out: Path | None) -> Any:
    """Scan the same simulated patients at other doses, with more metastases, and after therapy."""
    from pipelines.bone_scan import burden_study
    from pipelines.contract import ComputeOptions

    first = burden_study.FIRST_SEED if seed is None else seed
    with progress_bar("scanning") as report:
        return burden_study.run(count or burden_study.PATIENTS, first, report, ComputeOptions(weights_dir=weights), out)


def _compare_thorax(
    curve: bool, ablations: bool, minutes: float, count: int | None, seed: int | None, out: Path | None,
    cache: Path | None,
) -> Any:  # fmt: skip
    """Train and measure the rows of the paper's comparisons, draw the curve."""
    from pipelines.planar.dataset import DEFAULT_CACHE
    from pipelines.thorax.evaluate import EVALUATION_SEED, PATIENTS
    from pipelines.thorax.experiment_report import ExperimentReport, draw_curve
    from pipelines.thorax.experiments import ABLATIONS, CURVE, LEARNED_FROM
    from pipelines.thorax.experiments import run as run_experiments

    chosen = (CURVE if curve else ()) + (ABLATIONS if ablations else ())
    folder = out or Path("thorax-comparison")
    held_out = (EVALUATION_SEED if seed is None else seed, count or PATIENTS)
    with progress_bar("training and measuring") as report:
        rows = run_experiments(
            chosen, minutes, folder, held_out=held_out, cache=cache or DEFAULT_CACHE, progress=report
        )
    drawn = draw_curve(rows[: len(CURVE)], minutes, folder / "thorax-labels.png") if curve else None
    return ExperimentReport(tuple(rows), minutes, LEARNED_FROM, drawn)
