"""Which components of the label map belong to one spine.

bodies (or, without any, discs) -> candidates -> heaviest path from the top down -> components of the chain.

A path of bodies that follow each other as vertebrae do outweighs any single false body in pelvis, bowel or aorta,
however large. Splits and merges are not decided here: a candidate may be half a vertebra or two fused ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from pipelines.lumbar.classes import BODY, CANAL, CORD, DISC, SACRUM

MAXIMUM_CANDIDATES = 24
"""The largest components; a spine in view has at most twelve bodies."""

MINIMUM_CANDIDATE_MM3 = 600.0
"""Less than a twentieth of a lumbar body says nothing about the spine's course."""

GAP_MM = 25.0
"""Two neighbours' ends are closer than this; a wider gap means that a vertebra is missing between them."""

WIDEST_GAP_MM = 75.0

GAP_COST = 0.5
"""Cost of a gap, as a share of a vertebra's weight."""

OVERLAP_MM = 8.0
"""Rows by which a tilted lower neighbour may begin above the upper one's end."""

SHIFT_MM = 16.0
"""Antero-posterior or lateral offset of neighbours' facing ends (a grade II slip is about that)."""

FREE_TURN_DEGREES = 25.0
"""Change of direction from one vertebra to the next that costs nothing; every further 20 degrees cost one vertebra."""

OFF_SAC_MM = 22.0
"""A body's back lies within this distance of the thecal sac wherever there is sac."""

BELOW_SACRUM_MM = 12.0
"""A body whose centre lies this far below the sacrum's top is in the pelvis."""


@dataclass(frozen=True)
class Candidate:
    """A component with the ends of its axis.

    Attributes
    ----------
    label
        Its number among the components.
    weight
        About 1 for one whole vertebra, more for fused ones, less where its place speaks against it.
    top_mm, centre_mm, bottom_mm
        (slice, row, column): means of its upper sixth, of all and of its lower sixth of rows.
    """

    label: int
    weight: float
    top_mm: np.ndarray
    centre_mm: np.ndarray
    bottom_mm: np.ndarray


