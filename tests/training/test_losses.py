"""The mean of the worst pixels by hand, and what it is for."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch.nn import functional  # noqa: E402

from pipelines.training.losses import mean_of_worst  # noqa: E402


def test_the_worst_of_all_pixels_count_and_no_others():
    losses = torch.tensor([[0.0, 4.0], [1.0, 2.0]])
    assert [float(mean_of_worst(losses, share)) for share in (0.25, 0.5, 1.0)] == [4.0, 3.0, 1.75]
    assert float(mean_of_worst(losses, 1e-9)) == 4.0, "one at least"


def test_a_lesion_missed_with_certainty_is_pulled_at_fifty_times_as_hard():
    """100 lesion pixels of 64 x 64 at a logit of -9, the rest background as sure: both means by hand."""
    logits = torch.full((64, 64), -9.0)
    truth = torch.zeros(64, 64)
    truth[20:30, 20:30] = 1.0
    pulls = []
    for share in (0.02, 1.0):
        held = logits.clone().requires_grad_()
        mean_of_worst(functional.binary_cross_entropy_with_logits(held, truth, reduction="none"), share).backward()
        pulls.append(float(held.grad[25, 25]))
    assert pulls[0] == pytest.approx(-1 / round(0.02 * 4096), rel=1e-3)
    assert pulls[0] / pulls[1] == pytest.approx(50, rel=0.01)
