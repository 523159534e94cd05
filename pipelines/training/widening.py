"""Weights of a network that saw fewer channels, for one that sees more."""

from __future__ import annotations

import torch

from pipelines.contract import WeightsError


def widened(state: dict[str, torch.Tensor], first_layer: str, channels: int) -> dict[str, torch.Tensor]:
    """Give weights blind ones for the channels they do not know, the last ones: the network answers as before.

    Parameters
    ----------
    state : weights. first_layer : name of the first convolution's weights (out, in, rows, columns).
    channels : that the network sees.

    Raises
    ------
    WeightsError
        If the weights see more channels than the network.
    """
    first = state[first_layer]
    missing = channels - first.shape[1]
    if missing < 0:
        raise WeightsError(
            f"the weights to go on from see {first.shape[1]} channels and this recipe's network {channels}; "
            "train on with the preset that they were made with"
        )
    if not missing:
        return state
    return {**state, first_layer: torch.cat([first, first.new_zeros(len(first), missing, *first.shape[2:])], 1)}
