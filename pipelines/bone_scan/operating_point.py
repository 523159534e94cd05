"""Moves both operating points: what the paper's fixed threshold of 0.5 means for patients, and where outlines end.

A patient is positive if ANY of some twenty tiles reaches 0.5, and tiles with metastases are far more frequent in
training than in patients; trained as it is, the network would call too many patients positive. Of the cuts that leave
enough of the healthy alone (`SPECIFICITY`) the most sensitive is taken, because a physician who looks at an outlined
focus sees that it is none, while nothing points at a patient who was called negative.

A pixel belongs to the most probable class. That is not where the overlap is best: Dice is largest where the border runs
through pixels whose true probability is half of that Dice (Lipton et al., doi:10.1007/978-3-662-44851-9_15), and what a
network says of a pixel is no true probability.

Both are biases of the network, shifted once, on tuning patients of the training preset, never on those of an
evaluation. Nothing else changes: tiles and pixels keep their order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from pipelines.bone_scan.analysis import Network, ask, opposite
from pipelines.contract.weights import ModelCard, load_model, save_model
from pipelines.phantoms.bone_scan import SimulatedBoneScan, simulate_bone_scan
from pipelines.planar.lesions import BLADDER, METASTASIS
from pipelines.planar.prepare import prepare_view
from pipelines.training.metrics import Decisions, Overlap
from pipelines.training.processes import ahead

TUNING_SEED, TUNING_PATIENTS = 800_000, 240
SPECIFICITY = 0.88
"""The paper's 0.855, and somewhat more: that of other patients differs by as much."""

SHIFTS = tuple(float(value) for value in np.arange(-2.0, 4.01, 0.25))
"""What may be added to a pixel's log-odds of metastasis."""

TILE_BIAS, TILE_WEIGHT, PIXEL_BIAS = "tile_head.bias", "tile_head.weight", "pixel_head.bias"

OperatingProgress = Callable[[float, str], None]


@dataclass(frozen=True)
class Examined:
    """A tuning patient: the truth, the largest metastasis logit of all tiles, and the overlap at each of `SHIFTS`."""

    has_metastases: bool
    logit: float
    overlaps: tuple[Overlap, ...]


def best_cut(truth: Sequence[bool], scores: Sequence[float]) -> float:
    """Return the most sensitive of the cuts with at least `SPECIFICITY`.

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
    order = np.concatenate([order, [order[-1] + 1]])  # the last cut calls nobody positive
    cuts, gaps = (order[1:] + order[:-1]) / 2, np.diff(order)
    figures = [Decisions.of(truth, [v >= cut for v in values]) for cut in cuts]
    sensitivity = np.array([one.sensitivity.value or 0.0 for one in figures])
    specificity = np.array([one.specificity.value or 0.0 for one in figures])
    # What is dearest comes last.
    ranked = np.lexsort((gaps, specificity, sensitivity, specificity >= SPECIFICITY))
    return float(cuts[ranked[-1]])


def best_shift(patients: Sequence[Examined], cut: float) -> float:
    """Return the shift with the best pooled Dice of metastases, those of patients below the cut counting as missed."""
    dice = []
    for number in range(len(SHIFTS)):
        told = (p.overlaps[number] if p.logit >= cut else Overlap(p.overlaps[number].truth) for p in patients)
        dice.append(sum(told, Overlap()).dice or 0.0)
    return SHIFTS[int(np.argmax(dice))]


def examine(scan: SimulatedBoneScan, network: Network) -> Examined:
    """Ask the network about both views of a tuning patient."""
    pitch = (scan.scanner.pixel_mm, scan.scanner.pixel_mm)
    views = [prepare_view(counts.astype(np.float64), pitch) for counts in scan.counts]
    hottest, overlaps = 0.0, [Overlap() for _ in SHIFTS]
    for number, (view, labels) in enumerate(zip(views, scan.labels, strict=True)):
        _, tiles, classes = ask(network, view, opposite(views, number))
        hottest = max(hottest, float(tiles[:, 0].max()))
        truth = view.grid.labels_to_working(labels) == METASTASIS
        overlaps = [a + b for a, b in zip(overlaps, overlaps_at(truth, classes), strict=True)]
    share = float(np.clip(hottest, 1e-9, 1 - 1e-9))
    return Examined(scan.has_metastases, float(np.log(share / (1 - share))), tuple(overlaps))


def overlaps_at(truth: np.ndarray, classes: np.ndarray) -> list[Overlap]:
    """Return the overlap of a bool truth with what class probabilities (3, rows, columns) mark at each of `SHIFTS`."""
    held = np.log(np.maximum(classes.astype(np.float64), 1e-9))
    lead = held[METASTASIS] - np.maximum(held[0], held[BLADDER])
    return [Overlap.of(truth, lead > -shift) for shift in SHIFTS]


def set_operating_point(
    folder: Path, patients: int = TUNING_PATIENTS, progress: OperatingProgress | None = None
) -> ModelCard:
    """Shift the biases of the network in `folder` and write it back; return its new card.

    Raises
    ------
    WeightsError
        If the folder does not hold the network.
    """
    from pipelines.bone_scan.engine import MODEL, TILE_LABELS, Engine
    from pipelines.contract import ComputeOptions

    engine = Engine.load(ComputeOptions(weights_dir=folder))
    seeds = range(TUNING_SEED, TUNING_SEED + patients)
    seen = []
    for number, scan in enumerate(ahead(partial(simulate_bone_scan, preset="train"), seeds)):
        seen.append(examine(scan, engine))
        if progress is not None:
            progress((number + 1) / patients, f"operating point: {number + 1} of {patients} patients")
    cut = best_cut([p.has_metastases for p in seen], [p.logit for p in seen])
    shift = best_shift(seen, cut)
    state, card = load_model(MODEL, [folder])
    # The tile's label sees the margins of its pixels, the last of its inputs: what is added there is taken off here.
    margin = state[TILE_WEIGHT].shape[1] - len(TILE_LABELS)
    state[PIXEL_BIAS][METASTASIS] += shift
    state[TILE_BIAS] -= state[TILE_WEIGHT][:, margin] * shift
    state[TILE_BIAS][0] -= cut
    before = card.recipe
    note = {
        "operating_point_shift": float(before.get("operating_point_shift", 0.0)) - cut,
        "outline_shift": float(before.get("outline_shift", 0.0)) + shift,
        "operating_point_patients": [TUNING_SEED, patients],
    }
    return save_model(state, card.model_copy(update={"recipe": {**before, **note}}), folder)
