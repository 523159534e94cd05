"""A SPECT study from a body's activity: expected projections, Poisson counts, OSEM, post-filter.

activity and HU on the camera's grid -> attenuation map -> `projector` -> scatter -> Poisson -> OSEM (Hudson, Larkin,
IEEE Trans Med Imaging 13 (1994) 601) with whichever corrections the study has -> counts per voxel.

Only the square of the grid that the body reaches is computed; the rest of a reconstruction holds no counts. Around the
lesions the study is reconstructed twice more without noise, with and without them: the difference is what truth masks
are cut from.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from pipelines.phantoms.spect_ct.presets import SpectSettings
from pipelines.phantoms.spect_ct.projector import FWHM_PER_SIGMA, Projector, Response

MU_WATER_PER_MM = 0.0151
"""Linear attenuation of water for 140 keV, narrow beam (0.151 /cm, NIST XCOM)."""

MU_BONE_PER_HU = 1.05e-5
"""Growth of the attenuation above water, per mm and HU: bone of 1000 HU has about 0.256 /cm."""

BLUR_SLICES = 4
"""Slices on either side that a lesion's blur reaches (about 19 mm)."""

TINY = 1e-6


@dataclass(frozen=True)
class Acquisition:
    """What was counted and what was made of it.

    Attributes
    ----------
    image : float32 (slice, row, column), reconstructed counts. total_counts : counted in all projections.
    expected_normal, expected_lesions : float32, same shape: the image without noise, divided into what it would be
        without lesions and what they add; 0 on slices far from any lesion.
    """

    image: np.ndarray
    total_counts: int
    expected_normal: np.ndarray
    expected_lesions: np.ndarray


def attenuation_map(hu: np.ndarray) -> np.ndarray:
    """Return linear attenuation at 140 keV per mm, float32: proportional below water, flatter above it."""
    below = MU_WATER_PER_MM * (1 + np.clip(hu, -1000, 0) / 1000)
    return np.asarray(below + MU_BONE_PER_HU * np.maximum(hu, 0), np.float32)


def acquire(
    normal: np.ndarray, lesions: np.ndarray, hu: np.ndarray, settings: SpectSettings, rng: np.random.Generator
) -> Acquisition:
    """Acquire and reconstruct a study.

    Parameters
    ----------
    normal, lesions : float32 (slice, row, column), activity of the healthy body and what lesions add, in one unit.
    hu : float32, same shape.
    """
    square = _body_square(hu, normal + lesions)
    mu, healthy, raised = (
        np.ascontiguousarray(np.moveaxis(a[:, square, square], 0, 2)) for a in (attenuation_map(hu), normal, lesions)
    )
    camera = Camera(mu, settings, float(rng.uniform(0.85, 1.15)))
    primary = camera.primary(healthy + raised)
    expected = primary + scattered(primary, settings)
    scale = settings.counts / max(float(expected.sum()), TINY)
    counts = rng.poisson(np.maximum(expected * scale, 0)).astype(np.float32)
    image = np.zeros(normal.shape, np.float32)
    image[:, square, square] = _slices_first(camera.reconstruct(counts, primary * scale))
    without, more = np.zeros_like(image), np.zeros_like(image)
    for block in _blocks(lesions):
        near = Camera(mu[..., block], settings, camera.settled)
        parts = [near.noiseless(a[..., block], scale) for a in (healthy, healthy + raised)]
        without[block, square, square] = _slices_first(parts[0])
        more[block, square, square] = _slices_first(parts[1] - parts[0])
    return Acquisition(image, int(counts.sum()), without, more)


