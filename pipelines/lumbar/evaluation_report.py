"""The result of an evaluation and its tables: the paper's Dice beside ours, names of levels, real volumes, goals.

`EvaluationReport` holds what was measured per patient; every figure is computed from it on demand, so a table, the
JSON and a model card cannot disagree. Reads no image and runs no network.

Dice is given as mean and standard deviation over patients, and pooled over all voxels. The paper gives a mean.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pipelines.lumbar.classes import BODY, CANAL, CLASSES, CORD, DISC, FORAMEN, PAPER_STRUCTURES, SACRUM
from pipelines.lumbar.instances import DOUBTFUL_NAMES
from pipelines.lumbar.real import RealResult
from pipelines.training.metrics import Overlap, Proportion, bootstrap_interval

PAPER = {BODY: 0.864, DISC: 0.898, CANAL: 0.837, FORAMEN: 0.67, CORD: 0.669}
"""Guo et al., doi:10.13609/j.cnki.1000-0313.2022.02.016, 11 real series; ours are simulated."""

LEVEL_GOAL = 0.95
REAL_GOALS = {BODY: 0.90, DISC: 0.82}
"""What the project asks of the real volumes, over the labelled region."""


@dataclass(frozen=True)
class PatientResult:
    """What was measured on one simulated patient.

    Attributes
    ----------
    overlaps : per class, after cleaning, as the node returns it; `before_cleaning` as the networks do.
    thecal_sac : canal and cord together. baseline : of the threshold baseline, inside the true box.
    body_names, disc_names : per true level whether it was found under its name; bodies cut by the field are left out.
    usual_anatomy : five lumbar vertebrae and no transitional one.
    seconds : of cascade and levels.
    """

    seed: int
    overlaps: dict[int, Overlap]
    before_cleaning: dict[int, Overlap]
    thecal_sac: Overlap
    baseline: dict[int, Overlap]
    body_names: dict[str, bool]
    disc_names: dict[str, bool]
    usual_anatomy: bool
    level_flags: tuple[str, ...]
    cascade_flags: tuple[str, ...]
    pathologies: tuple[str, ...]
    slices: int
    seconds: float

    @property
    def mean_dice(self) -> float:
        """Mean over the paper's five structures; a structure in neither truth nor result is left out."""
        return float(np.mean([d for k in PAPER_STRUCTURES if (d := self.overlaps[k].dice) is not None]))


@dataclass(frozen=True)
class EvaluationReport:
    """An evaluation of one pair of networks."""

    preset: str
    first_seed: int
    patients: tuple[PatientResult, ...]
    real: tuple[RealResult, ...]
    models: tuple[dict[str, str], ...]
    baseline: dict[str, list[float]]

    def summary(self) -> dict[str, Any]:
        """Return all figures, JSON-ready: schema 1 of `osteon evaluate lumbar --json`."""
        seconds = [p.seconds for p in self.patients]
        return {
            "schema": 1,
            "patients": len(self.patients),
            "simulated": True,
            "preset": self.preset,
            "first_seed": self.first_seed,
            "models": list(self.models),
            "dice": {CLASSES[k]: dice_figures(self.patients, _class_overlap(k)) for k in (*PAPER_STRUCTURES, SACRUM)},
            "dice_thecal_sac": dice_figures(self.patients, lambda p: p.thecal_sac),
            "dice_before_cleaning": {
                CLASSES[k]: dice_figures(self.patients, _held("before_cleaning", k))["mean"] for k in PAPER_STRUCTURES
            },
            "dice_baseline": {
                CLASSES[k]: dice_figures(self.patients, _held("baseline", k))["mean"] for k in PAPER_STRUCTURES
            },
            "baseline": self.baseline,
            "labels": label_figures(self.patients),
            "real": [real_figures(part, k) for k in REAL_GOALS if (part := self._real_of(k))],
            "paper": {CLASSES[k]: value for k, value in PAPER.items()},
            "seconds_median": float(np.median(seconds)),
            "goals": [{"goal": text, "value": value, "reached": reached} for text, value, reached in goals(self)],
        }

    def table(self) -> str:
        """Return the tables as plain text."""
        from pipelines.lumbar.evaluation_table import table

        return table(self)

    def _real_of(self, structure: int) -> list[RealResult]:
        return [r for r in self.real if r.structure == structure]

    def to_json(self) -> dict[str, Any]:
        """Return the summary with the results of every patient and volume."""
        patients = [{**_by_class_name(asdict(p)), "mean_dice": p.mean_dice} for p in self.patients]
        return {
            **self.summary(),
            "per_patient": patients,
            "per_volume": [{**asdict(r), "structure": CLASSES[r.structure]} for r in self.real],
        }


