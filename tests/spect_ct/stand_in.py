"""A stand-in for the network: marks what is hot on SPECT or dense on CT in the drawn study, so that geometry can be
asked without weights. Its thresholds lie between the z-scores of the drawn tissues."""

from __future__ import annotations

import torch

from pipelines.contract.compute import Device
from pipelines.contract.weights import ModelCard
from pipelines.spect_ct.engine import LesionEngine
from pipelines.spect_ct.pipeline import SpectCtPipeline

HOT, DENSE = 3.4, 8.0


class Marker(torch.nn.Module):
    """Logits from both channels: CT decides where it is not blank, else SPECT."""

    def __init__(self, hot: float = HOT, dense: float = DENSE) -> None:
        super().__init__()
        self.hot, self.dense = hot, dense
        self.channels = 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (n, 1, rows, columns)."""
        spect, ct = 8 * (x[:, :1] - self.hot), 8 * (x[:, 1:] - self.dense)
        blank = (x[:, 1:].abs().amax((1, 2, 3), keepdim=True) == 0).float()
        return blank * spect + (1 - blank) * ct


def card() -> ModelCard:
    """A card as simulated weights have it."""
    return ModelCard(
        name="spect-ct-mt-unet", version="test", pipeline="spect-ct", network="mt-unet", input="x", outputs=("lesion",),
        training_data="nothing", simulated_only=True, seed=0, steps=0, licence="Apache-2.0", intended_use="tests",
    )  # fmt: skip


def pipeline(hot: float = HOT, dense: float = DENSE) -> SpectCtPipeline:
    """A pipeline with the stand-in for its network."""
    made = SpectCtPipeline()
    made._engine = LesionEngine(Marker(hot, dense), card(), Device("cpu", "CPU"), "fp32")
    return made