class Camera:
    """The camera and reconstruction of one study for some of its slices.

    Parameters
    ----------
    mu : float32 (row, column, slice), attenuation. settled : by what factor the study's estimate of scatter is off.
    """

    def __init__(self, mu: np.ndarray, settings: SpectSettings, settled: float) -> None:
        self.settings, self.settled = settings, settled
        response = Response(settings.intrinsic_mm, settings.collimator_mm, settings.collimator_slope)
        shape = (mu.shape[0], mu.shape[1], mu.shape[2])
        self.true = Projector(shape, settings.pixel_mm, settings.views, mu, response, settings.gap_mm)
        self.model = self.true
        if not (settings.models_resolution and settings.corrects_attenuation):
            corrected = (
                mu if settings.corrects_attenuation else None,
                response if settings.models_resolution else None,
            )
            self.model = Projector(shape, settings.pixel_mm, settings.views, *corrected, settings.gap_mm)

    def primary(self, activity: np.ndarray) -> np.ndarray:
        """Return the expected unscattered counts (view, bin, slice) of activity (row, column, slice)."""
        return self.true.forward(activity)

    def reconstruct(self, counts: np.ndarray, primary: np.ndarray) -> np.ndarray:
        """Reconstruct counts with the study's own corrections and filter; `primary` is what was not scattered."""
        s = self.settings
        added = scattered(primary, s) * self.settled if s.corrects_scatter else None
        found = osem(counts, self.model, s.iterations, s.subsets, added)
        return gaussian_filter(found, s.filter_mm / FWHM_PER_SIGMA / s.pixel_mm, mode="nearest")

    def noiseless(self, activity: np.ndarray, scale: float) -> np.ndarray:
        """Reconstruct the expectation of the counts of some activity."""
        primary = self.primary(activity) * scale
        return self.reconstruct(primary + scattered(primary, self.settings), primary)


def _slices_first(volume: np.ndarray) -> np.ndarray:
    return np.moveaxis(volume, 2, 0)


def _blocks(lesions: np.ndarray) -> list[slice]:
    """Return runs of slices that hold lesions with the slices their blur reaches."""
    held = np.flatnonzero(np.asarray((lesions > 0).any(axis=(1, 2))))
    blocks: list[slice] = []
    for index in held:
        first, last = max(int(index) - BLUR_SLICES, 0), min(int(index) + BLUR_SLICES + 1, lesions.shape[0])
        if blocks and first <= blocks[-1].stop:
            blocks[-1] = slice(blocks[-1].start, last)
        else:
            blocks.append(slice(first, last))
    return blocks


def scattered(primary: np.ndarray, settings: SpectSettings) -> np.ndarray:
    """Return scattered counts (view, bin, slice): the share of all counts given, spread widely around the primary."""
    sigma = settings.scatter_mm / settings.pixel_mm
    wide = gaussian_filter(primary, (0, sigma, sigma), mode="constant", truncate=3.0)
    return np.asarray(wide * (settings.scatter_fraction / (1 - settings.scatter_fraction)))


def osem(
    counts: np.ndarray, projector: Projector, iterations: int, subsets: int, added: np.ndarray | None = None
) -> np.ndarray:
    """Reconstruct by ordered-subsets expectation maximisation.

    Parameters
    ----------
    counts : float32 (view, bin, slice). added : expected counts that are not the volume's (scatter), or None.

    Returns
    -------
    numpy.ndarray
        float32 (row, column, slice).

    Raises
    ------
    ValueError
        If the views cannot be divided into that many subsets.
    """
    if projector.views % subsets:
        raise ValueError(f"{projector.views} views cannot be divided into {subsets} subsets")
    order = [np.arange(s, projector.views, subsets) for s in _spread_order(subsets)]
    volume = np.ones(projector.shape, np.float32)
    ones = np.ones(counts.shape[1:], np.float32)
    sensitivity = {
        int(views[0]): np.maximum(projector.back(np.broadcast_to(ones, (len(views), *ones.shape)), views), TINY)
        for views in order
    }
    for _ in range(iterations):
        for views in order:
            expected = projector.forward(volume, views)
            if added is not None:
                expected += added[views]
            ratio = counts[views] / np.maximum(expected, TINY)
            ratio[expected <= TINY] = 0.0
            volume *= projector.back(ratio, views) / sensitivity[int(views[0])]
    return volume


def _spread_order(subsets: int) -> list[int]:
    """Return the subsets in an order that keeps successive ones far apart."""
    stride = next(s for s in range(max(subsets // 2, 1), subsets + 1) if np.gcd(s, subsets) == 1)
    return [(i * stride) % subsets for i in range(subsets)]


def _body_square(hu: np.ndarray, activity: np.ndarray) -> slice:
    """Return the rows (and columns) of the smallest centred square that holds the body and all activity."""
    held = np.asarray(((hu > -700) | (activity > 0)).any(axis=0))
    rows, columns = np.flatnonzero(held.any(axis=1)), np.flatnonzero(held.any(axis=0))
    n = hu.shape[1]
    reach = max(abs(edge - (n - 1) / 2) for line in (rows, columns) for edge in (line[0], line[-1]))
    half = min(int(np.ceil(reach)) + 3, n // 2)
    return slice(n // 2 - half, n // 2 + half)
