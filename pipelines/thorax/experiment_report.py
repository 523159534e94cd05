"""Rows of `experiments` as a table for a terminal, as JSON, and the curve over the labelled fraction as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.thorax.experiments import Row
from pipelines.thorax.scores import FIGURES

NAMES = {"dsc": "DSC", "cpa": "CPA", "recall": "recall"}


@dataclass(frozen=True)
class ExperimentReport:
    """Measured rows and their common budget.

    patients : learned from. curve : where the curve was drawn, if it was.
    """

    rows: tuple[Row, ...]
    minutes: float
    patients: int
    curve: Path | None = None

    def to_json(self) -> dict[str, Any]:
        """Return everything, JSON-ready: schema 1 of `osteon evaluate thorax --curve/--ablations --json`."""
        return {
            "schema": 1,
            "simulated": True,
            "minutes_of_training_each": self.minutes,
            "patients": self.patients,
            "rows": [row.facts() for row in self.rows],
        }

    def table(self) -> str:
        """Return the rows as plain text, the paper's figures in brackets."""
        held = self.rows[0].facts()
        lines = [
            f"{self.patients} simulated patients to learn from, {self.minutes:g} minutes of training for each row, "
            f"measured on {held['patients']} held-out patients",
            f"{'':10}{'':38}"
            + "".join(f"{NAMES[name]:>16}" for name in FIGURES)
            + f"{'pooled':>8}{'steps':>7}{'M':>7}",
        ]
        for row in self.rows:
            facts, paper = row.facts(), row.experiment.paper
            cells = "".join(f"{_cell(facts[name], paper.get(name)):>16}" for name in FIGURES)
            lines.append(
                f"{row.experiment.table:10}{row.experiment.name:38}{cells}{_cell(facts['pooled_dsc'], None):>8}"
                f"{row.steps:>7}{row.parameters / 1e6:>7.2f}"
            )
        lines.append("In brackets the paper's figures on real patients; pooled: DSC of all pixels together; M: million")
        lines.append("parameters. Rows of a budget this small may change places with another seed.")
        if self.curve is not None:
            lines.append(f"curve: {self.curve}")
        return "\n".join(lines)


def draw_curve(rows: Sequence[Row], minutes: float, path: Path) -> Path:
    """Draw DSC, CPA and recall over the share of labels, with 95 % intervals of DSC, as PNG.

    Raises
    ------
    ImportError
        If matplotlib is not installed (`pip install osteon[research]`).
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    facts = sorted((row.facts() for row in rows), key=lambda each: float(each["labelled_fraction"]))
    share = [100 * each["labelled_fraction"] for each in facts]
    figure = Figure(figsize=(6.4, 4.4), dpi=110)
    axes = figure.add_subplot()
    for name, marker in zip(FIGURES, "os^", strict=True):
        values = [each[name] for each in facts]
        axes.plot(share, values, marker=marker, label=NAMES[name])
        if name == "dsc":
            spans = [each["intervals"][name] or (value, value) for each, value in zip(facts, values, strict=True)]
            axes.fill_between(share, [low for low, _ in spans], [high for _, high in spans], alpha=0.15)
    axes.set_xlabel("patients whose labels were used, %")
    axes.set_ylabel("mean over held-out images with lesions")
    axes.set_xticks(share)
    axes.set_ylim(0, 1)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    axes.set_title(f"thorax, simulated patients, {minutes:g} minutes of training each", fontsize=10)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    FigureCanvasAgg(figure).print_png(str(path))
    return path


def _cell(value: float | None, paper: float | None) -> str:
    shown = "-" if value is None else f"{value:.3f}"
    return shown + (f" ({paper:.3f})" if paper is not None else "")
