"""Simulated patients for training, rendered once and kept on disk.

draw an anatomy (`pipelines.phantoms.lumbar`) -> render it with several looks (contrast, coil, slices) -> shrink
in-plane to `PIXEL_MM` -> one `.npz` per look: image float16, labels uint8, spacing. The files are read again whenever
a sampler draws them, so that a cache may be larger than memory and may still be growing while a network trains.

A cache is named by preset and `CACHE_VERSION`; raise the version when simulation or preparation changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from pipelines.lumbar.classes import CLASSES
from pipelines.training.processes import fill_cache

if TYPE_CHECKING:
    from pipelines.phantoms.lumbar import LumbarPatient

CACHE_VERSION = 2
DEFAULT_CACHE = Path(".cache")
PIXEL_MM = 0.8
"""In-plane pixels of the cache: what the fine network's grid has on an adult's lumbar spine."""

Progress = Callable[[float, str], None]
Job = tuple[int, int, str, Path]
"""Seed of a patient, number of looks, preset, folder."""


@dataclass(frozen=True)
class TrainingVolume:
    """One look of one simulated patient.

    Attributes
    ----------
    image : float16 (slice, row, column), 0 to 1 between its darkest and brightest 0.1 %, beyond them outside of it.
    labels : uint8, same shape, values of `classes`.
    spacing_mm : (slice, row, column).
    """

    image: np.ndarray
    labels: np.ndarray
    spacing_mm: tuple[float, float, float]


def prepare_volume(patient: LumbarPatient) -> TrainingVolume:
    """Shrink a simulated series to the cache's pixels; labels by the largest share of each pixel."""
    spacing = patient.spacing_mm
    size = tuple(
        min(n, max(16, round(n * mm / PIXEL_MM))) for n, mm in zip(patient.image.shape[1:], spacing[1:], strict=True)
    )
    image = _shrink(patient.image.astype(np.float32)[:, None], size)[:, 0]
    low, high = np.percentile(image, (0.1, 99.9))
    image = (image - low) / max(high - low, 1e-6)
    if size == patient.structures.shape[1:]:
        labels = patient.structures
    else:
        shares = np.stack([_share(patient.structures, k, size) for k in range(len(CLASSES))])
        labels = shares.argmax(0)
    rows, columns = (mm * n / m for mm, n, m in zip(spacing[1:], patient.image.shape[1:], size, strict=True))
    return TrainingVolume(image.astype(np.float16), labels.astype(np.uint8), (spacing[0], rows, columns))


def cache_folder(root: Path, preset: str) -> Path:
    """Return the folder of one preset's cache."""
    return root / f"lumbar-{preset}-v{CACHE_VERSION}"


def build_cache(
    root: Path,
    seeds: Iterable[int],
    looks: int = 3,
    preset: str = "train",
    workers: int = 1,
    progress: Progress | None = None,
) -> Path:
    """Simulate the patients that the cache does not hold yet; return its folder."""
    return fill_looks(_write_patient, cache_folder(root, preset), seeds, looks, preset, workers, progress)


def fill_looks(
    write: Callable[[Job], None],
    folder: Path,
    seeds: Iterable[int],
    looks: int,
    preset: str,
    workers: int,
    progress: Progress | None,
) -> Path:
    """Let `write` (a function of a module) write the patients of whom a folder lacks a look; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = list(seeds)
    missing = [
        (seed, looks, preset, folder)
        for seed in wanted
        if not all(look_path(folder, seed, look).exists() for look in range(looks))
    ]
    fill_cache(write, missing, len(wanted), workers, progress)
    return folder


def cached_paths(folder: Path) -> list[Path]:
    """Return the files of every look in a cache, sorted."""
    return sorted(path for path in folder.glob("*.npz") if not path.name.startswith("."))


def patient_of(path: Path) -> int:
    """Return the anatomy's seed of a cached file."""
    return int(path.stem.split("-")[0])


def read_volume(path: Path) -> TrainingVolume:
    """Read one look."""
    with np.load(path) as held:
        slice_mm, row_mm, column_mm = (float(v) for v in held["spacing_mm"])
        return TrainingVolume(held["image"], held["labels"], (slice_mm, row_mm, column_mm))


def write_volume(path: Path, volume: TrainingVolume) -> None:
    """Write one look."""
    spacing = np.array(volume.spacing_mm, np.float32)
    write_arrays(path, {"image": volume.image, "labels": volume.labels, "spacing_mm": spacing})


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write an `.npz` that appears whole or not at all."""
    partial = path.with_name(f".{path.stem}.partial.npz")
    np.savez(partial, allow_pickle=False, **arrays)
    partial.replace(path)


def look_path(folder: Path, seed: int, look: int) -> Path:
    """Return the file of one look of one patient."""
    return folder / f"{seed:06d}-{look}.npz"


def _write_patient(job: Job) -> None:
    from pipelines.phantoms.lumbar import draw_lumbar, render_lumbar

    seed, looks, preset, folder = job
    torch.set_num_threads(1)
    anatomy = draw_lumbar(seed, preset)
    for look in range(looks):
        path = look_path(folder, seed, look)
        if not path.exists():
            write_volume(path, prepare_volume(render_lumbar(anatomy, look, preset)))


def _share(structures: np.ndarray, value: int, size: tuple[int, ...]) -> np.ndarray:
    """Return how much of each shrunk pixel is one structure."""
    return _shrink((structures == value).astype(np.float32)[:, None], size)[:, 0]


def _shrink(slices: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Resize (slice, 1, row, column) with averaging."""
    if slices.shape[2:] == size:
        return slices
    return functional.interpolate(
        torch.from_numpy(slices), list(size), mode="bilinear", antialias=True, align_corners=False
    ).numpy()
