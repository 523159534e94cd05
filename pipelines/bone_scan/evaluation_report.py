"""The result of an evaluation and its tables, in the form of the paper's tables 1 and 2.

`EvaluationReport` holds what was measured per patient; every figure is computed from it on demand, so a table, the
JSON and a model card cannot disagree. Reads no image and runs no network.

Dice is given twice: pooled over all pixels, and as the mean over patients with that structure. The paper does not say
which of them its figure is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from pipelines.planar.detections import CUTS, Detections
from pipelines.training.metrics import (
    CalibrationBin,
    Decisions,
    Overlap,
    Proportion,
    area_under_roc,
    bootstrap_interval,
    calibration,
    calibration_error,
)

PAPER = {
    "sensitivity": 0.9259, "specificity": 0.8551, "accuracy": 0.8862, "ppv": 0.8333, "npv": 0.9365,
    "auc_metastasis": 0.926, "auc_bladder": 0.997, "dice_metastasis": 0.739, "dice_bladder": 0.925,
}  # fmt: skip
"""Liu et al., doi:10.3760/cma.j.cn321828-20200906-00337, 123 real patients; ours are simulated."""

PAPER_BY_AGE = {
    "under 50": {"sensitivity": 2 / 2, "specificity": 12 / 13, "accuracy": 14 / 15, "dice_metastasis": 0.717},
    "50 to 69": {"sensitivity": 28 / 31, "specificity": 39 / 44, "accuracy": 67 / 75, "dice_metastasis": 0.742},
    "70 and over": {"sensitivity": 20 / 21, "specificity": 8 / 12, "accuracy": 28 / 33, "dice_metastasis": 0.740},
}

AGE_GROUPS: tuple[tuple[str, int, int], ...] = (("under 50", 0, 49), ("50 to 69", 50, 69), ("70 and over", 70, 200))


@dataclass(frozen=True)
class TileResult:
    """Truth of one tile and the network's probabilities."""

    has_metastasis: bool
    has_bladder: bool
    metastasis: float
    bladder: float


@dataclass(frozen=True)
class PatientResult:
    """What was measured on one patient; overlaps count pixels of both views, detections the foci of both.

    free_response : detections at each of `CUTS` in the network's answer before the gate.
    """

    seed: int
    age_years: int
    has_metastases: bool
    score: float
    positive: bool
    metastasis: Overlap
    bladder: Overlap
    tiles: tuple[TileResult, ...]
    baseline_score: float
    baseline_positive: bool
    baseline_metastasis: Overlap
    baseline_bladder: Overlap
    detections: Detections
    free_response: tuple[Detections, ...]
    bstbi: float | None
    bstbi_truth: float | None
    benign: tuple[str, ...]


@dataclass(frozen=True)
class EvaluationReport:
    """An evaluation of one set of weights on one set of simulated patients."""

    preset: str
    first_seed: int
    patients: tuple[PatientResult, ...]
    models: tuple[dict[str, str], ...]
    baseline: dict[str, float]
    seconds_per_patient: float

    @cached_property
    def intervals(self) -> dict[str, list[float] | None]:
        """95 % intervals of areas and overlaps; a bootstrap, so taken once."""
        return _intervals(self.patients)

    def summary(self) -> dict[str, Any]:
        """Return all figures, JSON-ready: schema 1 of `osteon evaluate bone-scan --json`."""
        return {
            "schema": 1,
            "patients": len(self.patients),
            "simulated": True,
            "preset": self.preset,
            "first_seed": self.first_seed,
            "models": list(self.models),
            "networks": network_figures(self.patients),
            "baseline": {**baseline_figures(self.patients), "settings": self.baseline},
            "by_age": {
                name: network_figures([p for p in self.patients if low <= p.age_years <= high])
                for name, low, high in AGE_GROUPS
            },
            "intervals": self.intervals,
            "calibration": calibration_figures(self.patients),
            "bstbi": _burden_figures(self.patients),
            "lesions": lesion_figures(self.patients),
            "paper": dict(PAPER),
            "seconds_per_patient": self.seconds_per_patient,
        }

    def to_json(self) -> dict[str, Any]:
        """Return the summary with the results of every patient (without their tiles)."""
        rows = [{k: v for k, v in asdict(p).items() if k != "tiles"} for p in self.patients]
        return {**self.summary(), "per_patient": rows}

    def table(self) -> str:
        """Return both tables as plain text."""
        return "\n".join([*_overall_lines(self), "", *_age_lines(self), "", *_note_lines(self)])


