"""`osteon send`: C-STORE files or folders, with a progress bar."""

from __future__ import annotations

from pathlib import Path

import click

from node.cli.main import EXIT_FAILED
from node.cli.progress import progress_bar


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--to", "address", required=True, metavar="HOST:PORT", help="Where to send.")
@click.option("--aet", required=True, help="The peer's AE title (called).")
@click.option("--calling", default="OSTEON", show_default=True, help="Our own AE title (calling).")
def send(paths: tuple[Path, ...], address: str, aet: str, calling: str) -> None:
    """C-STORE PATHS (files or folders) to a DICOM node; says for each file that failed why."""
    from node.deliver.scu import send_files

    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise click.BadParameter(f"'{address}' is not HOST:PORT", param_hint="--to")
    with progress_bar("sending") as report:
        outcomes = send_files(
            paths,
            host=host,
            port=int(port),
            called_aet=aet,
            calling_aet=calling,
            progress=lambda done, total: report(done / max(total, 1), f"sending {done}/{total}"),
        )
    failed = [outcome for outcome in outcomes if not outcome.ok]
    for outcome in failed:
        click.echo(f"{outcome.path}: {outcome.sentence}", err=True)
    click.echo(f"{len(outcomes) - len(failed)} of {len(outcomes)} sent")
    if failed or not outcomes:
        raise SystemExit(EXIT_FAILED)
