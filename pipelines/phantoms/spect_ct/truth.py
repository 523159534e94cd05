"""Truth masks: which voxels a lesion has, and what of it a reader could outline on the CT and on the SPECT.

CT: the voxels that are mostly diseased bone and that the disease made visibly denser or less dense; shown if their
change stands out over noise (a Rose criterion). Marrow that is destroyed in a thin bone whose cortex stands changes
less than the cortex blurs over it: no reader outlines that on CT, so no outline of it is true. SPECT: what the lesion
adds to the reconstruction without noise (`spect.Acquisition`); the outline is its isocontour at `SPECT_LEVEL` of its
maximum, cut where it no longer stands out over everything else; shown if it is at least `SPECT_CONTRAST` above its
surroundings, and above the noise (`SPECT_ROSE`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

from pipelines.phantoms.spect_ct.activity import Motion, bin_points
from pipelines.phantoms.spect_ct.grid import Box, Grid
from pipelines.phantoms.spect_ct.lesions import LesionDraft
from pipelines.phantoms.spect_ct.marrow import BoneVoxels, coarse_index
from pipelines.phantoms.spect_ct.presets import CtSettings, SpectSettings
from pipelines.phantoms.spect_ct.spect import Acquisition

CT_PART = 0.4
"""Part of a CT voxel that must be diseased bone."""

CT_MIN_HU, CT_ROSE, CT_MIN_PIXELS = 55.0, 5.0, 4
"""A change that is more than bone's texture; in standard deviations of the noise, over the outline; its least size."""

CT_MIN_LOSS = 0.35
"""What bone has lost must also be this share of what was there: beside cortex that stands less is not seen (looked at
on 13 lytic lesions of held-out patients)."""

CT_EYE_MM = 1.5
"""Standard deviation of the surroundings over which a change is averaged: about what a scanner's blur does."""

SPECT_LEVEL = 0.42
"""The isocontour of nuclear medicine's usual outline (EANM guidelines: 41 % of the maximum)."""

SPECT_CONTRAST = 0.6
"""Excess over everything else below which no reader draws an outline; at its border half of that suffices."""

SPECT_ROSE = 2.5
"""Excess over everything else, in standard deviations of the image's noise, that a lesion's maximum must reach."""

NOISE_COUNTS, NOISE_FILTER_MM, NOISE_SHARE = 6e6, 6.0, 0.26
"""Noise of a voxel in a body of uniform activity, measured: relative standard deviation at these counts and filter."""

MARGIN_MM = 24.0
"""How far around a lesion its blur is looked for."""

ROUGH_SIGMA_MM = 5.5
"""Blur (12 to 13 mm FWHM) by which neighbouring lesions share the counts between them."""


@dataclass(frozen=True)
class Outline:
    """One lesion on one modality: a bool mask in a box of that modality's grid; empty where it cannot be seen."""

    box: Box
    mask: np.ndarray

    @property
    def seen(self) -> bool:
        """True if there is an outline."""
        return bool(self.mask.any())

    def paint(self, labels: np.ndarray, value: int) -> None:
        """Write the lesion into a label map."""
        labels[self.box][self.mask] = value


def noise_share(s: SpectSettings) -> float:
    """Return the relative standard deviation of a reconstructed voxel; wider filters average over more voxels."""
    return NOISE_SHARE * float(np.sqrt(NOISE_COUNTS / s.counts)) * (NOISE_FILTER_MM / s.filter_mm) ** 1.2


def body_outline(bone: BoneVoxels, lesion: LesionDraft, grid: Grid) -> Outline:
    """Return the lesion's diseased bone on the CT's grid."""
    box, (part,) = _on_grid(bone, lesion.body, grid, np.ones(len(lesion.body)))
    return Outline(box, part >= CT_PART)


