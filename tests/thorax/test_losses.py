"""The loss against numbers worked out by hand, and against what its equations are said to be equal to."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from pipelines.thorax.losses import (  # noqa: E402
    LossSettings,
    chan_vese,
    label_term,
    semi_supervised,
    total_variation,
)


def image(*rows: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor([[rows]], dtype=torch.float32)


def test_chan_vese_of_a_small_image_is_what_a_hand_computes():
    """f = [1, 0.5, 0, 0], g = [0.8, 0.4, 0.2, 0.0]: c1 = (0.8 + 0.2) / 1.5 = 2/3, c2 = (0.2 + 0.2) / 2.5 = 0.16.

    Inside 1 (0.8 - 2/3)^2 + 0.5 (0.4 - 2/3)^2 = 0.0177778 + 0.0355556; outside 0.5 0.24^2 + 0.04^2 + 0.16^2 = 0.0288
    + 0.0016 + 0.0256; nu: 0.004 1.5 = 0.006. Together 0.1153333, over 4 pixels 0.0288333.
    """
    value = chan_vese(image((1.0, 0.5), (0.0, 0.0)), image((0.8, 0.4), (0.2, 0.0)), nu=0.004)
    assert value.item() == pytest.approx(0.0288333, abs=1e-6)


def test_chan_vese_is_least_where_the_mask_is_the_hot_region():
    g = torch.full((1, 1, 16, 16), 0.1)
    g[..., 4:9, 5:11] = 0.9
    truth = (g > 0.5).float()
    best = chan_vese(truth, g).item()
    assert best == pytest.approx(0.004 * truth.mean().item(), abs=1e-6)
    for wrong in (torch.zeros_like(g), torch.ones_like(g), truth.roll(1, -1), truth.roll(2, -2)):
        assert chan_vese(wrong, g).item() > best + 1e-3


def test_inside_and_outside_may_be_exchanged_unless_their_order_is_asked_for():
    """With nu = 0 equation 7 is the same for f and 1 - f; the penalty is the difference of the means, 0.8."""
    g = torch.full((1, 1, 8, 8), 0.1)
    g[..., 2:5, 2:5] = 0.9
    hot = (g > 0.5).float()
    assert chan_vese(hot, g, nu=0.0).item() == pytest.approx(chan_vese(1 - hot, g, nu=0.0).item(), abs=1e-6)
    assert chan_vese(hot, g, nu=0.0, order=1.0).item() == pytest.approx(0.0, abs=1e-5)
    assert chan_vese(1 - hot, g, nu=0.0, order=1.0).item() == pytest.approx(0.8, abs=1e-5)


def test_the_label_term_differs_from_the_squared_distances_by_a_constant():
    """sum ((1 - u)^2 - u^2) f = sum f (1 - u)^2 + (1 - f) u^2 - sum u^2, whatever f is."""
    generator = torch.Generator().manual_seed(3)
    u = (torch.rand((2, 1, 9, 7), generator=generator) > 0.7).float()
    constants = []
    for _ in range(3):
        f = torch.rand((2, 1, 9, 7), generator=generator)
        distances = (f * (1 - u) ** 2 + (1 - f) * u**2).flatten(1).mean(1)
        constants.append(distances - (label_term(f, u) - total_variation(f)))
    expected = (u**2).flatten(1).mean(1)
    for constant in constants:
        torch.testing.assert_close(constant, expected, atol=1e-6, rtol=0)


def test_with_the_label_as_u_the_label_is_the_minimum_and_with_the_printed_zero_an_empty_mask_is():
    u = torch.zeros(1, 1, 24, 24)
    u[..., 8:16, 6:18] = 1.0
    empty = torch.zeros_like(u)
    assert label_term(u, u).item() < label_term(empty, u).item()
    assert label_term(u, torch.zeros_like(u)).item() > label_term(empty, torch.zeros_like(u)).item()


def test_total_variation_of_a_square_is_its_outline():
    """Forward differences of a 3 x 3 square step before its upper and left side (3 pixels each) and at its lower and
    right one (2 each), and in both directions at once at the lower right corner (root 2)."""
    f = torch.zeros(1, 1, 8, 8)
    f[..., 3:6, 3:6] = 1.0
    assert total_variation(f).item() * 64 == pytest.approx(10 + 2**0.5, abs=1e-5)


def test_flat_places_have_a_finite_slope():
    f = torch.full((1, 1, 4, 4), 0.3, requires_grad=True)
    total_variation(f).sum().backward()
    assert torch.isfinite(f.grad).all()


def test_labels_of_images_without_labels_are_not_looked_at():
    generator = torch.Generator().manual_seed(5)
    logits, g = torch.randn((3, 1, 8, 8), generator=generator), torch.rand((3, 1, 8, 8), generator=generator)
    u = (torch.rand((3, 1, 8, 8), generator=generator) > 0.5).float()
    labelled = torch.tensor([True, False, False])
    other = u.clone()
    other[1:] = 1 - other[1:]
    settings = LossSettings(guide=1.0)
    assert semi_supervised(logits, g, u, labelled, settings) == semi_supervised(logits, g, other, labelled, settings)


def test_the_whole_loss_is_the_sum_of_its_terms_with_the_papers_weights():
    generator = torch.Generator().manual_seed(6)
    logits, g = torch.randn((4, 1, 8, 8), generator=generator), torch.rand((4, 1, 8, 8), generator=generator)
    u = (torch.rand((4, 1, 8, 8), generator=generator) > 0.5).float()
    labelled = torch.tensor([True, False, True, False])
    f = logits.sigmoid()
    expected = chan_vese(f, g, 0.004, 1.0).mean() + 0.4 * label_term(f[labelled], u[labelled]).sum() / 4
    torch.testing.assert_close(semi_supervised(logits, g, u, labelled, LossSettings()), expected)
    none = torch.zeros(4, dtype=torch.bool)
    alone = chan_vese(f, g, 0.004, 1.0).mean()
    torch.testing.assert_close(semi_supervised(logits, g, u, none, LossSettings()), alone)
