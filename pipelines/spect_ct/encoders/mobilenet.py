"""MobileNetV2 (Sandler et al., CVPR 2018, table 2): features of five levels; its blocks are ours without attention."""

from __future__ import annotations

import torch
from torch import nn

from pipelines.spect_ct.mbconv import MBConv, conv_norm

ROWS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Expansion, channels, blocks and first stride of each row of the paper's table."""

STEM, LAST = 32, 1280
ENDS = (0, 1, 2, 4, 6)
"""Rows after which the resolution is about to halve: their outputs are the features (1/2 to 1/32)."""


class MobileNetV2Encoder(nn.Module):
    """Returns features at 1/2, 1/4, 1/8, 1/16 and 1/32; the last one after the 1280-channel convolution."""

    def __init__(self, in_channels: int = 2) -> None:
        super().__init__()
        self.stem = conv_norm(in_channels, STEM, 3, 2, act=nn.ReLU6)
        self.rows = nn.ModuleList()
        channels = STEM
        for expansion, out, blocks, stride in ROWS:
            row = []
            for block in range(blocks):
                row.append(_relu6(MBConv(channels, out, 3, 1 if block else stride, expansion, "none")))
                channels = out
            self.rows.append(nn.Sequential(*row))
        self.last = conv_norm(channels, LAST, 1, act=nn.ReLU6)
        self.channels = (*(ROWS[end][1] for end in ENDS[:-1]), LAST)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the features, finest first."""
        features = []
        x = self.stem(x)
        for number, row in enumerate(self.rows):
            x = row(x)
            if number in ENDS:
                features.append(x)
        features[-1] = self.last(features[-1])
        return features


def _relu6(block: MBConv) -> MBConv:
    """Give a block the activation of its paper instead of SiLU."""
    for part in (block.expand, block.depthwise):
        if isinstance(part, nn.Sequential):
            part[2] = nn.ReLU6(inplace=True)
    return block
