"""Which tiles a network sees while it learns.

Half of the tiles hold a metastasis, some the bladder, the rest lies anywhere on the body, among them every
confounder of patients without metastases. Where it is known what weights to go on from get wrong (`hard_places`),
half of all tiles lie there instead. Tiles are cut from the cache's views, each with what the opposite view
shows there, and augmented as a batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from scipy import ndimage

from pipelines.bone_scan.tiles import TILE_PIXELS
from pipelines.phantoms.truth import ROSE_MIN
from pipelines.planar.dataset import TrainingPatient, TrainingView
from pipelines.planar.levels import LOG_TOP, WINDOW_FACTORS
from pipelines.planar.prepare import facing
from pipelines.training.augment import AugmentSettings, augment
from pipelines.training.errors import drawing_chances

METASTASIS, BLADDER = 1, 2
LESION_SHARE, BLADDER_SHARE = 0.5, 0.15
HARD_SHARE = 0.5
"""Share of the tiles that lie where the weights to go on from err, if that is known."""

ALONE_SHARE = 0.15
"""Share of the tiles that are shown without the opposite view, as a scan of one view has it."""

EDGE_PIXELS = 16
"""What a tile is drawn for lies at least so far from its first and last row."""

WINDOW_JITTER = (0.6, 1.6)
"""Factor on both windows' upper levels: another scanner's reference level may come out so much higher or lower."""

AUGMENT = AugmentSettings(
    window=WINDOW_JITTER,
    windows=WINDOW_FACTORS,
    log_top=LOG_TOP,
    dose=0.1,
    dose_share=0.5,
    blur_pixels=2.2,
    blur_share=0.4,
    filter_pixels=2.0,
    filter_share=0.5,
    whole_share=0.6,
    least_snr=ROSE_MIN,
)
"""Most tiles are as noisy, as blurred or as smoothed as of a shorter scan, a thicker patient, another collimator or
another scanner's filter. What can no longer be seen then is no metastasis to learn (`lesion_snr`)."""

SEEN_SNR = 1.2 * ROSE_MIN
"""At its own counts every outline can be seen, whatever hot neighbours make of the estimate."""

RING_PIXELS = 6
"""Width of the ring about a lesion whose level stands for what would be there without it."""

MIN_LABEL_PIXELS = 6
"""A tile counts as holding a metastasis or bladder from this many pixels on; less is a rim cut off by the border."""


