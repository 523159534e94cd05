"""What an evaluation measured, and the paper's table 4 beside it.

Figures of a use are means over lesions (each on the slice of its largest section); their intervals are a bootstrap over
patients, because lesions of one patient are not independent. The paper's goals are those of its test set; whatever ours
are stands beside them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pipelines.spect_ct.lesions import LEAST_PEAK
from pipelines.spect_ct.scores import FIGURES, LesionScore, UseScore
from pipelines.spect_ct.uses import CT, FUSED, SPECT, TITLES, USES
from pipelines.training.metrics import Overlap, Proportion, bootstrap_interval

PAPER = {
    SPECT: {"accuracy": 0.999, "sensitivity": 0.858, "specificity": 0.999, "auc": 0.891, "iou": 0.844, "dice": 0.915},
    CT: {"accuracy": 0.999, "sensitivity": 0.930, "specificity": 0.999, "auc": 0.969, "iou": 0.869, "dice": 0.930},
    FUSED: {"accuracy": 0.999, "sensitivity": 0.966, "specificity": 0.999, "auc": 0.972, "iou": 0.884, "dice": 0.938},
}
"""Table 4 of the paper: MT-UNet on its test set of 22 patients with 40 lesions."""

BASELINE_LIMIT = 0.5
SMALL_MM = 5.0


@dataclass(frozen=True)
class PatientResult:
    """One patient: scores by use, and what its lesions are, by label."""

    seed: int
    uses: dict[str, UseScore]
    kinds: dict[int, str]
    malignant: dict[int, bool]
    diameters_mm: dict[int, float]
    slices: int
    seconds: float


@dataclass(frozen=True)
class EvaluationReport:
    """Everything measured, and what measured it."""

    preset: str
    first_seed: int
    patients: tuple[PatientResult, ...]
    models: tuple[dict[str, str], ...]
    baseline: dict[str, list[float]]

    def summary(self) -> dict[str, Any]:
        """Return all figures, JSON-ready; "dice" and "paper" are what a page shows of a card first."""
        uses = {use: use_figures(self.patients, use) for use in USES}
        return {
            "patients": len(self.patients),
            "simulated": True,
            "preset": self.preset,
            "seeds": [patient.seed for patient in self.patients],
            "dice": {
                TITLES[use]: {"mean": figures["dice"], "mean_interval": figures["dice_interval"]}
                for use, figures in uses.items()
            },
            "paper": {TITLES[use]: PAPER[use]["dice"] for use in USES},
            "uses": uses,
            "goals": [{"goal": text, "value": value, "reached": ok} for text, value, ok in goals(self.patients)],
            "seconds_median": float(np.median([p.seconds for p in self.patients])),
            "baseline_levels": self.baseline,
        }

    def to_json(self) -> dict[str, Any]:
        """Return the summary and every patient's scores."""
        return {
            "schema_version": 1,
            "pipeline": "spect-ct",
            "models": list(self.models),
            "summary": self.summary(),
            "paper": PAPER,
            "per_patient": [asdict(patient) for patient in self.patients],
        }

    def table(self) -> str:
        """Return the report as lines of text."""
        from pipelines.spect_ct.evaluation_table import table

        return table(self)


def use_figures(patients: Sequence[PatientResult], use: str) -> dict[str, Any]:
    """Return the figures of one use."""
    lesions = [lesion for p in patients for lesion in p.uses[use].lesions]
    figures: dict[str, Any] = {
        "lesions": len(lesions),
        "patients_with_lesions": sum(bool(p.uses[use].lesions) for p in patients),
    }
    for name in FIGURES:
        figures[name] = _mean([getattr(lesion, name) for lesion in lesions])
    figures["dice_interval"] = bootstrap_interval(patients, lambda part: _mean_dice(part, use))
    figures["dice_median"] = float(np.median([x.dice for x in lesions])) if lesions else None
    figures["baseline_dice"] = _mean([lesion.baseline_dice for lesion in lesions])
    figures["by_kind"] = _by_kind(patients, use)
    volumes = [p.uses[use] for p in patients if p.uses[use].volume is not None]
    if volumes:
        figures["volume"] = _volume_figures([p for p in patients if p.uses[use].volume is not None], use)
    return figures


