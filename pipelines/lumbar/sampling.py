"""What a network sees while it learns: cached volumes, augmented, on the canonical grid of its stage.

coarse: the body's columns, zoomed and shifted, as 256 x 128. fine: the box about the true structures, its margins
varied so that the network forgives a coarse stage that is off, as 320 x 128. Then a random window of slices and, for
the fine stage, of rows: a step on a part of the grid costs in proportion, and more patients are seen in the time.
Normalisation comes before the part is cut, as it does at inference.

Slices are shown in both orders (left and right are alike); rows and columns are never mirrored.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from pipelines.lumbar import grid
from pipelines.lumbar.classes import PAPER_STRUCTURES
from pipelines.lumbar.dataset import TrainingVolume, cached_paths, patient_of, read_volume
from pipelines.training.augment_slices import (
    SliceAugmentSettings,
    rotation_about,
    sample_image,
    sample_labels,
    sampling_grid,
    vary_appearance,
)

RESCAN_BATCHES = 100
"""A cache may still be growing: it is listed anew after so many batches."""

Region = tuple[float, float, float, float]


@dataclass(frozen=True)
class StageSampling:
    """What is sampled for one stage.

    size : the canonical (rows, columns). part : (slices, rows) of a training sample. oversample : columns are sampled
    so many times as densely and averaged, where the grid is coarser than the cache's pixels.
    """

    fine: bool
    size: tuple[int, int]
    part: tuple[int, int]
    oversample: int = 1
    augment: SliceAugmentSettings = field(default_factory=SliceAugmentSettings)


COARSE_SAMPLING = StageSampling(fine=False, size=grid.COARSE_SIZE, part=(8, 256), oversample=2)
FINE_SAMPLING = StageSampling(fine=True, size=grid.FINE_SIZE, part=(12, 192))


def whole(stage: StageSampling) -> StageSampling:
    """Return a stage that trains on whole canonical volumes, as the paper does."""
    return replace(stage, part=(grid.SLICES, stage.size[0]))


class VolumeSampler:
    """Draws batches from the volumes of a cache folder.

    `next` gives input float32 (n, 1, slices, rows, columns), z-scored, and labels int64 (n, slices, rows, columns).
    Only patients whose seed is in `seeds` are drawn; `patients` tells how many there are.

    Raises
    ------
    FileNotFoundError
        If the cache holds none of them.
    """

    def __init__(self, folder: Path, seeds: Sequence[int], stage: StageSampling, batch: int, seed: int) -> None:
        self.folder, self.seeds, self.stage, self.batch = folder, frozenset(seeds), stage, batch
        self.rng = np.random.default_rng(seed)
        self.drawn = 0
        self.paths: list[Path] = []
        self._list()
        if not self.paths:
            raise FileNotFoundError(f"{folder} holds none of the patients asked for; build the cache first")

    @property
    def patients(self) -> int:
        """Simulated patients (anatomies) found so far."""
        return len({patient_of(path) for path in self.paths})

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        return self

    def __next__(self) -> tuple[torch.Tensor, torch.Tensor]:
        self.drawn += 1
        if self.drawn % RESCAN_BATCHES == 0:
            self._list()
        picks = self.rng.integers(len(self.paths), size=self.batch)
        samples = [draw_sample(read_volume(self.paths[pick]), self.stage, self.rng) for pick in picks]
        images = torch.stack([image for image, _ in samples])[:, None]
        return images.contiguous(memory_format=torch.channels_last_3d), torch.stack([names for _, names in samples])

    def _list(self) -> None:
        self.paths = [path for path in cached_paths(self.folder) if patient_of(path) in self.seeds]


def draw_sample(
    volume: TrainingVolume, stage: StageSampling, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return one augmented sample: image float32 and labels int64, both (slices, rows, columns) of the part."""
    settings = stage.augment
    image, labels = _slices(volume, settings, rng)
    angle = math.radians(rng.uniform(-settings.rotate_deg, settings.rotate_deg))
    centre = (labels.shape[1] / 2, labels.shape[2] / 2)
    region = (fine_region if stage.fine else coarse_region)(image, labels, angle, centre, rng)
    wide = (stage.size[0], stage.size[1] * stage.oversample)
    source = labels.shape[1], labels.shape[2]
    points = sampling_grid(region, angle, centre, source, wide, settings.warp, rng)
    stack = sample_image(torch.from_numpy(image.astype(np.float32)), points)
    if stage.oversample > 1:
        stack = stack.unflatten(-1, (stage.size[1], stage.oversample)).mean(-1)
        points = points[:, stage.oversample // 2 :: stage.oversample]
    names = sample_labels(torch.from_numpy(labels), points)
    stack = grid.normalise(vary_appearance(stack, settings, rng))
    return _part(stack, names, stage, rng)


def coarse_region(
    image: np.ndarray, labels: np.ndarray, angle: float, centre: tuple[float, float], rng: np.random.Generator
) -> Region:
    """The body's columns and all rows, scaled by 0.8 to 1.25 about a shifted centre."""
    del labels, angle, centre
    box = grid.body_box(image)
    (top, bottom), (left, right) = box.rows, box.columns
    zoom = math.exp(rng.uniform(math.log(0.8), math.log(1.25)))
    stretch = math.exp(rng.uniform(-0.12, 0.12))
    half_rows, half_columns = (bottom - top) / 2 * zoom, (right - left) / 2 * zoom * stretch
    row = (top + bottom) / 2 + rng.uniform(-0.12, 0.12) * (bottom - top)
    column = (left + right) / 2 + rng.uniform(-0.1, 0.1) * (right - left)
    return row - half_rows, row + half_rows, column - half_columns, column + half_columns


def fine_region(
    image: np.ndarray, labels: np.ndarray, angle: float, centre: tuple[float, float], rng: np.random.Generator
) -> Region:
    """The box about the true structures of the turned patient, each side moved on its own.

    The usual margins are 5 % of the height and 15 % of the width; here they are drawn from -4 to 15 % and from 0 to
    40 %. A tenth of the boxes is the upper or lower part of the spine only, as after a coarse stage that missed some.
    """
    del image
    held = np.argwhere(np.isin(labels, PAPER_STRUCTURES).any(0)) + 0.5
    if not len(held):
        return 0.0, float(labels.shape[1]), 0.0, float(labels.shape[2])
    turned = rotation_about(held, angle, np.array(centre))
    (top, left), (bottom, right) = turned.min(0), turned.max(0)
    height, width = bottom - top, right - left
    if rng.random() < 0.1:
        lost = rng.uniform(0.1, 0.35) * height
        top, bottom = (top + lost, bottom) if rng.random() < 0.5 else (top, bottom - lost)
    above, below = rng.uniform(-0.04, 0.15, 2) * height
    front, behind = rng.uniform(0.0, 0.4, 2) * width
    return top - above, bottom + below, left - front, right + behind


def _slices(
    volume: TrainingVolume, settings: SliceAugmentSettings, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Order the slices, and now and then lose some at the sides, as on a scanner set to fewer."""
    image, labels = volume.image, volume.labels
    if rng.random() < settings.reverse:
        image, labels = image[::-1], labels[::-1]
    if rng.random() < 0.25 and len(image) > 10:
        first, last = rng.integers(0, 3), len(image) - rng.integers(0, 3)
        image, labels = image[first:last], labels[first:last]
    return np.ascontiguousarray(image), np.ascontiguousarray(labels)


def _part(
    stack: torch.Tensor, names: torch.Tensor, stage: StageSampling, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cut the part: a window of slices, padded with air where the stack is shorter, and one of rows."""
    slices, rows = stage.part
    missing = slices - len(stack)
    if missing > 0:
        before = int(rng.integers(0, missing + 1))
        stack = grid.pad_slices(stack, before, slices)
        names = torch.nn.functional.pad(names, (0, 0, 0, 0, before, missing - before))
    first = int(rng.integers(0, len(stack) - slices + 1))
    row = int(rng.integers(0, stage.size[0] - rows + 1))
    cut = (slice(first, first + slices), slice(row, row + rows))
    return stack[cut].contiguous(), names[cut].contiguous()
