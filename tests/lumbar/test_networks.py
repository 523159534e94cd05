"""The networks' sizes, shapes and which slices may see each other; nothing is learnt here."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from pipelines.contract.compute import fast_precision  # noqa: E402
from pipelines.lumbar.classes import CLASSES  # noqa: E402
from pipelines.lumbar.networks import (  # noqa: E402
    COARSE_NETWORK,
    FINE_NETWORK,
    PAPER_NETWORK,
    NetworkSettings,
    UNet3d,
    build_network,
    count_parameters,
)
from pipelines.lumbar.sampling import FINE_SAMPLING  # noqa: E402

SMALL = NetworkSettings(base_width=8)


@pytest.fixture(scope="module")
def small():
    torch.manual_seed(0)
    return UNet3d(SMALL).eval()


def test_the_papers_network_has_the_parameters_that_cicek_counted():
    # The publication counts 19,069,955 for three input channels and three classes, without the two vectors of each
    # of the 14 normalisations (2,336 channels in all) and the biases of the transposed convolutions.
    published = 19_069_955
    normalisations, transposed_biases = 2 * 2336, 512 + 256 + 128
    two_channels_less, four_classes_more = 2 * 27 * 32, 4 * (64 + 1)
    expected = published + normalisations + transposed_biases - two_channels_less + four_classes_more
    assert count_parameters(UNet3d(PAPER_NETWORK)) == expected


def test_half_the_width_has_a_quarter_of_the_parameters():
    half = NetworkSettings(base_width=16, flat_pools=0, flat_levels=0)
    assert count_parameters(UNet3d(half)) == pytest.approx(4.77e6, rel=0.002)
    assert count_parameters(UNet3d(FINE_NETWORK)) == pytest.approx(4.32e6, rel=0.002)
    assert count_parameters(UNet3d(COARSE_NETWORK)) == pytest.approx(1.08e6, rel=0.002)


@pytest.mark.parametrize("settings", [SMALL, NetworkSettings(8, 0, 0, "BATCH"), NetworkSettings(8, 2, 3, "INSTANCE")])
def test_logits_have_the_inputs_size(settings):
    with torch.inference_mode():
        assert UNet3d(settings).eval()(torch.rand(1, 1, 8, 32, 16)).shape == (1, len(CLASSES), 8, 32, 16)


def test_flat_convolutions_equal_those_of_torch_in_three_dimensions(small):
    spread = [m for m in small.modules() if isinstance(m, torch.nn.Conv3d) and m.kernel_size == (1, 3, 3)]
    assert len(spread) == 8
    for layer in spread:
        x = torch.rand(2, layer.in_channels, 3, 16, 8).to(memory_format=torch.channels_last_3d)
        expected = torch.nn.functional.conv3d(x, layer.weight, layer.bias, padding=(0, 1, 1))
        with torch.inference_mode():
            torch.testing.assert_close(layer(x), expected)


@pytest.mark.skipif(fast_precision("cpu") != "bf16", reason="this processor has no bf16: training never takes it here")
def test_gradients_in_bf16_are_finite_at_the_size_of_training():
    torch.manual_seed(0)
    network = UNet3d(FINE_NETWORK).to(memory_format=torch.channels_last_3d)
    part = torch.rand(1, 1, *FINE_SAMPLING.part, FINE_SAMPLING.size[1]).to(memory_format=torch.channels_last_3d)
    with torch.autocast("cpu", torch.bfloat16):
        loss = network(part).float().square().mean()
    loss.backward()
    assert [name for name, p in network.named_parameters() if not p.grad.isfinite().all()] == []


def test_sides_that_the_pools_do_not_divide_are_refused(small):
    assert SMALL.multiples == (4, 8, 8)
    assert PAPER_NETWORK.multiples == (8, 8, 8)
    with pytest.raises(ValueError, match=r"multiples of \(4, 8, 8\)"):
        small(torch.rand(1, 1, 6, 32, 32))


def test_settings_that_cannot_be_built_are_refused():
    with pytest.raises(ValueError, match="multiple of 8"):
        NetworkSettings(base_width=12)
    with pytest.raises(ValueError, match="norm must be"):
        NetworkSettings(norm="LAYER")
    with pytest.raises(ValueError, match="flat_pools"):
        NetworkSettings(flat_pools=4)


def test_a_card_holds_what_the_network_needs_to_be_built_again():
    again = build_network(FINE_NETWORK.to_card())
    assert again.settings == FINE_NETWORK
    with pytest.raises(TypeError):
        build_network({"width": 16})


def test_every_parameter_takes_part():
    network = UNet3d(SMALL).train()
    network(torch.rand(1, 1, 8, 16, 16)).square().mean().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_flat_levels_alone_do_not_mix_slices():
    # With every level and pool flat, a slice's logits cannot depend on another slice; with the default they do.
    def reach(settings):
        torch.manual_seed(0)
        network = UNet3d(settings).double().eval()
        volume = torch.rand(1, 1, 8, 16, 16, dtype=torch.float64)
        changed = volume.clone()
        changed[:, :, 0] = 0
        with torch.inference_mode():
            difference = (network(volume) - network(changed)).abs().amax((0, 1, 3, 4))
        # Random weights weaken a change at every level, so it is small where it has come a long way.
        return int((difference > 1e-13).sum())

    # Batch normalisation at rest is a fixed scale, so nothing but convolutions and pools can carry a change.
    assert reach(NetworkSettings(8, flat_pools=3, flat_levels=4, norm="BATCH")) == 1
    assert reach(NetworkSettings(8, flat_pools=1, flat_levels=2, norm="BATCH")) == 8
