"""Cross-sections of the thecal sac perpendicular to its own centreline.

mask of sac, cord and cauda equina -> centreline -> section through a plane's crossing -> diameter and area.

The section is summed from chords, one per sagittal slice: within a slice the mask is interpolated linearly, between
slices the chords stand for a slice's thickness each,

    area = sum_k chord_k * spacing / sqrt(1 - t_x^2),

with t_x the lateral component of the centreline's direction. Knows no levels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

SMOOTHING_MM = 8.0
"""Standard deviation of the smoothing of the centreline: a herniation must not turn it."""

REACH_MM = 26.0
"""Half the length of a chord's line; the sac is at most 25 mm deep."""

STEP_MM = 0.2

SECTIONS_MM = (-1.0, 0.0, 1.0)
"""Sections are averaged over these places along the centreline, about a pixel to either side."""

OFF_END_MM = 2.0
"""A plane that misses the centreline's ends by more than this does not cross the sac."""

CUT_SHARE = 0.3
"""A chord in the first or last slice above this share of the longest: the sac goes on outside the slices."""

WHOLE_SHARE = 0.95
"""A section of less than this share of what it would be if the sac went straight on beyond its ends is a part."""


@dataclass(frozen=True)
class Sac:
    """The sac's mask and centreline.

    Attributes
    ----------
    mask
        float32, (slice, row, column), a crop whose first voxel is `first` of the volume.
    first
        (slice, row, column).
    spacing_mm
        (slice, row, column).
    line_mm, direction
        float (n, 3), (slice, row, column): a point of the centreline per row, from the top down, and unit tangents.
    slices
        Number of slices of the volume.
    """

    mask: np.ndarray
    first: np.ndarray
    spacing_mm: tuple[float, float, float]
    line_mm: np.ndarray
    direction: np.ndarray
    slices: int

    def lateral_mm(self, row_mm: float) -> float | None:
        """Return the lateral place of the centreline at a row, None beyond its ends."""
        rows = self.line_mm[:, 1]
        if not rows[0] - OFF_END_MM <= row_mm <= rows[-1] + OFF_END_MM:
            return None
        return float(np.interp(row_mm, rows, self.line_mm[:, 0]))


@dataclass(frozen=True)
class Section:
    """One cross-section.

    Attributes
    ----------
    ap_mm
        Chord at the section's lateral centre.
    area_mm2
    centre_mm
        (slice, row, column).
    cut
        True where the section reaches the first or last slice.
    whole
        False where the section leans over the sac's first or last row: diameter and area are those of a part.
    """

    ap_mm: float
    area_mm2: float
    centre_mm: np.ndarray
    cut: bool
    whole: bool


def trace_sac(index: np.ndarray, spacing_mm: tuple[float, float, float], slices: int) -> Sac | None:
    """Fit the centreline of the sac; None for less than a centimetre of it.

    Parameters
    ----------
    index
        int (n, 3), voxels of canal, cord and cauda equina.
    spacing_mm
        (slice, row, column).
    slices
        Number of slices of the volume.
    """
    if not len(index):
        return None
    first = index.min(axis=0) - 1
    mask = np.zeros(index.max(axis=0) - first + 2, dtype=np.float32)
    mask[tuple((index - first).T)] = 1.0
    counts = mask.sum(axis=(0, 2))
    rows = np.flatnonzero(counts >= 0.1 * counts.max())
    if (rows[-1] - rows[0]) * spacing_mm[1] < 10.0:
        return None
    slice_mm = (np.einsum("srk,s->r", mask, np.arange(mask.shape[0]))[rows] / counts[rows] + first[0]) * spacing_mm[0]
    column_mm = (np.einsum("srk,k->r", mask, np.arange(mask.shape[2]))[rows] / counts[rows] + first[2]) * spacing_mm[2]
    every = np.arange(rows[0], rows[-1] + 1)
    sigma = SMOOTHING_MM / spacing_mm[1]
    line = np.stack(
        [_smooth(np.interp(every, rows, slice_mm), sigma), (every + first[1]) * spacing_mm[1],
         _smooth(np.interp(every, rows, column_mm), sigma)],
        axis=1,
    )  # fmt: skip
    direction = np.gradient(line, axis=0)
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    return Sac(mask, first, spacing_mm, line, direction, slices)