class TileSampler:
    """Draws batches of tiles from patients held in memory.

    `next` gives input float32 (n, 6, 256, 256) in [0, 1], labels int64 (n, 256, 256) and, per tile, whether it holds
    metastasis and bladder, float32 (n, 2). `errors`: `hard_places.row_errors` of the patients' views, None where
    nothing is known.
    """

    def __init__(
        self,
        patients: Sequence[TrainingPatient],
        batch: int,
        seed: int,
        settings: AugmentSettings | None = None,
        errors: Sequence[np.ndarray] | None = None,
    ) -> None:
        self.errors = errors
        self.chances = None if errors is None else drawing_chances(errors)
        self.views = [view for patient in patients for view in patient.views]
        self.facing = [patient.facing for patient in patients for _ in patient.views]
        self.opposite = [patient.opposite(view) for patient in patients for view in patient.views]
        self.snr = [lesion_snr(view) for view in self.views]
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
        shown = [self._both(index, row) for index, row in picks]
        levels = np.stack([levels for levels, _ in shown])
        labels = np.stack([_tile(self.views[index].labels, row) for index, row in picks]).astype(np.int64)
        units = np.array([units for _, units in shown], np.float32)
        snr = np.stack([_tile(self.snr[index], row) for index, row in picks]).astype(np.float32)
        tiles, names = augment(
            torch.from_numpy(levels), torch.from_numpy(labels), torch.from_numpy(units), self.settings, self.generator,
            torch.from_numpy(snr),
        )  # fmt: skip
        tiles = tiles.contiguous(memory_format=torch.channels_last)
        return tiles, names, tile_targets(names)

    def _both(self, index: int, row: int) -> tuple[np.ndarray, tuple[float, float]]:
        """Return a tile of a view and of what faces it, float32 (2, 256, 256), with the counts of level 1 of each."""
        view, other, k = self.views[index], self.opposite[index], self.facing[index]
        alone = self.rng.random() < ALONE_SHARE
        own = _tile(view.level, row).astype(np.float32)
        if other is None or k is None or alone:
            return np.stack([own, np.zeros_like(own)]), (view.counts_per_level, 1.0)
        return np.stack([own, facing(_tile(other.level, row).astype(np.float32), k)]), (
            view.counts_per_level, other.counts_per_level,
        )  # fmt: skip

    def _pick(self) -> tuple[int, int]:
        """Draw a view, by its number, and the first row of a tile in it."""
        if self.errors is not None and self.rng.random() < HARD_SHARE:
            return self._pick_hard(self.errors)
        draw = self.rng.random()
        wanted = METASTASIS if draw < LESION_SHARE else BLADDER if draw < LESION_SHARE + BLADDER_SHARE else 0
        if wanted and self.with_label[wanted]:
            index = int(self.rng.choice(self.with_label[wanted]))
            return self._around(index, int(self.rng.choice(self.rows_of[index][wanted])))
        index = int(self.rng.integers(len(self.views)))
        return index, int(self.rng.integers(0, len(self.views[index].level) - TILE_PIXELS + 1))

    def _pick_hard(self, errors: Sequence[np.ndarray]) -> tuple[int, int]:
        """Draw a row as often as it is wrong."""
        index = int(self.rng.choice(len(self.views), p=self.chances))
        rows = errors[index].astype(np.float64)
        total = rows.sum()
        return self._around(index, int(self.rng.choice(len(rows), p=rows / total if total > 0 else None)))

    def _around(self, index: int, row: int) -> tuple[int, int]:
        """Return a view and the first row of a tile that holds a row of it, anywhere but at its edges."""
        start = row - int(self.rng.integers(EDGE_PIXELS, TILE_PIXELS - EDGE_PIXELS))
        return index, int(np.clip(start, 0, len(self.views[index].level) - TILE_PIXELS))


def lesion_snr(view: TrainingView) -> np.ndarray:
    """Return how far the metastasis that a pixel belongs to stands out of the noise, infinite elsewhere.

    Signal to noise as in `phantoms.truth`, from the image itself: counts within the outline over those that the ring
    about it leads one to expect, against the square root of all counts within. Outlines that touch are one.

    Returns
    -------
    numpy.ndarray
        float16 (rows, 256). With a share k of the counts it is sqrt(k) of that.
    """
    pieces, count = ndimage.label(view.labels == METASTASIS, np.ones((3, 3)))
    found = np.full(view.labels.shape, np.inf, np.float16)
    for number, (rows, columns) in enumerate(ndimage.find_objects(pieces, count), 1):
        box = (_wider(rows), _wider(columns))
        mask, level = pieces[box] == number, view.level[box].astype(np.float64)
        ring = ndimage.binary_dilation(mask, iterations=RING_PIXELS) & (view.labels[box] == 0)
        around = float(np.median(level[ring])) if ring.any() else 0.0
        counts = level[mask].sum() * view.counts_per_level
        signal = counts - around * mask.sum() * view.counts_per_level
        found[box][mask] = max(SEEN_SNR, signal / np.sqrt(max(counts, 1.0)))
    return found


def tile_targets(labels: torch.Tensor) -> torch.Tensor:
    """Return, per tile of labels (n, h, w), whether it holds metastasis and bladder: float32 (n, 2)."""
    held = [(labels == k).flatten(1).sum(1) >= MIN_LABEL_PIXELS for k in (METASTASIS, BLADDER)]
    return torch.stack(held, 1).float()


def _wider(part: slice) -> slice:
    return slice(max(0, part.start - RING_PIXELS), part.stop + RING_PIXELS)


def _tile(image: np.ndarray, row: int) -> np.ndarray:
    return image[row : row + TILE_PIXELS]


def _rows_with(view: TrainingView, label: int) -> np.ndarray:
    """Return the rows that hold a label, each as often as it has pixels of it, but at most eight times."""
    amount = (view.labels == label).sum(1)
    return np.repeat(np.arange(len(amount)), np.minimum(amount, 8))
