"""Models as the page and the API show them: the cards in the weights folders, with their figures beside the paper's.

Cards are read anew each time; weights are read only when somebody asks for their sha256. A metric stands here as
`osteon evaluate` wrote it into the card; nothing is computed again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fastapi import HTTPException

from node.dashboard.desk import Desk
from node.dashboard.i18n import Text
from pipelines.contract import WeightsError
from pipelines.contract import weights as store
from pipelines.contract.figures import Measured, measured_figures
from pipelines.contract.weights import ModelCard

SITE, SHIPPED = "site", "shipped"


@dataclass(frozen=True)
class ModelView:
    """An installed model. place: "site" (the node's own folder, asked first) or "shipped".

    state: "enabled", "disabled" (a model of the same name is asked first) or "error" (`problem` says why).
    """

    name: str
    place: str
    file: str
    byte_count: int | None
    state: str
    problem: str
    card: ModelCard | None
    measured: tuple[Measured, ...]


@dataclass(frozen=True)
class Verified:
    """Whether a weights file is the one its card was written for."""

    name: str
    place: str
    intact: bool
    sentence: str


def model_views(desk: Desk) -> list[ModelView]:
    """Everything in the weights folders, in the order in which they are asked."""
    return [_view(model, place) for model, place in _found(desk)]


def verify_model(desk: Desk, place: str, name: str) -> Verified:
    """Compute a file's sha256 and compare it with its card; 404 if there is no such model."""
    for model, where in _found(desk):
        if (where, model.name) == (place, name):
            try:
                store.verify(model)
            except WeightsError as error:
                return Verified(name, place, False, str(error))
            assert model.card is not None
            return Verified(name, place, True, f"SHA-256 {model.card.sha256}: as the card says.")
    raise HTTPException(404, Text("There is no such model."))


def _found(desk: Desk) -> Iterator[tuple[store.InstalledModel, str]]:
    own = desk.configuration.weights_dir
    for model in store.find_models(store.weights_folders(own, store.shipped_folders())):
        yield model, SITE if model.card_path.parent == own else SHIPPED


def _view(model: store.InstalledModel, place: str) -> ModelView:
    try:
        byte_count, problem = model.weights_path.stat().st_size, model.problem
    except OSError:
        byte_count, problem = None, model.problem or f"{model.weights_path}: the weights file is missing."
    state = "error" if problem else "disabled" if model.hidden else "enabled"
    measured = measured_figures(model.card.metrics) if model.card else ()
    return ModelView(model.name, place, str(model.weights_path), byte_count, state, problem, model.card, measured)
