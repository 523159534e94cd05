"""Simulated patients for training: the slices with lesions, and some without, on the network's grid, kept on disk.

simulate (`pipelines.phantoms.spect_ct`) -> common grid (`grid`, as at inference) -> the slices on which a use shows a
lesion and, for every ten of them, three others, each with its neighbours -> one array and one index of lesions per
patient. The arrays are mapped, not read: a sampler takes crops out of many patients.

A cache is named by preset and `CACHE_VERSION`; raise the version when simulation or preparation changes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipelines.spect_ct.neighbours import with_neighbours
from pipelines.spect_ct.truth import GridPatient, on_grid
from pipelines.spect_ct.uses import CT, FUSED, SPECT
from pipelines.training.processes import fill_cache

if TYPE_CHECKING:
    from pipelines.phantoms.spect_ct.patient import SpectCtPatient

CACHE_VERSION = 4
DEFAULT_CACHE = Path(".cache")
SCALE = 2000.0
"""Inputs are kept as int16 of so many steps per unit: z-scores up to 16, finer than any noise."""

TRUTH_LAYER = {SPECT: 2, CT: 3, FUSED: 4}
"""Layers of a slice: SPECT and CT, the truth of each use, SPECT and CT of the slice below, of the slice above."""

INPUT_LAYERS = (0, 1, 5, 6, 7, 8)
"""What the network sees of a slice, in its order (`neighbours`)."""

NEGATIVE_SHARE = 0.3
"""Slices without any lesion, as a share of all that are kept: the paper trains on lesions only, and a network that
never saw anything else marks something everywhere."""

FEWEST_NEGATIVES = 12
MOST_SLICES = 60

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Spot:
    """A lesion on one kept slice: where its middle is, in voxels, and how many pixels it has."""

    use: str
    label: int
    slice: int
    row: float
    column: float
    pixels: int


@dataclass(frozen=True)
class CachedPatient:
    """A patient's slices: int16 (slice, layer, row, column), mapped from disk, and its lesions on them."""

    seed: int
    layers: np.ndarray
    spots: tuple[Spot, ...]


def keep_slices(patient: GridPatient, rng: np.random.Generator) -> np.ndarray:
    """Choose slices, sorted: with a lesion of any use (thinned evenly where there are many), and some without."""
    seen = np.zeros(patient.prepared.lattice.shape[0], bool)
    for labels in patient.labels.values():
        seen |= labels.any((1, 2))
    with_lesions, without = np.flatnonzero(seen), np.flatnonzero(~seen)
    most = int(MOST_SLICES * (1 - NEGATIVE_SHARE))
    if len(with_lesions) > most:
        with_lesions = with_lesions[np.linspace(0, len(with_lesions) - 1, most).round().astype(int)]
    wanted = max(FEWEST_NEGATIVES, round(len(with_lesions) * NEGATIVE_SHARE / (1 - NEGATIVE_SHARE)))
    chosen = rng.choice(without, min(wanted, len(without)), replace=False)
    return np.sort(np.concatenate([with_lesions, chosen]))


def layers_of(patient: GridPatient, slices: np.ndarray) -> np.ndarray:
    """Return `CachedPatient.layers` of some slices."""
    seen = with_neighbours(patient.prepared.inputs, slices)
    inputs = np.rint(np.clip(seen * SCALE, -32767, 32767)).astype(np.int16)
    truths = [patient.labels[use][slices].astype(np.int16)[:, None] for use in TRUTH_LAYER]
    return np.concatenate([inputs[:, :2], *truths, inputs[:, 2:]], 1)


def inputs_of(layers: np.ndarray) -> np.ndarray:
    """Return what the network sees of cached slices: float32 (slice, 6, row, column)."""
    return np.asarray(layers[:, INPUT_LAYERS], np.float32) / np.float32(SCALE)


def spots_of(layers: np.ndarray) -> tuple[Spot, ...]:
    """Find every lesion on every slice."""
    spots = []
    for use, layer in TRUTH_LAYER.items():
        for number, plane in enumerate(layers[:, layer]):
            for label in np.unique(plane[plane > 0]).tolist():
                rows, columns = np.nonzero(plane == label)
                middle = float(rows.mean()), float(columns.mean())
                spots.append(Spot(use, label, number, middle[0], middle[1], len(rows)))
    return tuple(spots)


def cache_folder(root: Path, preset: str) -> Path:
    """Return the folder of one preset's cache."""
    return root / f"spect-ct-{preset}-v{CACHE_VERSION}"


def build_cache(
    root: Path, seeds: Iterable[int], preset: str = "train", workers: int = 1, progress: Progress | None = None
) -> Path:
    """Simulate the patients that the cache does not hold yet; return its folder."""
    folder = cache_folder(root, preset)
    folder.mkdir(parents=True, exist_ok=True)
    wanted = list(seeds)
    missing = [(seed, preset, folder) for seed in wanted if not _index(folder, seed).exists()]
    fill_cache(_write_patient, missing, len(wanted), workers, progress)
    return folder


def cached_seeds(folder: Path) -> list[int]:
    """Return the seeds of the patients in a cache, sorted."""
    return sorted(int(path.stem) for path in folder.glob("[0-9]*.json"))


def read_patient(folder: Path, seed: int) -> CachedPatient:
    """Open one patient; pixels are read from disk when they are asked for."""
    held = json.loads(_index(folder, seed).read_text("utf-8"))
    spots = tuple(Spot(**spot) for spot in held["spots"])
    return CachedPatient(seed, np.load(_array(folder, seed), mmap_mode="r"), spots)


def write_patient(folder: Path, seed: int, patient: SpectCtPatient) -> None:
    """Write one patient; the index comes last, so that a patient is there whole or not at all."""
    found = on_grid(patient)
    slices = keep_slices(found, np.random.default_rng([13, seed]))
    layers = layers_of(found, slices)
    partial = folder / f".{seed:06d}.partial.npy"
    np.save(partial, layers, allow_pickle=False)
    partial.replace(_array(folder, seed))
    index = {"slices": slices.tolist(), "spots": [asdict(spot) for spot in spots_of(layers)]}
    unfinished = folder / f".{seed:06d}.partial.json"
    unfinished.write_text(json.dumps(index), "utf-8")
    unfinished.replace(_index(folder, seed))


def _array(folder: Path, seed: int) -> Path:
    return folder / f"{seed:06d}.npy"


def _index(folder: Path, seed: int) -> Path:
    return folder / f"{seed:06d}.json"


def _write_patient(job: tuple[int, str, Path]) -> None:
    import torch

    from pipelines.phantoms.spect_ct.simulate import simulate_spect_ct

    seed, preset, folder = job
    torch.set_num_threads(1)
    write_patient(folder, seed, simulate_spect_ct(seed, preset))
