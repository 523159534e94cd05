"""Where weights that exist already err: what training that goes on from them should see more of.

Most tiles of a patient teach such a network nothing any more. Before it goes on it looks once at every view, as
inference does, and each row is weighed by how far its outlines are from the truth there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from pipelines.bone_scan.analysis import Network
from pipelines.bone_scan.tiles import tile_starts
from pipelines.planar.dataset import TrainingPatient, TrainingView
from pipelines.planar.lesions import BLADDER, METASTASIS
from pipelines.planar.levels import WINDOW_FACTORS, compressed, window

CLASS_WEIGHT = {METASTASIS: 1.0, BLADDER: 0.3}
"""A bladder is large and its edge soft: at full weight half of what is shown would be bladders."""

Progress = Callable[[float, str], None]


def row_errors(
    network: Network, patients: Sequence[TrainingPatient], progress: Progress | None = None
) -> list[np.ndarray]:
    """Return, for each view of each patient, how wrong the network is in each row: float32 (rows,).

    The unit is pixels: sum over the row of |probability - truth| of metastasis and, by `CLASS_WEIGHT`, of bladder.
    """
    errors = []
    for number, patient in enumerate(patients):
        errors += [_errors_of(network, view, patient.seen_opposite(view)) for view in patient.views]
        if progress is not None:
            progress((number + 1) / len(patients), f"looked for errors in {number + 1} of {len(patients)} patients")
    return errors


def _errors_of(network: Network, view: TrainingView, other: np.ndarray | None) -> np.ndarray:
    level = view.level.astype(np.float32)
    both = (level, np.zeros_like(level) if other is None else other.astype(np.float32))
    channels = np.stack([
        shown for one in both for shown in (*(window(one, factor) for factor in WINDOW_FACTORS), compressed(one))
    ])  # fmt: skip
    _, classes = network.judge(channels, tile_starts(len(level)))
    wrong = [
        weight * np.abs(classes[label] - (view.labels == label)).sum(axis=1) for label, weight in CLASS_WEIGHT.items()
    ]
    return np.asarray(np.sum(wrong, axis=0), np.float32)
