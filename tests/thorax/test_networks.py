"""The recurrent network: size, parameters, what the recurrence shares and what it does not."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from pipelines.thorax.networks import (  # noqa: E402
    DilatedResidual,
    Inception,
    NetworkSettings,
    RecurrentThoraxNetwork,
    StepNorm,
    count_parameters,
)


def network(**settings) -> RecurrentThoraxNetwork:
    torch.manual_seed(0)
    return RecurrentThoraxNetwork(**settings)


def test_it_has_1_586_million_parameters_whatever_t_is():
    counts = {count_parameters(network(steps=steps)) for steps in (1, 2, 3, 4)}
    assert len(counts) == 1
    assert round(counts.pop() / 1e6, 3) == 1.586


def test_ablations_take_away_what_they_name():
    complete = count_parameters(network())
    assert count_parameters(network(dilated=False)) == complete, "dilation costs no parameter"
    # The 1x1 paths: 32, 64, 128 and 256 channels out of 32, 32, 128 and 128, with their biases.
    paths = sum(ins * out + out for ins, out in ((32, 32), (32, 64), (128, 128), (128, 256)))
    assert count_parameters(network(residual=False)) == complete - paths
    assert not any(isinstance(module, Inception) for module in network(inception=False).modules())


def test_the_mask_has_the_images_size_and_other_sizes_work():
    net = network(steps=2).eval()
    with torch.inference_mode():
        assert net(torch.rand(2, 1, 64, 48)).shape == (2, 1, 64, 48)
    with pytest.raises(ValueError, match="multiples of 8"):
        net(torch.rand(1, 1, 60, 64))


@pytest.mark.parametrize(("dilations", "reach"), [((1, 2), 3), ((2, 4), 6)])
def test_a_dilated_block_sees_as_far_as_its_dilations_say(dilations, reach):
    """Equation 3, with its sign corrected: kernels of 1 + 2 d pixels; the size is kept, the reach is the sum of d."""
    block = DilatedResidual(1, 1, dilations, NetworkSettings(steps=1)).eval()
    image = torch.zeros(1, 1, 31, 31, requires_grad=True)
    out = block(image)
    assert out.shape == image.shape
    out[0, 0, 15, 15].backward()
    rows = torch.nonzero(image.grad[0, 0].abs().sum(1)).flatten()
    assert (int(rows.min()), int(rows.max())) == (15 - reach, 15 + reach)


def test_the_recurrence_begins_as_the_first_step_and_then_matters():
    net, image = network().eval(), torch.rand(1, 1, 64, 64)
    with torch.inference_mode():
        full = net(image)
        net.run_steps(1)
        torch.testing.assert_close(net(image), full)
        net.run_steps(3)
        net.recur.weight.add_(0.05)
        assert not torch.allclose(net(image), full)


def test_each_step_keeps_statistics_of_its_own_and_steps_that_join_start_from_the_last():
    net = network().train()
    net.recur.weight.data.add_(0.05)
    net.run_steps(1)
    net(torch.rand(2, 1, 64, 64))
    norm = next(m for m in net.modules() if isinstance(m, StepNorm))
    assert not torch.equal(norm.running_mean[0], norm.running_mean[1])
    net.run_steps(3)
    torch.testing.assert_close(norm.running_mean[2], norm.running_mean[0])
    net(torch.rand(2, 1, 64, 64))
    assert not torch.equal(norm.running_mean[0], norm.running_mean[1])
    with pytest.raises(ValueError, match="1 to 3"):
        net.run_steps(4)


def test_statistics_travel_with_the_weights():
    net = network().train()
    net(torch.rand(2, 1, 64, 64))
    other = RecurrentThoraxNetwork()
    other.load_state_dict(net.state_dict())
    image = torch.rand(1, 1, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(other.eval()(image), net.eval()(image))
