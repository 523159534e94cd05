"""What a threshold does on the same images: counts above one level on SPECT, density above one on CT.

The level (of z-scores, so that scanners are comparable) is the one with the best mean Dice on patients of the training
preset. Of both modalities a pixel must pass both levels. It shows what the network has to beat.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from pipelines.spect_ct.scores import largest_slices
from pipelines.spect_ct.truth import GridPatient
from pipelines.spect_ct.uses import CT, FUSED, SPECT, shown
from pipelines.training.metrics import Overlap

LEVELS = {SPECT: np.arange(0.5, 4.5, 0.25), CT: np.arange(0.5, 6.0, 0.25)}
NEVER = -100.0


@dataclass(frozen=True)
class ThresholdBaseline:
    """Levels per use: (SPECT's, CT's)."""

    levels: dict[str, tuple[float, float]]

    def mask(self, use: str, inputs: np.ndarray) -> np.ndarray:
        """Mark pixels of one slice, inputs (2, row, column)."""
        spect, ct = self.levels[use]
        return np.asarray((inputs[0] >= spect) & (inputs[1] >= ct))


def tune(patients: Iterable[GridPatient]) -> ThresholdBaseline:
    """Choose the levels with the best mean Dice over the largest section of every lesion."""
    held: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {use: [] for use in (SPECT, CT, FUSED)}
    for patient in patients:
        for use, pairs in held.items():
            for number in largest_slices(patient.labels[use]).values():
                pairs.append((patient.prepared.inputs[number].copy(), patient.labels[use][number] > 0))
    return ThresholdBaseline({use: _best(use, pairs) for use, pairs in held.items()})


def _best(use: str, pairs: list[tuple[np.ndarray, np.ndarray]]) -> tuple[float, float]:
    sees_spect, sees_ct = shown(use)
    spects = LEVELS[SPECT] if sees_spect else [NEVER]
    cts = LEVELS[CT] if sees_ct else [NEVER]
    if sees_spect and sees_ct:
        spects, cts = spects[::2], cts[::2]
    scores = {
        (float(a), float(b)): _mean_dice([(i[0] >= a) & (i[1] >= b) for i, _ in pairs], [t for _, t in pairs])
        for a in spects
        for b in cts
    }
    return max(scores, key=lambda levels: scores[levels])


def _mean_dice(results: list[np.ndarray], truths: list[np.ndarray]) -> float:
    values = [Overlap.of(truth, result).dice or 0.0 for truth, result in zip(truths, results, strict=True)]
    return float(np.mean(values)) if values else 0.0
