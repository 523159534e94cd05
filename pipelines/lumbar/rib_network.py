"""The network that tells a vertebra with ribs from one without, and its reader, loaded once per process.

Planes beside the body (`rib_crops`) -> one 2-D network for both sides, planes as channels -> mean and maximum over the
sides -> one logit. 0.25 million parameters on MONAI parts. The paper has no such step: it names no levels. torch is
imported here, so only workers and training may import this module.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.networks.blocks import Convolution
from torch import nn

from pipelines.contract.compute import Device
from pipelines.contract.loading import load_network
from pipelines.contract.weights import ModelCard
from pipelines.lumbar.rib_crops import OFFSETS_MM, cut_sides

MODEL = "lumbar-ribs"
NETWORK = "rib-sides"
OUTPUTS = ("vertebra carries ribs",)
WIDTHS = (32, 48, 64, 96)
GROUPS = 8


class RibNetwork(nn.Module):
    """Input float (n, side, plane, row, column) of `cut_sides`; output logits (n,) that the vertebra carries ribs."""

    def __init__(self, widths: Sequence[int] = WIDTHS) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = len(OFFSETS_MM)
        for width in widths:
            layers += [
                Convolution(2, before, width, norm=("GROUP", {"num_groups": GROUPS}), act="RELU", bias=False),
                Convolution(2, width, width, norm=("GROUP", {"num_groups": GROUPS}), act="RELU", bias=False),
                nn.MaxPool2d(2),
            ]
            before = width
        self.side = nn.Sequential(*layers[:-1])
        self.head = nn.Linear(2 * before, 1)

    def forward(self, planes: torch.Tensor) -> torch.Tensor:
        """Return one logit for each vertebra."""
        count, sides = planes.shape[:2]
        features = self.side(planes.flatten(0, 1)).mean((2, 3)).unflatten(0, (count, sides))
        seen = torch.cat([features.mean(1), features.amax(1)], 1)
        logits: torch.Tensor = self.head(seen)
        return logits[:, 0]


class RibReader:
    """Says of each vertebra how probable it is that it carries ribs."""

    def __init__(self, network: Any, card: ModelCard, device: Device) -> None:
        self._network = network
        self._device = device
        self.card = card

    @classmethod
    def load(cls, folders: Sequence[Path], device: Device) -> RibReader:
        """Load the network.

        Raises
        ------
        WeightsError
            If weights are missing, damaged or of another network.
        """
        network, card = load_network(MODEL, folders, NETWORK, OUTPUTS, build_network, device)
        return cls(network, card, device)

    def probabilities(self, volume: np.ndarray, spacing_mm: Sequence[float], centres_mm: np.ndarray) -> np.ndarray:
        """Return the probability of ribs at each body, float64 (n,); NaN where too little beside it is in the field.

        Parameters
        ----------
        volume, spacing_mm : as in `cut_sides`. centres_mm : (n, 3), middles of the bodies.
        """
        cut = [cut_sides(volume, spacing_mm, centre) for centre in centres_mm]
        crops = {k: crop for k, crop in enumerate(cut) if crop is not None}
        held = np.full(len(cut), np.nan)
        if crops:
            batch = torch.from_numpy(np.stack(list(crops.values()))).to(self._device.name)
            with torch.inference_mode():
                held[list(crops)] = self._network(batch).float().sigmoid().cpu().numpy()
        return held


def build_network(parameters: dict[str, Any]) -> RibNetwork:
    """Build the network that a card describes.

    Raises
    ------
    TypeError
        If the parameters are not those of `RibNetwork`.
    """
    return RibNetwork(**parameters)
