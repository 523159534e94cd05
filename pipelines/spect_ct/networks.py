"""MT-UNet: a U-Net whose encoder is made of MBConv blocks, with triplet attention where both modalities meet.

Wang et al., doi 10.3760/cma.j.cn321828-20241106-00384. Input float (n, 2 or 6, rows, columns), channels SPECT then CT,
each z-scored (`grid`), 0 everywhere where a modality is missing, then those of the neighbours if the network sees them
(`neighbours`; the paper's does not); sides multiples of 16. Output logits (n, 1, rows, columns), sigmoid outside.

The paper names the parts, not their sizes. Ours: a 3 x 3 stem of 32 channels; five stages of 32, 48, 80, 160 and 256
channels with 1, 2, 2, 3 and 3 blocks; a decoder that doubles the size bilinearly, joins the skip and convolves twice.
Triplet attention gates every stage's output before it goes to its skip and on to the decoder, because the paper lets
it fuse the features of both modalities there; `attention="block"` puts it inside every MBConv instead of
squeeze-and-excitation, which is 1.3 to 2 times slower.

This module imports torch, so only workers and training may import it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from pipelines.spect_ct.attention import TripletAttention
from pipelines.spect_ct.mbconv import MBConv, conv_norm
from pipelines.spect_ct.neighbours import SEEN_SLICES

NETWORK = "mt-unet"
CHANNELS = ("spect", "ct")
"""Input channels of a slice, in order."""

OUTPUTS = ("lesion",)
STAGE_CHANNELS = (32, 48, 80, 160, 256)
STAGE_BLOCKS = (1, 2, 2, 3, 3)
STAGE_EXPANSION = (1, 4, 4, 6, 6)
STAGE_KERNEL = (3, 3, 5, 3, 5)
INPUT_MULTIPLE = 16
STOCHASTIC_DEPTH = 0.1
ATTENTIONS = ("skip", "block")


@dataclass(frozen=True)
class NetworkSettings:
    """What a card needs to say so that the same network can be built again (`ModelCard.network_parameters`)."""

    attention: str = "skip"
    slices: int = 1
    """Seen at once: 1, or 3 with the neighbours. A card that does not say means 1."""

    def __post_init__(self) -> None:
        if self.slices not in (1, SEEN_SLICES):
            raise ValueError(f"slices must be 1 or {SEEN_SLICES}, got {self.slices}")
        if self.attention not in ATTENTIONS:
            raise ValueError(f"attention must be {' or '.join(ATTENTIONS)}, got '{self.attention}'")

    def to_card(self) -> dict[str, Any]:
        """Return `ModelCard.network_parameters`."""
        return asdict(self)


class Decoder(nn.Module):
    """The classic U-Net decoder, shared with the encoders of the comparison.

    Parameters
    ----------
    channels : of the encoder's features, from the finest to the coarsest.
    widths : of the decoder's levels, from the coarsest to the finest; one more than there are skips where the encoder's
        finest feature has half the input's size, so that the output has the whole.
    """

    def __init__(self, channels: Sequence[int], widths: Sequence[int]) -> None:
        super().__init__()
        skips = [*reversed(channels[:-1]), *([0] * (len(widths) - len(channels) + 1))]
        ins = [channels[-1], *widths[:-1]]
        self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
        self.blocks = nn.ModuleList(
            nn.Sequential(conv_norm(i + s, o, 3, act=nn.ReLU), conv_norm(o, o, 3, act=nn.ReLU))
            for i, s, o in zip(ins, skips, widths, strict=True)
        )
        self.head = nn.Conv2d(widths[-1], len(OUTPUTS), 1)

    def forward(self, features: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return logits from features (finest first)."""
        held = list(features)
        x = held.pop()
        for block in self.blocks:
            x = self.up(x)
            x = block(torch.cat([x, held.pop()], 1) if held else x)
        return self.head(x)


class MTUNet(nn.Module):
    """See the module's text; 4.82 million parameters.

    `channels`: how many of the input it takes; 2 for each slice that it sees.
    """

    def __init__(self, settings: NetworkSettings | None = None) -> None:
        super().__init__()
        self.settings = settings or NetworkSettings()
        gate = "triplet" if self.settings.attention == "block" else "se"
        self.channels = len(CHANNELS) * self.settings.slices
        self.stem = conv_norm(self.channels, STAGE_CHANNELS[0], 3)
        self.stages = nn.ModuleList()
        channels = STAGE_CHANNELS[0]
        rows = zip(STAGE_CHANNELS, STAGE_BLOCKS, STAGE_EXPANSION, STAGE_KERNEL, strict=True)
        for number, (out, blocks, expansion, kernel) in enumerate(rows):
            stage = []
            for block in range(blocks):
                stride = 2 if number and not block else 1
                stage.append(MBConv(channels, out, kernel, stride, expansion, gate, STOCHASTIC_DEPTH))
                channels = out
            self.stages.append(nn.Sequential(*stage))
        on_skips = self.settings.attention == "skip"
        self.attentions = nn.ModuleList(TripletAttention() if on_skips else nn.Identity() for _ in STAGE_CHANNELS)
        self.decoder = Decoder(STAGE_CHANNELS, STAGE_CHANNELS[-2::-1])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (n, 1, rows, columns).

        Raises
        ------
        ValueError
            If a side is no multiple of 16.
        """
        if x.shape[-2] % INPUT_MULTIPLE or x.shape[-1] % INPUT_MULTIPLE:
            raise ValueError(f"sides must be multiples of {INPUT_MULTIPLE}, got {tuple(x.shape[-2:])}")
        features = []
        x = self.stem(x)
        for stage, attention in zip(self.stages, self.attentions, strict=True):
            x = attention(stage(x))
            features.append(x)
        return self.decoder(features)


def build_network(parameters: dict[str, Any]) -> MTUNet:
    """Build the network that a card describes.

    Raises
    ------
    ValueError, TypeError
        If the parameters are not those of `NetworkSettings`.
    """
    return MTUNet(NetworkSettings(**parameters))


def count_parameters(network: nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)
