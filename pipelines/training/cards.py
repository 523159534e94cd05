"""What training writes into model cards: what it went on from, and measured figures, which get there only here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.contract.weights import ModelCard


def went_on_from(before: ModelCard | None) -> dict[str, Any]:
    """Return the entry of a recipe that says which weights training began with; none for random ones."""
    if before is None:
        return {}
    return {"start": {"version": before.version, "sha256": before.sha256, "recipe": before.recipe}}


def write_figures(folder: Path, pipeline: str, figures: Mapping[str, Any]) -> None:
    """Write figures into the cards of a pipeline's models in a folder of weights.

    `figures` holds one entry for each set of patients ("held_out", "real"); entries of other sets stay.
    """
    for path in sorted(folder.glob("*.json")):
        card = ModelCard.model_validate_json(path.read_bytes())
        if card.pipeline == pipeline:
            measured = card.model_copy(update={"metrics": {**card.metrics, **figures}})
            path.write_text(measured.model_dump_json(indent=2) + "\n", "utf-8")
