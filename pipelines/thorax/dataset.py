"""Thorax images of simulated patients, cut from the cache that all planar pipelines share (`planar.dataset`).

cached patient (counts over the reference level on the working grid, labels) -> body and neck as in inference ->
256 x 256 crops of both views, or of both added -> `ThoraxImage`. Which of them a network may see the labels of is
drawn per patient (`labelled_patients`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.planar.dataset import TrainingPatient, TrainingView
from pipelines.planar.lesions import METASTASIS
from pipelines.planar.outline import body_frame, body_mask
from pipelines.thorax.aggregate import aggregate
from pipelines.thorax.crop import ThoraxCrop, find_thorax


@dataclass(frozen=True)
class ThoraxImage:
    """One image as the network sees it, before display.

    Attributes
    ----------
    seed : the patient's. level : float16 (256, 256), counts over the reference level. counts_per_level : counts in a
    pixel of level 1. body : bool, where the body is. lesions : bool, the truth; empty where `labelled` is False.
    """

    seed: int
    level: np.ndarray
    counts_per_level: float
    body: np.ndarray
    lesions: np.ndarray
    labelled: bool = True


def thorax_images(patient: TrainingPatient, labelled: bool = True, aggregated: bool = False) -> list[ThoraxImage]:
    """Cut a patient's thorax: an image of each view, or one of both added."""
    bodies = [body_mask(_counts(view)) for view in patient.views]
    crop = _shared(patient.views, bodies)
    images = [
        ThoraxImage(
            patient.seed,
            crop.cut(view.level),
            view.counts_per_level,
            crop.cut(body),
            crop.cut(view.labels == METASTASIS) & labelled,
            labelled,
        )
        for view, body in zip(patient.views, bodies, strict=True)
    ]
    if not aggregated:
        return images
    both = aggregate(*(image.level.astype(np.float32) for image in images))
    front, back = images
    return [
        ThoraxImage(
            patient.seed,
            (both.image / 2).astype(np.float16),
            front.counts_per_level + back.counts_per_level,
            front.body | both.to_front(back.body),
            front.lesions | both.to_front(back.lesions),
            labelled,
        )
    ]


def labelled_patients(seeds: Sequence[int], fraction: float, seed: int = 0) -> set[int]:
    """Draw the patients whose labels may be used: round(fraction * patients), those of smaller fractions among them.

    Raises
    ------
    ValueError
        If the fraction is not within [0, 1].
    """
    if not 0.0 <= fraction <= 1.0:
        raise ValueError(f"the labelled fraction lies between 0 and 1, got {fraction}")
    order = np.random.default_rng(seed).permutation(sorted(seeds))
    return {int(s) for s in order[: round(fraction * len(order))]}


def cut_all(
    patients: Iterable[TrainingPatient], labelled: set[int] | None = None, aggregated: bool = False
) -> list[ThoraxImage]:
    """Cut all patients; `labelled` names those with labels, None for all."""
    return [
        image
        for patient in patients
        for image in thorax_images(patient, labelled is None or patient.seed in labelled, aggregated)
    ]


def _counts(view: TrainingView) -> np.ndarray:
    return np.asarray(view.level, np.float32) * np.float32(view.counts_per_level)


def _shared(views: Sequence[TrainingView], bodies: Sequence[np.ndarray]) -> ThoraxCrop:
    found = [find_thorax(body, body_frame(_counts(view), body)) for view, body in zip(views, bodies, strict=True)]
    return next((crop for crop in found if crop.found), found[0])
