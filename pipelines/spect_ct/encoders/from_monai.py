"""Encoders that MONAI has, made to return the features of five levels: 1/2, 1/4, 1/8, 1/16, 1/32."""

from __future__ import annotations

import torch
from monai.networks.nets import DenseNet169, EfficientNetBNFeatures, resnet34, resnet101
from torch import nn


class ResNetEncoder(nn.Module):
    """ResNet34 or ResNet101. MONAI's 2-D default keeps the first convolution at stride 1; the usual net has 2."""

    def __init__(self, depth: int, in_channels: int = 2) -> None:
        super().__init__()
        make = {34: resnet34, 101: resnet101}[depth]
        self.net = make(
            spatial_dims=2, n_input_channels=in_channels, conv1_t_stride=2, feed_forward=False, shortcut_type="B",
            bias_downsample=False,
        )  # fmt: skip
        wide = 1 if depth == 34 else 4
        self.channels = (64, *(width * wide for width in (64, 128, 256, 512)))

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the features, finest first."""
        net = self.net
        features = [net.act(net.bn1(net.conv1(x)))]
        x = net.maxpool(features[0])
        for layer in (net.layer1, net.layer2, net.layer3, net.layer4):
            x = layer(x)
            features.append(x)
        return features


class DenseNetEncoder(nn.Module):
    """DenseNet169: the stem, three dense blocks before their transitions, and the last one normalised."""

    def __init__(self, in_channels: int = 2) -> None:
        super().__init__()
        self.features = DenseNet169(spatial_dims=2, in_channels=in_channels, out_channels=1).features
        self.channels = (64, 256, 512, 1280, 1664)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the features, finest first."""
        found = []
        for name, part in self.features.named_children():
            x = part(x)
            if name in ("relu0", "denseblock1", "denseblock2", "denseblock3", "norm5"):
                found.append(x)
        return found


class EfficientNetEncoder(nn.Module):
    """EfficientNet-b0 up to its last block."""

    def __init__(self, in_channels: int = 2) -> None:
        super().__init__()
        self.net = EfficientNetBNFeatures("efficientnet-b0", pretrained=False, in_channels=in_channels, spatial_dims=2)
        # The classifier's parts take no part in the features.
        for part in ("_conv_head", "_bn1", "_fc"):
            setattr(self.net, part, nn.Identity())
        self.channels = (16, 24, 40, 112, 320)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the features, finest first."""
        return list(self.net(x))
