"""Simulated patients for training, prepared once and kept on disk.

simulate (`pipelines.phantoms`) -> prepare each view exactly as inference does (`prepare.prepare_view`) -> a `.npz` for
each patient: counts on the working grid in units of the reference level, labels, and how both views relate.
`load_patients` reads a cache into memory; cutting tiles and augmenting them is `train`'s.

A cache is named by preset and `CACHE_VERSION`; raise the version when simulation or preparation changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipelines.phantoms.bone_scan import SimulatedBoneScan, simulate_bone_scan
from pipelines.planar.prepare import facing, facing_columns, prepare_view
from pipelines.training.processes import fill_cache

CACHE_VERSION = 2
DEFAULT_CACHE = Path(".cache")
HOTTEST = 60.0
"""Counts are kept up to this multiple of the reference level: beyond it every window is saturated."""

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class TrainingView:
    """One view of a patient on the working grid.

    Attributes
    ----------
    level : float16 (rows, 256), counts over the reference level, 0 to `HOTTEST`.
    counts_per_level : counts in a working pixel of level 1 (for added noise).
    labels : uint8 (rows, 256): 0 background, 1 metastasis, 2 bladder.
    """

    level: np.ndarray
    counts_per_level: float
    labels: np.ndarray


@dataclass(frozen=True)
class TrainingPatient:
    """Both views of one simulated patient; `facing` is `prepare.facing_columns` of them."""

    seed: int
    views: tuple[TrainingView, ...]
    facing: int | None = None

    def opposite(self, view: TrainingView) -> TrainingView | None:
        """Return the view of the other detector, None where there is none of the same body in the same place."""
        return None if self.facing is None else next(other for other in self.views if other is not view)

    def seen_opposite(self, view: TrainingView) -> np.ndarray | None:
        """Return what the other detector shows at each pixel of a view (`prepare.facing`), in levels; None without."""
        other = self.opposite(view)
        return None if other is None or self.facing is None else facing(other.level, self.facing)


def prepare_patient(scan: SimulatedBoneScan) -> TrainingPatient:
    """Prepare both views of a scan through the same functions as inference."""
    pitch = (scan.scanner.pixel_mm, scan.scanner.pixel_mm)
    both = [prepare_view(counts.astype(np.float64), pitch) for counts in scan.counts]
    views = []
    for prepared, labels in zip(both, scan.labels, strict=True):
        level = np.clip(prepared.counts / max(prepared.reference, 1e-6), 0, HOTTEST).astype(np.float16)
        views.append(TrainingView(level, float(prepared.reference), prepared.grid.labels_to_working(labels)))
    return TrainingPatient(scan.seed, tuple(views), facing_columns(*both))


def cache_folder(root: Path, preset: str) -> Path:
    """Return the folder of one preset's cache."""
    return root / f"bone-scan-{preset}-v{CACHE_VERSION}"


def build_cache(
    root: Path, seeds: Iterable[int], preset: str = "train", workers: int = 1, progress: Progress | None = None
) -> Path:
    """Simulate and prepare the patients that the cache does not hold yet; return its folder."""
    folder = cache_folder(root, preset)
    folder.mkdir(parents=True, exist_ok=True)
    wanted = list(seeds)
    missing = [(seed, preset, folder) for seed in wanted if not patient_path(folder, seed).exists()]
    fill_cache(_write_patient, missing, len(wanted), workers, progress)
    return folder


def load_patients(folder: Path, seeds: Iterable[int]) -> list[TrainingPatient]:
    """Read patients of a cache into memory, those present, in the order of the seeds.

    Raises
    ------
    FileNotFoundError
        If the cache holds none of them.
    """
    patients = [
        _read_patient(patient_path(folder, seed), seed) for seed in seeds if patient_path(folder, seed).exists()
    ]
    if not patients:
        raise FileNotFoundError(f"{folder} holds none of the patients asked for; build the cache first")
    return patients


def patient_path(folder: Path, seed: int) -> Path:
    """Return the file of one patient in a cache folder."""
    return folder / f"{seed:06d}.npz"


def save_patient(patient: TrainingPatient, folder: Path) -> None:
    """Write a patient into a cache folder."""
    arrays: dict[str, np.ndarray] = {} if patient.facing is None else {"facing": np.array(patient.facing)}
    for number, view in enumerate(patient.views):
        arrays[f"level{number}"] = view.level
        arrays[f"labels{number}"] = view.labels
        arrays[f"unit{number}"] = np.array(view.counts_per_level, np.float32)
    partial = folder / f".{patient.seed:06d}.partial.npz"
    np.savez(partial, allow_pickle=False, **arrays)
    partial.replace(patient_path(folder, patient.seed))


def _write_patient(job: tuple[int, str, Path]) -> None:
    seed, preset, folder = job
    save_patient(prepare_patient(simulate_bone_scan(seed, preset)), folder)


def _read_patient(path: Path, seed: int) -> TrainingPatient:
    with np.load(path) as held:
        views = tuple(TrainingView(held[f"level{n}"], float(held[f"unit{n}"]), held[f"labels{n}"]) for n in range(2))
        return TrainingPatient(seed, views, int(held["facing"]) if "facing" in held else None)
