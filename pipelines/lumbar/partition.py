"""Where one vertebra ends and the next begins.

voxels in the curve's coordinates -> profile of bone and disc along the curve -> boundaries (dynamic programming)
-> a tilted plane at each boundary.

A boundary is cheap where there is disc, dear where there is bone, and the lengths between boundaries should be those
of neighbours. So fused bodies are cut at the disc or, without any, where a regular spine would be cut; two pieces of
one vertebra stay together; and a vertebra the network missed still counts between its discs. The cost of boundaries
b_0 < b_1 ... along the curve is

    sum_k  w_k * ln((b_(k+1) - b_k) / pitch)^2  -  sum_k evidence(b_k)  +  cost of the lower end,

with w = STIFFNESS for what is longer than the pitch and half of it for what is shorter (vertebrae collapse, they do not
stretch), and evidence = share of disc less share of bone in the middle of the cross-section, -1 to 1.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from pipelines.lumbar.classes import BODY, DISC, SACRUM

CORE_POSTERIOR_MM = 12.0
CORE_LEFT_MM = 14.0
"""Half-size of the middle of the cross-section, where rims, osteophytes and bulges do not reach."""

TUBE_POSTERIOR_MM = (-30.0, 26.0)
TUBE_LEFT_MM = 34.0
"""What lies further from the curve is no part of a body or disc (half a body is 15 to 20 mm deep, 20 to 27 mm wide)."""

STIFFNESS = 6.0
"""Two vertebrae taken for one cost 6 ln(2)^2 = 2.9, at 1.6 pitches 1.3: more than a cut through solid bone (1). One
vertebra cut in halves costs 2.9, one collapsed to half its height between two discs 1.4: less than leaving out one of
the discs (1 and 1.0 for the length)."""

SHORTEST_MM = 9
LONGEST_MM = 80
"""Lengths of body and disc that are tried."""

TYPICAL_PITCH_MM = 34.0
PITCH_RANGE_MM = (18.0, 50.0)
PITCH_GROWTH_PER_MM = 0.0013
"""Vertebra and disc grow from about 28 mm at T11 to 37 mm at L4."""

WRONG_SIDE_MM = 10.0
"""This thickness of body below the last boundary, or of sacrum above it, costs as much as one disc left out."""

TYPICAL_HALF_DISC_MM = 6.0

PLANE_REACH_MM = 9.0
"""Disc voxels this close to a boundary shape its plane."""

MAXIMUM_SLOPE = 0.55
"""Largest tilt of a boundary against the curve's normal (29 degrees): more is a misfit."""


@dataclass(frozen=True)
class Boundary:
    """A plane between two vertebrae: along = along_mm + slope_posterior * posterior + slope_left * left.

    `evidence` is -1 (solid bone) to 1 (full disc); `disc_mm3` the disc within reach.
    """

    along_mm: float
    slope_posterior: float
    slope_left: float
    evidence: float
    disc_mm3: float

    def beyond_mm(self, local: np.ndarray) -> np.ndarray:
        """Return how far points (n, 3) in the curve's coordinates lie below the plane, measured along the curve."""
        return np.asarray(
            local[:, 0] - self.along_mm - self.slope_posterior * local[:, 1] - self.slope_left * local[:, 2]
        )


@dataclass(frozen=True)
class Profile:
    """Shares of the core's cross-section per mm along the curve; index 0 is `start_mm`."""

    start_mm: int
    body: np.ndarray
    disc: np.ndarray
    sacrum: np.ndarray

    @property
    def evidence(self) -> np.ndarray:
        return np.asarray(np.clip(self.disc - self.body - self.sacrum, -1.0, 1.0))

    @property
    def sacrum_top(self) -> int | None:
        """Index of the first step that is mostly sacrum and goes on so; None without a sacrum."""
        held = ndimage.uniform_filter1d((self.sacrum > 0.3).astype(np.float64), 9, origin=-4, mode="constant") > 0.8
        return int(held.argmax()) if held.any() else None


def in_tube(local: np.ndarray) -> np.ndarray:
    """Tell which points (n, 3) in the curve's coordinates are near enough to it to be body or disc."""
    back, left = local[:, 1], local[:, 2]
    return np.asarray((back > TUBE_POSTERIOR_MM[0]) & (back < TUBE_POSTERIOR_MM[1]) & (np.abs(left) < TUBE_LEFT_MM))


def profile_of(local: np.ndarray, classes: np.ndarray, voxel_mm3: float) -> Profile:
    """Gather voxels of bodies, discs and sacrum along the curve.

    Parameters
    ----------
    local
        float (n, 3), in the curve's coordinates.
    classes
        uint8 (n,), BODY, DISC or SACRUM.
    voxel_mm3
        Volume of a voxel.
    """
    core = (np.abs(local[:, 1]) < CORE_POSTERIOR_MM) & (np.abs(local[:, 2]) < CORE_LEFT_MM)
    along, classes = np.rint(local[core, 0]).astype(int), classes[core]
    start = int(along.min()) - 2 if along.size else 0
    length = int(along.max()) - start + 3 if along.size else 3
    areas = {
        structure: ndimage.gaussian_filter1d(
            np.bincount(along[classes == structure] - start, minlength=length) * voxel_mm3, 1.0
        )
        for structure in (BODY, DISC, SACRUM)
    }
    total = areas[BODY] + areas[DISC] + areas[SACRUM]
    full = float(np.percentile(total[total > 0], 80)) if (total > 0).any() else 1.0
    return Profile(start, areas[BODY] / full, areas[DISC] / full, areas[SACRUM] / full)


