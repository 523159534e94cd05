"""Simulated patients to learn ribs from: as many with four and with six lumbar vertebrae as with five.

Among patients as they come, nine of ten have five, and a network learns that the sixth body above the sacrum carries
ribs. Here the number says nothing, so that it has to look. Kept on disk: one `.npz` per look with the image, the
middle of every whole body and whether it carries ribs. Raise `CACHE_VERSION` when simulation or preparation changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from pipelines.lumbar.classes import BODY
from pipelines.lumbar.dataset import (
    Job,
    Progress,
    cached_paths,
    fill_looks,
    look_path,
    prepare_volume,
    write_arrays,
)
from pipelines.lumbar.rib_crops import cut_sides

if TYPE_CHECKING:
    from pipelines.phantoms.lumbar import LumbarPatient

CACHE_VERSION = 1
COUNTS = (4, 5, 6)

NEAR_JUNCTION = 0.7
"""Share of the samples that lie within two bodies of the last pair of ribs, where the question is hard."""

JITTER_MM = 3.0
TURN_DEG = 12.0
ZOOM = (0.9, 1.12)
GAMMA = (0.6, 1.6)
NOISE = 0.25
NARROW_SHARE = 0.4
"""Share of samples whose outer planes are hidden, as by a narrower slice pack."""

VERTEBRAE_PER_LOOK = 4


@dataclass(frozen=True)
class RibVolume:
    """One look of one patient: image float16 (slice, row, column), centres_mm (n, 3) of the bodies, ribs bool (n,)."""

    image: np.ndarray
    spacing_mm: tuple[float, float, float]
    centres_mm: np.ndarray
    ribs: np.ndarray


def rib_volume(patient: LumbarPatient) -> RibVolume:
    """Return what is kept of a simulated series: bodies that the field of view cuts are left out."""
    held = prepare_volume(patient)
    names, centres = [], []
    for number, name in enumerate(patient.level_names, 1):
        index = np.argwhere((patient.levels == number) & (patient.structures == BODY))
        if len(index) and name not in patient.notes["cut_by_the_field"]:
            names.append(name)
            centres.append((index.min(0) + index.max(0)) / 2 * patient.spacing_mm)
    ribs = np.array([name.startswith("T") for name in names], bool)
    return RibVolume(held.image, held.spacing_mm, np.array(centres, np.float32).reshape(-1, 3), ribs)


def rib_folder(root: Path, preset: str) -> Path:
    """Return the folder of one preset's cache."""
    return root / f"lumbar-ribs-{preset}-v{CACHE_VERSION}"


def build_rib_cache(
    root: Path,
    seeds: Iterable[int],
    looks: int = 3,
    preset: str = "train",
    workers: int = 1,
    progress: Progress | None = None,
) -> Path:
    """Simulate the patients that the cache does not hold yet; return its folder."""
    return fill_looks(_write_patient, rib_folder(root, preset), seeds, looks, preset, workers, progress)


def read_rib_volume(path: Path) -> RibVolume:
    """Read one look."""
    with np.load(path) as held:
        slice_mm, row_mm, column_mm = (float(v) for v in held["spacing_mm"])
        return RibVolume(held["image"], (slice_mm, row_mm, column_mm), held["centres_mm"], held["ribs"])


class RibSampler:
    """Draws batches: input float32 (n, side, plane, row, column) and whether it carries ribs, float32 (n,).

    Raises
    ------
    FileNotFoundError
        If the folder holds nothing.
    """

    def __init__(self, folder: Path, batch: int, seed: int) -> None:
        self.paths = cached_paths(folder)
        if not self.paths:
            raise FileNotFoundError(f"{folder} holds no patients; build the cache first")
        self.batch = batch
        self.rng = np.random.default_rng(seed)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        return self

    def __next__(self) -> tuple[torch.Tensor, torch.Tensor]:
        crops: list[np.ndarray] = []
        ribs: list[bool] = []
        while len(crops) < self.batch:
            volume = read_rib_volume(self.paths[self.rng.integers(len(self.paths))])
            image = volume.image.astype(np.float32)
            for index in self._pick(volume.ribs):
                crop = self._crop(image, volume, index)
                if crop is not None and len(crops) < self.batch:
                    crops.append(crop)
                    ribs.append(bool(volume.ribs[index]))
        return torch.from_numpy(np.stack(crops)), torch.tensor(ribs, dtype=torch.float32)

    def _pick(self, ribs: np.ndarray) -> Sequence[int]:
        count = len(ribs)
        if not count:
            return ()
        weights = np.full(count, (1 - NEAR_JUNCTION) / count)
        # Bodies go from the top down: the first without ribs has the last pair above it.
        junction = int(ribs.sum())
        near = np.arange(max(0, junction - 2), min(count, junction + 2))
        if len(near):
            weights[near] += NEAR_JUNCTION / len(near)
        chosen: list[int] = self.rng.choice(count, VERTEBRAE_PER_LOOK, p=weights / weights.sum()).tolist()
        return chosen

    def _crop(self, image: np.ndarray, volume: RibVolume, index: int) -> np.ndarray | None:
        rng = self.rng
        centre = volume.centres_mm[index] + rng.normal(0, JITTER_MM, 3)
        turn, zoom = np.radians(rng.uniform(-TURN_DEG, TURN_DEG)), float(np.exp(rng.uniform(*np.log(ZOOM))))
        crop = cut_sides(image, volume.spacing_mm, centre, turn, zoom)
        return None if crop is None else vary(crop, rng)


def vary(crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Change contrast, noise and the width of the slice pack of a crop; what lies outside of the field stays 0."""
    seen = crop != 0
    low, high = crop.min(), crop.max()
    shown = ((crop - low) / max(high - low, 1e-6)) ** float(np.exp(rng.uniform(*np.log(GAMMA))))
    shown += rng.normal(0, NOISE * rng.random() * shown[seen].std(), shown.shape)
    inside = shown[seen]
    shown = np.where(seen, (shown - inside.mean()) / max(float(inside.std()), 1e-6), 0)
    if rng.random() < NARROW_SHARE:
        for side in range(len(shown)):
            shown[side, int(rng.integers(3, shown.shape[1] + 1)) :] = 0
    if rng.random() < 0.5:
        shown = shown[::-1]
    return np.ascontiguousarray(shown, np.float32)


def _write_patient(job: Job) -> None:
    from pipelines.phantoms.lumbar import draw_lumbar, render_lumbar

    seed, looks, preset, folder = job
    torch.set_num_threads(1)
    anatomy = draw_lumbar(seed, preset, COUNTS[seed % len(COUNTS)])
    for look in range(looks):
        path = look_path(folder, seed, look)
        if not path.exists():
            held = rib_volume(render_lumbar(anatomy, look, preset))
            spacing = np.array(held.spacing_mm, np.float32)
            write_arrays(
                path, {"image": held.image, "spacing_mm": spacing, "centres_mm": held.centres_mm, "ribs": held.ribs}
            )
