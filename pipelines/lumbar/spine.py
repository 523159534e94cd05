"""One spine out of a cleaned label map: its curve, its boundaries, and the voxels of every interval.

cleaned labels -> chain -> curve -> boundaries -> bodies, discs, sacrum by interval -> `Spine`.

Puts right what the chain shows to be wrong (sacrum labelled as body and the reverse, bodies and discs off the chain)
and says so; gives no names.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from pipelines.lumbar.assign import NOWHERE, Voxels, assign_bodies, assign_discs, components_of, joined
from pipelines.lumbar.centreline import Centreline, fit_centreline
from pipelines.lumbar.chain import MINIMUM_CANDIDATE_MM3, find_chain
from pipelines.lumbar.classes import BODY, DISC, FORAMEN, SACRUM
from pipelines.lumbar.cleaning import ALL_NEIGHBOURS, MINIMUM_VOLUME_MM3
from pipelines.lumbar.partition import Boundary, find_boundaries, fit_plane, in_tube, profile_of

MIDDLE_MM = 9.0
"""Half-width of the middle of a body or disc, where depths and thicknesses are compared."""

SACRAL_TAPER = 0.87
"""A last body less deep than this share of the body above it is S1 (its depth falls to two thirds on the way to S2)."""

END_MM, BAND_MM = 8.0, 4.0
"""Depth is taken in bands of this height, this far from either boundary."""

CLEAR_DISC = 0.3
"""Evidence above which a boundary is taken for a disc that is there."""

MISPLACED_MM3 = 500.0
"""Bone on the wrong side of the lumbosacral boundary that is worth a word; less is a poking corner."""

SACRUM_NEAR_MM = 10.0
"""A piece of sacrum whose centre lies further from the largest piece's box is no sacrum."""

REMNANT_BELOW_MM = 13.0
"""A disc whose middle lies this far below the lumbosacral boundary is another disc."""

REMNANT_MM3 = 250.0
"""Disc within the sacrum that is worth a word."""


@dataclass
class Spine:
    """What is known about the spine before names are given.

    Attributes
    ----------
    curve
    boundaries
        From the top down; with a sacrum the last is the lumbosacral one.
    bodies, body_interval
        Voxels of the chain's bodies and the interval (n,) of each.
    discs, disc_boundary
        Voxels of its discs and the boundary (n,) of each.
    foramina
        Voxels of foramina, not assigned yet.
    sacrum
        Voxels of the sacrum; empty where there is none.
    split, merged
        Intervals whose body was fused with a neighbour, or in several pieces.
    rejected
        Number of bodies off the chain.
    remarks
        What was put right: "sacrum_was_body", "body_was_sacrum"; what was seen: "remnant_disc", "narrow_last_body".
    """

    curve: Centreline
    boundaries: list[Boundary]
    bodies: Voxels
    body_interval: np.ndarray
    discs: Voxels
    disc_boundary: np.ndarray
    foramina: Voxels
    sacrum: Voxels
    split: set[int] = field(default_factory=set)
    merged: set[int] = field(default_factory=set)
    rejected: int = 0
    remarks: set[str] = field(default_factory=set)

    @property
    def has_sacrum(self) -> bool:
        return len(self.sacrum) > 0


def find_spine(labels: np.ndarray, spacing_mm: tuple[float, float, float]) -> Spine | None:
    """Find the one spine of a cleaned label map; None where there is neither body nor disc.

    Parameters
    ----------
    labels
        uint8, (slice, row, column), cleaned.
    spacing_mm
        (slice, row, column).
    """
    chain_mm = find_chain(labels, spacing_mm)
    if not len(chain_mm):
        return None
    curve = _curve(chain_mm, labels, spacing_mm)
    voxels = {s: _voxels(labels, s, curve, spacing_mm) for s in (BODY, DISC, FORAMEN, SACRUM)}
    voxel_mm3 = float(np.prod(spacing_mm))
    bodies, rejected = _on_chain(voxels[BODY], voxel_mm3)
    discs = voxels[DISC].select(in_tube(voxels[DISC].local))
    sacrum = _main_sacrum(voxels[SACRUM], spacing_mm)
    boundaries = _boundaries(bodies, discs, sacrum, voxel_mm3)
    spine = Spine(curve, boundaries, bodies, np.empty(0, int), discs, np.empty(0, int), voxels[FORAMEN], sacrum)
    spine.rejected = rejected
    if spine.has_sacrum:
        _check_first_sacral_segment(spine)
        _sort_lumbosacral(spine, voxel_mm3)
    if len(spine.bodies):
        spine.body_interval = assign_bodies(spine.bodies, spine.boundaries)
        _trade_with_sacrum(spine, voxel_mm3)
        _note_pieces(spine)
    if len(spine.discs):
        _settle_discs(spine, labels.shape, voxel_mm3)
    return spine