def goals(patients: Sequence[PatientResult]) -> list[tuple[str, float | None, bool]]:
    """Return what the project asks for, what was measured, and whether it was reached."""
    lines: list[tuple[str, float | None, bool]] = []
    for use in USES:
        value, least = _mean_dice(patients, use), PAPER[use]["dice"]
        lines.append((f"Dice, {TITLES[use]}: at least {least}", value, value is not None and value >= least))
    for use in USES:
        value = _mean([x.baseline_dice for p in patients for x in p.uses[use].lesions])
        lines.append(
            (
                f"threshold, {TITLES[use]}: Dice under {BASELINE_LIMIT}",
                value,
                value is not None and value < BASELINE_LIMIT,
            )
        )
    return lines


def _by_kind(patients: Sequence[PatientResult], use: str) -> dict[str, dict[str, Any]]:
    """Return, for each kind of lesion, how many there are, their slices' mean Dice, and how many are missed.

    Missed is a lesion none of whose pixels on its slice reaches `LEAST_PEAK`: the pipeline drops pieces that are no
    surer, so that an outline at the lower threshold alone would never reach a reader.
    """
    kinds: dict[str, list[LesionScore]] = {}
    for patient in patients:
        for lesion in patient.uses[use].lesions:
            kinds.setdefault(patient.kinds[lesion.label], []).append(lesion)
    return {
        kind: {
            "lesions": len(lesions),
            "dice": _mean([lesion.dice for lesion in lesions]),
            "missed": sum(lesion.peak < LEAST_PEAK for lesion in lesions),
        }
        for kind, lesions in sorted(kinds.items())
    }


def _volume_figures(patients: Sequence[PatientResult], use: str) -> dict[str, Any]:
    scored = [p.uses[use] for p in patients]
    overlaps = [score.volume for score in scored if score.volume is not None]
    dice = [overlap.dice for overlap in overlaps if overlap.dice is not None]
    false = [len(score.false_peaks or ()) for score in scored]
    lesions = [(p, x) for p in patients for x in p.uses[use].lesions]
    found = [(bool(x.found), p.diameters_mm[x.label]) for p, x in lesions]
    nature = [(bool(x.found), p.malignant[x.label]) for p, x in lesions]
    return {
        "patients": len(patients),
        "seeds": [patient.seed for patient in patients],
        "dice_mean": _mean(dice),
        "dice_pooled": sum(overlaps, Overlap()).dice,
        "sensitivity": _share([hit for hit, _ in found]),
        "sensitivity_under_5_mm": _share([hit for hit, mm in found if mm < SMALL_MM]),
        "sensitivity_malignant": _share([hit for hit, malignant in nature if malignant]),
        "sensitivity_benign": _share([hit for hit, malignant in nature if not malignant]),
        "found_by_kind": _found_by_kind((p.kinds[x.label], bool(x.found)) for p, x in lesions),
        "false_positives_per_patient": _mean([float(n) for n in false]),
        "false_positives_median": float(np.median(false)),
        "patients_without_false_positives": _share([n == 0 for n in false]),
    }


def _found_by_kind(lesions: Iterable[tuple[str, bool]]) -> dict[str, dict[str, int]]:
    """Return, for each kind of lesion in the whole volumes, how many there are and how many are found."""
    kinds: dict[str, dict[str, int]] = {}
    for kind, hit in sorted(lesions):
        counts = kinds.setdefault(kind, {"lesions": 0, "found": 0})
        counts["lesions"] += 1
        counts["found"] += hit
    return kinds


def _mean_dice(patients: Sequence[PatientResult], use: str) -> float | None:
    return _mean([lesion.dice for p in patients for lesion in p.uses[use].lesions])


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _share(hits: Sequence[bool]) -> dict[str, Any]:
    share = Proportion(sum(hits), len(hits))
    return {"value": share.value, "counts": [share.hits, share.total], "interval": share.interval}
