"""The worst results of an evaluation as a picture: wrong decisions first, then the poorest outlines.

Seeds of an `EvaluationReport` -> simulated and analysed again -> both views of each patient side by side, truth and
result drawn as outlines. Needs matplotlib (the `research` extra).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.bone_scan.analysis import Network
from pipelines.bone_scan.evaluate import analyse_scan
from pipelines.bone_scan.evaluation_report import PatientResult
from pipelines.contract.provenance import Stopwatch
from pipelines.imaging.contours import outline_of
from pipelines.phantoms.bone_scan import VIEWS, simulate_bone_scan
from pipelines.planar.lesions import BLADDER, METASTASIS

FAILURES = "failures.png"
SHOWN = 6

COLOURS = {METASTASIS: ("tab:green", "tab:red"), BLADDER: ("tab:cyan", "tab:orange")}
"""Of the truth and of the result."""


def worst(patients: Sequence[PatientResult], number: int = SHOWN) -> list[PatientResult]:
    """Return the patients that came out worst: decided wrongly, the clearest errors first, then lowest Dice."""

    def order(patient: PatientResult) -> tuple[float, float]:
        if patient.positive != patient.has_metastases:
            return (0.0, -abs(patient.score - 0.5))
        dice = patient.metastasis.dice if patient.metastasis.truth else patient.bladder.dice
        return (1.0, 1.0 if dice is None else dice)

    return sorted(patients, key=order)[:number]


def draw_failures(patients: Sequence[PatientResult], preset: str, network: Network, folder: Path) -> Path:
    """Write the picture of some patients and return its path.

    Parameters
    ----------
    patients : what `worst` chose. preset : of their acquisition. network : usually an `engine.Engine`.
    """
    from matplotlib.figure import Figure

    folder.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=(2.6 * len(VIEWS) * len(patients), 7), dpi=80, layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, len(VIEWS) * len(patients)))
    for number, patient in enumerate(patients):
        _draw_patient(axes[len(VIEWS) * number :][: len(VIEWS)], patient, preset, network)
    figure.suptitle("truth: green metastasis, cyan bladder; result: red metastasis, orange bladder", fontsize=9)
    figure.savefig(folder / FAILURES)
    return folder / FAILURES


def _draw_patient(axes: Any, patient: PatientResult, preset: str, network: Network) -> None:
    scan = simulate_bone_scan(patient.seed, preset)
    for place, truth, analysis in zip(axes, scan.labels, analyse_scan(scan, network, Stopwatch()), strict=True):
        place.imshow(analysis.counts, cmap="gray_r", vmin=0, vmax=analysis.prepared.upper_levels[-1])
        for label, colours in COLOURS.items():
            for mask, colour in zip((truth == label, analysis.found.classes == label), colours, strict=True):
                for line in outline_of(mask):
                    place.plot(line[:, 0] - 0.5, line[:, 1] - 0.5, color=colour, linewidth=0.8)
        place.set_axis_off()
    called = "positive" if patient.positive else "negative"
    truth_word = "metastases" if patient.has_metastases else "none"
    dice = "" if patient.metastasis.dice is None else f", Dice {patient.metastasis.dice:.2f}"
    axes[0].set_title(f"{patient.seed}: {truth_word}\ncalled {called} ({100 * patient.score:.0f} %){dice}", fontsize=8)
