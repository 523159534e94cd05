"""The two networks of the bone-scan pipeline, on MONAI parts.

`TileClassifier`: ResNet34, 256 x 256 tile -> logits of {metastasis, bladder}, multi-label (sigmoid outside).
`ResNetUNet`: the classic U-Net decoder on a ResNet34 encoder -> logits of three exclusive classes background,
metastasis, bladder (softmax outside), at the input's size.

The paper names ResNet34 for both and "classic U-Net encoding and decoding" for the second; widths of the decoder
and the place of the skips are not given there: skips from the stem and the first three stages, halving widths.
Weights are read and written by `pipelines.contract.weights`; nothing is downloaded. This module imports torch, so
only workers and training may import it.
"""

from __future__ import annotations

from typing import Any

import torch
from monai.networks.blocks import Convolution, UpSample
from monai.networks.nets import resnet34
from torch import nn

CLASSIFIER_OUTPUTS = ("metastasis", "bladder")
SEGMENTER_CLASSES = ("background", "metastasis", "bladder")
CLASSIFIER_NETWORK = "monai-resnet34-multilabel"
SEGMENTER_NETWORK = "resnet34-unet"
INPUT_MULTIPLE = 32
"""The encoder halves its input five times."""

ENCODER_CHANNELS = (64, 64, 128, 256, 512)
DECODER_CHANNELS = (256, 128, 64, 32, 16)


def _resnet34(outputs: int) -> nn.Module:
    # MONAI's own default of conv1_t_stride is 1, which is not the usual network and four times the work.
    return resnet34(pretrained=False, spatial_dims=2, n_input_channels=1, num_classes=outputs, conv1_t_stride=2)


class TileClassifier(nn.Module):
    """ResNet34 with one logit per label.

    Input float (tile, 1, 256, 256) in [0, 1], 1 = hottest; output float (tile, 2), see `CLASSIFIER_OUTPUTS`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.backbone = _resnet34(len(CLASSIFIER_OUTPUTS))

    def forward(self, tiles: torch.Tensor) -> torch.Tensor:
        """Return logits (tile, 2)."""
        return self.backbone(tiles)


class _UpBlock(nn.Module):
    """Double the size, join the skip, convolve twice."""

    def __init__(self, channels: int, skip: int, out: int) -> None:
        super().__init__()
        self.up = UpSample(2, channels, channels, scale_factor=2, mode="nontrainable", interp_mode="nearest",
                           align_corners=None)  # fmt: skip
        self.convolutions = nn.Sequential(
            Convolution(2, channels + skip, out, norm="BATCH", act="RELU", bias=False),
            Convolution(2, out, out, norm="BATCH", act="RELU", bias=False),
        )

    def forward(self, x: torch.Tensor, skip: torch.Tensor | None) -> torch.Tensor:
        x = self.up(x)
        return self.convolutions(x if skip is None else torch.cat([x, skip], 1))


class ResNetUNet(nn.Module):
    """U-Net decoder on a ResNet34 encoder, 24.4 million parameters.

    Input float (tile, 1, rows, columns), sides multiples of 32; output float (tile, 3, rows, columns), logits of
    `SEGMENTER_CLASSES`.
    """

    def __init__(self) -> None:
        super().__init__()
        encoder = _resnet34(1)
        # The classification head is not part of this network; left in, it would be stored without ever being used.
        encoder.fc = nn.Identity()
        encoder.avgpool = nn.Identity()
        self.encoder = encoder
        skips = (*ENCODER_CHANNELS[-2::-1], 0)
        ins = (ENCODER_CHANNELS[-1], *DECODER_CHANNELS[:-1])
        blocks = zip(ins, skips, DECODER_CHANNELS, strict=True)
        self.decoder = nn.ModuleList(_UpBlock(channels, skip, out) for channels, skip, out in blocks)
        self.head = nn.Conv2d(DECODER_CHANNELS[-1], len(SEGMENTER_CLASSES), 1)

    def forward(self, tiles: torch.Tensor) -> torch.Tensor:
        """Return logits (tile, 3, rows, columns).

        Raises
        ------
        ValueError
            If a side is no multiple of 32.
        """
        if tiles.shape[-2] % INPUT_MULTIPLE or tiles.shape[-1] % INPUT_MULTIPLE:
            raise ValueError(f"sides must be multiples of {INPUT_MULTIPLE}, got {tuple(tiles.shape[-2:])}")
        features = self._encode(tiles)
        x = features.pop()
        for block in self.decoder:
            x = block(x, features.pop() if features else None)
        return self.head(x)

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


def count_parameters(network: nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def start_from_encoder(classifier: TileClassifier, segmenter: ResNetUNet) -> None:
    """Copy the segmenter's encoder into the classifier; its last layer keeps its own start values."""
    encoder = {k: v for k, v in segmenter.encoder.state_dict().items() if not k.startswith("fc.")}
    missing, unexpected = classifier.backbone.load_state_dict(encoder, strict=False)
    if unexpected or set(missing) != {"fc.weight", "fc.bias"}:
        raise ValueError(f"the encoders differ: missing {missing}, unexpected {unexpected}")
