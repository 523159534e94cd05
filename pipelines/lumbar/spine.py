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
from pipelines.lumbar.cleaning import MINIMUM_VOLUME_MM3
from pipelines.lumbar.lumbosacral import (
    MIDDLE_MM,
    MISPLACED_MM3,
    above_boundary,
    main_sacrum,
    remnant_discs,
    sacral_from,
)
from pipelines.lumbar.partition import Boundary, find_boundaries, fit_plane, in_tube, profile_of

REMNANT_MM3 = 1000.0
"""Disc within the sacrum that is worth a word; networks strew less than this over the segments of any sacrum."""

DOUBTFUL_MM3 = 2000.0
"""Bone called body below the lumbosacral boundary that makes the boundary doubtful: a tenth of a first segment."""

FIRST_SEGMENT_MM = 35.0
"""Bone called body further below the boundary than the first sacral segment reaches is bowel or bladder."""


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
    kept, stray = main_sacrum(voxels[SACRUM], spacing_mm)
    sacrum, bodies = voxels[SACRUM].select(kept), joined(bodies, voxels[SACRUM].select(stray))
    boundaries = _boundaries(bodies, discs, sacrum, voxel_mm3)
    spine = Spine(curve, boundaries, bodies, np.empty(0, int), discs, np.empty(0, int), voxels[FORAMEN], sacrum)
    spine.rejected = rejected
    if stray.sum() * voxel_mm3 >= MISPLACED_MM3:
        spine.remarks.add("body_was_sacrum")
    if len(spine.bodies):
        _settle_lumbosacral(spine, voxel_mm3)
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


def _boundaries(bodies: Voxels, discs: Voxels, sacrum: Voxels, voxel_mm3: float) -> list[Boundary]:
    local = np.vstack([bodies.local, discs.local, sacrum.local])
    classes = np.repeat([BODY, DISC, SACRUM], [len(bodies), len(discs), len(sacrum)])
    profile = profile_of(local, classes, voxel_mm3)
    return [
        fit_plane(float(at), discs.local, voxel_mm3, float(profile.evidence[at - profile.start_mm]))
        for at in find_boundaries(profile)
    ]


def _settle_lumbosacral(spine: Spine, voxel_mm3: float) -> None:
    """Give the bodies their intervals, and both sides of the lumbosacral boundary the bone that is theirs."""
    first, remark = sacral_from(spine.boundaries, spine.bodies, spine.has_sacrum)
    spine.remarks.update({remark} - {""})
    ends_in_sacrum = spine.has_sacrum or first is not None
    if first is not None:
        del spine.boundaries[first + 1 :]
    if spine.has_sacrum:
        above = above_boundary(spine.sacrum, spine.boundaries[-1], voxel_mm3)
        if above.any():
            spine.bodies = joined(spine.bodies, spine.sacrum.select(above))
            spine.sacrum = spine.sacrum.select(~above)
            spine.remarks.add("body_was_sacrum")
    spine.body_interval = assign_bodies(spine.bodies, spine.boundaries)
    below = spine.body_interval == len(spine.boundaries)
    if ends_in_sacrum and below.any():
        first_segment = below & (spine.boundaries[-1].beyond_mm(spine.bodies.local) < FIRST_SEGMENT_MM)
        if first_segment.sum() * voxel_mm3 >= DOUBTFUL_MM3:
            spine.remarks.add("sacrum_was_body")
        spine.sacrum = joined(spine.sacrum, spine.bodies.select(first_segment))
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
        remnant = remnant_discs(spine.discs, spine.sacrum, spine.boundaries[-1], shape)
        if remnant.sum() * voxel_mm3 >= REMNANT_MM3:
            spine.remarks.add("remnant_disc")
        spine.sacrum = joined(spine.sacrum, spine.discs.select(remnant))
        spine.discs = spine.discs.select(~remnant)
    if len(spine.discs):
        spine.disc_boundary = assign_discs(spine.discs, spine.boundaries)
        keep = spine.disc_boundary != NOWHERE
        spine.discs, spine.disc_boundary = spine.discs.select(keep), spine.disc_boundary[keep]
