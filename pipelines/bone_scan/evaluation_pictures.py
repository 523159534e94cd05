"""Pictures of an evaluation: the index against the truth, the calibration of the tiles, the ROC curve of the patients,
lesions found against false foci (FROC).

An `EvaluationReport` -> four PNG files in a folder. Needs matplotlib (the `research` extra); runs no network.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pipelines.bone_scan.evaluation_report import EvaluationReport, lesion_figures, reliability

BURDEN, CALIBRATION, ROC, FROC = "bstbi.png", "calibration.png", "roc.png", "froc.png"
FALSE_FOCI_TICKS = (0, 0.25, 0.5, 1, 2, 5, 10, 20, 50, 100)


def draw(report: EvaluationReport, folder: Path) -> list[Path]:
    """Write the pictures and return their paths.

    Raises
    ------
    ModuleNotFoundError
        If matplotlib is not installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawings = {BURDEN: _burden, CALIBRATION: _calibration, ROC: _roc, FROC: _froc}
    return [_write(folder / name, drawing, report) for name, drawing in drawings.items()]


def _write(path: Path, drawing: Any, report: EvaluationReport) -> Path:
    # The class, not pyplot: no window, no state that a later picture would inherit.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6, 4.2), dpi=110, layout="constrained")
    axes = figure.subplots()
    drawing(axes, report)
    axes.grid(alpha=0.3)
    figure.savefig(path)
    return path


def _burden(axes: Any, report: EvaluationReport) -> None:
    known = [(p.bstbi_truth, p.bstbi) for p in report.patients if p.bstbi is not None and p.bstbi_truth is not None]
    pairs = np.array(known, float).reshape(-1, 2)
    top = 1.05 * max(float(pairs.max(initial=0.0)), 0.01)
    axes.plot([0, top], [0, top], color="0.6", linewidth=1)
    axes.scatter(pairs[:, 0], pairs[:, 1], s=14)
    axes.set(
        xlabel="BSTBI of the true outlines", ylabel="BSTBI found", xlim=(-0.02 * top, top), ylim=(-0.02 * top, top)
    )
    axes.set_title(f"{len(pairs)} simulated patients, {report.preset}")


def _calibration(axes: Any, report: EvaluationReport) -> None:
    bins = reliability(report.patients)
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=1)
    axes.plot([b.probability for b in bins], [b.frequency for b in bins], marker="o")
    for each in bins:
        axes.annotate(str(each.cases), (each.probability, each.frequency), xytext=(4, -11), textcoords="offset points",
                      fontsize=8)  # fmt: skip
    axes.set(xlabel="probability of metastasis in a tile", ylabel="share of tiles that hold one")
    axes.set_title(f"{sum(b.cases for b in bins)} tiles of {len(report.patients)} simulated patients")


def _roc(axes: Any, report: EvaluationReport) -> None:
    truth = np.array([p.has_metastases for p in report.patients], bool)
    for scores, name in (
        ([p.score for p in report.patients], "network"),
        ([p.baseline_score for p in report.patients], "threshold"),
    ):
        hits, alarms = roc_points(truth, np.asarray(scores, float))
        axes.plot(alarms, hits, label=name)
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=1)
    axes.set(xlabel="1 - specificity", ylabel="sensitivity", title=f"{len(truth)} simulated patients")
    axes.legend(loc="lower right")


def _froc(axes: Any, report: EvaluationReport) -> None:
    figures = lesion_figures(report.patients)
    points = [p for p in figures["free_response"] if p["sensitivity"] is not None]
    axes.plot([p["false_foci_per_patient"] for p in points], [p["sensitivity"] for p in points], marker="o",
              markersize=4, label="pixels of at least this probability")  # fmt: skip
    for point in points:
        axes.annotate(f"{point['cut']:g}", (point["false_foci_per_patient"], point["sensitivity"]), xytext=(4, -10),
                      textcoords="offset points", fontsize=7)  # fmt: skip
    if figures["sensitivity"] is not None:
        axes.plot(figures["false_foci_per_patient"], figures["sensitivity"], "s", label="results, with the gate")
    axes.set(xlabel="false foci per patient, both views", ylabel="lesions found", ylim=(0, 1.02))
    axes.set_xscale("symlog", linthresh=0.5)
    axes.set_xlim(left=0)
    largest = max((p["false_foci_per_patient"] for p in points), default=1.0)
    shown = [n for n in FALSE_FOCI_TICKS if n <= 1.2 * largest]
    axes.set_xticks(shown, [f"{n:g}" for n in shown])
    axes.set_title(f"{figures['lesions']} lesions of {len(report.patients)} simulated patients")
    axes.legend(loc="lower right", fontsize=8)


def roc_points(truth: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return sensitivity and 1 - specificity at every cut, from none positive to all positive."""
    cuts = np.concatenate([[np.inf], np.unique(scores)[::-1]])
    hits = np.array([(scores[truth] >= cut).mean() if truth.any() else 0.0 for cut in cuts])
    alarms = np.array([(scores[~truth] >= cut).mean() if (~truth).any() else 0.0 for cut in cuts])
    return hits, alarms
