"""Weights and cards on disk: what is written is what is loaded; damage, mix-ups and absence are named.

Oracles: hashlib, numpy's own half precision, the file system. Networks are small tensors here; that real networks
fit their weights is the pipelines' to test.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from pipelines.contract import WeightsError
from pipelines.contract.weights import (
    InstalledModel,
    ModelCard,
    find_models,
    install,
    load_model,
    read_card,
    save_model,
    shipped_folders,
    verify,
    weights_folders,
)

STATE = {
    "conv.weight": torch.linspace(-3, 3, 54).reshape(6, 1, 3, 3),
    "bn.running_var": torch.tensor([1e-9, 2e5, 1.0]),
    "bn.num_batches_tracked": torch.tensor(12345678901),
}


def card(name: str = "toy", **changes: object) -> ModelCard:
    fields = {
        "name": name, "version": "1", "pipeline": "bone-scan", "network": "toy", "input": "anything",
        "outputs": ("a", "b"), "training_data": "simulated patients", "simulated_only": True, "seed": 3, "steps": 10,
        "licence": "Apache-2.0", "intended_use": "research", "metrics": {"dice": 0.5}, **changes,
    }  # fmt: skip
    return ModelCard.model_validate(fields)


def model_in(folder: Path, name: str = "toy") -> InstalledModel:
    return next(model for model in find_models([folder]) if model.name == name)


def test_matrices_come_back_rounded_to_half_precision_and_vectors_exactly(tmp_path):
    save_model(STATE, card(), tmp_path)
    state, loaded = load_model("toy", [tmp_path])
    kernel = STATE["conv.weight"].numpy()
    np.testing.assert_array_equal(state["conv.weight"].numpy(), kernel.astype(np.float16).astype(np.float32))
    assert state["conv.weight"].dtype == torch.float32
    assert torch.equal(state["bn.running_var"], STATE["bn.running_var"])
    assert int(state["bn.num_batches_tracked"]) == 12345678901
    assert loaded.metrics == {"dice": 0.5}


def test_the_card_names_the_files_hash(tmp_path):
    written = save_model(STATE, card(), tmp_path)
    assert written.sha256 == hashlib.sha256((tmp_path / "toy.safetensors").read_bytes()).hexdigest()
    assert written.identity.sha256 == read_card(tmp_path / "toy.json").sha256


def test_other_users_can_read_what_was_saved(tmp_path):
    save_model(STATE, card(), tmp_path)
    assert all(path.stat().st_mode & 0o444 == 0o444 for path in tmp_path.iterdir())


def test_weights_that_half_precision_cannot_hold_are_not_written(tmp_path):
    for bad in (1e6, float("nan")):
        with pytest.raises(WeightsError, match=r"'w' is not finite"):
            save_model({"w": torch.full((2, 2), bad)}, card(), tmp_path)
    assert not list(tmp_path.glob("*.safetensors"))


def test_a_changed_byte_is_found_by_load_and_by_verify(tmp_path):
    save_model(STATE, card(), tmp_path)
    path = tmp_path / "toy.safetensors"
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    with pytest.raises(WeightsError, match=r"toy\.safetensors: the SHA-256 is .*install the model again"):
        load_model("toy", [tmp_path])
    with pytest.raises(WeightsError, match="SHA-256"):
        verify(model_in(tmp_path))


def test_a_file_that_matches_its_card_but_is_no_safetensors_is_refused(tmp_path):
    save_model(STATE, card(), tmp_path)
    (tmp_path / "toy.safetensors").write_bytes(b"not tensors at all")
    digest = hashlib.sha256(b"not tensors at all").hexdigest()
    (tmp_path / "toy.json").write_text(card(sha256=digest).model_dump_json())
    with pytest.raises(WeightsError, match="not a safetensors file"):
        load_model("toy", [tmp_path])


def test_the_sites_own_weights_hide_the_shipped_ones(tmp_path):
    site, shipped = tmp_path / "site", tmp_path / "shipped"
    save_model(STATE, card(version="shipped"), shipped)
    save_model(STATE, card("other"), shipped)
    save_model(STATE, card(version="site"), site)
    folders = weights_folders(site, shipped)
    assert load_model("toy", folders)[1].version == "site"
    assert load_model("other", folders)[1].name == "other"
    hidden = [(m.name, m.hidden) for m in find_models(folders)]
    assert hidden == [("toy", False), ("other", False), ("toy", True)]
    assert load_model("toy", weights_folders(None, shipped))[1].version == "shipped"


def test_missing_weights_say_where_was_looked_and_the_way_out(tmp_path):
    with pytest.raises(WeightsError, match=r"named 'toy' in .*nowhere; install them with `osteon models install`"):
        load_model("toy", [tmp_path, tmp_path / "nowhere"])
    save_model(STATE, card(), tmp_path)
    (tmp_path / "toy.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"toy\.safetensors: the weights cannot be read"):
        load_model("toy", [tmp_path])
    with pytest.raises(WeightsError, match="cannot be read"):
        verify(model_in(tmp_path))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seed": "many"}, "seed"),
        ({"surprise": 1}, "surprise"),
        ({"name": "Bad Name"}, "name"),
        ({"sha256": "ab"}, "sha256"),
    ],
)
def test_an_unusable_card_is_listed_with_its_problem(tmp_path, change, said):
    raw = json.loads(card().model_dump_json()) | change
    (tmp_path / "toy.json").write_text(json.dumps(raw))
    model = model_in(tmp_path)
    assert model.card is None
    assert said in model.problem
    with pytest.raises(WeightsError, match=r"toy\.json"):
        load_model("toy", [tmp_path])
    with pytest.raises(WeightsError, match=r"toy\.json"):
        verify(model)


def test_a_card_of_another_name_is_refused(tmp_path):
    (tmp_path / "renamed.json").write_text(card().model_dump_json())
    with pytest.raises(WeightsError, match=r"renamed\.json: the card is of model 'toy'"):
        read_card(tmp_path / "renamed.json")


def test_cards_cannot_be_changed_after_the_fact():
    with pytest.raises(ValidationError):
        card().version = "2"


@pytest.mark.parametrize("what", ["toy.json", "toy.safetensors", "."])
def test_install_copies_a_verified_pair_from_card_weights_or_folder(tmp_path, what):
    source, target = tmp_path / "from", tmp_path / "to" / "weights"
    save_model(STATE, card(), source)
    installed = install(source / what, target)
    verify(installed)
    verify(model_in(target))
    assert sorted(path.name for path in target.iterdir()) == ["toy.json", "toy.safetensors"]


def test_install_replaces_and_refuses(tmp_path):
    source, target = tmp_path / "from", tmp_path / "to"
    save_model(STATE, card(version="1"), source)
    install(source, target)
    save_model(STATE, card(version="2"), source)
    install(source, target)
    assert load_model("toy", [target])[1].version == "2"
    (source / "toy.safetensors").write_bytes(b"damaged")
    with pytest.raises(WeightsError, match="SHA-256"):
        install(source, target)
    verify(model_in(target))
    save_model(STATE, card("second"), source)
    with pytest.raises(WeightsError, match="holds 2 model cards"):
        install(source, target)
    with pytest.raises(WeightsError, match="neither a model card"):
        install(tmp_path / "weights.pt", target)


def test_every_shipped_model_verifies():
    models = find_models(shipped_folders())
    for model in models:
        verify(model)
        assert model.weights_path.stat().st_size <= 50_000_000
    assert len({model.name for model in models}) == len(models)
