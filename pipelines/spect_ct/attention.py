"""Attention for feature maps of two dimensions: squeeze-and-excitation over channels, and triplet attention.

Triplet attention (Misra et al., WACV 2021, arXiv 2010.03045) looks at a map along each pair of its axes: channel and
width, channel and height, height and width. Each branch pools the third axis to its maximum and mean (Z-pool),
convolves 7 x 7 to one map, normalises, and gates the input with a sigmoid; the three gated maps are averaged.

This module imports torch, so only workers and training may import it.
"""

from __future__ import annotations

import torch
from torch import nn

TRIPLET_KERNEL = 7


class SqueezeExcitation(nn.Module):
    """Gate channels by what the whole map holds (Hu et al., CVPR 2018): global mean, two 1 x 1 convolutions, sigmoid.

    Input and output float (n, channels, rows, columns).
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, hidden, 1)
        self.act = nn.SiLU()
        self.expand = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the gated map."""
        gate = self.expand(self.act(self.reduce(x.mean((2, 3), keepdim=True))))
        return x * torch.sigmoid(gate)


class _Gate(nn.Module):
    """One branch: 7 x 7 convolution of what was pooled, batch normalisation, sigmoid: (n, 2, a, b) -> (n, 1, a, b)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, TRIPLET_KERNEL, padding=TRIPLET_KERNEL // 2, bias=False)
        self.norm = nn.BatchNorm2d(1)

    def forward(self, pooled: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(self.norm(self.conv(pooled)))


def _z_pool(x: torch.Tensor, axis: int) -> torch.Tensor:
    """Return the maximum and mean along an axis of (n, channels, rows, columns), stacked in second place.

    The other axes are rows and columns (axis 1), channels and columns (2), rows and channels (3).
    """
    if x.is_contiguous(memory_format=torch.channels_last):
        # The same numbers in the order of memory: torch takes a maximum across it twenty times as slowly.
        held = x.permute(0, 2, 3, 1)
        along = {1: 3, 2: 1, 3: 2}[axis]
        pooled = torch.stack([held.amax(along), held.mean(along)], 1)
        return pooled.transpose(2, 3) if axis == 2 else pooled
    pooled = torch.stack([x.amax(axis), x.mean(axis)], 1)
    return pooled.transpose(2, 3) if axis == 3 else pooled


class TripletAttention(nn.Module):
    """Mean of three gates along (channel, width), (height, channel) and (height, width).

    Input and output float (n, channels, rows, columns); 300 parameters whatever the channels.
    """

    def __init__(self) -> None:
        super().__init__()
        self.channel_width = _Gate()
        self.height_channel = _Gate()
        self.height_width = _Gate()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the gated map."""
        # The gates are small maps and are added first: turning and gating the large one three times takes far longer.
        channel_width = self.channel_width(_z_pool(x, 2)).transpose(1, 2)
        height_channel = self.height_channel(_z_pool(x, 3)).permute(0, 3, 2, 1)
        height_width = self.height_width(_z_pool(x, 1))
        return x * (channel_width / 3 + height_channel / 3 + height_width / 3)
