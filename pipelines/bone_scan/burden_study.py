"""The index where it should stay and where it should move: dose, added metastases, therapy.

One simulated patient at a time is scanned again and again, everything but one thing the same: the counts (half, usual,
double), the number of metastases, or their uptake (before and after a therapy that leaves part of it). The node's own
analysis gives the index of each scan; beside it stands the index on the true outlines.

Needs matplotlib for the picture (the `research` extra). Simulated patients: nothing here says what an index means.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from pipelines.bone_scan.analysis import Network
from pipelines.bone_scan.bstbi import burden
from pipelines.bone_scan.evaluate import analyse_scan, true_burden
from pipelines.contract import ComputeOptions
from pipelines.contract.provenance import Stopwatch
from pipelines.phantoms.bone_scan import simulate_bone_scan

FIRST_SEED = 500_000
PATIENTS = 6
PRESET = "held_out"
COUNTS = 1.5e6
"""Of the anterior view at the usual dose."""

DOSES = (0.5, 1.0, 2.0)
NUMBERS = (0, 1, 2, 4, 8, 16)
UPTAKES = (1.0, 0.7, 0.4, 0.15, 0.0)
METASTASES = 10
"""Of a patient whose dose or therapy varies."""

PICTURE = "burden-study.png"

StudyProgress = Callable[[float, str], None]


@dataclass(frozen=True)
class Scanned:
    """One scan: what was varied, the index found, the index on the true outlines."""

    seed: int
    value: float
    found: float
    truth: float


@dataclass(frozen=True)
class BurdenStudy:
    """All scans of a study, by what was varied."""

    dose: tuple[Scanned, ...]
    number: tuple[Scanned, ...]
    therapy: tuple[Scanned, ...]
    model: dict[str, str]

    @property
    def dose_changes(self) -> dict[int, tuple[float | None, ...]]:
        """Each patient's change of the index against the usual dose, at `DOSES`; None where that one is 0."""
        return {seed: tuple(_change(s.found, _at(rows, 1.0)) for s in rows) for seed, rows in _by_seed(self.dose)}

    @property
    def rises(self) -> dict[int, bool]:
        """Whether each patient's index rises with every step of `NUMBERS`."""
        return {seed: all(a.found < b.found for a, b in pairwise(rows)) for seed, rows in _by_seed(self.number)}

    def to_json(self) -> dict[str, Any]:
        """Return all scans and both verdicts, JSON-ready."""
        return {
            "schema": 1,
            "simulated": True,
            "preset": PRESET,
            **asdict(self),
            "dose_changes": self.dose_changes,
            "rises": self.rises,
        }

    def table(self) -> str:
        """Return the study as plain text."""
        lines = [f"BSTBI found (of the true outlines), simulated patients, preset {PRESET}"]
        for title, rows, values in (
            (f"dose, {METASTASES} metastases, x {COUNTS / 1e6:g} million counts", self.dose, DOSES),
            ("number of metastases", self.number, NUMBERS),
            (f"uptake left in {METASTASES} metastases", self.therapy, UPTAKES),
        ):
            lines += ["", f"{title:52}" + "".join(f"{value:>17g}" for value in values)]
            for seed, scans in _by_seed(rows):
                cells = "".join(f"{f'{s.found:.4f} ({s.truth:.4f})':>17}" for s in scans)
                lines.append(f"{f'patient {seed}':52}{cells}")
        lines += ["", "change of the index at half and double dose: " + ", ".join(self._dose_verdicts())]
        risen = self.rises.values()
        lines.append(f"rises with every step of metastases: {sum(risen)} of {len(risen)} patients")
        lines.append(f"weights: {self.model['name']} {self.model['version']} ({self.model['sha256'][:12]})")
        return "\n".join(lines)

    def _dose_verdicts(self) -> list[str]:
        told = []
        for seed, changes in self.dose_changes.items():
            parts = ["-" if c is None else f"{100 * c:+.1f} %" for c in (changes[0], changes[-1])]
            told.append(f"{seed}: {' and '.join(parts)}")
        return told


