"""RegNetX-1.6GF (Radosavovic et al., CVPR 2020, table 2): features of five levels."""

from __future__ import annotations

import torch
from torch import nn

from pipelines.spect_ct.mbconv import conv_norm

STEM, WIDTHS, DEPTHS, GROUP_WIDTH = 32, (72, 168, 408, 912), (2, 4, 10, 2), 24


class _Block(nn.Module):
    """X block: 1 x 1, 3 x 3 in groups, 1 x 1, all of one width, and a shortcut."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv_norm(channels, out, 1, act=nn.ReLU),
            conv_norm(out, out, 3, stride, groups=out // GROUP_WIDTH, act=nn.ReLU),
            conv_norm(out, out, 1, act=None),
        )
        same = channels == out and stride == 1
        self.shortcut = nn.Identity() if same else conv_norm(channels, out, 1, stride, act=None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.body(x) + self.shortcut(x))


class RegNetX16Encoder(nn.Module):
    """Returns features at 1/2, 1/4, 1/8, 1/16 and 1/32."""

    def __init__(self, in_channels: int = 2) -> None:
        super().__init__()
        self.stem = conv_norm(in_channels, STEM, 3, 2, act=nn.ReLU)
        self.stages = nn.ModuleList()
        channels = STEM
        for width, depth in zip(WIDTHS, DEPTHS, strict=True):
            blocks = [_Block(channels if not n else width, width, 1 if n else 2) for n in range(depth)]
            self.stages.append(nn.Sequential(*blocks))
            channels = width
        self.channels = (STEM, *WIDTHS)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the features, finest first."""
        features = [self.stem(x)]
        for stage in self.stages:
            features.append(stage(features[-1]))
        return features