def depth_and_area(voxels: Voxels, spacing_mm: tuple[float, float, float]) -> tuple[float, float]:
    """Return the antero-posterior depth in mm and the sagittal area in mm2 of the middle of a body or disc."""
    middle = voxels.select(np.abs(voxels.local[:, 2] - np.median(voxels.local[:, 2])) < MIDDLE_MM)
    back = np.percentile(middle.local[:, 1], (3, 97))
    slices = len(np.unique(middle.index[:, 0]))
    # Trimming 3 % at both ends takes 6 % off a rectangle.
    return float(back[1] - back[0]) / 0.94, len(middle) * spacing_mm[1] * spacing_mm[2] / max(slices, 1)


def _curve(chain_mm: np.ndarray, labels: np.ndarray, spacing_mm: tuple[float, float, float]) -> Centreline:
    """Fit the bodies first, then the discs with them: they carry the curve over the ends of the chain."""
    curve = fit_centreline(chain_mm)
    discs_mm = np.argwhere(labels == DISC) * np.asarray(spacing_mm)
    if not len(discs_mm):
        return curve
    local = curve.local(discs_mm)
    return fit_centreline(np.vstack([chain_mm, discs_mm[in_tube(local) & (np.abs(local[:, 1]) < 22.0)]]))


def _voxels(labels: np.ndarray, structure: int, curve: Centreline, spacing_mm: tuple[float, float, float]) -> Voxels:
    box = ndimage.find_objects(labels, max_label=structure)[structure - 1]
    index = np.empty((0, 3), dtype=int)
    if box is not None:
        index = np.argwhere(labels[box] == structure) + [side.start for side in box]
    return Voxels(index, curve.local(index * np.asarray(spacing_mm)))


def _on_chain(bodies: Voxels, voxel_mm3: float) -> tuple[Voxels, int]:
    """Keep components of which most lies near the curve, and of them what does; count the large ones dropped."""
    if not len(bodies):
        return bodies, 0
    near = in_tube(bodies.local)
    components = components_of(bodies)
    sizes = np.bincount(components)
    inside = np.bincount(components, near)
    member = (inside > 0.5 * sizes) & (inside * voxel_mm3 >= MINIMUM_VOLUME_MM3)
    rejected = int((~member & (sizes * voxel_mm3 >= MINIMUM_CANDIDATE_MM3)).sum())
    return bodies.select(near & member[components]), rejected


def _main_sacrum(sacrum: Voxels, spacing_mm: tuple[float, float, float]) -> Voxels:
    """Keep the largest piece of the sacrum and the pieces next to it."""
    if len(sacrum) * np.prod(spacing_mm) < MISPLACED_MM3:
        return sacrum.select(np.zeros(len(sacrum), dtype=bool))
    components = components_of(sacrum, ALL_NEIGHBOURS)
    sizes = np.bincount(components)
    places = sacrum.index * np.asarray(spacing_mm)
    largest = places[components == sizes.argmax()]
    centres = np.stack([np.bincount(components, places[:, k]) / sizes for k in range(3)], axis=1)
    near = (centres > largest.min(axis=0) - SACRUM_NEAR_MM) & (centres < largest.max(axis=0) + SACRUM_NEAR_MM)
    return sacrum.select(near.all(axis=1)[components])


def _boundaries(bodies: Voxels, discs: Voxels, sacrum: Voxels, voxel_mm3: float) -> list[Boundary]:
    local = np.vstack([bodies.local, discs.local, sacrum.local])
    classes = np.repeat([BODY, DISC, SACRUM], [len(bodies), len(discs), len(sacrum)])
    profile = profile_of(local, classes, voxel_mm3)
    return [
        fit_plane(float(at), discs.local, voxel_mm3, float(profile.evidence[at - profile.start_mm]))
        for at in find_boundaries(profile)
    ]


def _check_first_sacral_segment(spine: Spine) -> None:
    """Drop the last boundary where what lies above it is S1 labelled as body: it tapers, with a disc only above it.

    Every lumbar body is about as deep as the one above it; the first sacral segment tapers towards the second.
    """
    if len(spine.boundaries) < 3:
        return
    before, above, last = spine.boundaries[-3:]
    depth = _middle_depth(spine.bodies, above, last)
    usual = _middle_depth(spine.bodies, before, above)
    if depth is None or usual is None or depth > SACRAL_TAPER * usual:
        return
    if last.evidence < CLEAR_DISC < above.evidence:
        spine.boundaries.pop()
        spine.remarks.add("sacrum_was_body")
    else:
        spine.remarks.add("narrow_last_body")


