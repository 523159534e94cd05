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
    """One branch: Z-pool over axis 1, 7 x 7 convolution, batch normalisation, sigmoid; gates its input."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, TRIPLET_KERNEL, padding=TRIPLET_KERNEL // 2, bias=False)
        self.norm = nn.BatchNorm2d(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = torch.cat([x.amax(1, keepdim=True), x.mean(1, keepdim=True)], 1)
        return x * torch.sigmoid(self.norm(self.conv(pooled)))


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
        # Each branch needs the axis that it pools in second place, and turns its result back.
        over_height = self.channel_width(x.transpose(1, 2)).transpose(1, 2)
        over_width = self.height_channel(x.transpose(1, 3)).transpose(1, 3)
        return (over_height + over_width + self.height_width(x)) / 3
