"""Both views as one image: anterior + mirrored posterior, pixel by pixel (equation 4), and masks back to each.

A camera with one head takes the views one after the other, and a patient may have moved: the mirrored posterior view
is first laid over the anterior one by the whole-pixel shift with the largest correlation, at most `MAXIMUM_SHIFT`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import fft

MAXIMUM_SHIFT = 8
"""Pixels (18 mm). More between two passes is no small movement, and would be a wrong match."""


@dataclass(frozen=True)
class Aggregate:
    """The added image, on the anterior view's grid.

    Attributes
    ----------
    image
        (rows, columns), anterior + mirrored and shifted posterior.
    shift
        Rows and columns by which the mirrored posterior view was moved.
    """

    image: np.ndarray
    shift: tuple[int, int]

    def to_front(self, back: np.ndarray) -> np.ndarray:
        """Carry a posterior image (..., rows, columns) to the aggregate's grid."""
        return shifted(back[..., ::-1], self.shift)

    def to_back(self, both: np.ndarray) -> np.ndarray:
        """Carry an image of the aggregate's grid to the posterior view's: the inverse, but for what left the edge."""
        row, column = self.shift
        return shifted(both, (-row, -column))[..., ::-1]


def aggregate(front: np.ndarray, back: np.ndarray) -> Aggregate:
    """Add two views of one shape (rows, columns); `back` is as displayed, patient's left on the image's left."""
    if front.shape != back.shape:
        raise ValueError(f"views of different shape: {front.shape} and {back.shape}")
    shift = best_shift(front, back[:, ::-1])
    return Aggregate(front + shifted(back[:, ::-1], shift), shift)


def best_shift(fixed: np.ndarray, moving: np.ndarray) -> tuple[int, int]:
    """Return the shift (rows, columns) of `moving` that correlates best with `fixed`, at most `MAXIMUM_SHIFT` each.

    Square roots are compared: a single hot spot that only one view shows does not decide.
    """
    a, b = (np.sqrt(np.maximum(np.asarray(image, np.float64), 0)) for image in (fixed, moving))
    size = [n + MAXIMUM_SHIFT for n in a.shape]
    spectrum = fft.rfft2(a - a.mean(), size) * np.conj(fft.rfft2(b - b.mean(), size))
    correlation = fft.irfft2(spectrum, size)
    offsets = np.arange(-MAXIMUM_SHIFT, MAXIMUM_SHIFT + 1)
    near = correlation[np.ix_(offsets, offsets)]
    row, column = np.unravel_index(int(near.argmax()), near.shape)
    return int(offsets[row]), int(offsets[column])


def shifted(image: np.ndarray, shift: tuple[int, int]) -> np.ndarray:
    """Move an image (..., rows, columns) by whole pixels; what comes in at the edge is 0."""
    result = np.zeros_like(image)
    (to_rows, from_rows), (to_columns, from_columns) = (
        _overlap(n, by) for n, by in zip(image.shape[-2:], shift, strict=True)
    )
    result[..., to_rows, to_columns] = image[..., from_rows, from_columns]
    return result


def _overlap(length: int, by: int) -> tuple[slice, slice]:
    low, high = max(by, 0), max(min(length + by, length), 0)
    return slice(min(low, high), high), slice(min(low, high) - by, high - by)
