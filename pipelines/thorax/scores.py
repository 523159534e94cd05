"""Scores of masks against the truth, image by image: the paper's DSC, CPA and recall (equations 10 to 12).

DSC = 2 TP / (2 TP + FP + FN), CPA = TP / (TP + FP), recall = TP / (TP + FN), of the pixels of one image. The rule for
empty masks: figures are means over the images that show a lesion in truth, as all of the paper's do, and an image on
which nothing was marked counts as 0 in all three. Images without a lesion are counted apart: how many of them bear a
mark, and how many foci.

The paper prints means of DSC above what its means of CPA and recall allow for figures of one and the same kind, so its
averaging is not known; `pooled` puts all pixels of all images with lesions into one count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.planar.detections import Detections
from pipelines.training.metrics import Overlap, bootstrap_interval

FIGURES = ("dsc", "cpa", "recall")


@dataclass(frozen=True)
class ImageScore:
    """One image: whose it is, its pixels, and its lesions (connected parts of the truth), found ones, false foci."""

    patient: int
    name: str
    overlap: Overlap
    lesions: int
    lesions_found: int
    false_foci: int

    @classmethod
    def of(cls, patient: int, name: str, truth: np.ndarray, result: np.ndarray) -> ImageScore:
        """Compare two bool masks, pixel by pixel and lesion by lesion."""
        seen = Detections.of(truth, result)
        return cls(patient, name, Overlap.of(truth, result), seen.lesions, seen.found, seen.false)

    @property
    def dsc(self) -> float:
        """2 TP / (2 TP + FP + FN); 0 where nothing is marked."""
        return self.overlap.dice or 0.0

    @property
    def cpa(self) -> float:
        """TP / (TP + FP), the positive predictive value of pixels; 0 where nothing is marked."""
        return self.overlap.both / self.overlap.result if self.overlap.result else 0.0

    @property
    def recall(self) -> float:
        """TP / (TP + FN)."""
        return self.overlap.both / self.overlap.truth if self.overlap.truth else 0.0


def figures(scores: Sequence[ImageScore]) -> dict[str, Any]:
    """Return all figures of some images, JSON-ready; None where a figure has nothing to be of."""
    ill = [score for score in scores if score.overlap.truth]
    well = [score for score in scores if not score.overlap.truth]
    pooled = sum((score.overlap for score in ill), Overlap())
    lesions = sum(score.lesions for score in ill)
    result: dict[str, Any] = {
        "patients": len({score.patient for score in scores}),
        "images_with_lesions": len(ill),
        "images_without_lesions": len(well),
        "pooled_dsc": pooled.dice,
        "pooled_cpa": pooled.both / pooled.result if pooled.result else None,
        "pooled_recall": pooled.both / pooled.truth if pooled.truth else None,
        "lesions": lesions,
        "lesions_found": sum(score.lesions_found for score in ill) / lesions if lesions else None,
        "false_foci_per_image": float(np.mean([s.false_foci for s in scores])) if scores else None,
        "clean_images_without_lesions": (float(np.mean([not s.overlap.result for s in well])) if well else None),
    }
    for name in FIGURES:
        result[name] = float(np.mean([getattr(score, name) for score in ill])) if ill else None
    return result


def intervals(scores: Sequence[ImageScore]) -> dict[str, tuple[float, float] | None]:
    """Return the 95 % intervals of DSC, CPA and recall, patients drawn with replacement."""
    by_patient: dict[int, list[ImageScore]] = {}
    for score in scores:
        if score.overlap.truth:
            by_patient.setdefault(score.patient, []).append(score)

    def interval(name: str) -> tuple[float, float] | None:
        def mean(patients: Sequence[list[ImageScore]]) -> float:
            return float(np.mean([getattr(score, name) for images in patients for score in images]))

        return bootstrap_interval(list(by_patient.values()), mean)

    return {name: interval(name) for name in FIGURES}
