"""What networks are told of single pixels while they learn outlines."""

from __future__ import annotations

import torch


def mean_of_worst(losses: torch.Tensor, share: float) -> torch.Tensor:
    """Return the mean of the largest of the pixels' losses, that share of them (at least one).

    Of a hundred pixels of an image hardly one belongs to a lesion. In the mean over all of them a lesion that is missed
    with certainty weighs next to nothing, and Dice, whose gradient goes with p (1 - p), does not see it at all; among
    the worst pixels it is what counts most, as false marks are (Wu et al., arXiv:1605.06885, "online bootstrapping").

    Parameters
    ----------
    losses : float, any shape. share : from 0 to 1; 1 is the plain mean.
    """
    flat = losses.flatten()
    return flat.topk(max(1, round(share * flat.numel()))).values.mean()
