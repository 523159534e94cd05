"""The spine's own axis: a smooth curve through the vertebral bodies and the coordinates along it.

points of bodies and discs -> polynomial in the row (robust) -> curve at 1 mm steps -> (along, AP, lateral) of a point.

The curve is a function of the row, which holds for every lumbar spine a scanner can lie a patient in; it says nothing
about where vertebrae begin.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

EXTENSION_MM = 80.0
"""Straight continuation of the curve at both ends, for the sacrum and for cut bodies."""

BIN_MM = 2.0
"""Rows are gathered into bins of this height before the fit, so that tall structures do not outvote short ones."""

ROBUST_MM = 4.0
"""Scale of the Cauchy weights: a bin this far off the curve counts half."""

MAXIMUM_DEGREE = 4
"""Enough for a lordosis and an S-shaped scoliosis; more follows single vertebrae."""

MM_PER_DEGREE = 45.0
"""One degree of the polynomial per this length of spine, so that a short stack cannot make the curve swing."""


@dataclass(frozen=True)
class Centreline:
    """A curve in mm with a frame at every step.

    Attributes
    ----------
    points_mm
        float (n, 3), (slice, row, column), 1 mm apart, from the top down.
    along, posterior, left
        float (n, 3), unit vectors: tangent (downwards), the in-plane perpendicular pointing to the back, and the
        third, pointing to the patient's left.
    """

    points_mm: np.ndarray
    along: np.ndarray
    posterior: np.ndarray
    left: np.ndarray

    def local(self, points_mm: np.ndarray) -> np.ndarray:
        """Return (n, 3): mm along the curve, mm posterior of it, mm to the left of it."""
        last = len(self.points_mm) - 1
        index = np.searchsorted(self.points_mm[:, 1], points_mm[:, 1]).clip(0, last)
        for _ in range(2):
            offset = points_mm - self.points_mm[index]
            along = index + np.einsum("ij,ij->i", offset, self.along[index])
            index = np.rint(along).astype(int).clip(0, last)
        offset = points_mm - self.points_mm[index]
        return np.stack(
            [index + np.einsum("ij,ij->i", offset, self.along[index]),
             np.einsum("ij,ij->i", offset, self.posterior[index]),
             np.einsum("ij,ij->i", offset, self.left[index])],
            axis=1,
        )  # fmt: skip

    def at(self, along_mm: float) -> int:
        """Return the index of the step nearest to a position along the curve."""
        return int(np.clip(round(along_mm), 0, len(self.points_mm) - 1))


def fit_centreline(points_mm: np.ndarray) -> Centreline:
    """Fit the curve through voxels of bodies and discs.

    Parameters
    ----------
    points_mm
        float (n, 3), (slice, row, column), n >= 1, in any order.
    """
    rows, centres, weights = _bins(points_mm)
    degree = int(np.clip((rows[-1] - rows[0]) // MM_PER_DEGREE, 1, MAXIMUM_DEGREE)) if len(rows) > 1 else 0
    centre, half = (rows[0] + rows[-1]) / 2, max((rows[-1] - rows[0]) / 2, 1.0)
    fits = [_robust_fit((rows - centre) / half, centres[:, k], weights, degree) for k in (0, 1)]
    # Dense in the row first, then resampled to equal steps along the curve.
    inner = np.linspace(-1.0, 1.0, max(int(4 * half), 8))
    lateral, column = (np.polynomial.polynomial.polyval(inner, fit) for fit in fits)
    curve = np.stack([lateral, inner * half + centre, column], axis=1)
    curve = np.vstack(
        [_straight(curve[0], curve[0] - curve[1])[::-1], curve, _straight(curve[-1], curve[-1] - curve[-2])]
    )
    steps = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(curve, axis=0), axis=1))])
    even = np.arange(0.0, steps[-1], 1.0)
    return _with_frame(np.stack([np.interp(even, steps, curve[:, k]) for k in range(3)], axis=1))


def _bins(points_mm: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the mean row, the mean (slice, column) and the root of the count of every bin of rows."""
    number = np.floor(points_mm[:, 1] / BIN_MM).astype(int)
    number -= number.min()
    counts = np.bincount(number)
    filled = counts > 0.1 * counts.max()
    mean = [np.bincount(number, points_mm[:, k])[filled] / counts[filled] for k in range(3)]
    return mean[1], np.stack([mean[0], mean[2]], axis=1), np.sqrt(counts[filled])


def _robust_fit(x: np.ndarray, y: np.ndarray, weights: np.ndarray, degree: int) -> np.ndarray:
    design = np.polynomial.polynomial.polyvander(x, degree)
    robust = np.ones_like(y)
    fit = np.zeros(degree + 1)
    for _ in range(5):
        scale = np.sqrt(weights * robust)
        fit = np.linalg.lstsq(design * scale[:, None], y * scale, rcond=None)[0]
        robust = 1.0 / (1.0 + ((y - design @ fit) / ROBUST_MM) ** 2)
    return fit


def _straight(end: np.ndarray, step: np.ndarray) -> np.ndarray:
    direction = step / np.linalg.norm(step)
    return end + direction * np.arange(1.0, EXTENSION_MM + 1.0)[:, None]


def _with_frame(points_mm: np.ndarray) -> Centreline:
    along = np.gradient(points_mm, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    posterior = np.stack([np.zeros(len(along)), -along[:, 2], along[:, 1]], axis=1)
    posterior /= np.linalg.norm(posterior, axis=1, keepdims=True)
    # Down x back = the direction of rising slices, the left.
    left = np.cross(along, posterior)
    return Centreline(points_mm, along, posterior, left)
