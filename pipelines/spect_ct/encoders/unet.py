"""U-Nets over any of the encoders, with the decoder of MT-UNet, and the list of all nine networks."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from pipelines.spect_ct.encoders.from_monai import DenseNetEncoder, EfficientNetEncoder, ResNetEncoder
from pipelines.spect_ct.encoders.mobilenet import MobileNetV2Encoder
from pipelines.spect_ct.encoders.regnet import RegNetX16Encoder
from pipelines.spect_ct.encoders.vgg import VggEncoder
from pipelines.spect_ct.networks import Decoder, MTUNet

WIDTHS = (256, 128, 64, 32, 16)
SIDE_MULTIPLE = 32


class EncoderUNet(nn.Module):
    """Logits (n, 1, rows, columns) of float (n, 2, rows, columns); sides multiples of 32."""

    def __init__(self, encoder: nn.Module, channels: tuple[int, ...], full_size: bool = False) -> None:
        super().__init__()
        self.encoder = encoder
        # An encoder whose finest feature has the input's size needs one doubling less.
        self.decoder = Decoder(channels, WIDTHS[: len(channels) - 1] if full_size else WIDTHS[: len(channels)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        logits: torch.Tensor = self.decoder(self.encoder(x))
        return logits


def _over(make: Callable[[], nn.Module], full_size: bool = False) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        encoder = make()
        return EncoderUNet(encoder, tuple(encoder.channels), full_size)  # type: ignore[arg-type]

    return build


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "ResNet34": _over(lambda: ResNetEncoder(34)),
    "ResNet101": _over(lambda: ResNetEncoder(101)),
    "EfficientNet": _over(EfficientNetEncoder),
    "MobileNet": _over(MobileNetV2Encoder),
    "RegNetX": _over(RegNetX16Encoder),
    "VGG16": _over(lambda: VggEncoder(16), full_size=True),
    "DenseNet169": _over(DenseNetEncoder),
    "VGG11": _over(lambda: VggEncoder(11), full_size=True),
    "MT-UNet": MTUNet,
}
"""In the order of the paper's table 2."""
