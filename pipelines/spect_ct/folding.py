"""The network as inference runs it: the same answers up to rounding, in about a sixth less time on a CPU.

Every normalisation goes into the convolution before it, activations work in place, and the decoder does not join a skip
to what comes from below: each has a convolution of its own, and their sum is that of both.

This module imports torch, so only workers may import it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import fuse_conv_bn_eval

from pipelines.spect_ct.networks import STAGE_CHANNELS, MTUNet


class FoldedBlock(nn.Module):
    """What a block of the `Decoder` does with the doubled features from below and the skip, for inference only.

    block : of two convolutions whose normalisations are folded. below : channels of the doubled features.
    """

    def __init__(self, block: nn.Sequential, below: int) -> None:
        super().__init__()
        parts: Any = block
        joined: nn.Conv2d = parts[0][0]
        self.below, self.skipped = (
            nn.Conv2d(channels, joined.out_channels, joined.kernel_size, padding=joined.padding, bias=not number)  # type: ignore[arg-type]
            for number, channels in enumerate((below, joined.in_channels - below))
        )
        self.below.weight = nn.Parameter(joined.weight[:, :below].clone())
        self.below.bias = joined.bias
        self.skipped.weight = nn.Parameter(joined.weight[:, below:].clone())
        self.second: nn.Module = parts[1]

    def forward(self, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        """Return float (n, out, rows, columns)."""
        y: torch.Tensor = self.below(x)
        y += self.skipped(skip)
        folded: torch.Tensor = self.second(functional.relu_(y))
        return folded


class FoldedDecoder(nn.Module):
    """What the decoder of `MTUNet` does, for inference only."""

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        parts: Any = decoder
        below = (*STAGE_CHANNELS[:0:-1],)
        self.blocks = nn.ModuleList(FoldedBlock(block, n) for block, n in zip(parts.blocks, below, strict=True))
        self.up, self.head = parts.up, parts.head

    def forward(self, features: list[torch.Tensor]) -> torch.Tensor:
        """Return logits from features (finest first)."""
        *skips, x = features
        for block in self.blocks:
            x = block(self.up(x), skips.pop())
        logits: torch.Tensor = self.head(x)
        return logits


def folded(network: MTUNet) -> MTUNet:
    """Fold a network in place; it can no longer be trained, nor its weights stored."""
    network.eval()
    for part in network.modules():
        if isinstance(part, nn.Sequential) and len(part) > 1 and isinstance(part[0], nn.Conv2d):
            if isinstance(part[1], nn.BatchNorm2d):
                part[0], part[1] = fuse_conv_bn_eval(part[0], part[1]), nn.Identity()
            if isinstance(part[-1], nn.SiLU | nn.ReLU):
                part[-1].inplace = True
    decoder: Any = FoldedDecoder(network.decoder)
    network.decoder = decoder.to(memory_format=torch.channels_last)
    return network
