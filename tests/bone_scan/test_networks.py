"""The network's shapes, size and behaviour; no weights are loaded and nothing is learnt here."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

torch = pytest.importorskip("torch")

from pipelines.bone_scan import engine  # noqa: E402
from pipelines.bone_scan.folding import folded  # noqa: E402
from pipelines.bone_scan.networks import (  # noqa: E402
    CHANNELS,
    CLASSES,
    HOTTEST_PIXELS,
    TILE_LABELS,
    BoneScanNetwork,
    Smoothing,
    build_network,
    count_parameters,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return BoneScanNetwork().eval()


def test_the_encoder_has_the_parameters_of_the_published_one(network):
    # ResNet34 has 21.8 M parameters (He et al. 2016) with a three-channel stem and 1000 outputs.
    published = 21_797_672 - (3 * 7 * 7 * 64 + 512 * 1000 + 1000)
    # MONAI's convolutions on the three shortcuts carry a bias each, which the published network does without.
    shortcut_biases = 128 + 256 + 512
    assert count_parameters(network.encoder) == published + CHANNELS * 7 * 7 * 64 + shortcut_biases
    assert count_parameters(network) == pytest.approx(24.4e6, rel=0.005)


def test_shapes(network):
    for rows, columns in ((256, 256), (256, 96)):
        with torch.inference_mode():
            pixels, names = network(torch.rand(2, CHANNELS, rows, columns))
        assert pixels.shape == (2, len(CLASSES), rows, columns)
        assert names.shape == (2, len(TILE_LABELS))
    assert (CLASSES, TILE_LABELS) == (engine.CLASSES, engine.TILE_LABELS)


def test_sides_that_are_no_multiple_of_32_are_refused(network):
    with pytest.raises(ValueError, match="multiples of 32"):
        network(torch.rand(1, CHANNELS, 250, 256))
    with pytest.raises(ValueError, match="multiples of 32"):
        network(torch.rand(1, CHANNELS, 320, 256), (0, 50))


def test_a_view_of_one_tile_gets_the_label_of_the_tile(network):
    tile = torch.rand(1, CHANNELS, 256, 256)
    with torch.inference_mode():
        assert torch.equal(network(tile)[1], network(tile, (0,))[1])
        pixels, labels = network(torch.rand(1, CHANNELS, 320, 256), (0, 64))
    assert pixels.shape == (1, 3, 320, 256) and labels.shape == (2, 2)
    assert not torch.equal(labels[0], labels[1])


def test_the_tiles_label_rises_with_what_the_pixels_show(network):
    """The margins by hand: 32 pixels at log-odds 6 in a tile otherwise at -6."""
    from pipelines.bone_scan.networks import _margins

    pixels = torch.zeros(1, 3, 64, 64)
    pixels[:, 1:] = -20.0
    pixels[:, 1] = -6.0
    pixels[0, 1].view(-1)[:HOTTEST_PIXELS] = 6.0
    assert _margins(pixels)[0, 0] == pytest.approx(6.0, abs=1e-4)
    pixels[0, 1].view(-1)[: HOTTEST_PIXELS // 2] = -6.0
    assert _margins(pixels)[0, 0] == pytest.approx(0.0, abs=1e-4)


def test_weights_of_fewer_channels_answer_as_before(network):
    from pipelines.bone_scan.train import FIRST_LAYER
    from pipelines.training.widening import widened

    state = network.state_dict()
    narrow = {**state, FIRST_LAYER: state[FIRST_LAYER][:, :2]}
    grown = BoneScanNetwork().eval()
    grown.load_state_dict(widened(narrow, FIRST_LAYER, 6))
    tiles = torch.rand(2, CHANNELS, 64, 64)
    other = torch.cat([tiles[:, :2], torch.rand(2, CHANNELS - 2, 64, 64)], 1)
    with torch.inference_mode():
        assert torch.equal(grown(tiles)[0], grown(other)[0])
    assert torch.equal(widened(state, FIRST_LAYER, 6)[FIRST_LAYER], state[FIRST_LAYER])


def test_the_folded_network_answers_as_the_one_that_was_trained():
    torch.manual_seed(1)
    network = BoneScanNetwork().eval()
    for part in network.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            # Of a fresh one all statistics are 0 and 1, so that leaving it out would not be noticed.
            for values in (part.running_mean, part.bias.data):
                values.normal_(0, 0.2)
            for values in (part.running_var, part.weight.data):
                values.uniform_(0.5, 1.5)
    view, starts = torch.rand(1, CHANNELS, 320, 128), (0, 64)
    with torch.inference_mode():
        before = network(view, starts)
        after = folded(network)(view, starts)
    assert not any(isinstance(part, torch.nn.BatchNorm2d) for part in network.modules())
    for old, new in zip(before, after, strict=True):
        assert float(old.std()) > 1e-3
        assert torch.allclose(old, new, atol=1e-4 * float(old.abs().max()))


def test_the_input_is_smoothed_as_scipy_smooths_it_unless_the_card_says_nothing_of_it(network):
    tiles = torch.rand(1, 2, 64, 96)
    expected = ndimage.gaussian_filter(tiles.numpy(), (0, 0, 1.5, 1.5), mode="constant", truncate=10 / 3)
    np.testing.assert_allclose(Smoothing(1.5)(tiles).numpy(), expected, atol=1e-6)
    assert network.state_dict().keys() == build_network({"channels": CHANNELS}).state_dict().keys()
    assert isinstance(build_network({"channels": CHANNELS}).smoothing, torch.nn.Identity)
    assert isinstance(build_network({"channels": CHANNELS, "smoothing": 1.5}).smoothing, Smoothing)


def test_every_parameter_takes_part():
    network = BoneScanNetwork().train()
    pixels, names = network(torch.rand(2, CHANNELS, 64, 64))
    (pixels.square().mean() + names.square().mean()).backward()
    idle = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert idle == []
