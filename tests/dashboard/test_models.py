"""Models over real folders of weights: what is in use, hidden, broken or missing; figures beside the paper's."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from node.registry import credentials
from node.registry.account_models import AuditEntry
from node.registry.roles import Role
from pipelines.contract import weights as store
from pipelines.contract.figures import measured_figures
from tests.dashboard.conftest import NOW, TESTER, Site, post

METRICS = {
    "held_out": {
        "patients": 100,
        "simulated": True,
        "networks": {"sensitivity": 2 / 3, "sensitivity_interval": [0.525, 0.783], "auc": None},
        "baseline": {"sensitivity": 0.02},
        "paper": {"sensitivity": 0.9259, "auc": 0.926, "dice": 0.7},
    },
    "seconds": 3,
}


def write_model(folder: Path, name: str, content: bytes = b"weights", **more: Any) -> None:
    folder.mkdir(exist_ok=True)
    card = store.ModelCard(
        name=name,
        version="7",
        pipeline="bone-scan",
        network="a <b>network</b>",
        input="an image",
        outputs=("background", "metastasis"),
        training_data="simulated patients only",
        licence="Apache-2.0",
        intended_use="research",
        **{
            "simulated_only": True,
            "seed": 1,
            "steps": 2,
            "metrics": METRICS,
            "sha256": hashlib.sha256(content).hexdigest(),
            **more,
        },
    )
    (folder / f"{name}.json").write_text(card.model_dump_json())
    (folder / f"{name}.safetensors").write_bytes(content)


@pytest.fixture
def site(make_site: Callable[..., Site], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    own, shipped = tmp_path / "weights", tmp_path / "shipped"
    monkeypatch.setattr(store, "shipped_folders", lambda: [shipped])
    write_model(own, "segmenter", b"the site's own", simulated_only=False, metrics={})
    write_model(shipped, "segmenter")
    write_model(shipped, "classifier")
    write_model(shipped, "damaged", sha256="0" * 64)
    write_model(shipped, "lost")
    (shipped / "lost.safetensors").unlink()
    (shipped / "broken.json").write_text("{")
    return make_site()


def token(site: Site, role: Role) -> dict[str, str]:
    with site.registry.transaction() as session:
        return {"Authorization": f"Bearer {credentials.add_token(session, TESTER, role, role, None, NOW)}"}


def test_the_page_shows_what_is_in_use_hidden_or_broken_and_verifies_on_demand(site: Site) -> None:
    site.add("otto", Role.OPERATOR)
    browser = site.logged_in("otto")
    page = browser.get("/models").text
    assert page.count("hidden by the site&#39;s own") == 1
    assert "not a usable model card" in page and "the weights file is missing" in page
    assert "a &lt;b&gt;network&lt;/b&gt;" in page and "a <b>network" not in page
    assert "0.667" in page and "0.525 – 0.783" in page and "0.926" in page
    assert "2 of the models in use were trained on simulated patients only" in page
    good = post(browser, "/models/shipped/classifier/verify", "/models").text
    assert hashlib.sha256(b"weights").hexdigest() in good and "as the card says" in good
    assert "belongs to another card" in post(browser, "/models/shipped/damaged/verify", "/models").text
    assert post(browser, "/models/site/classifier/verify", "/models").status_code == 404
    with site.registry.reading() as session:
        assert session.query(AuditEntry).filter(AuditEntry.action.startswith("model")).count() == 0, "nothing changed"


def test_programs_get_every_card_and_its_state(site: Site) -> None:
    client = site.browser()
    found = client.get("/api/v1/models", headers=token(site, Role.VIEWER)).json()
    states = {(one["place"], one["name"]): one["state"] for one in found}
    assert states == {
        ("site", "segmenter"): "enabled",
        ("shipped", "segmenter"): "disabled",
        ("shipped", "classifier"): "enabled",
        ("shipped", "damaged"): "enabled",
        ("shipped", "lost"): "error",
        ("shipped", "broken"): "error",
    }
    (card,) = [one["card"] for one in found if one["name"] == "classifier"]
    assert card["simulated_only"] is True
    answer = client.post("/api/v1/models/shipped/damaged/verify", headers=token(site, Role.OPERATOR)).json()
    assert answer["intact"] is False


def test_figures_stand_beside_the_papers_in_the_form_of_either_evaluation() -> None:
    (held,) = measured_figures(METRICS)
    assert (held.patients, held.count, held.simulated) == ("held_out", 100, True)
    assert [(f.name, f.value, f.interval, f.paper) for f in held.figures] == [
        ("sensitivity", 2 / 3, (0.525, 0.783), 0.9259),
        ("auc", None, None, 0.926),
        ("dice", None, None, 0.7),
    ]
    dice = {"L1": {"mean": 0.8, "sd": 0.1, "mean_interval": [0.7, 0.9]}}
    (other,) = measured_figures({"held_out": {"dice": dice, "paper": {"L1": 0.864}}})
    assert other.figures[0].name == "dice, L1"
    assert (other.figures[0].value, other.figures[0].interval, other.simulated) == (0.8, (0.7, 0.9), False)
    assert measured_figures({"held_out": {"paper": None}, "x": [1]}) == ()


def test_the_shipped_cards_have_figures_beside_the_papers() -> None:
    cards = [model.card for model in store.find_models(store.shipped_folders())]
    assert cards
    for card in cards:
        assert card is not None
        sets = measured_figures(json.loads(json.dumps(card.metrics)))
        assert "held_out" in [measured.patients for measured in sets], card.name
        for measured in sets:
            assert any(figure.value is not None and figure.paper is not None for figure in measured.figures), card.name