def network_figures(patients: Sequence[PatientResult]) -> dict[str, Any]:
    """Return the paper's figures of the networks on some patients; None where a figure is 0/0."""
    decisions = Decisions.of([p.has_metastases for p in patients], [p.positive for p in patients])
    tiles = [tile for p in patients for tile in p.tiles]
    return {
        "patients": len(patients),
        **_decision_figures(decisions),
        "auc_metastasis": area_under_roc([p.has_metastases for p in patients], [p.score for p in patients]),
        "auc_metastasis_tiles": area_under_roc([t.has_metastasis for t in tiles], [t.metastasis for t in tiles]),
        "auc_bladder": area_under_roc([t.has_bladder for t in tiles], [t.bladder for t in tiles]),
        **_dice_figures("metastasis", [p.metastasis for p in patients]),
        **_dice_figures("bladder", [p.bladder for p in patients]),
    }


def baseline_figures(patients: Sequence[PatientResult]) -> dict[str, Any]:
    """Return the same figures of the threshold baseline."""
    decisions = Decisions.of([p.has_metastases for p in patients], [p.baseline_positive for p in patients])
    return {
        **_decision_figures(decisions),
        "auc_metastasis": area_under_roc([p.has_metastases for p in patients], [p.baseline_score for p in patients]),
        "auc_bladder": None,
        **_dice_figures("metastasis", [p.baseline_metastasis for p in patients]),
        **_dice_figures("bladder", [p.baseline_bladder for p in patients]),
    }


def _decision_figures(decisions: Decisions) -> dict[str, Any]:
    proportions: dict[str, Proportion] = {
        "sensitivity": decisions.sensitivity,
        "specificity": decisions.specificity,
        "accuracy": decisions.accuracy,
        "ppv": decisions.positive_predictive_value,
        "npv": decisions.negative_predictive_value,
    }
    figures: dict[str, Any] = {}
    for name, proportion in proportions.items():
        figures[name] = proportion.value
        figures[f"{name}_counts"] = [proportion.hits, proportion.total]
        figures[f"{name}_interval"] = list(proportion.interval) if proportion.interval else None
    return figures


def _dice_figures(name: str, overlaps: Sequence[Overlap]) -> dict[str, float | None]:
    with_truth = [o.dice for o in overlaps if o.truth and o.dice is not None]
    return {
        f"dice_{name}": sum(overlaps, Overlap()).dice,
        f"dice_{name}_mean": float(np.mean(with_truth)) if with_truth else None,
    }


def reliability(patients: Sequence[PatientResult]) -> tuple[CalibrationBin, ...]:
    """Return the reliability of the tiles' probabilities of metastasis."""
    tiles = [tile for p in patients for tile in p.tiles]
    return calibration([t.has_metastasis for t in tiles], [t.metastasis for t in tiles])


def calibration_figures(patients: Sequence[PatientResult]) -> dict[str, float | None]:
    """Return the expected calibration errors (ten bins) of the labels: tiles, and patients by their highest tile."""
    tiles = [tile for p in patients for tile in p.tiles]
    by_patient = calibration([p.has_metastases for p in patients], [p.score for p in patients])
    by_bladder = calibration([t.has_bladder for t in tiles], [t.bladder for t in tiles])
    return {
        "metastasis_tiles": calibration_error(reliability(patients)),
        "metastasis_patients": calibration_error(by_patient),
        "bladder_tiles": calibration_error(by_bladder),
    }


def lesion_figures(patients: Sequence[PatientResult]) -> dict[str, Any]:
    """Return lesion-wise sensitivity against false foci per patient: of the results, and at every cut (FROC)."""
    at_cuts = [sum(column, Detections()) for column in zip(*(p.free_response for p in patients), strict=True)]
    result = sum((p.detections for p in patients), Detections())
    return {
        "lesions": result.lesions,
        "sensitivity": result.sensitivity,
        "false_foci_per_patient": result.false / len(patients),
        "free_response": [
            {"cut": cut, "sensitivity": d.sensitivity, "false_foci_per_patient": d.false / len(patients)}
            for cut, d in zip(CUTS, at_cuts, strict=False)
        ],
    }


def _intervals(patients: Sequence[PatientResult]) -> dict[str, list[float] | None]:
    """95 % intervals of what is no proportion, from a bootstrap over patients."""
    figures = {
        "auc_metastasis": lambda some: area_under_roc([p.has_metastases for p in some], [p.score for p in some]),
        "dice_metastasis": lambda some: sum((p.metastasis for p in some), Overlap()).dice,
        "dice_bladder": lambda some: sum((p.bladder for p in some), Overlap()).dice,
    }
    found = {name: bootstrap_interval(patients, figure) for name, figure in figures.items()}
    return {name: list(span) if span else None for name, span in found.items()}


