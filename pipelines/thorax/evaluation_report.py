"""The result of an evaluation and its table, in the form of the paper's table 6.

`EvaluationReport` holds the score of every image; every figure is computed from them on demand, so a table, the JSON
and the model card cannot disagree. Reads no image and runs no network.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from pipelines.thorax.scores import FIGURES, ImageScore, figures, intervals

PAPER_VIEWS, PAPER_ADDED = "views, 37 % of labels", "both views added, 37 %"
PAPER = {
    PAPER_VIEWS: {"dsc": 0.683, "cpa": 0.715, "recall": 0.601},
    PAPER_ADDED: {"dsc": 0.692, "cpa": 0.721, "recall": 0.624},
    "U-Net, added, all labels": {"dsc": 0.695, "cpa": 0.722, "recall": 0.608},
    "nnU-Net, added, all labels": {"dsc": 0.757, "cpa": 0.772, "recall": 0.712},
}
"""Lin et al., doi:10.3389/fmolb.2022.956720, 112 real images and copies of them; ours are simulated."""


@dataclass(frozen=True)
class EvaluationReport:
    """An evaluation of one set of weights on one set of simulated patients.

    scores, baseline : per image, the network's and the tuned threshold's.
    """

    preset: str
    first_seed: int
    patients: int
    scores: tuple[ImageScore, ...]
    baseline: tuple[ImageScore, ...]
    threshold: float
    model: dict[str, str]
    aggregated: bool
    labelled_fraction: float | None
    seconds_per_patient: float

    def summary(self) -> dict[str, Any]:
        """Return all figures, JSON-ready: schema 1 of `osteon evaluate thorax --json`."""
        spans = {f"{name}_interval": span for name, span in _lists(intervals(self.scores)).items()}
        return {
            "schema": 1,
            "patients": self.patients,
            "simulated": True,
            "preset": self.preset,
            "first_seed": self.first_seed,
            "model": self.model,
            "aggregated": self.aggregated,
            "labelled_fraction": self.labelled_fraction,
            "network": {**figures(self.scores), **spans},
            "baseline": {**figures(self.baseline), "threshold": self.threshold},
            "paper": PAPER[PAPER_ADDED if self.aggregated else PAPER_VIEWS],
            "paper_rows": PAPER,
            "seconds_per_patient": self.seconds_per_patient,
        }

    def to_json(self) -> dict[str, Any]:
        """Return the summary with the score of every image."""
        return {**self.summary(), "images": [asdict(score) for score in self.scores]}

    def table(self) -> str:
        """Return the table as plain text."""
        facts = self.summary()
        network, simple = facts["network"], facts["baseline"]
        last = self.first_seed + self.patients - 1
        lines = [
            f"{self.patients} simulated patients, preset {self.preset}, seeds {self.first_seed} to {last}: thorax of "
            f"both views, {network['images_with_lesions']} images with lesions",
            f"{'':30}{'DSC':>21}{'CPA':>21}{'recall':>21}",
            _row("network", {n: _spread(network[n], network[f"{n}_interval"]) for n in FIGURES}),
            _row("network, pixels pooled", {n: _number(network[f"pooled_{n}"]) for n in FIGURES}),
            _row("tuned threshold", {n: _number(simple[n]) for n in FIGURES}),
            *(_row(f"paper: {name}", {n: _number(row[n]) for n in FIGURES}) for name, row in PAPER.items()),
            "",
            f"lesions found: {_number(network['lesions_found'])} of {network['lesions']}; false foci per image: "
            f"{_number(network['false_foci_per_image'])}; images without a lesion and without a mark: "
            f"{_number(network['clean_images_without_lesions'])} of {network['images_without_lesions']}",
            *_notes(self),
        ]
        return "\n".join(lines)


def _notes(report: EvaluationReport) -> list[str]:
    share = report.labelled_fraction
    labels = f"labels of {100 * share:g} % of its patients" if share is not None else "labels not stated"
    return [
        f"weights: {report.model['name']} {report.model['version']} ({report.model['sha256'][:12]}), {labels}; "
        f"{report.seconds_per_patient:.2f} s per patient",
        "Means over images with a lesion in truth, as all of the paper's have; nothing marked counts as 0. In brackets",
        "95 % intervals over patients. The paper's figures are of real patients and stand there for orientation.",
    ]


def _row(name: str, cells: dict[str, str]) -> str:
    return f"{name:30}" + "".join(f"{cells[figure]:>21}" for figure in FIGURES)


def _spread(value: float | None, interval: list[float] | None) -> str:
    return _number(value) + (f" ({interval[0]:.3f}-{interval[1]:.3f})" if interval else "")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _lists(named: dict[str, tuple[float, float] | None]) -> dict[str, list[float] | None]:
    return {name: list(pair) if pair else None for name, pair in named.items()}
