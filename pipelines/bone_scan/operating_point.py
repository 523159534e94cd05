"""Moves the operating point of the tiles' labels so that the paper's fixed threshold of 0.5 suits whole patients.

A patient is positive if ANY of some twenty tiles reaches 0.5, and tiles with metastases are far more frequent in
training than in patients; trained as it is, the network would call too many patients positive. The bias of its
tiles' metastasis output is shifted once, on tuning patients of the training preset. Many cuts are nearly as good as
the one with the best sum of sensitivity and specificity; of those the most sensitive is taken, because a physician who
looks at an outlined focus sees that it is none, while nothing points at a patient who was called negative. Nothing else
of the network changes, and its ranking of tiles stays what it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from pipelines.bone_scan.analysis import Network, ask
from pipelines.contract.weights import ModelCard, load_model, save_model
from pipelines.phantoms.bone_scan import simulate_bone_scan
from pipelines.planar.prepare import prepare_view
from pipelines.training.metrics import Decisions
from pipelines.training.processes import ahead

TUNING_SEED, TUNING_PATIENTS = 800_000, 240
SLACK = 0.02
"""What a cut's sum of sensitivity and specificity may lack of the best: less than what one patient in fifty moves."""

BIAS_KEY = "tile_head.bias"

OperatingProgress = Callable[[float, str], None]


def best_cut(truth: Sequence[bool], scores: Sequence[float]) -> float:
    """Return the most sensitive of the cuts whose sensitivity + specificity lacks at most `SLACK` of the best.

    Of several the one with the best specificity, in the middle of the widest gap between scores.

    Raises
    ------
    ValueError
        If one of the classes is missing.
    """
    values = np.asarray(scores, float)
    if not any(truth) or all(truth):
        raise ValueError("an operating point needs patients with and without metastases")
    order = np.unique(values)
    cuts = (order[1:] + order[:-1]) / 2 if len(order) > 1 else order
    gaps = np.diff(order) if len(order) > 1 else np.ones(1)
    figures = [Decisions.of(truth, [v >= cut for v in values]) for cut in cuts]
    sensitivity = np.array([one.sensitivity.value or 0.0 for one in figures])
    gained = sensitivity + np.array([one.specificity.value or 0.0 for one in figures])
    # What is dearest comes last: rounding keeps equal sums equal.
    ranked = np.lexsort((gaps, np.round(gained, 9), sensitivity, gained >= gained.max() - SLACK - 1e-9))
    return float(cuts[ranked[-1]])


def patient_logit(counts: np.ndarray, pixel_mm: float, network: Network) -> float:
    """Return the largest metastasis logit over all tiles of both views (2, rows, columns)."""
    hottest = -np.inf
    for view in counts:
        prepared = prepare_view(view.astype(np.float64), (pixel_mm, pixel_mm))
        found = ask(network, prepared)[1][:, 0].astype(np.float64).max()
        share = float(np.clip(found, 1e-9, 1 - 1e-9))
        hottest = max(hottest, float(np.log(share / (1 - share))))
    return hottest


def set_operating_point(
    folder: Path, patients: int = TUNING_PATIENTS, progress: OperatingProgress | None = None
) -> ModelCard:
    """Shift the bias of the network in `folder` and write it back; return its new card.

    Raises
    ------
    WeightsError
        If the folder does not hold the network.
    """
    from pipelines.bone_scan.engine import MODEL, Engine
    from pipelines.contract import ComputeOptions

    engine = Engine.load(ComputeOptions(weights_dir=folder))
    truth, logits = [], []
    seeds = range(TUNING_SEED, TUNING_SEED + patients)
    for number, scan in enumerate(ahead(partial(simulate_bone_scan, preset="train"), seeds)):
        truth.append(scan.has_metastases)
        logits.append(patient_logit(scan.counts, scan.scanner.pixel_mm, engine))
        if progress is not None:
            progress((number + 1) / patients, f"operating point: {number + 1} of {patients} patients")
    cut = best_cut(truth, logits)
    state, card = load_model(MODEL, [folder])
    state[BIAS_KEY][0] -= cut
    earlier = float(card.recipe.get("operating_point_shift", 0.0))
    note = {"operating_point_shift": earlier - cut, "operating_point_patients": [TUNING_SEED, patients]}
    return save_model(state, card.model_copy(update={"recipe": {**card.recipe, **note}}), folder)