def run(
    patients: int = PATIENTS,
    seed: int = FIRST_SEED,
    progress: StudyProgress | None = None,
    options: ComputeOptions | None = None,
    out: Path | None = None,
) -> BurdenStudy:
    """Scan patients with seeds seed, seed + 1, ... in every variation.

    Parameters
    ----------
    options : device, precision and weights; None for the defaults of the node. out : folder for the picture.

    Raises
    ------
    ValueError
        If there is no patient.
    WeightsError, DeviceError
        If the network cannot be loaded.
    """
    from pipelines.bone_scan.engine import Engine

    if patients < 1:
        raise ValueError(f"a study needs at least 1 patient, got {patients}")
    engine = Engine.load(options or ComputeOptions())
    rows: dict[str, list[Scanned]] = {"dose": [], "number": [], "therapy": []}
    plans = [(s, *plan) for s in range(seed, seed + patients) for plan in _plans()]
    for done, (patient, kind, value, varied) in enumerate(plans, start=1):
        rows[kind].append(scanned(patient, value, engine, **varied))
        if progress is not None:
            progress(done / len(plans), f"patient {patient}: {kind} {value:g}")
    model = {"name": engine.card.name, "version": engine.card.version, "sha256": engine.card.sha256}
    study = BurdenStudy(tuple(rows["dose"]), tuple(rows["number"]), tuple(rows["therapy"]), model)
    if out is not None:
        draw(study, out)
    return study


def scanned(seed: int, value: float, network: Network, **varied: Any) -> Scanned:
    """Scan a patient once and take its index; `varied` goes to `simulate_bone_scan`.

    Raises
    ------
    ValueError
        If the index is 0/0.
    """
    scan = simulate_bone_scan(seed, PRESET, **varied)
    analyses = analyse_scan(scan, network, Stopwatch())
    found, truth = burden([sums for a in analyses for sums in a.window_sums]).index, true_burden(scan, analyses)
    if found is None or truth is None:
        raise ValueError(f"patient {seed}: no uptake outside the bladder, the index is 0/0")
    return Scanned(seed, value, found, truth)


def draw(study: BurdenStudy, folder: Path) -> Path:
    """Write the picture of a study and return its path."""
    from matplotlib.figure import Figure

    folder.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=(12, 4), dpi=110, layout="constrained")
    panels = (
        ("dose, times the usual", study.dose, True),
        ("metastases placed", study.number, False),
        ("uptake left in the metastases", study.therapy, False),
    )
    for axes, (title, rows, logarithmic) in zip(figure.subplots(1, 3), panels, strict=True):
        for number, (seed, scans) in enumerate(_by_seed(rows)):
            colour, values = f"C{number}", [s.value for s in scans]
            axes.plot(values, [s.found for s in scans], "o-", color=colour, markersize=4, label=str(seed))
            axes.plot(values, [s.truth for s in scans], ":", color=colour)
        if logarithmic:
            axes.set_xscale("log", base=2)
        axes.set(xlabel=title, ylabel="BSTBI (dotted: of the true outlines)")
        axes.grid(alpha=0.3)
    axes.invert_xaxis()
    axes.legend(fontsize=7, title="simulated patient")
    figure.savefig(folder / PICTURE)
    return folder / PICTURE


def _plans() -> list[tuple[str, float, dict[str, Any]]]:
    """What is varied in each scan of a patient: its kind, the value, and the simulation's arguments."""
    usual = {"counts": COUNTS, "metastases": METASTASES}
    return [
        *(("dose", dose, {**usual, "counts": COUNTS * dose}) for dose in DOSES),
        *(("number", float(number), {**usual, "metastases": number}) for number in NUMBERS),
        *(("therapy", uptake, {**usual, "uptake": uptake}) for uptake in UPTAKES),
    ]


def _by_seed(rows: Sequence[Scanned]) -> list[tuple[int, list[Scanned]]]:
    return [(seed, [row for row in rows if row.seed == seed]) for seed in dict.fromkeys(row.seed for row in rows)]


def _at(rows: Sequence[Scanned], value: float) -> float:
    return next(row.found for row in rows if row.value == value)


def _change(found: float, usual: float) -> float | None:
    return found / usual - 1.0 if usual else None
