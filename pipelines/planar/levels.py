"""Grey levels: the reference level of a view, and the windows made from it.

counts on the working grid + body -> reference level -> windows clip(counts / (factor * reference), 0, 1), and beside
them a logarithmic channel that saturates at nothing a bone scan shows.

The reference is the robust maximum of the skeleton: the 99.9th percentile of the body's pixels (after a 3 x 3 mean)
without the two things whose heat says nothing about bone, urine in the bladder and the injection site. Both are left
out by place, before any network has run and however hot they are, so that the reference does not jump when they fill:

* the pelvis about the midline (bladder) and all that lies far from the midline (arms: injection sites) never count;
* hot pixels connected to those zones, within a short distance, go with them (a hot bladder's halo);
* the result is capped at a multiple of the median skeleton level, which bounds what a hot spot elsewhere can do.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from pipelines.planar.outline import BodyFrame

WINDOW_FACTORS = (1.0, 0.4)
"""Upper window level as a multiple of the reference: one for hot lesions, one for the faint. The lower level is 0.

The paper shows two grey-scale windows per view without their limits; these two are ours (see models.md)."""

LOG_TOP = 20.0
"""Multiple of the reference at which the logarithmic channel ends. The wide window ends at 1, and for a third of a
bladder's area the edge of its outline lies above: there a network that sees the windows alone sees nothing."""

REFERENCE_PERCENTILE = 99.9

SMOOTHING_PIXELS = 3
"""Side of the mean filter before any percentile: of single pixels the highest is noise, and depends on the dose."""

BLADDER_HALF_WIDTH_MM = 80.0
"""The bladder's zone reaches this far to both sides of the midline, over the rows of the pelvis."""

CENTRAL_HALF_WIDTH_MM = 150.0
"""Beyond this distance from the midline lie the arms; ribs, spine, pelvis, hips and knees are within."""

HALO_MM = 40.0
"""How far hot pixels connected to a zone are left out with it."""

BANDS = 24
"""Horizontal bands over the body (about 70 mm each) whose levels are compared for the skeleton's level."""

BAND_PERCENTILE = 99.0

BAND_RANK = 4
"""The skeleton's level is the level of the 4th hottest band: an undetected hot spot raises two or three bands."""

CAP = 4.0
"""The reference never exceeds this multiple of the skeleton's level."""


def reference_level(counts: np.ndarray, mask: np.ndarray, frame: BodyFrame) -> float:
    """Return the robust maximum of the skeleton, in counts per pixel.

    Parameters
    ----------
    counts
        (rows, columns), not negative.
    mask
        bool, the body.
    frame
        The body's frame on the same grid.

    Returns
    -------
    float
        Positive. Where the body holds no counts at all, 1.0, so that windows of a blank image are blank.
    """
    usable = mask & ~_zones(counts.shape, frame)
    if not usable.any():
        usable = mask
    if not usable.any():
        return 1.0
    smooth = ndimage.uniform_filter(np.asarray(counts, dtype=np.float64), SMOOTHING_PIXELS)
    skeleton = _skeleton_level(smooth, usable, frame)
    spill = _halo(smooth, mask, ~usable & mask, skeleton, frame)
    kept = usable & ~spill
    if kept.any():
        usable = kept
    robust_maximum = float(np.percentile(smooth[usable], REFERENCE_PERCENTILE))
    level = min(robust_maximum, CAP * skeleton) if skeleton > 0 else robust_maximum
    return level if level > 0 else 1.0


def window(counts: np.ndarray, upper: float) -> np.ndarray:
    """Map counts to [0, 1] by a window from 0 to `upper` (float32; 1 is hot)."""
    scaled = np.asarray(counts, dtype=np.float32) / np.float32(upper)
    return np.asarray(np.clip(scaled, 0.0, 1.0))


def compressed(levels: np.ndarray) -> np.ndarray:
    """Map counts over the reference level to [0, 1] by log(1 + level) up to `LOG_TOP` (float32; 1 is hot)."""
    held = np.clip(np.asarray(levels, dtype=np.float32), 0.0, np.float32(LOG_TOP))
    return np.asarray(np.log1p(held) / np.float32(np.log1p(LOG_TOP)))


def to_grey(windowed: np.ndarray) -> np.ndarray:
    """Return the 8-bit uptake u = round(255 * window). The display pixel of the paper (dark is hot) is 255 - u."""
    return np.rint(255.0 * windowed).astype(np.uint8)


def _zones(shape: tuple[int, ...], frame: BodyFrame) -> np.ndarray:
    """Pixels whose heat may be urine or an injection site, by place alone."""
    rows = np.arange(shape[0])[:, None] + 0.5
    lateral_mm = np.abs(frame.lateral_mm(np.arange(shape[1])[None, :] + 0.5))
    first, last = frame.pelvis_rows
    bladder = (rows >= first) & (rows <= last) & (lateral_mm <= BLADDER_HALF_WIDTH_MM)
    return np.asarray(bladder | (lateral_mm > CENTRAL_HALF_WIDTH_MM))


def _skeleton_level(counts: np.ndarray, usable: np.ndarray, frame: BodyFrame) -> float:
    """Level of the `BAND_RANK`-th hottest band; fewer bands with pixels lower the rank in proportion."""
    height = frame.height_rows / BANDS
    band_of_row = np.floor((np.arange(counts.shape[0]) + 0.5 - frame.top_row) / height).astype(int)
    levels = []
    for band in np.unique(band_of_row):
        rows = band_of_row == band
        values = counts[rows][usable[rows]]
        if values.size:
            levels.append(float(np.percentile(values, BAND_PERCENTILE)))
    levels.sort(reverse=True)
    rank = max(1, round(BAND_RANK * len(levels) / BANDS))
    return levels[min(rank, len(levels)) - 1]


def _halo(counts: np.ndarray, mask: np.ndarray, zones: np.ndarray, skeleton: float, frame: BodyFrame) -> np.ndarray:
    """Pixels hotter than the skeleton's level that hang together with a zone's hot pixels, up to `HALO_MM` away."""
    hot = mask & (counts > skeleton)
    reach = max(1, round(HALO_MM / frame.spacing_mm))
    near = ndimage.binary_dilation(zones, iterations=reach)
    return np.asarray(ndimage.binary_propagation(zones & hot, mask=hot & near))
