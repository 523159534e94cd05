"""`osteon run`: DICOM files in, results out, no network and no database."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import click

from node.cli.main import EXIT_REFUSED, EXIT_USAGE
from node.cli.weights import need_weights
from node.errors import PermanentError


@click.command()
@click.argument("pipeline")
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--out", "out_dir", required=True, type=click.Path(path_type=Path), help="Folder for the results.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), default="fp32", show_default=True)
@click.option(
    "--weights", type=click.Path(exists=True, path_type=Path), help="Folder of weights to use before those that ship."
)
@click.option("--json", "as_json", is_flag=True, help="Print summary.json instead of sentences.")
def run(
    pipeline: str,
    paths: tuple[Path, ...],
    out_dir: Path,
    device: str,
    precision: str,
    weights: Path | None,
    as_json: bool,
) -> None:
    """Run PIPELINE on DICOM files or folders; writes SEG, SR, secondary capture, PNG and summary.json.

    Exit code 3 means that the pipeline refused the content; the reason is printed.
    """
    from node.identity import identity
    from node.offline import NothingToRead, analyse
    from pipelines.contract import ComputeOptions, ContentRefused, DeviceError, WeightsError, load_pipeline_class

    try:
        instance = load_pipeline_class(pipeline)()
    except KeyError as error:
        raise click.UsageError(str(error.args[0])) from error
    need_weights(pipeline, weights)
    options = ComputeOptions(device=device, precision=precision, weights_dir=weights)
    try:
        with _progress(enabled=not as_json) as report:
            outcome = analyse(instance, options, paths, out_dir, identity(), datetime.now().astimezone(), report)
    except ContentRefused as refusal:
        click.echo(json.dumps({"refused": str(refusal)}) if as_json else f"refused: {refusal}", err=not as_json)
        raise SystemExit(EXIT_REFUSED) from refusal
    except NothingToRead as error:
        click.echo(f"osteon: {error}", err=True)
        raise SystemExit(EXIT_USAGE) from error
    except (WeightsError, DeviceError) as error:
        raise PermanentError(str(error)) from error
    if as_json:
        click.echo(json.dumps(outcome.summary, indent=2, ensure_ascii=False))
        return
    click.echo(outcome.findings.conclusion)
    for limitation in outcome.findings.limitations:
        click.echo(f"  note: {limitation}")
    for path in outcome.files:
        click.echo(f"  {path}")


def _progress(enabled: bool):
    from node.cli.progress import progress_bar

    return progress_bar("analysing", enabled=enabled)
