"""The mobile inverted bottleneck: expand, convolve each channel by itself, gate, project back, add.

Sandler et al., CVPR 2018 (MobileNetV2); Tan, Le, ICML 2019 (EfficientNet). MONAI's `MBConvBlock` has static padding
and no place for another attention, hence this one. Weights of batch normalisation and convolutions only, no bias
before a normalisation.
"""

from __future__ import annotations

import torch
from torch import nn

from pipelines.spect_ct.attention import SqueezeExcitation, TripletAttention

SE_RATIO = 0.25
"""Hidden channels of squeeze-and-excitation relative to the block's INPUT, as EfficientNet has it."""


class DepthwiseConv2d(nn.Conv2d):
    """A convolution of each channel by itself that a CPU trains in fp32 even where the rest is in bf16.

    torch's backward pass of it in bf16 is slow on a CPU: with all of it in bf16 a training step of MT-UNet took 1.5
    times as long on a Xeon with AMX.
    """

    def __init__(self, channels: int, kernel: int, stride: int) -> None:
        super().__init__(channels, channels, kernel, stride, kernel // 2, groups=channels, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return float (n, channels, rows / stride, columns / stride)."""
        if torch.is_grad_enabled() and x.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
            with torch.autocast("cpu", enabled=False):
                return super().forward(x.float())
        return super().forward(x)


def conv_norm(
    channels: int, out: int, kernel: int, stride: int = 1, groups: int = 1, act: type[nn.Module] | None = nn.SiLU
) -> nn.Sequential:
    """Return convolution, batch normalisation and activation; the output has ceil(size / stride) rows and columns."""
    if groups == channels == out:
        convolution: nn.Conv2d = DepthwiseConv2d(channels, kernel, stride)
    else:
        convolution = nn.Conv2d(channels, out, kernel, stride, kernel // 2, groups=groups, bias=False)
    layers: list[nn.Module] = [convolution, nn.BatchNorm2d(out)]
    if act is not None:
        layers.append(act())
    return nn.Sequential(*layers)


class DropPath(nn.Module):
    """Leave the residual branch out for whole samples (stochastic depth, Huang et al., ECCV 2016) while training."""

    def __init__(self, chance: float) -> None:
        super().__init__()
        self.chance = chance

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x, or 0 for some samples and x over the chance of being kept for the others."""
        if not self.training or self.chance == 0:
            return x
        kept = torch.rand((x.shape[0], 1, 1, 1), device=x.device) >= self.chance
        return x * kept / (1 - self.chance)


class MBConv(nn.Module):
    """One block.

    Parameters
    ----------
    gate : "se" for squeeze-and-excitation, "triplet" for triplet attention in its place, "none".
    drop : chance that the block is left out while training; counts only where it has a residual connection.
    """

    def __init__(
        self, channels: int, out: int, kernel: int, stride: int, expansion: int, gate: str = "se", drop: float = 0.0
    ) -> None:
        super().__init__()
        if gate not in ("se", "triplet", "none"):
            raise ValueError(f"gate must be se, triplet or none, got '{gate}'")
        wide = channels * expansion
        self.expand = conv_norm(channels, wide, 1) if expansion != 1 else nn.Identity()
        self.depthwise = conv_norm(wide, wide, kernel, stride, groups=wide)
        self.gate: nn.Module = nn.Identity()
        if gate == "se":
            self.gate = SqueezeExcitation(wide, max(1, int(channels * SE_RATIO)))
        elif gate == "triplet":
            self.gate = TripletAttention()
        self.project = conv_norm(wide, out, 1, act=None)
        self.residual = stride == 1 and channels == out
        self.drop = DropPath(drop if self.residual else 0.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return float (n, out, rows / stride, columns / stride)."""
        y = self.project(self.gate(self.depthwise(self.expand(x))))
        return x + self.drop(y) if self.residual else y
