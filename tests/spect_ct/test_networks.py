"""MT-UNet: size, shapes, and its attention against numbers worked out with numpy alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import BatchNorm2d

from pipelines.contract import WeightsError
from pipelines.spect_ct.attention import TripletAttention
from pipelines.spect_ct.folding import folded
from pipelines.spect_ct.mbconv import DropPath, MBConv
from pipelines.spect_ct.networks import STAGE_CHANNELS, MTUNet, NetworkSettings, build_network, count_parameters
from pipelines.spect_ct.train import FIRST_LAYER
from pipelines.training.widening import widened


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return MTUNet().eval()


def test_it_has_the_size_that_was_specified(network):
    assert count_parameters(network) == pytest.approx(4.82e6, abs=5e3)
    assert count_parameters(MTUNet(NetworkSettings("block"))) == pytest.approx(4.15e6, abs=1.5e4)


def test_the_encoder_halves_four_times_and_the_output_has_the_size_of_the_input(network):
    seen = []
    handles = [stage.register_forward_hook(lambda _m, _i, out: seen.append(out.shape)) for stage in network.stages]
    with torch.inference_mode():
        logits = network(torch.zeros(2, 2, 64, 96))
    for handle in handles:
        handle.remove()
    assert logits.shape == (2, 1, 64, 96)
    assert [tuple(s[1:]) for s in seen] == [(c, 64 // 2**n, 96 // 2**n) for n, c in enumerate(STAGE_CHANNELS)]


def test_a_side_that_is_no_multiple_of_sixteen_is_refused(network):
    with pytest.raises(ValueError, match="multiples of 16"):
        network(torch.zeros(1, 2, 64, 72))


def test_folded_normalisations_change_nothing_but_rounding():
    torch.manual_seed(1)
    network = MTUNet()
    images = torch.randn(4, 2, 32, 48)
    for _ in range(3):  # statistics other than those of a fresh network
        network(images)
    network.eval()
    with torch.inference_mode():
        before = network(images)
        after = folded(network)(images)
    assert torch.allclose(before, after, atol=1e-5)
    left = [m for part in (network.stages, network.decoder) for m in part.modules() if isinstance(m, BatchNorm2d)]
    assert not left


def test_a_card_builds_the_same_network_and_refuses_another():
    assert build_network(MTUNet(NetworkSettings("block")).settings.to_card()).settings.attention == "block"
    with pytest.raises(ValueError, match="attention"):
        build_network({"attention": "somewhere"})
    with pytest.raises(ValueError, match="slices"):
        build_network({"slices": 2})


def test_weights_of_one_slice_answer_as_before_in_a_network_that_sees_the_neighbours_too():
    narrow, wide = MTUNet().eval(), MTUNet(NetworkSettings(slices=3)).eval()
    assert build_network({}).channels == 2 and build_network(wide.settings.to_card()).channels == 6
    wide.load_state_dict(widened(narrow.state_dict(), FIRST_LAYER, 6))
    images = torch.randn(1, 6, 32, 32)
    with torch.inference_mode():
        assert torch.allclose(wide(images), narrow(images[:, :2]), atol=1e-5)
    with pytest.raises(WeightsError, match="see 6 channels and this recipe's network 2"):
        widened(wide.state_dict(), FIRST_LAYER, narrow.channels)


def hand_gate(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """One branch on (leading, rows, columns) without torch: pool the leading axis, correlate, sigmoid, multiply."""
    pooled = np.stack([x.max(0), x.mean(0)])
    reach = kernel.shape[-1] // 2
    padded = np.pad(pooled, ((0, 0), (reach, reach), (reach, reach)))
    rows, columns = x.shape[1:]
    mixed = np.zeros((rows, columns))
    for r in range(rows):
        for c in range(columns):
            mixed[r, c] = (padded[:, r : r + 2 * reach + 1, c : c + 2 * reach + 1] * kernel).sum()
    # A fresh batch normalisation in eval mode divides by the root of 1 + 1e-5.
    return x / (1 + np.exp(-mixed / np.sqrt(1 + 1e-5)))


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last], ids=str)
def test_triplet_attention_is_the_mean_of_three_gates_worked_out_by_hand(order: torch.memory_format):
    torch.manual_seed(1)
    attention = TripletAttention().eval()
    x = torch.randn(1, 5, 6, 7).to(memory_format=order)
    kernels = [getattr(attention, name).conv.weight.detach().numpy()[0]
               for name in ("channel_width", "height_channel", "height_width")]  # fmt: skip
    a = x[0].numpy().astype(float)
    by_hand = (
        hand_gate(a.transpose(1, 0, 2), kernels[0]).transpose(1, 0, 2)
        + hand_gate(a.transpose(2, 1, 0), kernels[1]).transpose(2, 1, 0)
        + hand_gate(a, kernels[2])
    ) / 3
    with torch.inference_mode():
        assert attention(x)[0].numpy() == pytest.approx(by_hand, abs=1e-5)


def test_a_block_adds_its_input_only_where_the_shape_stays():
    torch.manual_seed(2)
    x = torch.randn(1, 8, 16, 16)
    same, strided = MBConv(8, 8, 3, 1, 4).eval(), MBConv(8, 8, 3, 2, 4).eval()
    for block in (same, strided):
        torch.nn.init.zeros_(block.project[0].weight)
    assert torch.equal(same(x), x)
    assert strided(x).shape == (1, 8, 8, 8)
    assert not strided(x).any()


def test_stochastic_depth_keeps_the_mean_and_does_nothing_at_inference():
    torch.manual_seed(3)
    drop = DropPath(0.25)
    x = torch.ones(4000, 1, 1, 1)
    kept = drop(x)
    assert kept.unique().tolist() == pytest.approx([0.0, 4 / 3])
    assert float(kept.mean()) == pytest.approx(1.0, abs=0.05)
    assert torch.equal(drop.eval()(x), x)
