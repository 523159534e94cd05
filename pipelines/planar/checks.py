"""Do the counts look like a delayed whole-body bone scan? If not, the reason in a sentence.

counts and spacing -> is the field long enough -> prepared view -> an upright body of the right proportions, one of
it, not uniform, with skeletal detail. The header has its say in `header_checks`.

No network is asked, and nothing here judges image quality or disease.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from pipelines.planar.outline import outlines
from pipelines.planar.prepare import FALLBACK_WIDTH_MM, PreparedView, plausible_spacing

MINIMUM_ASPECT = 1.5
"""Height over width of a body's outline; static fields reach 1.4, a whole body with spread arms 2."""

MAXIMUM_SOLIDITY = 0.92
"""Part of its bounding box that an outline fills: 0.6 to 0.8 for bodies, 1 for sheets and floods."""

MINIMUM_VARIATION = 0.25
"""Coefficient of variation inside the outline: 0.65 to 0.8 for bone scans, under 0.1 for floods."""

MINIMUM_DETAIL = 0.04
"""Mean absolute detail at the size of bones over the mean level: 0.1 for bone scans, 0.065 after heavy lossy
compression, 0.03 where the tracer is spread evenly through soft tissue."""

DETAIL_SIGMAS_MM = (3.4, 13.6)
"""Detail is what lies between these two Gaussian widths: ribs and vertebral edges, not noise, not organs."""

SECOND_BODY = 0.3
"""A second outline of this part of the first one's area, beside it, is a second body in the picture."""


def content_refusal(view: PreparedView, name: str) -> str | None:
    """Say why a view's counts are not those of a whole-body bone scan.

    Parameters
    ----------
    view
        The prepared view.
    name
        What the sentence calls it ("anterior").

    Returns
    -------
    str or None
        One sentence, or None where the content is as it should be.
    """
    mask = view.mask
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size == 0:
        return f"The {name} image shows no body: hardly any counts lie above the background."
    height, width = int(rows[-1] - rows[0] + 1), int(columns[-1] - columns[0] + 1)
    if height < MINIMUM_ASPECT * width:
        return (
            f"The {name} image does not show a whole body: what is seen is {height / width:.1f} times as long as it "
            f"is wide, a body is at least {MINIMUM_ASPECT}."
        )
    smooth = ndimage.uniform_filter(np.asarray(view.counts, dtype=np.float64), 5)
    inside = smooth[mask]
    if inside.std() < MINIMUM_VARIATION * inside.mean():
        return f"The {name} image is uniform like a flood source, not a patient."
    if mask.sum() > MAXIMUM_SOLIDITY * height * width:
        return f"The {name} image shows a rectangle without the outline of a body."
    if _second_body(view.counts):
        return _two_bodies(f"{name} image")
    if skeletal_detail(view) < MINIMUM_DETAIL:
        return (
            f"The {name} image shows tracer spread through soft tissue and no skeletal detail, as in the blood-pool "
            "phase; a delayed scan is needed."
        )
    return None


def field_refusal(counts: np.ndarray, spacing_mm: tuple[float, float] | None) -> str | None:
    """Refuse fields of view too small for a whole body or with two, before anything is resampled and cropped."""
    rows, columns = counts.shape
    if min(rows, columns) < 64:
        return f"The image has {columns} x {rows} pixels, too few for a whole-body scan."
    known = plausible_spacing(spacing_mm, (rows, columns))
    row_mm, column_mm = known or (1.0, 1.0)
    if rows * row_mm < MINIMUM_ASPECT * columns * column_mm and known:
        return (
            f"The field of view is {columns * column_mm:.0f} mm wide and {rows * row_mm:.0f} mm long, that of a static "
            "view; a whole-body scan is longer than wide."
        )
    # What the working grid holds whole, `content_refusal` sees whole.
    if (known is None or columns * column_mm > FALLBACK_WIDTH_MM + column_mm) and _second_body(counts):
        return _two_bodies("image")
    return None


def skeletal_detail(view: PreparedView) -> float:
    """Return the mean absolute detail at the size of bones, as a part of the mean level inside the body."""
    fine, coarse = (
        ndimage.gaussian_filter(np.asarray(view.counts, dtype=np.float64), sigma / view.frame.spacing_mm)
        for sigma in DETAIL_SIGMAS_MM
    )
    first, last = view.frame.pelvis_rows
    used = view.mask.copy()
    # A full bladder and the hands' injection sites are detail, too, but not of bone.
    used[int(max(first, 0)) : int(max(last, 0))] = False
    if not used.any():
        return 0.0
    return float(np.abs(fine - coarse)[used].mean() / coarse[used].mean())


def _two_bodies(what: str) -> str:
    return f"The {what} shows two bodies side by side, as screen captures do; send the scan with one view per frame."


def _second_body(counts: np.ndarray) -> bool:
    """Tell whether another outline of a body's size lies beside the first."""
    found = outlines(counts, 2)
    if len(found) < 2 or found[1].sum() < SECOND_BODY * found[0].sum():
        return False
    rows = found[0].any(axis=1)
    return bool((rows & found[1].any(axis=1)).sum() > 0.7 * rows.sum())
