"""The network of the bone-scan pipeline, on MONAI parts: one ResNet34 encoder with two heads.

`BoneScanNetwork`: a 256 x 256 tile of both views, in two grey-scale windows and as a logarithm -> logits of three
exclusive classes background, metastasis, bladder (softmax outside) at the input's size, from the classic U-Net decoder;
and logits of {metastasis, bladder} for the tile as a whole, multi-label (sigmoid outside).

Departures from the paper, which names two networks (a ResNet34 and a U-Net) and shows them one window at a time:

* one encoder serves both heads, which halves the work; the tile's label also sees what the decoder outlined. It
  ranked simulated patients better than two networks (docs/bone-scan.md);
* both windows of a view enter together as two channels: the faint and the hot part of the same tile are seen at once;
* a third channel is the logarithm of the counts, which no bladder saturates;
* three more are the same of the opposite view, mirrored: noise, which is a detector's own, is not seen on both, and a
  reader compares them too;
* its input is smoothed first, always alike: scanners filter, sample and round in ways that training cannot all show,
  and what they make of the noise is what the network would take for foci.

Widths of the decoder and the place of the skips are not given in the paper: skips from the stem and the first three
stages, halving widths. Weights are read and written by `pipelines.contract.weights`; nothing is downloaded. This
module imports torch, so only workers and training may import it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from monai.networks.blocks import Convolution, UpSample
from monai.networks.nets import resnet34
from torch import nn
from torch.nn import functional

TILE_LABELS = ("metastasis", "bladder")
CLASSES = ("background", "metastasis", "bladder")
NETWORK = "resnet34-unet-two-heads"
CHANNELS = 6
"""Channels of the input: the same tile in each grey-scale window, the wide one first, and as a logarithm; then the same
of the opposite view, mirrored (`planar.prepare.facing`), 0 where there is none."""

SMOOTHING = 1.5
"""Standard deviation in pixels (3.4 mm) of the Gaussian over the input: 8 mm of full width, beside the 10 mm and more
that a collimator has at the depth of bones."""

WINDOWS = 2
"""What the weights see whose card does not say."""

INPUT_MULTIPLE = 32
"""The encoder halves its input five times."""

TILE_ROWS = 256

ENCODER_CHANNELS = (64, 64, 128, 256, 512)
DECODER_CHANNELS = (256, 128, 64, 32, 16)
HOTTEST_PIXELS = 32
"""The tile's label sees the mean margin of the class's most probable pixels: about the area of a 13 mm lesion."""


class UpBlock(nn.Module):
    """Double the size, join the skip, convolve twice."""

    def __init__(self, channels: int, skip: int, out: int) -> None:
        super().__init__()
        self.channels = channels
        self.up = UpSample(2, channels, channels, scale_factor=2, mode="nontrainable", interp_mode="nearest",
                           align_corners=None)  # fmt: skip
        self.convolutions = nn.Sequential(
            Convolution(2, channels + skip, out, norm="BATCH", act="RELU", bias=False),
            Convolution(2, out, out, norm="BATCH", act="RELU", bias=False),
        )

    def forward(self, x: torch.Tensor, skip: torch.Tensor | None) -> torch.Tensor:
        x = self.up(x)
        return self.convolutions(x if skip is None else torch.cat([x, skip], 1))


class Smoothing(nn.Module):
    """A Gaussian over every channel by itself; nothing is learned. Input and output float (n, channels, rows, columns).

    `sigma`: standard deviation in pixels. What lies outside the image is 0.
    """

    taps: torch.Tensor

    def __init__(self, sigma: float) -> None:
        super().__init__()
        self.reach = math.ceil(3 * sigma)
        taps = torch.exp(-0.5 * (torch.arange(-self.reach, self.reach + 1) / sigma) ** 2)
        self.register_buffer("taps", taps / taps.sum(), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the smoothed images."""
        channels = x.shape[1]
        taps = self.taps.expand(channels, 1, 1, -1)
        x = functional.conv2d(x, taps.transpose(2, 3), padding=(self.reach, 0), groups=channels)
        return functional.conv2d(x, taps, padding=(0, self.reach), groups=channels)


