"""Models as the page and the API show them: the cards in the weights folders, with their figures beside the paper's.

Cards are read anew each time; weights are read only when somebody asks for their sha256. A metric stands here as
`osteon evaluate` wrote it into the card; nothing is computed again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fastapi import HTTPException

from node.dashboard.desk import Desk
from node.dashboard.i18n import Text
from pipelines.contract import WeightsError
from pipelines.contract import weights as store
from pipelines.contract.weights import ModelCard

SITE, SHIPPED = "site", "shipped"
PAPER = "paper"


@dataclass(frozen=True)
class Figure:
    """One measured figure. interval: 95 %, None where the card has none; paper: as published, on other patients."""

    name: str
    value: float | None
    interval: tuple[float, float] | None
    paper: float | None


@dataclass(frozen=True)
class Measured:
    """The figures on one set of patients ("held_out", "real"). simulated: whether these were simulated patients."""

    patients: str
    count: int | None
    simulated: bool
    figures: tuple[Figure, ...]


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


def measured_figures(metrics: dict[str, Any]) -> tuple[Measured, ...]:
    """What a card's metrics tell beside the paper's figures, one entry for each set of patients that has any.

    A set of patients is a mapping with the paper's figures under "paper"; ours stand under the same names in another
    of its mappings, as a number or as a mapping with "mean", with `NAME_interval` or "mean_interval" beside.
    """
    found = []
    for patients, entry in metrics.items():
        if isinstance(entry, dict) and isinstance(entry.get(PAPER), dict):
            figures = tuple(_figure(name, entry) for name in entry[PAPER])
            count = entry.get("patients")
            found.append(
                Measured(patients, count if isinstance(count, int) else None, bool(entry.get("simulated")), figures)
            )
    return tuple(found)


def _figure(name: str, entry: dict[str, Any]) -> Figure:
    for key, ours in entry.items():
        if key == PAPER or not isinstance(ours, dict) or name not in ours:
            continue
        value, interval = ours[name], ours.get(f"{name}_interval")
        if isinstance(value, dict):
            held: dict[str, Any] = value
            value, interval = held.get("mean"), held.get("mean_interval")
        return Figure(name, _number(value), _interval(interval), _number(entry[PAPER][name]))
    return Figure(name, None, None, _number(entry[PAPER][name]))


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _interval(value: Any) -> tuple[float, float] | None:
    if not isinstance(value, list | tuple) or len(value) != 2:
        return None
    low, high = (_number(part) for part in value)
    return None if low is None or high is None else (low, high)


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
