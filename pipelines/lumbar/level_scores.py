"""Whether named structures carry the right name: a result's `LevelMap` against the truth of a simulated patient."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipelines.lumbar.instances import Instance, LevelMap

MATCH_DICE = 0.5
"""From this Dice on, a found structure is the one of the truth."""


def best_match(truth: np.ndarray, found: np.ndarray, items: Sequence[Instance]) -> tuple[Instance | None, float]:
    """Return the instance that overlaps a true structure most, and their Dice.

    Parameters
    ----------
    truth : bool (slice, row, column). found : instance numbers, same shape. items : which of them may match.
    """
    counts = np.bincount(found[truth], minlength=max((i.number for i in items), default=0) + 1)
    best = max(items, key=lambda item: int(counts[item.number]), default=None)
    if best is None or not counts[best.number]:
        return None, 0.0
    size = int(truth.sum()) + int((found == best.number).sum())
    return best, 2 * int(counts[best.number]) / size


def label_score(
    truth: np.ndarray, structure_mask: np.ndarray, names: Sequence[str], found: LevelMap, structure: int
) -> dict[str, bool]:
    """Return, for each true structure of one class, whether it was found under its own name.

    Parameters
    ----------
    truth : values of `LumbarPatient.levels`. structure_mask : bool, where the truth has this class.
    names : `LumbarPatient.level_names`. structure : value of `classes`.
    """
    items = found.of(structure)
    scores = {}
    for value in np.unique(truth[structure_mask]):
        if value:
            name = names[value - 1]
            match, dice = best_match(structure_mask & (truth == value), found.instances, items)
            scores[name] = match is not None and dice >= MATCH_DICE and match.name == name
    return scores
