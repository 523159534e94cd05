"""The networks' shapes, sizes and behaviour; no weights are loaded and nothing is learnt here but in one slow test."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from pipelines.bone_scan.networks import (  # noqa: E402
    CLASSIFIER_OUTPUTS,
    SEGMENTER_CLASSES,
    ResNetUNet,
    TileClassifier,
    count_parameters,
    start_from_encoder,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def segmenter():
    torch.manual_seed(0)
    return ResNetUNet().eval()


@pytest.fixture(scope="module")
def classifier():
    torch.manual_seed(1)
    return TileClassifier().eval()


def test_parameters_are_those_of_the_published_networks(segmenter, classifier):
    # ResNet34 has 21.28 M parameters with a one-channel stem and two outputs (He et al. 2016, 21.8 M with 1000).
    stem, head = 7 * 7 * 64, 512 * 2 + 2
    published = 21_797_672 - (3 * stem + 512 * 1000 + 1000)
    # MONAI's convolutions on the three shortcuts carry a bias each, which the published network does without.
    shortcut_biases = 128 + 256 + 512
    assert count_parameters(classifier) == published + stem + head + shortcut_biases
    assert count_parameters(segmenter) == pytest.approx(24.4e6, rel=0.005)


def test_shapes(segmenter, classifier):
    with torch.inference_mode():
        assert classifier(torch.rand(2, 1, 256, 256)).shape == (2, len(CLASSIFIER_OUTPUTS))
        assert segmenter(torch.rand(1, 1, 256, 256)).shape == (1, len(SEGMENTER_CLASSES), 256, 256)
        assert segmenter(torch.rand(1, 1, 1024 // 4, 96)).shape == (1, len(SEGMENTER_CLASSES), 256, 96)


def test_sides_that_are_no_multiple_of_32_are_refused(segmenter):
    with pytest.raises(ValueError, match="multiples of 32"):
        segmenter(torch.rand(1, 1, 250, 256))


def test_the_segmenter_keeps_no_classification_head(segmenter):
    assert not [key for key in segmenter.state_dict() if ".fc." in key]


def test_the_classifier_starts_with_the_segmenters_encoder(segmenter):
    fresh = TileClassifier()
    start_from_encoder(fresh, segmenter)
    assert torch.equal(fresh.backbone.layer3[0].conv1.weight, segmenter.encoder.layer3[0].conv1.weight)
    assert torch.equal(fresh.backbone.bn1.running_mean, segmenter.encoder.bn1.running_mean)


def test_every_parameter_of_the_segmenter_takes_part(segmenter):
    network = ResNetUNet().train()
    network(torch.rand(2, 1, 64, 64)).square().mean().backward()
    idle = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert idle == []
