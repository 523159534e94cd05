"""The network at work: slices of the common grid in, the probability of a lesion in every pixel out.

inputs (slice, 2, row, column) -> batches of a few slices -> tiles of the size the network was trained on, overlapping
by a quarter and blended (MONAI) -> sigmoid -> float16 (slice, row, column). Memory is bounded by the batch; progress is
told after each.

torch is imported here, so only workers may import this module: a pipeline does so in `load`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.inferers import sliding_window_inference

from pipelines.contract import ComputeOptions, Progress
from pipelines.contract.compute import Device, autocast, prepare_process
from pipelines.contract.loading import load_network
from pipelines.contract.weights import ModelCard, weights_folders
from pipelines.spect_ct.networks import NETWORK, OUTPUTS, build_network

MODEL = "spect-ct-mt-unet"
SHIPPED_WEIGHTS = Path(__file__).parent / "weights"

SLICES_AT_ONCE = 4
TILES_AT_ONCE = 8
OVERLAP = 0.25
WHOLE_TILE = 256


class LesionEngine:
    """The network, loaded once per process.

    Parameters
    ----------
    network : float32 (n, 2, rows, columns) -> logits (n, 1, rows, columns). tile : side that it was trained on.
    """

    def __init__(self, network: Any, card: ModelCard, device: Device, precision: str, tile: int = WHOLE_TILE) -> None:
        self._network = network
        self.card = card
        self.device = device
        self.precision = precision
        self.tile = tile

    @classmethod
    def load(cls, options: ComputeOptions) -> LesionEngine:
        """Load the network.

        Raises
        ------
        WeightsError
            If weights are missing, damaged or of another network.
        DeviceError
            If the configured device cannot be used.
        """
        device = prepare_process(options)
        folders = weights_folders(options.weights_dir, SHIPPED_WEIGHTS)
        network, card = load_network(MODEL, folders, NETWORK, OUTPUTS, build_network, device)
        return cls(network, card, device, options.precision, tile_of(card))

    def probabilities(self, inputs: np.ndarray, progress: Progress | None = None) -> np.ndarray:
        """Return the probability of a lesion.

        Parameters
        ----------
        inputs : float32 (slice, 2, row, column), as `grid.prepare` makes them.

        Returns
        -------
        numpy.ndarray
            float16 (slice, row, column).
        """
        slices, _, rows, columns = inputs.shape
        found = np.zeros((slices, rows, columns), np.float16)
        with torch.inference_mode():
            for first in range(0, slices, SLICES_AT_ONCE):
                batch = torch.from_numpy(inputs[first : first + SLICES_AT_ONCE])
                found[first : first + len(batch)] = self._batch(batch)
                if progress is not None:
                    done = min(slices, first + SLICES_AT_ONCE)
                    progress(done / slices, f"slice {done} of {slices}")
        return found

    def _batch(self, batch: torch.Tensor) -> np.ndarray:
        logits = sliding_window_inference(
            batch, (self.tile, self.tile), TILES_AT_ONCE, self._predict, overlap=OVERLAP, mode="gaussian", device="cpu"
        )
        assert isinstance(logits, torch.Tensor)
        return logits[:, 0].sigmoid().to(torch.float16).numpy()

    def _predict(self, tiles: torch.Tensor) -> torch.Tensor:
        shown = tiles.to(self.device.name, memory_format=torch.channels_last)
        with autocast(self.device, self.precision):
            logits: torch.Tensor = self._network(shown)
        return logits.float().cpu()


def tile_of(card: ModelCard) -> int:
    """Return the side of the crops that a card's network was trained on; the paper's where it does not say."""
    samples = card.recipe.get("samples")
    side = samples.get("side") if isinstance(samples, dict) else None
    return int(side) if side else WHOLE_TILE
