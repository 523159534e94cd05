"""The networks at work: a sagittal volume in, its label map on the source grid out.

volume -> without air, 256 x 128 -> coarse network -> box about its five structures, with margins -> 320 x 128 -> fine
network -> probabilities, linearly back on the box's pixels -> the most probable class of each -> labels.

Stacks of more than 16 slices go through the networks in overlapping windows (`grid`). If the coarse stage finds
nothing, the fine one looks at the whole image and the result carries a flag. Levels are named by `levels`, which is
told here where ribs are; measurements are not taken here. torch is imported here, so only workers may import this
module: a pipeline does so in `load`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipelines.contract import ComputeOptions, Progress
from pipelines.contract.compute import Device, autocast, prepare_process
from pipelines.contract.loading import load_network
from pipelines.contract.weights import ModelCard, weights_folders
from pipelines.lumbar import grid
from pipelines.lumbar.classes import BACKGROUND, CLASSES, PAPER_STRUCTURES
from pipelines.lumbar.grid import Box
from pipelines.lumbar.instances import LevelMap
from pipelines.lumbar.levels import name_levels
from pipelines.lumbar.networks import NETWORK, build_network
from pipelines.lumbar.rib_network import RibReader

COARSE, FINE = "lumbar-coarse", "lumbar-fine"
SHIPPED_WEIGHTS = Path(__file__).parent / "weights"

NO_SPINE = "coarse_empty"
"""Flag: the coarse stage found no structure, so the fine one saw the whole image; do not trust the result."""

SMALL_BOX = "box_small"
"""Flag: what the coarse stage found is lower than `LOW_BOX_MM`, so parts of the lumbar spine are likely missing."""

LOW_BOX_MM = 110.0
"""Height of about three lumbar levels."""

Predict = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class CascadeResult:
    """What both networks found.

    Attributes
    ----------
    labels
        uint8 (slice, row, column) on the source grid, values of `classes`; background outside of `box`.
    confidence
        float16, same shape: probability of the class chosen; 1 outside of `box`.
    box
        Rows and columns that the fine network saw, ends excluded: ((first, last), (first, last)).
    flags
        `NO_SPINE`, `SMALL_BOX`, or nothing.
    """

    labels: np.ndarray
    confidence: np.ndarray
    box: tuple[tuple[int, int], tuple[int, int]]
    flags: tuple[str, ...]


class LumbarCascade:
    """Coarse and fine network and the reader of ribs, loaded once per process."""

    def __init__(
        self, coarse: Any, fine: Any, ribs: RibReader, cards: tuple[ModelCard, ...], device: Device, precision: str
    ) -> None:
        self._coarse = coarse
        self._fine = fine
        self._ribs = ribs
        self.cards = (*cards, ribs.card)
        self.device = device
        self.precision = precision

    @classmethod
    def load(cls, options: ComputeOptions) -> LumbarCascade:
        """Load all three networks.

        Raises
        ------
        WeightsError
            If weights are missing, damaged or of another network.
        DeviceError
            If the configured device cannot be used.
        """
        device = prepare_process(options)
        folders = weights_folders(options.weights_dir, SHIPPED_WEIGHTS)
        coarse, coarse_card = load_network(COARSE, folders, NETWORK, CLASSES, build_network, device)
        fine, fine_card = load_network(FINE, folders, NETWORK, CLASSES, build_network, device)
        ribs = RibReader.load(folders, device)
        return cls(coarse, fine, ribs, (coarse_card, fine_card), device, options.precision)

    def name(self, result: CascadeResult, volume: np.ndarray, spacing_mm: tuple[float, float, float]) -> LevelMap:
        """Name the levels of a result, with an eye on the ribs in the volume that it came from."""
        held = np.asarray(volume, dtype=np.float32)
        return name_levels(result.labels, spacing_mm, lambda at: self._ribs.probabilities(held, spacing_mm, at))

    def segment(
        self, volume: np.ndarray, spacing_mm: tuple[float, float, float], progress: Progress | None = None
    ) -> CascadeResult:
        """Segment one series.

        Parameters
        ----------
        volume
            Numbers of any unit and offset, (slice, row, column): slices from the patient's right to left, rows from
            superior to inferior, columns from anterior to posterior.
        spacing_mm
            (slice, row, column), the first between slice centres.

        Raises
        ------
        ValueError
            If the volume is not three-dimensional, is empty or holds values that are not finite.
        """
        held = np.asarray(volume, dtype=np.float32)
        if held.ndim != 3 or not held.size:
            raise ValueError(f"a volume has the axes (slice, row, column), got shape {held.shape}")
        if not np.isfinite(held).all():
            raise ValueError("the volume holds values that are not finite")
        groups = grid.slice_groups(len(held), spacing_mm[0])
        stack = held if len(groups) == len(held) else np.stack([held[g].mean(0) for g in groups])
        box, flags = self._find_box(stack, spacing_mm)
        _tell(progress, 0.3, "coarse stage done")
        probabilities = self._through(self._fine, box.cut(stack), grid.FINE_SIZE)
        _tell(progress, 0.9, "fine stage done")
        labels, confidence = _on_source(probabilities, box, held.shape, groups)
        _tell(progress, 1.0, "segmented")
        return CascadeResult(labels, confidence, (box.rows, box.columns), flags)

    def coarse_labels(self, stack: np.ndarray) -> np.ndarray:
        """Return the coarse stage's label map of a part of an image: uint8 (slice, 256, 128)."""
        return self._through(self._coarse, stack, grid.COARSE_SIZE).argmax(1).to(torch.uint8).numpy()

    def _find_box(self, stack: np.ndarray, spacing_mm: tuple[float, float, float]) -> tuple[Box, tuple[str, ...]]:
        """Return the box that the fine stage looks at, and what is doubtful about it."""
        body = grid.body_box(stack)
        found = grid.structure_box(np.isin(self.coarse_labels(body.cut(stack)), PAPER_STRUCTURES))
        if found is None:
            return body, (NO_SPINE,)
        box = grid.scale_box(found, grid.COARSE_SIZE, body)
        return box, (SMALL_BOX,) if box.size[0] * spacing_mm[1] < LOW_BOX_MM else ()

    def _through(self, network: Any, stack: np.ndarray, size: tuple[int, int]) -> torch.Tensor:
        """Return the probabilities of one network, float32 (slice, class, row, column), on the canonical grid."""
        shown = grid.normalise(grid.resize(stack, size))

        def predict(window: torch.Tensor) -> torch.Tensor:
            volume = window[None, None].to(self.device.name, memory_format=torch.channels_last_3d)
            with autocast(self.device, self.precision):
                logits = network(volume)
            return logits.float().softmax(1)[0].permute(1, 0, 2, 3).cpu()

        with torch.inference_mode():
            return blend_windows(shown, predict)