def _middle_depth(voxels: Voxels, upper: Boundary, lower: Boundary) -> float | None:
    """Return the median antero-posterior depth of what lies between two boundaries, away from its ends."""
    below = upper.beyond_mm(voxels.local)
    inside = (np.abs(voxels.local[:, 2]) < MIDDLE_MM) & (below >= END_MM) & (lower.beyond_mm(voxels.local) < -END_MM)
    bands = (below[inside] // BAND_MM).astype(int)
    backs = [voxels.local[inside, 1][bands == band] for band in np.unique(bands)]
    depths = [float(np.ptp(np.percentile(back, (3, 97)))) for back in backs if len(back) >= 10]
    return float(np.median(depths)) if depths else None


def _sort_lumbosacral(spine: Spine, voxel_mm3: float) -> None:
    """Hand sacrum above the lumbosacral boundary to the bodies."""
    beyond = spine.boundaries[-1].beyond_mm(spine.sacrum.local)
    core = (np.abs(spine.sacrum.local[:, 1]) < 22.0) & (np.abs(spine.sacrum.local[:, 2]) < 26.0)
    above = core & (beyond < 0)
    if above.sum() * voxel_mm3 >= MISPLACED_MM3 and beyond[above].mean() < -3.0:
        moved = spine.sacrum.select(above)
        spine.bodies = joined(spine.bodies, moved)
        spine.sacrum = spine.sacrum.select(~above)
        spine.remarks.add("body_was_sacrum")


def _trade_with_sacrum(spine: Spine, voxel_mm3: float) -> None:
    """Hand bodies below the lumbosacral boundary to the sacrum."""
    below = spine.body_interval == len(spine.boundaries)
    if not spine.has_sacrum or not below.any():
        return
    moved = spine.bodies.select(below)
    if len(moved) * voxel_mm3 >= MISPLACED_MM3:
        spine.remarks.add("sacrum_was_body")
    spine.sacrum = joined(spine.sacrum, moved)
    spine.bodies, spine.body_interval = spine.bodies.select(~below), spine.body_interval[~below]


def _note_pieces(spine: Spine) -> None:
    """Note which bodies were fused with a neighbour and which were in pieces."""
    if not len(spine.bodies):
        return
    components = components_of(spine.bodies)
    number = len(spine.boundaries) + 1
    table = np.zeros((components.max() + 1, number), dtype=int)
    np.add.at(table, (components, spine.body_interval), 1)
    for row in table:
        held = np.flatnonzero(row > 0)
        if len(held) > 1:
            spine.split.update(int(k) for k in held)
    large = table > 0.15 * table.sum(axis=0)
    spine.merged.update(int(k) for k in np.flatnonzero(large.sum(axis=0) > 1))


def _settle_discs(spine: Spine, shape: tuple[int, ...], voxel_mm3: float) -> None:
    """Give every disc voxel its boundary; a disc within the sacrum is a remnant of its own and sacrum."""
    if spine.has_sacrum:
        remnant = _remnant(spine, shape)
        if remnant.sum() * voxel_mm3 >= REMNANT_MM3:
            spine.remarks.add("remnant_disc")
        spine.sacrum = joined(spine.sacrum, spine.discs.select(remnant))
        spine.discs = spine.discs.select(~remnant)
    if len(spine.discs):
        spine.disc_boundary = assign_discs(spine.discs, spine.boundaries)
        keep = spine.disc_boundary != NOWHERE
        spine.discs, spine.disc_boundary = spine.discs.select(keep), spine.disc_boundary[keep]


def _remnant(spine: Spine, shape: tuple[int, ...]) -> np.ndarray:
    """Tell which disc voxels lie in components well below the lumbosacral boundary that touch the sacrum."""
    components = components_of(spine.discs, ALL_NEIGHBOURS)
    below = np.bincount(components, spine.boundaries[-1].beyond_mm(spine.discs.local)) / np.bincount(components)
    touches = np.zeros(len(spine.discs), dtype=bool)
    if (below > REMNANT_BELOW_MM).any():
        bone = np.zeros(shape, dtype=bool)
        bone[tuple(spine.sacrum.index.T)] = True
        touches = ndimage.binary_dilation(bone)[tuple(spine.discs.index.T)]
    return np.asarray(((below > REMNANT_BELOW_MM) & (np.bincount(components, touches) > 0))[components])
