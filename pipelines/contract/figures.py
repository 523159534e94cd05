"""What a model card's metrics tell, as a page or a terminal shows it: our figures beside the paper's.

Metrics stand here as `osteon evaluate` wrote them into the card; nothing is computed again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

PAPER, DICE = "paper", "dice"


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


def measured_figures(metrics: dict[str, Any]) -> tuple[Measured, ...]:
    """What a card's metrics tell beside the paper's figures, one entry for each set of patients that has any.

    A set of patients is a mapping with the paper's figures under "paper"; ours stand under the same names in another
    of its mappings, as a number or as a mapping with "mean", with `NAME_interval` or "mean_interval" beside. A mapping
    called "dice" holds the Dice of each structure or input.
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
        shown = f"{DICE}, {name}" if key == DICE else name
        return Figure(shown, _number(value), _interval(interval), _number(entry[PAPER][name]))
    return Figure(name, None, None, _number(entry[PAPER][name]))


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _interval(value: Any) -> tuple[float, float] | None:
    if not isinstance(value, list | tuple) or len(value) != 2:
        return None
    low, high = (_number(part) for part in value)
    return None if low is None or high is None else (low, high)
