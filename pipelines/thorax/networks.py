"""The recurrent thorax network: dilated residual blocks, an inception block, skips, run T times with shared weights.

    u = stem(image)                                32 channels
    x(0) = F(u),  x(t) = F(u + W_R x(t - 1))       equation 5, as in recurrent layers of Liang & Hu, CVPR 2015
    logit = head(x(T - 1))

    F: DRes 32 (dilations 1, 2) -> pool 2 -> DRes 64 (1, 2) -> inception 128, halving -> DRes 128 (2, 4)
       -> DRes 256 (1, 2) -> up 2, join DRes 64 -> 64 -> up 2, join DRes 32 -> 32

The figure with the paper's layout is not in its text; widths, dilations and the places of the skips are ours. So is one
departure: the stem folds 2 x 2 pixels into channels and the head unfolds them, so F works at half the size. A gamma
camera resolves 9 to 12 mm, four to five pixels of the image, so nothing is lost, and F costs a quarter.

The paper's table 4 counts 3.7, 9.8, 23.5 and 46.8 million parameters at T = 1 to 4, so it unrolled the recurrence into
networks of their own, although its equation 5 and its source share the weights. Shared here: 1.6 million at any T.
Every step has its own batch normalisation statistics (T small vectors of buffers), because what enters F changes
from step to step; their scales and offsets are shared.

This module imports torch, so only workers and training may import it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional

NETWORK = "recurrent-dilated-inception"
STEPS = 3
"""T of the paper's best network."""

FOLD = 2
"""Pixels per side that the stem folds into channels."""

INPUT_MULTIPLE = 4 * FOLD
"""F halves its input twice."""

WIDTH = 32
BRANCHES = (32, 32, 16, 32, 16)
FIVE_REDUCED = 24
"""Channels of the inception block's branches 1x3/3x1, 1x7/7x1, 1x1, 5x5 and pooled, 128 together; and the channels to
which a 1x1 convolution reduces before the 5x5."""

LESION_PRIOR = 0.01
"""The head starts at about the share of pixels that are lesion, or most of early training goes into learning that."""


@dataclass(frozen=True)
class NetworkSettings:
    """What the ablations of the paper's table 5 switch: all True is the complete network.

    steps : T. dilated : dilations as above, else all 1. inception : the block, else one 3x3 convolution of stride 2.
    residual : the blocks' 1x1 paths.
    """

    steps: int = STEPS
    dilated: bool = True
    inception: bool = True
    residual: bool = True

    def as_parameters(self) -> dict[str, Any]:
        """Return the settings as a model card keeps them."""
        return asdict(self)


class StepNorm(nn.Module):
    """Batch normalisation with statistics of its own for each step of the recurrence, scale and offset shared."""

    def __init__(self, channels: int, steps: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(steps, channels))
        self.register_buffer("running_var", torch.ones(steps, channels))
        self.running_mean: torch.Tensor
        self.running_var: torch.Tensor
        self.step = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.batch_norm(
            x, self.running_mean[self.step], self.running_var[self.step], self.weight, self.bias, self.training
        )


