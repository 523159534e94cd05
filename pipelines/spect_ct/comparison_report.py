"""What the comparison of networks measured, as the paper's tables 2 and 3, with DeLong's test between networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pipelines.spect_ct.scores import FIGURES, LesionScore
from pipelines.spect_ct.uses import CT, FUSED, SPECT, TITLES, USES
from pipelines.training.delong import Comparison, compare
from pipelines.training.metrics import bootstrap_interval

OURS = "MT-UNet"
PAPER_DICE = {
    SPECT: (0.706, 0.685, 0.924, 0.886, 0.866, 0.738, 0.741, 0.798, 0.940),
    CT: (0.812, 0.816, 0.943, 0.922, 0.899, 0.916, 0.872, 0.891, 0.962),
    FUSED: (0.787, 0.860, 0.943, 0.938, 0.938, 0.779, 0.813, 0.923, 0.963),
}
PAPER_TRANSFER = (0.801, 0.878, 0.957, 0.951, 0.954, 0.799, 0.830, 0.944, 0.984)
PAPER_ORDER = ("ResNet34", "ResNet101", "EfficientNet", "MobileNet", "RegNetX", "VGG16", "DenseNet169", "VGG11", OURS)
"""Dice of tables 2 and 3. Most rows of table 3 exceed 2 IoU / (1 + IoU), the most that their IoU allows."""


@dataclass(frozen=True)
class SliceScore:
    """One slice: its patient, whether it shows a lesion, and the network's highest probability on it."""

    patient: int
    has_lesion: bool
    peak: float


@dataclass(frozen=True)
class FoldScores:
    """One network on one fold, one use, without or with transfer; `owners`: the patient of each lesion."""

    network: str
    fold: int
    use: str
    transfer: bool
    lesions: tuple[LesionScore, ...]
    owners: tuple[int, ...]
    slices: tuple[SliceScore, ...]

    @property
    def title(self) -> str:
        """What was trained, in words."""
        return f"{TITLES[self.use]} with transfer" if self.transfer else TITLES[self.use]


@dataclass(frozen=True)
class ComparisonReport:
    """All folds, and the budget that every network had."""

    budget: dict[str, int]
    networks: tuple[str, ...]
    parameters: dict[str, int]
    folds: tuple[FoldScores, ...]
    seed: int
    first: int = 0

    def figures(self, network: str, use: str, transfer: bool) -> dict[str, float | None]:
        """Return the means over all lesions of all folds."""
        lesions = [one for fold in self._of(network, use, transfer) for one in fold.lesions]
        return {name: float(np.mean([getattr(x, name) for x in lesions])) if lesions else None for name in FIGURES}

    def delong(self, network: str, use: str, transfer: bool) -> Comparison | None:
        """Compare a network with MT-UNet on the slices of all folds; None without both kinds of slices."""
        ours = [s for fold in self._of(OURS, use, transfer) for s in fold.slices]
        theirs = [s for fold in self._of(network, use, transfer) for s in fold.slices]
        truth = np.array([s.has_lesion for s in ours])
        if not len(truth) or len(ours) != len(theirs) or truth.all() or not truth.any():
            return None
        return compare(truth, np.array([s.peak for s in ours]), np.array([s.peak for s in theirs]))

    def gain(self, network: str) -> tuple[float, tuple[float, float] | None] | None:
        """Return what transfer adds to the mean Dice on SPECT/CT, and its interval; None where nothing was scored.

        The same lesions with and without; the interval is a bootstrap over patients.
        """
        gains: dict[int, list[float]] = {}
        for without, having in zip(self._of(network, FUSED, False), self._of(network, FUSED, True), strict=True):
            for owner, one, other in zip(without.owners, without.lesions, having.lesions, strict=True):
                gains.setdefault(owner, []).append(other.dice - one.dice)
        mean = _mean_of(list(gains.values()))
        return None if mean is None else (mean, bootstrap_interval(list(gains.values()), _mean_of))

    def to_json(self) -> dict[str, Any]:
        """Return everything, JSON-ready."""
        rows = []
        for transfer, uses in ((False, USES), (True, (FUSED,))):
            for use in uses:
                for network in self.networks:
                    tested = self.delong(network, use, transfer) if network != OURS else None
                    row = {"network": network, "use": use, "transfer": transfer}
                    row |= {"figures": self.figures(network, use, transfer), "delong": tested and asdict(tested)}
                    rows.append(row)
        gains = {network: self.gain(network) for network in self.networks}
        return {"schema_version": 1, "pipeline": "spect-ct", "budget": self.budget, "parameters": self.parameters,
                "seed": self.seed, "first_patient": self.first, "rows": rows, "transfer_gain": gains}  # fmt: skip

    def table(self) -> str:
        """Return the tables as text."""
        b = self.budget
        lines = [
            f"budget of every training: {b['patients']} simulated patients in {b['folds']} folds, {b['steps']} steps "
            f"of {b['batch']} crops of {b['side']} mm; the paper: 93 patients, 5 folds, 256 mm, pretraining not stated"
        ]
        for use in USES:
            lines += ["", f"table 2, {TITLES[use]}, validation", *self._rows(use, False, PAPER_DICE[use])]
        lines += ["", "table 3, SPECT/CT with transfer learning, validation", *self._rows(FUSED, True, PAPER_TRANSFER)]
        lines += [
            "",
            "what transfer adds to the DSC on SPECT/CT, same lesions, same steps in all (95 %, over patients)",
        ]
        lines += [f"{network:14}{_gained(self.gain(network))}" for network in self.networks]
        lines += [
            "",
            "Table 4 is `osteon evaluate spect-ct`. DeLong: MT-UNet against the network, slices with a lesion against",
            "slices without, by their highest probability; slices of a patient are not independent: p is too small.",
            "The paper's networks likely started from ImageNet, ours from nothing. Its table 3 as printed cannot be",
            "right: most of its rows have a higher Dice than their IoU allows.",
        ]
        return "\n".join(lines)

    def _rows(self, use: str, transfer: bool, paper: Sequence[float]) -> list[str]:
        heads = ("accuracy", "sensitivity", "specificity", "AUC", "IoU", "DSC")
        lines = [
            f"{'network':14}{'M par.':>8}"
            + "".join(f"{h:>13}" for h in heads)
            + f"{'paper DSC':>11}{'DeLong z':>10}{'p':>9}"
        ]
        for network in self.networks:
            figures = self.figures(network, use, transfer)
            tested = self.delong(network, use, transfer) if network != OURS else None
            known = dict(zip(PAPER_ORDER, paper, strict=True))
            cells = "".join(f"{_number(figures[name]):>13}" for name in FIGURES)
            test = f"{_signed(tested.z if tested else None):>10}{_number(tested.p if tested else None):>9}"
            size = self.parameters[network] / 1e6
            lines.append(f"{network:14}{size:>8.2f}{cells}{_number(known.get(network)):>11}{test}")
        return lines

    def _of(self, network: str, use: str, transfer: bool) -> list[FoldScores]:
        return [f for f in self.folds if (f.network, f.use, f.transfer) == (network, use, transfer)]


def _mean_of(patients: Sequence[Sequence[float]]) -> float | None:
    values = [value for one in patients for value in one]
    return float(np.mean(values)) if values else None


def _gained(gain: tuple[float, tuple[float, float] | None] | None) -> str:
    if gain is None:
        return "-"
    mean, interval = gain
    return f"{mean:+.3f}" + (f" ({interval[0]:+.3f} to {interval[1]:+.3f})" if interval else "")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.2f}"