def section_at(sac: Sac, point_mm: np.ndarray, normal: np.ndarray) -> Section | None:
    """Cut the sac, perpendicular to its centreline, where a plane crosses the centreline.

    Parameters
    ----------
    sac
    point_mm, normal
        (slice, row, column), a point of the plane (a disc's centre) and its normal.

    Returns
    -------
    Section or None
        None where the plane does not cross the sac.
    """
    off_mm = (sac.line_mm - point_mm) @ (normal / np.linalg.norm(normal))
    at = int(np.abs(off_mm).argmin())
    if abs(off_mm[at]) > OFF_END_MM:
        return None
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(sac.line_mm, axis=0), axis=1))])
    # Beyond the sac's ends there is nothing to cut: a chord of 0 there would make the mean a third too small.
    within = [_chords(sac, at, shift) for shift in SECTIONS_MM if 0 <= along[at] + shift <= along[-1]]
    # Near an end a section that leans is cut by the field or by the label's last row; its neighbour may be whole.
    whole = [section for section in within if section.whole]
    chords = np.mean([section.chords_mm for section in whole or within], axis=0)
    here = _chords(sac, at, 0.0)
    if chords.max() < 1.0:
        return None
    centre = float(chords @ here.places_mm / chords.sum())
    numbers = np.arange(len(chords)) + sac.first[0]
    edge = [chords[n] for n in (0, sac.slices - 1) - sac.first[0] if 0 <= n < len(chords)]
    middle = sac.line_mm[at].copy()
    middle[0] = np.interp(centre, here.places_mm, numbers * sac.spacing_mm[0])
    return Section(
        ap_mm=float(np.interp(centre, here.places_mm, chords)),
        area_mm2=float(chords.sum() * here.width_mm),
        centre_mm=middle,
        cut=bool(edge) and max(edge) > CUT_SHARE * chords.max(),
        whole=bool(whole),
    )


def _smooth(values: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian smoothing that carries the slope over the ends."""
    reach = min(len(values) - 1, max(1, round(3 * sigma)))
    before = 2 * values[0] - values[reach:0:-1]
    after = 2 * values[-1] - values[-2 : -reach - 2 : -1]
    return np.asarray(
        ndimage.gaussian_filter1d(np.concatenate([before, values, after]), sigma)[reach : reach + len(values)]
    )


@dataclass(frozen=True)
class _Chords:
    """One section: the chord of every slice of the crop, its lateral place there, the width of each, whether whole."""

    chords_mm: np.ndarray
    places_mm: np.ndarray
    width_mm: float
    whole: bool


def _chords(sac: Sac, at: int, shift_mm: float) -> _Chords:
    """Cut the sac across its direction at one point of the centreline, `shift_mm` farther down."""
    tangent = sac.direction[at]
    centre = sac.line_mm[at] + shift_mm * tangent
    back = np.array([0.0, -tangent[2], tangent[1]])
    back /= np.linalg.norm(back)
    left = np.cross(tangent, back)
    slice_mm = (np.arange(sac.mask.shape[0]) + sac.first[0]) * sac.spacing_mm[0]
    places = (slice_mm - centre[0]) / left[0]
    along = np.arange(-REACH_MM, REACH_MM, STEP_MM)
    points = centre + places[:, None, None] * left + along[None, :, None] * back
    index = points / sac.spacing_mm - sac.first
    # The point lies in the slice by construction; rounding keeps the interpolation from leaning into its neighbours.
    index[..., 0] = np.arange(sac.mask.shape[0])[:, None]
    values = _along(sac.mask, index)
    # Where the section leaves the sac's rows, the end's own row stands for what would follow.
    ends = sac.line_mm[[0, -1], 1] / sac.spacing_mm[1] - sac.first[1]
    index[..., 1] = index[..., 1].clip(*ends)
    whole = values.sum() >= WHOLE_SHARE * _along(sac.mask, index).sum()
    return _Chords(values.sum(axis=1) * STEP_MM, places, sac.spacing_mm[0] / abs(float(left[0])), bool(whole))


def _along(mask: np.ndarray, index: np.ndarray) -> np.ndarray:
    return np.asarray(ndimage.map_coordinates(mask, np.moveaxis(index, -1, 0), order=1))