def ct_outline(bone: BoneVoxels, lesion: LesionDraft, settings: CtSettings, grid: Grid) -> Outline:
    """Return what of the lesion's diseased bone a reader could outline on the CT; empty where it does not show."""
    inside = lesion.strength >= 0.5
    change = lesion.hu_change[inside]
    box, sums = _on_grid(bone, lesion.body, grid, np.ones(len(change)), change, bone.hu[lesion.body] - change)
    sigma = CT_EYE_MM / np.array(grid.spacing_mm)
    part, changed, before = (gaussian_filter(one, sigma, mode="constant") for one in sums)
    changed, before = (settings.gain * one / np.maximum(part, 1e-6) for one in (changed, before))
    seen = (changed >= CT_MIN_HU) | (changed <= -np.maximum(CT_MIN_HU, CT_MIN_LOSS * before))
    mask = (sums[0] >= CT_PART) & seen
    pixels = int(mask.sum((1, 2)).max(initial=0))
    if pixels < CT_MIN_PIXELS or np.abs(changed[mask]).mean() * np.sqrt(pixels) < CT_ROSE * settings.noise_hu:
        return _nothing()
    return Outline(box, mask)


def _on_grid(bone: BoneVoxels, voxels: np.ndarray, grid: Grid, *values: np.ndarray) -> tuple[Box, list[np.ndarray]]:
    """Return the box of bone voxels on the CT's grid and, in it, the sums of values, each by its share of a voxel."""
    flat, parts = coarse_index(bone, grid)
    index = np.stack(np.unravel_index(flat[voxels], grid.shape), 1)
    low, high = index.min(0), index.max(0) + 1
    shape = tuple(int(n) for n in high - low)
    within = np.ravel_multi_index(tuple((index - low).T), shape)
    share = bone.share[voxels] / parts
    box = (slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2]))
    return box, [np.bincount(within, share * one, int(np.prod(shape))).reshape(shape) for one in values]


class SpectTruth:
    """Outlines on the SPECT, for one study; `taken` is its acquisition, `ct` the grid outlines are also drawn on."""

    def __init__(self, grid: Grid, ct: Grid, taken: Acquisition, settings: SpectSettings, motion: Motion) -> None:
        self.grid, self.ct, self.taken, self.motion = grid, ct, taken, motion
        self.contrast = max(SPECT_CONTRAST, SPECT_ROSE * noise_share(settings))

    def outlines(self, bone: BoneVoxels, lesion: LesionDraft, others: Sequence[LesionDraft]) -> tuple[Outline, Outline]:
        """Return the outline on the camera's grid and the same drawn on the CT's grid.

        Parameters
        ----------
        others : the other lesions, which may have a share in the counts here.
        """
        points = self.motion.apply(bone.points[lesion.voxels].astype(float))
        box = self.grid.around(points, MARGIN_MM)
        if box is None or not lesion.excess.any():
            return _nothing(), _nothing()
        part = self.grid.part(box)
        mine = self._nearby(part, bone, lesion)
        all_of_them = mine + sum(self._nearby(part, bone, other) for other in others)
        own = self.taken.expected_lesions[box] * mine / np.maximum(all_of_them, 1e-12)
        normal = np.maximum(self.taken.expected_normal[box], 1e-9)
        peak, at_peak = float(own.max()), float(normal.reshape(-1)[int(own.argmax())])
        if peak < self.contrast * at_peak:
            return _nothing(), _nothing()
        level = np.minimum(own / (SPECT_LEVEL * peak), own / (SPECT_CONTRAST / 2 * normal))
        return Outline(box, level >= 1), self._on_ct(level, part)

    def _nearby(self, part: Grid, bone: BoneVoxels, lesion: LesionDraft) -> np.ndarray:
        """Return a lesion's activity about a place, blurred roughly as the camera does: its claim to counts there."""
        points = self.motion.apply(bone.points[lesion.voxels].astype(float))
        amount = lesion.excess * bone.share[lesion.voxels]
        return gaussian_filter(bin_points(part, points, amount), ROUGH_SIGMA_MM / part.spacing_mm[0], mode="constant")

    def _on_ct(self, level: np.ndarray, part: Grid) -> Outline:
        """Draw where `level` reaches 1 on the CT's grid, between the camera's voxels as a viewer interpolates."""
        ends = part.points(np.array([[0, 0, 0], np.array(part.shape) - 1]))
        box = self.ct.box(ends[0], ends[1])
        if box is None:
            return _nothing()
        fine = self.ct.part(box)
        axes = [(fine.coordinates(i) - part.origin_mm[2 - i]) / part.spacing_mm[i] for i in range(3)]
        drawn = map_coordinates(level, np.meshgrid(*axes, indexing="ij"), order=1, mode="constant")
        return Outline(box, drawn >= 1)


def _nothing() -> Outline:
    return Outline((slice(0, 0),) * 3, np.zeros((0, 0, 0), bool))