def find_chain(labels: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """Return the (n, 3) positions in mm of the voxels of the spine's chain; empty where there is no spine.

    Parameters
    ----------
    labels
        uint8, (slice, row, column), cleaned.
    spacing_mm
        (slice, row, column).
    """
    components, number = ndimage.label(labels == BODY)
    if number == 0:
        components, number = ndimage.label(labels == DISC)
    if number == 0:
        return np.empty((0, 3))
    candidates = _candidates(components, labels, spacing_mm)
    path = _heaviest_path(candidates)
    keep = np.zeros(number + 1, dtype=bool)
    keep[[candidates[i].label for i in path]] = True
    return np.argwhere(keep[components]) * np.asarray(spacing_mm)


def _candidates(components: np.ndarray, labels: np.ndarray, spacing_mm: tuple[float, float, float]) -> list[Candidate]:
    """Describe the largest components, from the top down."""
    voxel_mm3 = float(np.prod(spacing_mm))
    volumes = np.bincount(components.ravel())[1:] * voxel_mm3
    order = [int(i) for i in np.argsort(-volumes)[:MAXIMUM_CANDIDATES] if volumes[i] >= MINIMUM_CANDIDATE_MM3]
    order = order or [int(np.argmax(volumes))]
    typical = float(np.median([volumes[i] for i in order if volumes[i] > 0.3 * volumes[order[0]]]))
    front = _front_of_sac(labels, spacing_mm)
    sacrum_top_mm = _top_of_sacrum(labels, spacing_mm)
    boxes = ndimage.find_objects(components)
    found = []
    for i in order:
        first = [side.start for side in boxes[i]]
        points = (np.argwhere(components[boxes[i]] == i + 1) + first) * np.asarray(spacing_mm)
        rows = points[:, 1]
        sixth = np.percentile(rows, (17, 83))
        centre = points.mean(axis=0)
        # A blob counts by its height too: a huge flat one is no row of vertebrae.
        weight = min(volumes[i] / typical, 0.2 + (rows.max() - rows.min()) / 30.0)
        weight -= _doubt_of_place(points, centre, front, sacrum_top_mm, spacing_mm)
        top, bottom = points[rows <= sixth[0]].mean(axis=0), points[rows >= sixth[1]].mean(axis=0)
        found.append(Candidate(i + 1, float(weight), top, centre, bottom))
    return sorted(found, key=lambda candidate: float(candidate.centre_mm[1]))


def _doubt_of_place(
    points: np.ndarray,
    centre: np.ndarray,
    front: np.ndarray,
    sacrum_top_mm: float,
    spacing_mm: tuple[float, float, float],
) -> float:
    """What the sac and the sacrum say against a body at this place, as a share of a vertebra."""
    doubt = 0.0
    sac = front[np.rint(np.unique(points[:, 1]) / spacing_mm[1]).astype(int)]
    if np.isfinite(sac).sum() > len(sac) / 2:
        gap_mm = float(np.nanmedian(sac)) - float(np.percentile(points[:, 2], 90))
        if not -OFF_SAC_MM / 2 <= gap_mm <= OFF_SAC_MM:
            doubt += 1.0
    if centre[1] > sacrum_top_mm + BELOW_SACRUM_MM:
        doubt += 1.0
    return doubt


def _front_of_sac(labels: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """Return the sac's anterior border in mm for every row (its foremost slice), NaN where there is none."""
    sac = np.asarray(((labels == CANAL) | (labels == CORD)).any(axis=0))
    return np.where(sac.any(axis=1), sac.argmax(axis=1) * spacing_mm[2], np.nan)


def _top_of_sacrum(labels: np.ndarray, spacing_mm: tuple[float, float, float]) -> float:
    """Return the row in mm above which a twentieth of the sacrum lies; infinity without a sacrum worth the name.

    Only its largest piece counts: bone of a thoracic body that is called sacrum must not disown all bodies below it.
    """
    pieces, number = ndimage.label(labels == SACRUM)
    if not number:
        return float("inf")
    per_row = (pieces == np.bincount(pieces.ravel())[1:].argmax() + 1).sum(axis=(0, 2))
    if per_row.sum() * np.prod(spacing_mm) < 2000.0:
        return float("inf")
    return float(np.searchsorted(np.cumsum(per_row), 0.05 * per_row.sum()) * spacing_mm[1])


def _heaviest_path(candidates: list[Candidate]) -> list[int]:
    """Return the indices of the heaviest path, from the top down."""
    weights = [candidate.weight for candidate in candidates]
    best: dict[tuple[int, int], tuple[float, int]] = {(-1, j): (weights[j], -1) for j in range(len(candidates))}
    for j in range(len(candidates)):
        for i in range(j):
            cost = _step_cost(candidates[i], candidates[j])
            if cost is None:
                continue
            options = [
                (best[h, i][0] + weights[j] - cost - _turn_cost(candidates, h, i, j), h)
                for h in range(-1, i)
                if (h, i) in best
            ]
            best[i, j] = max(options)
    state = max(best, key=lambda key: best[key][0])
    path = [state[1]]
    while state[0] >= 0:
        path.append(state[0])
        state = (best[state][1], state[0])
    return path[::-1]


def _step_cost(upper: Candidate, lower: Candidate) -> float | None:
    """Cost of `lower` following `upper`, None where it cannot."""
    offset = lower.top_mm - upper.bottom_mm
    if lower.centre_mm[1] - upper.centre_mm[1] < OVERLAP_MM or offset[1] < -OVERLAP_MM:
        return None
    gap_mm = float(np.linalg.norm(offset))
    if gap_mm > WIDEST_GAP_MM or max(abs(offset[0]), abs(offset[2])) > SHIFT_MM + 0.7 * max(offset[1], 0.0):
        return None
    return GAP_COST if gap_mm > GAP_MM else 0.0


def _turn_cost(candidates: list[Candidate], h: int, i: int, j: int) -> float:
    """Cost of the change of direction at `i` on the way from `h` to `j`."""
    if h < 0:
        return 0.0
    before = candidates[i].centre_mm - candidates[h].centre_mm
    after = candidates[j].centre_mm - candidates[i].centre_mm
    cosine = before @ after / (np.linalg.norm(before) * np.linalg.norm(after))
    turn = float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))
    return max(0.0, turn - FREE_TURN_DEGREES) / 20.0
