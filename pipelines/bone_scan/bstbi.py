"""The bone scan tumour burden index (BSTBI) of Liu et al., and two figures beside it.

grey levels or counts of one image + masks of metastases L and bladder B -> sums over L, R (the whole image) and B
-> index (paper, formula 1), fraction, and the mean over a patient's images. Pure functions; no network, no DICOM.

    BSTBI = K S_L / ((K - 1) S_L + S_R - S_B),    S_X = sum over X of (255 - p),    K = 5

p is the 8-bit display in which dark is hot, so 255 - p is the uptake u (see `planar.levels.to_grey`), never applied to
raw counts. With f = S_L / (S_R - S_B), the share of uptake outside the bladder that lies in metastases,

    BSTBI = K f / (1 + (K - 1) f)    and    f = BSTBI / (K - (K - 1) BSTBI):

0 without lesions, 1 if all uptake is lesion, steep near 0. Because of the bend, a change of the index is not the same
change of burden: f is reported beside it. The index depends on the display window, which clips; the count-based value
uses counts without a window and does not change with the dose.

doi:10.3760/cma.j.cn321828-20200906-00337. Departures, and why: see `Burden`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

K = 5.0
"""The paper's scaling factor."""

NO_UPTAKE = "there is no uptake outside the bladder, so the index is 0/0"


@dataclass(frozen=True)
class UptakeSums:
    """Uptake in the metastases, in the whole image and in the bladder; grey levels or counts."""

    lesions: float
    image: float
    bladder: float

    def __post_init__(self) -> None:
        if min(self.lesions, self.image, self.bladder) < 0:
            raise ValueError(f"uptake cannot be negative: {self}")
        # Sums of floats differ by rounding even where the masks do not overlap.
        if self.lesions + self.bladder > self.image * (1 + 1e-9) + 1e-9:
            raise ValueError(f"lesions and bladder hold more than the image: {self}")


@dataclass(frozen=True)
class Burden:
    """The burden over a patient's images.

    Attributes
    ----------
    per_image
        BSTBI of each image, None where it is 0/0.
    index, fraction
        Means over the images that have one (the paper's "mean of the four images": a mean of ratios, not a ratio of
        sums). None, with `reason`, where no image has one: 0/0 is not 0.
    """

    per_image: tuple[float | None, ...]
    index: float | None
    fraction: float | None
    reason: str = ""


def uptake_sums(uptake: np.ndarray, lesions: np.ndarray, bladder: np.ndarray) -> UptakeSums:
    """Sum the uptake of one image over L, R and B.

    Parameters
    ----------
    uptake
        (rows, columns), not negative: grey levels u = 255 - p, or counts. R is the whole array.
    lesions, bladder
        bool, same shape, disjoint: where they overlap the fraction could exceed 1.

    Raises
    ------
    ValueError
        If shapes differ, the masks overlap, or an uptake is negative.
    """
    if not uptake.shape == lesions.shape == bladder.shape:
        raise ValueError(f"shapes differ: {uptake.shape}, {lesions.shape}, {bladder.shape}")
    if np.logical_and(lesions, bladder).any():
        raise ValueError("a pixel cannot be both metastasis and bladder")
    values = np.asarray(uptake, dtype=np.float64)
    if values.size and values.min() < 0:
        raise ValueError("uptake cannot be negative")
    return UptakeSums(float(values[lesions].sum()), float(values.sum()), float(values[bladder].sum()))


def fraction(sums: UptakeSums) -> float | None:
    """Return f = S_L / (S_R - S_B) in [0, 1], or None for 0/0."""
    outside = sums.image - sums.bladder
    if outside <= 1e-12 * sums.image or outside <= 0:
        return None
    return min(1.0, sums.lesions / outside)


def index(sums: UptakeSums, k: float = K) -> float | None:
    """Return the BSTBI (formula 1) in [0, 1], or None for 0/0.

    Raises
    ------
    ValueError
        If k is below 1, where the formula is no longer confined to [0, 1].
    """
    if k < 1:
        raise ValueError(f"the scaling factor K must be at least 1, got {k}")
    if fraction(sums) is None:
        return None
    return min(1.0, k * sums.lesions / ((k - 1) * sums.lesions + (sums.image - sums.bladder)))


def fraction_from_index(bstbi: float, k: float = K) -> float:
    """Return the fraction that belongs to an index: f = B / (K - (K - 1) B)."""
    return bstbi / (k - (k - 1) * bstbi)


def index_from_fraction(share: float, k: float = K) -> float:
    """Return the index that belongs to a fraction: K f / (1 + (K - 1) f)."""
    return k * share / (1 + (k - 1) * share)


def burden(images: Sequence[UptakeSums], k: float = K) -> Burden:
    """Return the burden over a patient's images.

    Raises
    ------
    ValueError
        If there is no image.
    """
    if not images:
        raise ValueError("the burden needs at least one image")
    per_image = tuple(index(sums, k) for sums in images)
    known = [value for value in per_image if value is not None]
    shares = [share for sums in images if (share := fraction(sums)) is not None]
    if not known:
        return Burden(per_image, None, None, NO_UPTAKE)
    reason = (
        "" if len(known) == len(per_image) else f"{len(known)} of {len(per_image)} images: in the others {NO_UPTAKE}"
    )
    return Burden(per_image, sum(known) / len(known), sum(shares) / len(shares), reason)
