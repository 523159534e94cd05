"""What the network sees while it learns: mini-batches that mix patches with and without labels.

images (`dataset`) -> a patch of each draw -> geometric augmentation, dose, blur, display -> network input, g, label,
whether there is one. Patches instead of whole crops: the network is fully convolutional, lesions are few, and a step
costs what its pixels cost. Patches of images whose labels may be used are, half of the time, laid over a lesion;
without labels they lie anywhere on the body.

Geometry is the paper's (mirror, rotation, translation) with somewhat wider ranges; its DCGAN is left out, because it
lost to geometry in the paper's own table 3.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from pipelines.thorax.dataset import ThoraxImage
from pipelines.thorax.display import GAMMA, UPPER_LEVEL, shown
from pipelines.training.augment import AugmentSettings, augment

PATCH_PIXELS = 128
LESION_SHARE = 0.5
MARGIN = 16
"""A lesion pixel that a patch is laid over lies at least so far from its border."""

AUGMENT = AugmentSettings(
    rotate_deg=8.0,
    scale=(0.88, 1.15),
    shift=0.05,
    window=(0.7 * UPPER_LEVEL, 1.4 * UPPER_LEVEL),
    gamma=(0.9 * GAMMA, 1.1 * GAMMA),
    dose_share=0.25,
    blur_share=0.2,
)
"""The display is varied about that of inference (`display`)."""

Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


class PatchSampler:
    """Draws batches: input float32 (n, 1, p, p), label float32 (n, 1, p, p), whether it has one bool (n,).

    labelled_share : share of the patches from images with labels; None draws images evenly, with or without.
    settings : ranges of the augmentation, None for none.
    """

    def __init__(
        self,
        images: Sequence[ThoraxImage],
        batch: int,
        seed: int,
        labelled_share: float | None = None,
        settings: AugmentSettings | None = AUGMENT,
    ) -> None:
        self.images = images
        self.labelled = [i for i, image in enumerate(images) if image.labelled]
        self.unlabelled = [i for i, image in enumerate(images) if not image.labelled]
        self.with_lesions = [i for i in self.labelled if images[i].lesions.any()]
        natural = len(self.labelled) / max(len(images), 1)
        self.labelled_share = natural if labelled_share is None else labelled_share
        self.batch = batch
        self.settings = settings
        self.rng = np.random.default_rng(seed)
        self.generator = torch.Generator().manual_seed(seed)

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        picks = [self._pick() for _ in range(self.batch)]
        levels = np.stack([_patch(image.level, *corner) for image, *corner in picks]).astype(np.float32)[:, None]
        labels = np.stack([_patch(image.lesions, *corner) for image, *corner in picks]).astype(np.int64)
        units = np.array([image.counts_per_level for image, *_ in picks], np.float32)
        images, truth = torch.from_numpy(shown(levels)), torch.from_numpy(labels)
        if self.settings is not None:
            images, truth = augment(
                torch.from_numpy(levels), truth, torch.from_numpy(units), self.settings, self.generator
            )
        labelled = torch.tensor([image.labelled for image, *_ in picks])
        return images.contiguous(memory_format=torch.channels_last), truth[:, None].float(), labelled

    def _pick(self) -> tuple[ThoraxImage, int, int]:
        """Draw an image and the patch's corner."""
        use = bool(self.labelled) and (not self.unlabelled or self.rng.random() < self.labelled_share)
        if use and self.with_lesions and self.rng.random() < LESION_SHARE:
            image = self.images[int(self.rng.choice(self.with_lesions))]
            rows, columns = np.nonzero(image.lesions)
            where = int(self.rng.integers(len(rows)))
            corner = [int(v[where]) - int(self.rng.integers(MARGIN, PATCH_PIXELS - MARGIN)) for v in (rows, columns)]
        else:
            image = self.images[int(self.rng.choice(self.labelled if use else self.unlabelled))]
            rows, columns = np.nonzero(image.body)
            where = int(self.rng.integers(len(rows))) if len(rows) else 0
            corner = [int(v[where]) - PATCH_PIXELS // 2 if len(v) else 0 for v in (rows, columns)]
        limits = (size - PATCH_PIXELS for size in image.level.shape)
        row, column = (int(np.clip(at, 0, limit)) for at, limit in zip(corner, limits, strict=True))
        return image, row, column


def _patch(image: np.ndarray, row: int, column: int) -> np.ndarray:
    return image[row : row + PATCH_PIXELS, column : column + PATCH_PIXELS]
