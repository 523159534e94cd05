"""`--weights FOLDER` of the commands that take other weights than the installed ones."""

from __future__ import annotations

from pathlib import Path

from node.errors import PermanentError


def need_weights(pipeline: str, folder: Path | None) -> None:
    """Refuse a folder that holds no weights of a pipeline: without this, the shipped ones would run in their place.

    Raises
    ------
    PermanentError
        If a folder is named and holds none.
    """
    if folder is None:
        return
    from pipelines.contract.weights import find_models

    found = find_models([folder])
    if any(model.card is not None and model.card.pipeline == pipeline for model in found):
        return
    held = ", ".join(sorted(model.problem or model.name for model in found)) or "no model card"
    raise PermanentError(f"--weights {folder}: no weights of {pipeline} are in this folder (it holds {held}).")
