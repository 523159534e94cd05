"""VGG with batch normalisation (Simonyan, Zisserman, ICLR 2015, configurations A and D): features of five levels."""

from __future__ import annotations

import torch
from torch import nn

CONFIGURATIONS = {
    11: ((64,), (128,), (256, 256), (512, 512), (512, 512)),
    16: ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512)),
}


class VggEncoder(nn.Module):
    """Returns the output of each level before its pooling: 1/1, 1/2, 1/4, 1/8, 1/16."""

    def __init__(self, depth: int, in_channels: int = 2) -> None:
        super().__init__()
        self.levels = nn.ModuleList()
        channels = in_channels
        for widths in CONFIGURATIONS[depth]:
            layers: list[nn.Module] = []
            for width in widths:
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
                channels = width
            self.levels.append(nn.Sequential(*layers))
        self.pool = nn.MaxPool2d(2)
        self.channels = tuple(widths[-1] for widths in CONFIGURATIONS[depth])

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the features, finest first."""
        features = []
        for number, level in enumerate(self.levels):
            x = level(self.pool(x) if number else x)
            features.append(x)
        return features