def find_boundaries(profile: Profile) -> list[int]:
    """Return the boundaries along the curve in mm, from the top down; the last is that to the sacrum if there is one.

    The topmost vertebra (and without a sacrum the lowest) may be of any length up to the pitch: it may be cut.
    """
    end = len(profile.body) - 1
    sacrum_top = profile.sacrum_top
    reach = end if sacrum_top is None else min(end, sacrum_top + LONGEST_MM)
    pitch = _pitch(profile, reach)
    evidence = profile.evidence
    cost = np.full(reach + 1, np.inf)
    before = np.full(reach + 1, -1)
    for here in range(1, reach + 1):
        cost[here] = _partial(here, pitch[here]) - evidence[here]
        first, last = max(1, here - LONGEST_MM), here - SHORTEST_MM
        if last >= first:
            lengths = here - np.arange(first, last + 1)
            options = cost[first : last + 1] + _length_cost(lengths / pitch[here]) - evidence[here]
            if options.min() < cost[here]:
                cost[here], before[here] = options.min(), first + int(options.argmin())
    at = int(np.argmin(cost[1:] + _end_cost(profile, pitch, reach, sacrum_top)[1:])) + 1
    found = []
    while at >= 0:
        found.append(at + profile.start_mm)
        at = int(before[at])
    return found[::-1]


def fit_plane(along_mm: float, local: np.ndarray, voxel_mm3: float, evidence: float) -> Boundary:
    """Tilt a boundary with the disc voxels (n, 3) about it."""
    near = np.abs(local[:, 0] - along_mm) < PLANE_REACH_MM + 0.25 * np.abs(local[:, 1])
    points = local[near & (np.abs(local[:, 1]) < 20.0) & (np.abs(local[:, 2]) < 24.0)]
    disc_mm3 = len(points) * voxel_mm3
    plane = np.array([along_mm, 0.0, 0.0])
    if disc_mm3 < 200.0:
        return Boundary(along_mm, 0.0, 0.0, evidence, disc_mm3)
    for _ in range(3):
        residual = points[:, 0] - plane[0] - points[:, 1:] @ plane[1:]
        kept = points[np.abs(residual) < PLANE_REACH_MM]
        design = np.column_stack([np.ones(len(kept)), kept[:, 1:]])
        # A weak pull towards the normal plane keeps a sliver of a disc from deciding the tilt.
        pull = np.diag([0.0, 1e3, 1e3]) / voxel_mm3
        fit = np.linalg.solve(design.T @ design + pull, design.T @ kept[:, 0])
        plane = np.array([fit[0], *np.clip(fit[1:], -MAXIMUM_SLOPE, MAXIMUM_SLOPE)])
    return Boundary(float(plane[0]), float(plane[1]), float(plane[2]), evidence, disc_mm3)


def _pitch(profile: Profile, reach: int) -> np.ndarray:
    """Expected length of a body and its disc for every step, from the distances of clear discs."""
    evidence = ndimage.gaussian_filter1d(profile.evidence[: reach + 1], 1.5)
    peaks = [
        int(at)
        for at in np.flatnonzero(evidence == ndimage.maximum_filter1d(evidence, 2 * SHORTEST_MM + 1))
        if evidence[at] > 0.25
    ]
    distances = [b - a for a, b in itertools.pairwise(peaks)]
    usable = [d for d in distances if PITCH_RANGE_MM[0] <= d <= PITCH_RANGE_MM[1]]
    middle = TYPICAL_PITCH_MM if not usable else float(np.median(usable))
    centre = float(np.mean(peaks)) if usable else reach / 2
    growth = 1.0 + PITCH_GROWTH_PER_MM * (np.arange(reach + 1) - centre)
    return np.asarray(middle * np.clip(growth, 0.75, 1.25))


def _partial(length: float, pitch: float) -> float:
    """Cost of a vertebra at an end of the chain: it may be shorter, not longer."""
    return float(_length_cost(np.array(length / pitch))) if length > pitch else 0.0


def _length_cost(ratio: np.ndarray) -> np.ndarray:
    """Cost of lengths given as shares of the pitch."""
    return np.asarray(np.where(ratio > 1.0, STIFFNESS, STIFFNESS / 2) * np.log(ratio) ** 2)


def _end_cost(profile: Profile, pitch: np.ndarray, reach: int, sacrum_top: int | None) -> np.ndarray:
    """Cost of every step as the last boundary."""
    steps = np.arange(reach + 1)
    if sacrum_top is None:
        return np.array([_partial(max(reach - at, 1), float(pitch[at])) for at in range(reach + 1)])
    body_below = np.cumsum(profile.body[::-1])[::-1][: reach + 1]
    sacrum_above = np.cumsum(profile.sacrum)[: reach + 1]
    gap = np.maximum(sacrum_top - steps - TYPICAL_HALF_DISC_MM, 0.0)
    return np.asarray((body_below + sacrum_above) / WRONG_SIDE_MM + _length_cost((pitch + gap) / pitch))