def _unit(ins: int, out: int, kernel: int | tuple[int, int], steps: int, dilation: int = 1, stride: int = 1) -> Any:
    """Convolution that keeps the size (or halves it), BN, PReLU."""
    sides = (kernel, kernel) if isinstance(kernel, int) else kernel
    padding = (dilation * (sides[0] - 1) // 2, dilation * (sides[1] - 1) // 2)
    return nn.Sequential(
        nn.Conv2d(ins, out, sides, stride, padding, dilation, bias=False), StepNorm(out, steps), nn.PReLU(out)
    )


class DilatedResidual(nn.Module):
    """Figure 2: two dilated convolutions, each with BN and PReLU, beside a 1x1 convolution."""

    def __init__(self, ins: int, out: int, dilations: tuple[int, int], settings: NetworkSettings) -> None:
        super().__init__()
        first, second = dilations if settings.dilated else (1, 1)
        self.convolutions = nn.Sequential(
            _unit(ins, out, 3, settings.steps, first), _unit(out, out, 3, settings.steps, second)
        )
        self.identity = nn.Conv2d(ins, out, 1) if settings.residual else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mapped = self.convolutions(x)
        return mapped if self.identity is None else mapped + self.identity(x)


class Inception(nn.Module):
    """Figure 3: branches 1x3/3x1, 1x7/7x1, 1x1, 5x5 and a pooled one, concatenated; halves the size."""

    def __init__(self, ins: int, steps: int) -> None:
        super().__init__()
        three, seven, one, five, pooled = BRANCHES
        self.branches = nn.ModuleList(
            [
                nn.Sequential(_unit(ins, three, (1, 3), steps), _unit(three, three, (3, 1), steps, stride=2)),
                nn.Sequential(_unit(ins, seven, (1, 7), steps), _unit(seven, seven, (7, 1), steps, stride=2)),
                _unit(ins, one, 1, steps, stride=2),
                nn.Sequential(_unit(ins, FIVE_REDUCED, 1, steps), _unit(FIVE_REDUCED, five, 5, steps, stride=2)),
                nn.Sequential(_unit(ins, pooled, 1, steps), nn.MaxPool2d(2)),
            ]
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


class _Extractor(nn.Module):
    """F: features of 32 channels to features of 32 channels of the same size."""

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__()
        steps, w = settings.steps, WIDTH
        self.fine = DilatedResidual(w, w, (1, 2), settings)
        self.middle = DilatedResidual(w, 2 * w, (1, 2), settings)
        self.halve = Inception(2 * w, steps) if settings.inception else _unit(2 * w, 4 * w, 3, steps, stride=2)
        self.coarse = nn.Sequential(
            DilatedResidual(4 * w, 4 * w, (2, 4), settings), DilatedResidual(4 * w, 8 * w, (1, 2), settings)
        )
        self.join_middle = _unit(8 * w + 2 * w, 2 * w, 3, steps)
        self.join_fine = _unit(2 * w + w, w, 3, steps)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        fine = self.fine(x)
        middle = self.middle(functional.max_pool2d(fine, 2))
        coarse = self.coarse(self.halve(middle))
        middle = self.join_middle(torch.cat([_double(coarse), middle], 1))
        return self.join_fine(torch.cat([_double(middle), fine], 1))


class RecurrentThoraxNetwork(nn.Module):
    """Images float (n, 1, rows, columns) in [0, 1], 1 = hottest, sides multiples of 8 -> logits (n, 1, rows, columns).

    Raises ValueError for other sides.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self.settings = NetworkSettings(**settings)
        self.stem = nn.Conv2d(FOLD**2, WIDTH, 3, padding=1)
        self.extract = _Extractor(self.settings)
        self.recur = nn.Conv2d(WIDTH, WIDTH, 3, padding=1)
        self.head = nn.Conv2d(WIDTH, FOLD**2, 1)
        # The recurrence starts at nothing: at first every step computes what the first one does.
        nn.init.zeros_(self.recur.weight)
        nn.init.zeros_(self.recur.bias)  # type: ignore[arg-type]
        nn.init.constant_(self.head.bias, float(torch.logit(torch.tensor(LESION_PRIOR))))  # type: ignore[arg-type]
        self._norms = [module for module in self.modules() if isinstance(module, StepNorm)]
        self.running = self.settings.steps

    def run_steps(self, steps: int) -> None:
        """Run only the first steps of the recurrence from now on, 1 to T; training starts with one.

        Statistics of steps that join are those of the last one that ran.

        Raises
        ------
        ValueError
            If the network has no so many steps.
        """
        if not 1 <= steps <= self.settings.steps:
            raise ValueError(f"the network has 1 to {self.settings.steps} steps, asked for {steps}")
        for norm in self._norms:
            for statistics in (norm.running_mean, norm.running_var):
                statistics[self.running :] = statistics[self.running - 1]
        self.running = steps

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logit of each pixel."""
        if images.shape[-2] % INPUT_MULTIPLE or images.shape[-1] % INPUT_MULTIPLE:
            raise ValueError(f"sides must be multiples of {INPUT_MULTIPLE}, got {tuple(images.shape[-2:])}")
        u = self.stem(functional.pixel_unshuffle(images, FOLD))
        x = self._at(0, u)
        for step in range(1, self.running):
            x = self._at(step, u + self.recur(x))
        return functional.pixel_shuffle(self.head(x), FOLD)

    def _at(self, step: int, x: torch.Tensor) -> torch.Tensor:
        """Apply F with the statistics of a step."""
        for norm in self._norms:
            norm.step = step
        return self.extract(x)


def _double(x: torch.Tensor) -> torch.Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode="nearest")


def count_parameters(network: nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)
