"""The mean of weights: numbers by hand, what the card says, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pipelines.contract import WeightsError
from pipelines.contract.weights import ModelCard, load_model, save_model
from pipelines.training.averaging import average


def model_in(folder: Path, value: float, version: str, name: str = "toy", size: int = 3, **more: object) -> ModelCard:
    state = {"weight": torch.full((size, 2), value), "seen": torch.tensor(int(value))}
    card = ModelCard.model_validate({
        "name": name, "version": version, "pipeline": "bone-scan", "network": "toy", "input": "anything",
        "outputs": ("a",), "training_data": "simulated patients", "simulated_only": True, "seed": 3, "steps": 10,
        "licence": "Apache-2.0", "intended_use": "research", "metrics": {"dice": 0.5}, "recipe": {"seconds": 7}, **more,
    })  # fmt: skip
    return save_model(state, card, folder)


def test_a_mean_lies_half_way_and_its_card_names_both_and_no_figures(tmp_path: Path):
    first, second = model_in(tmp_path / "a", 1.0, "1"), model_in(tmp_path / "b", 4.0, "2")
    (card,) = average([tmp_path / "a", tmp_path / "b"], tmp_path / "mean")
    state, held = load_model("toy", [tmp_path / "mean"])
    assert state["weight"].tolist() == [[2.5, 2.5]] * 3 and int(state["seen"]) == 4
    assert held == card and (card.version, card.metrics) == ("2-mean", {})
    assert card.recipe == {
        "seconds": 7,
        "average_of": [{"version": "1", "sha256": first.sha256}, {"version": "2", "sha256": second.sha256}],
    }


def test_weights_of_other_networks_and_names_are_refused_in_a_sentence(tmp_path: Path):
    model_in(tmp_path / "a", 1.0, "1")
    model_in(tmp_path / "b", 1.0, "2", network_parameters={"channels": 6})
    model_in(tmp_path / "c", 1.0, "3", size=4)
    model_in(tmp_path / "d", 1.0, "4", name="another")
    for other in ("b", "c"):
        with pytest.raises(WeightsError, match="different networks"):
            average([tmp_path / "a", tmp_path / other], tmp_path / "mean")
    for folders in ([tmp_path / "a"], [tmp_path / "a", tmp_path / "d"]):
        with pytest.raises(WeightsError, match="two folders at least"):
            average(folders, tmp_path / "mean")
    assert not (tmp_path / "mean").exists()
