"""The network of both stages: a 3-D U-Net (Cicek et al., MICCAI 2016, arXiv 1606.06650) on MONAI parts.

Input float (n, 1, slices, rows, columns), z-scored; output logits (n, 7, slices, rows, columns) of
`classes.CLASSES`, softmax outside. Four resolution levels: twice a 3 x 3 x 3 convolution, normalisation and ReLU at
each (the first with half the channels of the second), three max pools, three transposed convolutions that keep the
channels, skips joined by concatenation, one 1 x 1 x 1 convolution at the end. `base_width` 32 is the original with its
19.07 million parameters, 16 has 4.77 million.

Two departures, the first because a lumbar slice is 4 mm thick and its pixels are 0.7 to 1 mm wide:
- `flat_pools`, `flat_levels`: the first so many pools are (1, 2, 2), the first so many levels convolve 1 x 3 x 3, as in
  nnU-Net until the voxel is about a cube. One flat pool and two flat levels are the default: 4.3 million parameters
  and two thirds of the work of the original, which has none of either.
- Group normalisation instead of batch normalisation, whose statistics mean little with one or two volumes a batch
  (instance normalisation would do as well, but takes half as long again on a CPU).

Weights are read and written by `pipelines.contract.weights`; torch is imported here, so only workers and training may
import this module.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from monai.networks.blocks import Convolution
from torch import nn
from torch.nn import functional

from pipelines.lumbar.classes import CLASSES

NETWORK = "unet3d-cicek"
LEVELS = 4
NORMS = ("GROUP", "BATCH", "INSTANCE")
GROUPS = 8
"""Groups of a group normalisation; every channel count is a multiple of it."""


@dataclass(frozen=True)
class NetworkSettings:
    """What a card needs to say so that the same network can be built again."""

    base_width: int = 16
    flat_pools: int = 1
    flat_levels: int = 2
    norm: str = "GROUP"

    def __post_init__(self) -> None:
        if self.base_width < GROUPS or self.base_width % GROUPS:
            raise ValueError(f"base_width must be a multiple of {GROUPS}, got {self.base_width}")
        if not 0 <= self.flat_pools < LEVELS or not 0 <= self.flat_levels <= LEVELS:
            raise ValueError(
                f"flat_pools must be 0 to {LEVELS - 1} and flat_levels 0 to {LEVELS}, got {self.flat_pools} and "
                f"{self.flat_levels}"
            )
        if self.norm not in NORMS:
            raise ValueError(f"norm must be one of {', '.join(NORMS)}, got '{self.norm}'")

    @property
    def multiples(self) -> tuple[int, int, int]:
        """What slices, rows and columns of an input must be multiples of."""
        pools = LEVELS - 1
        return (2 ** (pools - self.flat_pools), 2**pools, 2**pools)

    def to_card(self) -> dict[str, Any]:
        """Return `ModelCard.network_parameters`."""
        return asdict(self)


PAPER_NETWORK = NetworkSettings(base_width=32, flat_pools=0, flat_levels=0, norm="BATCH")
FINE_NETWORK = NetworkSettings()
COARSE_NETWORK = NetworkSettings(base_width=8)
"""The coarse stage only finds where the spine is: a quarter of the parameters."""


class UNet3d(nn.Module):
    """See the module's text."""

    def __init__(self, settings: NetworkSettings = FINE_NETWORK, outputs: int = len(CLASSES)) -> None:
        super().__init__()
        self.settings = settings
        widths = [settings.base_width * 2 ** (level + 1) for level in range(LEVELS)]
        ins = (1, *widths[:-1])
        self.encoder = nn.ModuleList(
            _pair(i, w // 2, w, n, settings) for n, (i, w) in enumerate(zip(ins, widths, strict=True))
        )
        self.pools = nn.ModuleList(nn.MaxPool3d(_stride(n, settings)) for n in range(LEVELS - 1))
        deeper = range(LEVELS - 1, 0, -1)
        self.ups = nn.ModuleList(
            nn.ConvTranspose3d(widths[n], widths[n], s := _stride(n - 1, settings), stride=s) for n in deeper
        )
        self.decoder = nn.ModuleList(
            _pair(widths[n] + widths[n - 1], widths[n - 1], widths[n - 1], n - 1, settings) for n in deeper
        )
        self.head = nn.Conv3d(widths[0], outputs, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits at the input's size.

        Raises
        ------
        ValueError
            If a side is not a multiple of `NetworkSettings.multiples`.
        """
        if any(side % multiple for side, multiple in zip(x.shape[2:], self.settings.multiples, strict=True)):
            raise ValueError(f"sides must be multiples of {self.settings.multiples}, got {tuple(x.shape[2:])}")
        skips = []
        for level, block in enumerate(self.encoder):
            x = block(x)
            if level < LEVELS - 1:
                skips.append(x)
                x = self.pools[level](x)
        for up, block in zip(self.ups, self.decoder, strict=True):
            x = block(torch.cat([up(x), skips.pop()], 1))
        return self.head(x)


def build_network(parameters: dict[str, Any]) -> UNet3d:
    """Build the network that a card describes.

    Raises
    ------
    ValueError, TypeError
        If the parameters are not those of `NetworkSettings`.
    """
    return UNet3d(NetworkSettings(**parameters))


def count_parameters(network: nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def _stride(level: int, settings: NetworkSettings) -> tuple[int, int, int]:
    """Return the pooling between a level and the next deeper one."""
    return (1, 2, 2) if level < settings.flat_pools else (2, 2, 2)


class _FlatConv3d(nn.Conv3d):
    """A 1 x k x k convolution, done slice by slice: the same sums, weights and shapes as `nn.Conv3d`.

    As a 3-D convolution in bf16 its weights get a gradient of NaN on processors with AMX (oneDNN of torch 2.13,
    96 to 32 channels at 12 x 192 x 128). In channels-last memory no voxel is moved for it.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        slices = x.movedim(2, 1).flatten(0, 1)
        found = functional.conv2d(slices, self.weight[:, :, 0], self.bias, padding=self.padding[1:])
        return found.unflatten(0, (len(x), -1)).movedim(1, 2)


def _pair(channels: int, middle: int, out: int, level: int, settings: NetworkSettings) -> nn.Module:
    """Two convolutions, each with normalisation and ReLU."""
    flat = level < settings.flat_levels
    kernel = (1, 3, 3) if flat else (3, 3, 3)
    known: dict[str, dict[str, Any]] = {"GROUP": {"num_groups": GROUPS}, "INSTANCE": {"affine": True}}
    arguments = known.get(settings.norm, {})
    norm = (settings.norm, arguments)
    pair = nn.Sequential(
        Convolution(3, channels, middle, kernel_size=kernel, adn_ordering="NA", norm=norm, act="RELU"),
        Convolution(3, middle, out, kernel_size=kernel, adn_ordering="NA", norm=norm, act="RELU"),
    )
    if flat:
        for block, ins, outs in zip(pair, (channels, middle), (middle, out), strict=True):
            block.conv = _FlatConv3d(ins, outs, kernel, padding=(0, 1, 1))
    return pair
