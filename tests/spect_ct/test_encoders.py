"""The comparison's encoders: our own against their published parameter counts, all against the shapes of a U-Net."""

from __future__ import annotations

import pytest
import torch

from pipelines.spect_ct.encoders.from_monai import DenseNetEncoder, ResNetEncoder
from pipelines.spect_ct.encoders.mobilenet import MobileNetV2Encoder
from pipelines.spect_ct.encoders.regnet import RegNetX16Encoder
from pipelines.spect_ct.encoders.unet import NETWORKS
from pipelines.spect_ct.encoders.vgg import VggEncoder
from pipelines.spect_ct.networks import count_parameters

BATCH_NORM_OF_VGG = {11: 5504, 16: 8448}
"""Scale and shift of each of VGG's 2752 and 4224 channels."""

VGG_HEAD = 25088 * 4096 + 4096 + 4096 * 4096 + 4096 + 4096 * 1000 + 1000


@pytest.mark.parametrize(("depth", "published"), [(11, 132_863_336), (16, 138_357_544)])
def test_vgg_has_its_published_size(depth, published):
    assert count_parameters(VggEncoder(depth, 3)) - BATCH_NORM_OF_VGG[depth] + VGG_HEAD == published


def test_mobilenet_has_its_published_size():
    assert count_parameters(MobileNetV2Encoder(3)) + 1280 * 1000 + 1000 == 3_504_872


def test_regnet_has_its_published_size():
    assert count_parameters(RegNetX16Encoder(3)) + 912 * 1000 + 1000 == 9_190_136


@pytest.mark.parametrize(("depth", "published"), [(34, 21_797_672), (101, 44_549_160)])
def test_monais_resnets_are_the_usual_ones(depth, published):
    head = {34: 512, 101: 2048}[depth] * 1000 + 1000
    assert count_parameters(ResNetEncoder(depth, 3)) + head == published


def test_monais_densenet_is_the_usual_one():
    assert count_parameters(DenseNetEncoder(3)) + 1664 * 1000 + 1000 == 14_149_480


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_gives_one_logit_per_pixel_and_learns_everywhere(name):
    torch.manual_seed(0)
    network = NETWORKS[name]()
    logits = network(torch.randn(2, 2, 64, 64))
    assert logits.shape == (2, 1, 64, 64)
    logits.square().mean().backward()
    dead = [key for key, p in network.named_parameters() if p.requires_grad and p.grad is None]
    assert not dead
