"""Which tiles a network sees while it learns.

Half of the tiles hold a metastasis, some the bladder, the rest lies anywhere on the body, among them every
confounder of patients without metastases. Tiles are cut from the cache's views and augmented as a batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from pipelines.bone_scan.tiles import TILE_PIXELS
from pipelines.planar.dataset import TrainingPatient, TrainingView
from pipelines.planar.levels import LOG_TOP, WINDOW_FACTORS
from pipelines.training.augment import AugmentSettings, augment

METASTASIS, BLADDER = 1, 2
LESION_SHARE, BLADDER_SHARE = 0.5, 0.15
WINDOW_JITTER = (0.6, 1.6)
"""Factor on both windows' upper levels: another scanner's reference level may come out so much higher or lower."""

AUGMENT = AugmentSettings(
    window=WINDOW_JITTER,
    windows=WINDOW_FACTORS,
    log_top=LOG_TOP,
    dose=0.2,
    dose_share=0.4,
    blur_pixels=2.0,
    blur_share=0.4,
)
"""Half of the tiles are as noisy or as blurred as of a shorter scan, a thicker patient or another collimator."""

MIN_LABEL_PIXELS = 6
"""A tile counts as holding a metastasis or bladder from this many pixels on; less is a rim cut off by the border."""


class TileSampler:
    """Draws batches of tiles from patients held in memory.

    `next` gives input float32 (n, 3, 256, 256) in [0, 1], labels int64 (n, 256, 256) and, per tile, whether it holds
    metastasis and bladder, float32 (n, 2).
    """

    def __init__(
        self, patients: Sequence[TrainingPatient], batch: int, seed: int, settings: AugmentSettings | None = None
    ) -> None:
        self.views = [view for patient in patients for view in patient.views]
        self.rows_of = [{k: _rows_with(view, k) for k in (METASTASIS, BLADDER)} for view in self.views]
        self.with_label = {k: [i for i, rows in enumerate(self.rows_of) if rows[k].size] for k in (METASTASIS, BLADDER)}
        self.batch = batch
        self.settings = settings or AUGMENT
        self.rng = np.random.default_rng(seed)
        self.generator = torch.Generator().manual_seed(seed)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        return self

    def __next__(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        picks = [self._pick() for _ in range(self.batch)]
        levels = np.stack([_tile(view.level, row) for view, row in picks]).astype(np.float32)[:, None]
        labels = np.stack([_tile(view.labels, row) for view, row in picks]).astype(np.int64)
        units = np.array([view.counts_per_level for view, _ in picks], np.float32)
        tiles, names = augment(
            torch.from_numpy(levels), torch.from_numpy(labels), torch.from_numpy(units), self.settings, self.generator
        )
        tiles = tiles.contiguous(memory_format=torch.channels_last)
        return tiles, names, tile_targets(names)

    def _pick(self) -> tuple[TrainingView, int]:
        """Draw a view and the first row of a tile in it."""
        draw = self.rng.random()
        wanted = METASTASIS if draw < LESION_SHARE else BLADDER if draw < LESION_SHARE + BLADDER_SHARE else 0
        if wanted and self.with_label[wanted]:
            index = int(self.rng.choice(self.with_label[wanted]))
            anchor = int(self.rng.choice(self.rows_of[index][wanted]))
            view = self.views[index]
            start = anchor - int(self.rng.integers(16, TILE_PIXELS - 16))
        else:
            view = self.views[int(self.rng.integers(len(self.views)))]
            start = int(self.rng.integers(0, view.level.shape[0] - TILE_PIXELS + 1))
        return view, int(np.clip(start, 0, view.level.shape[0] - TILE_PIXELS))


def tile_targets(labels: torch.Tensor) -> torch.Tensor:
    """Return, per tile of labels (n, h, w), whether it holds metastasis and bladder: float32 (n, 2)."""
    held = [(labels == k).flatten(1).sum(1) >= MIN_LABEL_PIXELS for k in (METASTASIS, BLADDER)]
    return torch.stack(held, 1).float()


def _tile(image: np.ndarray, row: int) -> np.ndarray:
    return image[row : row + TILE_PIXELS]


def _rows_with(view: TrainingView, label: int) -> np.ndarray:
    """Return the rows that hold a label, each as often as it has pixels of it, but at most eight times."""
    amount = (view.labels == label).sum(1)
    return np.repeat(np.arange(len(amount)), np.minimum(amount, 8))
