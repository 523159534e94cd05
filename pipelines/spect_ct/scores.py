"""One patient, one use, scored: as the paper does on the slice of each lesion's largest section, and in the volume.

truth labels and probabilities on the common grid -> per lesion the figures of its slice -> the volume's Dice, lesions
found, marked pieces that are none. Everything is counted on the pixels of the network's grid (1 x 1 mm).

On a slice the truth is every lesion that the use shows there, and the result every pixel of 0.5 and more in a piece
that, where there is a CT, touches bone on that slice (`bone`); accuracy, sensitivity, specificity and area under the
ROC curve are those of its pixels, as in the paper (they are dominated by the background). A lesion is found if marked
pieces cover a tenth of it; a piece is false if it touches no lesion.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pipelines.spect_ct.lesions import THRESHOLD, find_lesions
from pipelines.spect_ct.truth import GridPatient
from pipelines.training.metrics import Overlap

FOUND_SHARE = 0.1
FIGURES = ("accuracy", "sensitivity", "specificity", "auc", "iou", "dice")


@dataclass(frozen=True)
class LesionScore:
    """One lesion on the slice where it is largest.

    peak : highest probability within it in that slice: what tells it from other places, for ROC over lesions.
    found : in the volume; None where the volume was not analysed.
    """

    label: int
    pixels: int
    accuracy: float
    sensitivity: float
    specificity: float
    auc: float
    iou: float
    dice: float
    baseline_dice: float
    peak: float
    found: bool | None = None


@dataclass(frozen=True)
class UseScore:
    """One patient by one use; what is of the volume is None where only slices were analysed.

    false_peaks : highest probability of each false piece.
    """

    lesions: tuple[LesionScore, ...]
    volume: Overlap | None = None
    false_peaks: tuple[float, ...] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def largest_slices(labels: np.ndarray) -> dict[int, int]:
    """Return the slice of each lesion's largest section."""
    found = {}
    for label in np.unique(labels[labels > 0]).tolist():
        found[label] = int((labels == label).sum((1, 2)).argmax())
    return found


def score_slice(
    label: int, labels: np.ndarray, probabilities: np.ndarray, baseline: np.ndarray, found: bool | None
) -> LesionScore:
    """Score one slice: label map, probabilities and the baseline's mask, all (row, column)."""
    truth, result = labels > 0, probabilities >= THRESHOLD
    both, either = int((truth & result).sum()), int((truth | result).sum())
    positives, size = int(truth.sum()), truth.size
    return LesionScore(
        label=label,
        pixels=int((labels == label).sum()),
        accuracy=1 - (either - both) / size,
        sensitivity=both / positives,
        specificity=1 - (int(result.sum()) - both) / (size - positives),
        auc=rank_auc(truth, probabilities),
        iou=both / either,
        dice=Overlap.of(truth, result).dice or 0.0,
        baseline_dice=Overlap.of(truth, baseline).dice or 0.0,
        peak=float(probabilities[labels == label].max()),
        found=found,
    )


def score_volume(
    patient: GridPatient, use: str, probabilities: np.ndarray, beside: np.ndarray | None = None
) -> tuple[Overlap, dict[int, bool], list[float]]:
    """Return the volume's overlap, which lesions were found, and the peak of each false piece.

    The result is what the pipeline would write: pieces that it leaves out count as nothing. `beside` is that of
    `find_lesions`.
    """
    labels = patient.labels[use]
    marked = find_lesions(probabilities, patient.prepared.lattice, beside)
    result = marked.labels > 0
    sizes = np.bincount(labels.reshape(-1))
    covered = np.bincount(labels[result], minlength=len(sizes))
    found = {
        label: bool(covered[label] >= FOUND_SHARE * sizes[label]) for label in range(1, len(sizes)) if sizes[label]
    }
    touching = set(np.unique(marked.labels[labels > 0]).tolist())
    false = [lesion.peak for lesion in marked.lesions if lesion.number not in touching]
    return Overlap.of(labels > 0, result), found, false


def rank_auc(truth: np.ndarray, scores: np.ndarray) -> float:
    """Area under the ROC curve by ranks (Mann-Whitney), ties counted half.

    Raises
    ------
    ValueError
        If all cases are of one kind.
    """
    positive, negative = np.sort(scores[truth].astype(np.float64)), np.sort(scores[~truth].astype(np.float64))
    if not positive.size or not negative.size:
        raise ValueError("an ROC curve needs cases of both kinds")
    below = np.searchsorted(negative, positive, "left")
    upto = np.searchsorted(negative, positive, "right")
    return float((below + upto).sum() / 2 / (positive.size * negative.size))
