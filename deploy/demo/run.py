"""`make demo`: start an archive and the node, send three studies as a scanner would, show what came back.

    python -m deploy.demo.run [--once] [--folder DIR]     start, send, show; --once stops everything again
    python -m deploy.demo.run --stop                      stop what an earlier run left running

The archive is Orthanc with DICOMweb where it is installed, else a small C-STORE receiver. All take the usual ports
where they are free and free ones otherwise. Node, viewer and that receiver listen on loopback. Orthanc's ports are
open on every interface, but it refuses other hosts over HTTP and answers C-ECHO and C-STORE of the node alone. Exit
code 0 means that SEG, SR and picture of all studies are in the archive.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from deploy.demo.parts import NODE_AET, Demo, start, stop
from deploy.demo.studies import DemoStudy, real_study, simulated_studies
from node.deliver.scu import send_files

REPOSITORY = Path(__file__).resolve().parents[2]
RESULT_TIMEOUT_S = 600.0
WANTED = ("SEG", "SR", "OT")
"""Modalities of what comes back; the picture is a secondary capture, OT."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--once", action="store_true", help="stop everything at the end")
    parser.add_argument("--stop", action="store_true", help="stop what an earlier run left running")
    parser.add_argument("--folder", type=Path, default=REPOSITORY / "osteon-data" / "demo")
    arguments = parser.parse_args()
    console = Console()
    if arguments.stop:
        console.print("stopped" if stop(arguments.folder) else "nothing was running")
        return 0
    if stop(arguments.folder):
        console.print("stopped an earlier demo")
    ok = False
    try:
        demo = start(arguments.folder, lambda text: console.print(f"[dim]{text}[/dim]"))
        console.print("simulating two patients ...", style="dim")
        studies = [real_study(), *simulated_studies(demo.fresh_folder("simulated"))]
        rows = [_send_and_wait(demo, study, console) for study in studies]
        console.print(_table(rows))
        _where_to_look(demo, console)
        ok = all(row["complete"] for row in rows)
        if not ok:
            console.print(f"[red]Not everything came back.[/red] The node's log: {demo.log('osteon')}")
    finally:
        if arguments.once or not ok:
            stop(arguments.folder)
            console.print("everything is stopped" if arguments.once else "stopped because something failed")
    if not arguments.once:
        console.print("The node is running. Stop it with: [bold]make stop[/bold]")
    return 0 if ok else 1


def _send_and_wait(demo: Demo, study: DemoStudy, console: Console) -> dict[str, object]:
    outcomes = send_files(
        study.files, host="127.0.0.1", port=demo.ports["dicom"], called_aet=NODE_AET, calling_aet="SCANNER"
    )
    refused = [outcome.sentence for outcome in outcomes if not outcome.ok]
    if refused:
        return {"study": study, "complete": False, "note": refused[0], "kinds": {}}
    sent_at = time.monotonic()
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bars:
        task = bars.add_task(study.title, total=1.0)
        while True:
            view = demo.study(study.study_uid)
            kinds = demo.archived(study.study_uid)
            job = view["jobs"][0] if view and view["jobs"] else None
            complete = all(kinds.get(kind) for kind in WANTED)
            if complete or (job and job["state"] in ("failed", "rejected")):
                break
            if time.monotonic() - sent_at > RESULT_TIMEOUT_S:
                return {"study": study, "complete": False, "note": "no result in time", "kinds": kinds}
            what = f"{job['state']}: {job['progress_text']}" if job else "waiting for the series to be complete"
            bars.update(task, completed=job["progress"] if job else 0.0, description=f"{study.title}: {what}")
            time.sleep(0.2)
    return {
        "study": study,
        "complete": complete,
        "kinds": kinds,
        "seconds": time.monotonic() - sent_at,
        "job": job,
        "note": (job or {}).get("reason", ""),
    }


def _table(rows: list[dict[str, object]]) -> Table:
    table = Table(title="What came back", caption="research use only: networks trained on simulated patients")
    for column in ("study", "in the archive", "foci per view", "BSTBI", "last byte to archive"):
        table.add_column(column)
    for row in rows:
        study, kinds, job = row["study"], row["kinds"], row.get("job")
        assert isinstance(study, DemoStudy)
        assert isinstance(kinds, dict)
        figures = _figures(job) if isinstance(job, dict) else ("", "")
        archived = ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items()) if kind != "NM") or str(row["note"])
        seconds = row.get("seconds")
        table.add_row(study.title, archived, *figures, f"{seconds:.1f} s" if isinstance(seconds, float) else "")
    return table


def _figures(job: dict[str, object]) -> tuple[str, str]:
    summary = job.get("summary") or {}
    assert isinstance(summary, dict)
    quantities = [(item["name"]["value"], item["value"]) for item in summary.get("quantities", [])]
    # The study's BSTBI comes first, those of the four images follow; foci are counted per view.
    bstbi = next((value for name, value in quantities if name == "BSTBI"), None)
    foci = [f"{value:.0f}" for name, value in quantities if name == "FOCI"]
    return " + ".join(foci), "not computable" if bstbi is None else f"{bstbi:.4f}"


def _where_to_look(demo: Demo, console: Console) -> None:
    for title, place in demo.places.items():
        console.print(f"  {title:<22} {place}")


if __name__ == "__main__":
    sys.exit(main())
