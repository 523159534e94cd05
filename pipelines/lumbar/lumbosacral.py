"""Where the lumbar spine ends: bone and disc that carry the wrong label about the first sacral segment.

The whole count of levels hangs on this end. Networks call S1 a body, L5 sacrum, or the remnant disc between S1 and S2
a disc; the functions here tell such voxels by shape and place. They decide, `spine` moves the voxels.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from pipelines.lumbar.assign import Voxels, components_of
from pipelines.lumbar.cleaning import ALL_NEIGHBOURS
from pipelines.lumbar.partition import Boundary, in_tube

MIDDLE_MM = 9.0
"""Half-width of the middle of a body or disc, where depths and thicknesses are compared."""

SACRAL_TAPER = 0.87
"""A last body less deep than this share of the body above it is S1 (its depth falls to two thirds on the way to S2)."""

END_MM, BAND_MM = 8.0, 4.0
"""Depth is taken in bands of this height, this far from either boundary."""

LEAST_BANDS = 3

CLEAR_DISC = 0.3
"""Evidence above which a boundary is taken for a disc that is there."""

MISPLACED_MM3 = 500.0
"""Bone on the wrong side of the lumbosacral boundary that is worth moving; less is a poking corner."""

SACRUM_NEAR_MM = 10.0
"""A piece of sacrum whose centre lies further from the largest piece's box is no sacrum."""

REMNANT_BELOW_MM = 13.0
"""A disc whose middle lies this far below the lumbosacral boundary is another disc."""


def main_sacrum(sacrum: Voxels, spacing_mm: tuple[float, float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Tell which voxels (n,) are the sacrum, and which belong to stray pieces higher up the spine."""
    nothing = np.zeros(len(sacrum), dtype=bool)
    if len(sacrum) * np.prod(spacing_mm) < MISPLACED_MM3:
        return nothing, nothing
    components = components_of(sacrum, ALL_NEIGHBOURS)
    sizes = np.bincount(components)
    places = sacrum.index * np.asarray(spacing_mm)
    largest = places[components == sizes.argmax()]
    centres = np.stack([np.bincount(components, places[:, k]) / sizes for k in range(3)], axis=1)
    near = (centres > largest.min(axis=0) - SACRUM_NEAR_MM) & (centres < largest.max(axis=0) + SACRUM_NEAR_MM)
    kept = near.all(axis=1)[components]
    higher = (centres[:, 1] < largest[:, 1].min())[components]
    return np.asarray(kept), np.asarray(~kept & higher & in_tube(sacrum.local))


def sacral_from(boundaries: list[Boundary], bodies: Voxels, has_sacrum: bool) -> tuple[int | None, str]:
    """Tell where bone labelled as body is sacrum.

    Every lumbar body is about as deep as the one above it; the first sacral segment tapers towards the second and has
    no disc below it. So what follows the lowest clear disc is sacrum if it is clearly less deep than what precedes it.

    Returns
    -------
    tuple
        The boundary below which all is sacrum, None where no body is; and a remark ("" or "narrow_last_body", for a
        last body that tapers like S1 but has a disc below it).
    """
    clear = [k for k, boundary in enumerate(boundaries) if boundary.evidence > CLEAR_DISC]
    if not clear or clear[-1] == 0:
        return None, ""
    k = clear[-1]
    last = len(boundaries) - 1
    if k == last and has_sacrum:
        narrow = k > 1 and _narrower(bodies, boundaries[k - 2 : k], boundaries[k])
        return None, "narrow_last_body" if narrow else ""
    below = boundaries[k + 1] if k < last else None
    return (k, "") if _narrower(bodies, boundaries[k - 1 : k + 1], below) else (None, "")


def above_boundary(sacrum: Voxels, boundary: Boundary, voxel_mm3: float) -> np.ndarray:
    """Tell which sacral voxels (n,) lie above the lumbosacral boundary and are body."""
    beyond = boundary.beyond_mm(sacrum.local)
    above = (np.abs(sacrum.local[:, 1]) < 22.0) & (np.abs(sacrum.local[:, 2]) < 26.0) & (beyond < 0)
    if above.sum() * voxel_mm3 < MISPLACED_MM3 or beyond[above].mean() > -3.0:
        above[:] = False
    return np.asarray(above)


def remnant_discs(discs: Voxels, sacrum: Voxels, boundary: Boundary, shape: tuple[int, ...]) -> np.ndarray:
    """Tell which disc voxels (n,) lie in components well below the lumbosacral boundary that touch the sacrum."""
    components = components_of(discs, ALL_NEIGHBOURS)
    below = np.bincount(components, boundary.beyond_mm(discs.local)) / np.bincount(components)
    touches = np.zeros(len(discs), dtype=bool)
    if (below > REMNANT_BELOW_MM).any():
        bone = np.zeros(shape, dtype=bool)
        bone[tuple(sacrum.index.T)] = True
        touches = ndimage.binary_dilation(bone)[tuple(discs.index.T)]
    return np.asarray(((below > REMNANT_BELOW_MM) & (np.bincount(components, touches) > 0))[components])


def _narrower(bodies: Voxels, pair: list[Boundary], below: Boundary | None) -> bool:
    """Tell whether what follows the second boundary of a pair is much less deep than what lies between the two."""
    usual = _middle_depth(bodies, pair[0], pair[1])
    depth = _middle_depth(bodies, pair[1], below)
    return usual is not None and depth is not None and depth < SACRAL_TAPER * usual


def _middle_depth(voxels: Voxels, upper: Boundary, lower: Boundary | None) -> float | None:
    """Return the median antero-posterior depth of what lies between two boundaries, away from its ends."""
    below = upper.beyond_mm(voxels.local)
    inside = (np.abs(voxels.local[:, 2]) < MIDDLE_MM) & (below >= END_MM)
    # Without an end, the upper half of a vertebra is looked at.
    inside &= below < 2.5 * END_MM + BAND_MM if lower is None else lower.beyond_mm(voxels.local) < -END_MM
    bands = (below[inside] // BAND_MM).astype(int)
    backs = [voxels.local[inside, 1][bands == band] for band in np.unique(bands)]
    depths = [float(np.ptp(np.percentile(back, (3, 97)))) for back in backs if len(back) >= 10]
    return float(np.median(depths)) if len(depths) >= LEAST_BANDS else None