def dice_figures(patients: Sequence[PatientResult], overlap: Callable[[PatientResult], Overlap]) -> dict[str, Any]:
    """Return mean, standard deviation, range and pooled Dice of one structure; patients without it are left out."""
    overlaps = [overlap(p) for p in patients]
    values = [o.dice for o in overlaps if o.dice is not None]
    return {
        "mean": _mean(overlaps),
        "sd": float(np.std(values, ddof=1)) if len(values) > 1 else None,
        "lowest": min(values, default=None),
        "highest": max(values, default=None),
        "mean_interval": bootstrap_interval(overlaps, _mean),
        "pooled": _pooled(overlaps),
        "pooled_interval": bootstrap_interval(overlaps, _pooled),
    }


def label_figures(patients: Sequence[PatientResult]) -> dict[str, Any]:
    """Return which share of the true bodies and discs was found under its own name."""
    usual = [p for p in patients if p.usual_anatomy]
    unusual = [p for p in patients if not p.usual_anatomy]
    return {
        "bodies": _share([ok for p in patients for ok in p.body_names.values()]),
        "discs": _share([ok for p in patients for ok in p.disc_names.values()]),
        "all": _share(_names(patients)),
        "all_interval_by_patient": bootstrap_interval(patients, _right_names),
        "usual_anatomy": _share(_names(usual)),
        "unusual_anatomy": _share(_names(unusual)),
        "unusual_flagged": _share([bool(DOUBTFUL_NAMES & set(p.level_flags)) for p in unusual]),
        "usual_flagged": _share([bool(DOUBTFUL_NAMES & set(p.level_flags)) for p in usual]),
    }


def real_figures(results: Sequence[RealResult], structure: int) -> dict[str, Any]:
    """Return Dice pooled over volumes and slice spacings, and how many labelled structures were found."""
    spacings, names = sorted({r.slice_mm for r in results}), sorted({r.name for r in results})

    def pooled(part: Sequence[RealResult]) -> float | None:
        return _pooled([r.scored for r in part])

    return {
        "structure": CLASSES[structure],
        "volumes": len(names),
        "dice": pooled(results),
        "dice_unrestricted": _pooled([r.unrestricted for r in results]),
        "by_slice_mm": {str(mm): pooled([r for r in results if r.slice_mm == mm]) for mm in spacings},
        "by_volume": {name: pooled([r for r in results if r.name == name]) for name in names},
        "found": _share([True] * sum(r.found for r in results) + [False] * sum(r.labelled - r.found for r in results)),
    }


def real_summary(summary: dict[str, Any]) -> dict[str, Any]:
    """Return what a report's summary says of the real volumes as a set of patients of its own, for model cards."""
    rows = summary["real"]
    return {
        "simulated": False,
        "dice": {row["structure"]: row["dice"] for row in rows},
        "paper": {row["structure"]: summary["paper"][row["structure"]] for row in rows},
        "structures": rows,
    }


def goals(report: EvaluationReport) -> list[tuple[str, float | None, bool]]:
    """Return what the project asks for, what was measured, and whether it was reached."""
    lines: list[tuple[str, float | None, bool]] = []

    def add(text: str, value: float | None, least: float) -> None:
        lines.append((text, value, value is not None and value >= least))

    for k, least in PAPER.items():
        mean = dice_figures(report.patients, _class_overlap(k))["mean"]
        add(f"Dice {CLASSES[k]}, simulated: at least {least}", mean, least)
    add(f"names of levels, simulated: at least {LEVEL_GOAL}", _right_names(report.patients), LEVEL_GOAL)
    for k, least in REAL_GOALS.items():
        if part := [r for r in report.real if r.structure == k]:
            figures = real_figures(part, k)
            add(f"Dice {CLASSES[k]}, real, labelled region: at least {least}", figures["dice"], least)
            if k == BODY:
                add("every labelled body found, real", figures["found"]["value"], 1.0)
    return lines


def _by_class_name(patient: dict[str, Any]) -> dict[str, Any]:
    """Name the classes, which JSON could key by text only."""
    by_class = ("overlaps", "before_cleaning", "baseline")
    return {**patient, **{key: {CLASSES[k]: v for k, v in patient[key].items()} for key in by_class}}


def _class_overlap(structure: int) -> Callable[[PatientResult], Overlap]:
    return _held("overlaps", structure)


def _held(which: str, structure: int) -> Callable[[PatientResult], Overlap]:
    """How to take one structure's overlap from a patient's `overlaps`, `before_cleaning` or `baseline`."""
    return lambda patient: getattr(patient, which)[structure]


def _mean(overlaps: Sequence[Overlap]) -> float | None:
    values = [o.dice for o in overlaps if o.dice is not None]
    return float(np.mean(values)) if values else None


def _pooled(overlaps: Sequence[Overlap]) -> float | None:
    return sum(overlaps, Overlap()).dice


def _names(patients: Sequence[PatientResult]) -> list[bool]:
    return [ok for p in patients for held in (p.body_names, p.disc_names) for ok in held.values()]


def _right_names(patients: Sequence[PatientResult]) -> float | None:
    names = _names(patients)
    return Proportion(sum(names), len(names)).value


def _share(hits: Sequence[bool]) -> dict[str, Any]:
    share = Proportion(sum(hits), len(hits))
    return {"value": share.value, "counts": [share.hits, share.total], "interval": share.interval}
