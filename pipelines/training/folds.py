"""K-fold cross-validation by group: what belongs to one patient is never on both sides."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import TypeVar

import numpy as np

Group = TypeVar("Group", bound=Hashable)


def group_folds(groups: Sequence[Group], folds: int, seed: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (training, validation) indices of cases, sorted; groups are shuffled by the seed and split evenly.

    Raises
    ------
    ValueError
        If there are fewer groups than folds, or fewer than two folds.
    """
    different = list(dict.fromkeys(groups))
    if folds < 2 or len(different) < folds:
        raise ValueError(f"{len(different)} patients cannot be split into {folds} folds")
    order = np.random.default_rng(seed).permutation(len(different))
    for part in np.array_split(order, folds):
        held = {different[i] for i in part}
        chosen = np.array([group in held for group in groups])
        yield np.flatnonzero(~chosen), np.flatnonzero(chosen)
