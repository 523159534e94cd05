"""The network as inference runs it: the same answers up to rounding, in about a tenth less time on a CPU.

Every normalisation goes into the convolution before it, activations work in place, and a block of the decoder neither
doubles its input nor joins the skip to it: the nearest neighbour's doubling and the 3 x 3 convolution of its result are
one transposed convolution of 4 x 4 with four ninths of the multiplications, and the skip is convolved by itself.

This module imports torch, so only workers may import it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import fuse_conv_bn_eval

from pipelines.bone_scan.networks import BoneScanNetwork, UpBlock


class FoldedUpBlock(nn.Module):
    """What an `UpBlock` does, for inference only."""

    def __init__(self, block: UpBlock) -> None:
        super().__init__()
        parts: Any = block.convolutions
        first, second = (fuse_conv_bn_eval(part.conv, part.adn.N) for part in parts)
        out, channels = len(first.weight), block.channels
        self.doubled = nn.ConvTranspose2d(channels, out, 4, stride=2, padding=1)
        self.doubled.weight = nn.Parameter(doubling_kernel(first.weight[:, :channels]))
        self.doubled.bias = first.bias
        self.skipped: nn.Conv2d | None = None
        if skip := first.weight.shape[1] - channels:
            self.skipped = nn.Conv2d(skip, out, 3, padding=1, bias=False)
            self.skipped.weight = nn.Parameter(first.weight[:, channels:].clone())
        self.second: nn.Module = second

    def forward(self, x: torch.Tensor, skip: torch.Tensor | None) -> torch.Tensor:
        """Return float (n, out, 2 rows, 2 columns) for x (n, channels, rows, columns)."""
        y: torch.Tensor = self.doubled(x)
        if self.skipped is not None:
            y += self.skipped(skip)
        return functional.relu_(self.second(functional.relu_(y)))


def doubling_kernel(kernel: torch.Tensor) -> torch.Tensor:
    """Return the kernel of the transposed convolution (stride 2, padding 1) that doubles its input and convolves it.

    Parameters
    ----------
    kernel : of a 3 x 3 convolution, (out, in, 3, 3), zeros outside the image.

    Returns
    -------
    torch.Tensor
        (in, out, 4, 4): every pixel reaches the sum of what its four copies would.
    """
    turned = kernel.flip(2, 3).transpose(0, 1)
    copies = [functional.pad(turned, (right, 1 - right, down, 1 - down)) for down in (0, 1) for right in (0, 1)]
    return torch.stack(copies).sum(0)


def folded(network: BoneScanNetwork) -> BoneScanNetwork:
    """Fold a network in place; it can no longer be trained, nor its weights stored."""
    network.eval()
    encoder: Any = network.encoder
    _fold(encoder, "conv1", "bn1")
    for stage in (encoder.layer1, encoder.layer2, encoder.layer3, encoder.layer4):
        for block in stage:
            _fold(block, "conv1", "bn1")
            _fold(block, "conv2", "bn2")
            if isinstance(block.downsample, nn.Sequential):
                _fold(block.downsample, "0", "1")
    for part in encoder.modules():
        if isinstance(part, nn.ReLU):
            part.inplace = True
    blocks = [FoldedUpBlock(block) for block in network.decoder if isinstance(block, UpBlock)]
    network.decoder = nn.ModuleList(blocks).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def _fold(parent: nn.Module, convolution: str, normalisation: str) -> None:
    modules: Any = parent
    setattr(parent, convolution, fuse_conv_bn_eval(getattr(modules, convolution), getattr(modules, normalisation)))
    setattr(parent, normalisation, nn.Identity())