def _burden_figures(patients: Sequence[PatientResult]) -> dict[str, float | None]:
    pairs = np.array([(p.bstbi, p.bstbi_truth) for p in patients if p.bstbi is not None and p.bstbi_truth is not None])
    if len(pairs) < 3 or not pairs.std(0).all():
        return {"mean_absolute_error": None, "correlation": None}
    return {
        "mean_absolute_error": float(np.abs(pairs[:, 0] - pairs[:, 1]).mean()),
        "correlation": float(np.corrcoef(pairs.T)[0, 1]),
    }


_ROWS: tuple[tuple[str, str], ...] = (
    ("sensitivity", "patient sensitivity"),
    ("specificity", "patient specificity"),
    ("accuracy", "patient accuracy"),
    ("ppv", "positive predictive value"),
    ("npv", "negative predictive value"),
    ("auc_metastasis", "AUC metastases (patients)"),
    ("auc_bladder", "AUC bladder (tiles)"),
    ("dice_metastasis", "Dice metastases, pooled"),
    ("dice_bladder", "Dice bladder, pooled"),
    ("dice_metastasis_mean", "Dice metastases, patient mean"),
    ("dice_bladder_mean", "Dice bladder, patient mean"),
)


def _overall_lines(report: EvaluationReport) -> list[str]:
    figures = report.summary()
    networks, baseline = figures["networks"], figures["baseline"]
    positive = sum(p.has_metastases for p in report.patients)
    lines = [
        f"{len(report.patients)} simulated patients ({positive} with metastases), preset {report.preset}, "
        f"seeds {report.first_seed} to {report.first_seed + len(report.patients) - 1}",
        f"{'':32}{'networks':>10}{'cases':>10}{'95 % interval':>18}{'threshold':>12}{'paper':>9}",
    ]
    for key, title in _ROWS:
        counts, interval = (
            networks.get(f"{key}_counts"),
            networks.get(f"{key}_interval") or figures["intervals"].get(key),
        )
        cases = f"{counts[0]}/{counts[1]}" if counts else ""
        span = f"{interval[0]:.3f} to {interval[1]:.3f}" if interval else ""
        row = (_number(networks[key]), cases, span, _number(baseline[key]), _number(PAPER.get(key), dash=""))
        lines.append(f"{title:32}{row[0]:>10}{row[1]:>10}{row[2]:>18}{row[3]:>12}{row[4]:>9}")
    return lines


def _age_lines(report: EvaluationReport) -> list[str]:
    by_age = report.summary()["by_age"]
    columns = ("sensitivity", "specificity", "accuracy", "ppv", "npv", "dice_metastasis")
    lines = [f"{'age':14}{'patients':>9}" + "".join(f"{c.replace('_', ' '):>17}" for c in columns)]
    for name, _, _ in AGE_GROUPS:
        figures, paper = by_age[name], PAPER_BY_AGE[name]
        cells = [_with_paper(figures[c], paper.get(c)) for c in columns]
        lines.append(f"{name:14}{figures['patients']:>9}" + "".join(f"{cell:>17}" for cell in cells))
    return lines


def _note_lines(report: EvaluationReport) -> list[str]:
    models = ", ".join(f"{m['name']} {m['version']} ({m['sha256'][:12]})" for m in report.models)
    errors = {name: _number(value) for name, value in calibration_figures(report.patients).items()}
    foci = lesion_figures(report.patients)
    return [
        f"lesions, each view by itself: {_number(foci['sensitivity'])} of {foci['lesions']} found, "
        f"{foci['false_foci_per_patient']:.2f} false foci per patient",
        f"expected calibration error: metastasis {errors['metastasis_tiles']} (tiles), {errors['metastasis_patients']} "
        f"(patients by their highest tile); bladder {errors['bladder_tiles']} (tiles)",
        f"weights: {models}; {report.seconds_per_patient:.2f} s per patient",
        "In brackets and in the last column the paper's figures on real patients (Liu et al.). Simulated patients",
        "prove that the method works as built; they do not tell how it does on real ones.",
    ]


def _number(value: float | None, dash: str = "-") -> str:
    return dash if value is None else f"{value:.3f}"


def _with_paper(value: float | None, paper: float | None) -> str:
    return _number(value) + (f" ({paper:.3f})" if paper is not None else "")