class BoneScanNetwork(nn.Module):
    """U-Net on a ResNet34 encoder with a head for the tile's labels, 24.4 million parameters.

    `channels`: how many of the input's channels the network sees, the first ones; a card that does not say means the
    two windows alone. `smoothing`: of the input, in pixels, 0 for none, which is what a card means that does not say.
    Input float (tile, channels, rows, columns) in [0, 1], 1 = hottest, sides multiples of 32.
    Output: logits of `CLASSES`, float (tile, 3, rows, columns), and of `TILE_LABELS`, float (tile, 2).
    """

    def __init__(self, channels: int = CHANNELS, smoothing: float = SMOOTHING) -> None:
        super().__init__()
        self.channels = channels
        self.smoothing = Smoothing(smoothing) if smoothing else nn.Identity()
        # MONAI's own default of conv1_t_stride is 1, which is not the usual network and four times the work.
        encoder: Any = resnet34(
            pretrained=False, spatial_dims=2, n_input_channels=channels, num_classes=1, conv1_t_stride=2
        )
        # The classification head is not part of this network; left in, it would be stored without ever being used.
        encoder.fc = nn.Identity()
        encoder.avgpool = nn.Identity()
        self.encoder = encoder
        skips = (*ENCODER_CHANNELS[-2::-1], 0)
        ins = (ENCODER_CHANNELS[-1], *DECODER_CHANNELS[:-1])
        blocks = zip(ins, skips, DECODER_CHANNELS, strict=True)
        self.decoder = nn.ModuleList(UpBlock(channels, skip, out) for channels, skip, out in blocks)
        self.pixel_head = nn.Conv2d(DECODER_CHANNELS[-1], len(CLASSES), 1)
        self.tile_head = nn.Linear(ENCODER_CHANNELS[-1] + len(TILE_LABELS), len(TILE_LABELS))

    def forward(self, tiles: torch.Tensor, starts: Sequence[int] | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Return pixel logits (tile, 3, rows, columns) and tile logits (tile, 2).

        With `starts`, the input is one view of any height, and tile logits are those of its 256-row parts from these
        rows on: (number of starts, 2). The label of a part then rests on features that have seen the whole view.

        Raises
        ------
        ValueError
            If a side or a start is no multiple of 32.
        """
        if any(start % INPUT_MULTIPLE for start in starts or ()):
            raise ValueError(f"tiles start at multiples of {INPUT_MULTIPLE}, got {tuple(starts or ())}")
        if tiles.shape[-2] % INPUT_MULTIPLE or tiles.shape[-1] % INPUT_MULTIPLE:
            raise ValueError(f"sides must be multiples of {INPUT_MULTIPLE}, got {tuple(tiles.shape[-2:])}")
        features = self._encode(self.smoothing(tiles))
        x = deepest = features.pop()
        for block in self.decoder:
            x = block(x, features.pop() if features else None)
        pixels = self.pixel_head(x)
        if starts is None:
            return pixels, self._label(deepest, pixels)
        step, height = INPUT_MULTIPLE, TILE_ROWS
        parts = [
            self._label(deepest[..., s // step : (s + height) // step, :], pixels[..., s : s + height, :])
            for s in starts
        ]
        return pixels, torch.cat(parts)

    def _label(self, deepest: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
        seen = torch.cat([deepest.mean((2, 3)), _margins(pixels)], 1)
        logits: torch.Tensor = self.tile_head(seen)
        return logits

    def _encode(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the stem's output and those of the four stages, from fine to coarse."""
        e: Any = self.encoder
        stem = e.act(e.bn1(e.conv1(x)))
        features = [stem]
        x = e.maxpool(stem)
        for stage in (e.layer1, e.layer2, e.layer3, e.layer4):
            x = stage(x)
            features.append(x)
        return features


def build_network(parameters: dict[str, Any]) -> BoneScanNetwork:
    """Build the network that a card describes.

    Raises
    ------
    TypeError
        If the parameters are not those of `BoneScanNetwork`.
    """
    return BoneScanNetwork(**{"channels": WINDOWS, "smoothing": 0.0, **parameters})


def _margins(pixels: torch.Tensor) -> torch.Tensor:
    """How clearly a tile's most probable pixels are of each class: mean log-odds, (tile, 2)."""
    logits = pixels.float().flatten(2)
    best = []
    for number in range(1, logits.shape[1]):
        others = torch.cat([logits[:, :number], logits[:, number + 1 :]], 1).logsumexp(1)
        best.append((logits[:, number] - others).topk(HOTTEST_PIXELS, 1).values.mean(1))
    return torch.stack(best, 1).to(pixels.dtype)


def count_parameters(network: nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)
