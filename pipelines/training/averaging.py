"""The mean of several weights of one network: between two ends of training it often holds better on other patients.

Wortsman et al., Model soups, arXiv:2203.05482. It only works for weights that one training went through, or that began
with the same ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from pipelines.contract import WeightsError
from pipelines.contract.weights import ModelCard, find_models, load_model, save_model


def average(folders: Sequence[Path], out: Path) -> tuple[ModelCard, ...]:
    """Write the mean of every model that all folders hold, with the last one's card; metrics are empty.

    Integers (how many batches a normalisation has seen) are the last one's. The card's recipe names what was averaged;
    its version is the last one's with "-mean" behind it.

    Raises
    ------
    WeightsError
        If there are fewer than two folders, no model is in all of them, or one's networks differ.
    """
    held = [{model.name for model in find_models([folder])} for folder in folders]
    names = sorted(set.intersection(*held)) if len(held) > 1 else []
    if not names:
        where = ", ".join(str(folder) for folder in folders)
        raise WeightsError(f"a mean needs a model that is in two folders at least; none is in all of: {where}")
    return tuple(_average(name, folders, out) for name in names)


def _average(name: str, folders: Sequence[Path], out: Path) -> ModelCard:
    loaded = [load_model(name, [folder]) for folder in folders]
    states, cards = [state for state, _ in loaded], [card for _, card in loaded]
    last = cards[-1]
    for state, card in loaded:
        same = (card.network, card.network_parameters) == (last.network, last.network_parameters)
        if not same or {k: v.shape for k, v in state.items()} != {k: v.shape for k, v in states[-1].items()}:
            raise WeightsError(f"{name}: versions {card.version} and {last.version} are of different networks")
    mean = {
        key: torch.stack([state[key] for state in states]).mean(0) if value.is_floating_point() else value
        for key, value in states[-1].items()
    }
    of = [{"version": card.version, "sha256": card.sha256} for card in cards]
    recipe = {**last.recipe, "average_of": of}
    written = last.model_copy(update={"version": f"{last.version}-mean", "recipe": recipe, "metrics": {}})
    return save_model(mean, written, out)