def blend_windows(stack: torch.Tensor, predict: Predict) -> torch.Tensor:
    """Predict a stack of any number of slices with a network for 16.

    Parameters
    ----------
    stack : float32 (slice, row, column). predict : 16 slices -> probabilities (16, class, row, column).

    Returns
    -------
    torch.Tensor
        Probabilities (slice, class, row, column); where windows overlap their weighted mean.
    """
    slices = stack.shape[0]
    if slices <= grid.SLICES:
        before = (grid.SLICES - slices) // 2
        return predict(grid.pad_slices(stack))[before : before + slices]
    weights = grid.window_weights()
    total, weight = None, torch.zeros(slices)
    for first in grid.window_starts(slices):
        part = predict(stack[first : first + grid.SLICES]) * weights[:, None, None, None]
        if total is None:
            total = torch.zeros((slices, *part.shape[1:]))
        total[first : first + grid.SLICES] += part
        weight[first : first + grid.SLICES] += weights
    assert total is not None  # window_starts is never empty
    return total / weight[:, None, None, None]


def _on_source(
    probabilities: torch.Tensor, box: Box, shape: tuple[int, ...], groups: list[slice]
) -> tuple[np.ndarray, np.ndarray]:
    """Bring probabilities back to the source's pixels and slices, slice by slice to bound the memory."""
    labels = np.full(shape, BACKGROUND, np.uint8)
    confidence = np.ones(shape, np.float16)
    for index in range(shape[0]):
        within = grid.resize_back(_at_slice(probabilities, groups, index)[None], box.size)[0]
        best, chosen = within.max(0)
        labels[index][slice(*box.rows), slice(*box.columns)] = chosen.to(torch.uint8).numpy()
        confidence[index][slice(*box.rows), slice(*box.columns)] = best.numpy()
    return labels, confidence


def _at_slice(probabilities: torch.Tensor, groups: list[slice], index: int) -> torch.Tensor:
    """Return the probabilities at a source slice: its own, or linear between the centres of averaged groups."""
    centres = [(group.start + group.stop - 1) / 2 for group in groups]
    place = float(np.interp(index, centres, range(len(groups))))
    low, high = math.floor(place), math.ceil(place)
    return torch.lerp(probabilities[low], probabilities[high], place - low)


def _tell(progress: Progress | None, share: float, message: str) -> None:
    if progress is not None:
        progress(share, message)
