"""The CT's own marks on a body in Hounsfield units: response, kernel, noise, metal, table.

`scan` turns the exact HU of a body into what a scanner stores: blurred in the plane, sharpened and overshooting with a
sharp kernel, noisy with the kernel's grain, streaked by metal, clipped to 12 bits. Slices were averaged over their
thickness when bone was laid on them.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter, zoom

from pipelines.phantoms.spect_ct.grid import Grid
from pipelines.phantoms.spect_ct.presets import CtSettings
from pipelines.phantoms.spect_ct.projector import Projector

METAL_HU = 3071.0
LOWEST_HU, HIGHEST_HU = -1024, 3071
STREAK_VIEWS = 90
STREAK_PIXEL_MM = 4.0
STREAK_GAIN = 0.11
"""Share of a metal path's attenuation, squared, by which polychromatic rays are underestimated."""


def scan(
    hu: np.ndarray, grid: Grid, settings: CtSettings, metal: np.ndarray | None, rng: np.random.Generator
) -> np.ndarray:
    """Return the stored image, int16 (slice, row, column), HU.

    Parameters
    ----------
    hu : float32, exact; changed in place. metal : float32, part of each voxel that is metal, or None.
    """
    if settings.table:
        _add_table(hu, grid)
    np.multiply(hu, settings.gain, out=hu, where=hu > 0)
    if metal is not None:
        hu += metal * (METAL_HU - hu)
        hu += _streaks(metal, grid, rng)
    sigma = settings.blur_mm / settings.pixel_mm
    gaussian_filter(hu, (0, sigma, sigma), output=hu, truncate=3.0)
    hu += _noise(hu, settings, rng)
    if settings.sharpen:
        wide = settings.sharpen_mm / settings.pixel_mm
        hu += settings.sharpen * (hu - gaussian_filter(hu, (0, wide, wide), truncate=3.0))
    return np.clip(np.rint(hu), LOWEST_HU, HIGHEST_HU).astype(np.int16)


def _noise(hu: np.ndarray, settings: CtSettings, rng: np.random.Generator) -> np.ndarray:
    """Return noise that grows with the mass in a slice, float32; white noise given the kernel's grain."""
    white = rng.standard_normal(hu.shape, dtype=np.float32)
    sigma = settings.noise_grain_mm / settings.pixel_mm
    grain = gaussian_filter(white, (0, sigma, sigma), truncate=3.0)
    mass = (hu > -500).mean((1, 2))
    level = np.sqrt(np.exp(2.2 * (mass / max(float(np.median(mass)), 1e-3) - 1)))
    sharpening = 1 + 0.6 * settings.sharpen
    level = settings.noise_hu / sharpening / float(grain[:8].std()) * np.clip(level, 0.6, 2.2)
    return np.asarray(grain * level[:, None, None].astype(np.float32))


def _add_table(hu: np.ndarray, grid: Grid) -> None:
    """A curved table top of foam with a dense skin, just below the back."""
    body = (hu > -400).any((0, 2))
    if not body.any():
        return
    bottom = grid.coordinates(1)[np.flatnonzero(body)[-1]] + 3
    x, y = grid.coordinates(2)[None, :], grid.coordinates(1)[:, None]
    depth = y - (bottom - (x / 32.0) ** 2 * 0.5)
    inside = (depth > 0) & (depth < 22) & (np.abs(x) < 205)
    skin = inside & ((depth < 2.0) | (depth > 20.0))
    hu[:, inside] = np.maximum(hu[:, inside], -880)
    hu[:, skin] = np.maximum(hu[:, skin], -150)


def _streaks(metal: np.ndarray, grid: Grid, rng: np.random.Generator) -> np.ndarray:
    """Return the artefact of metal: what filtered back projection makes of rays that are underestimated and noisy.

    Computed on a coarse grid for the slices with metal; the error of a ray grows with the square of its metal path
    (beam hardening) and with noise where almost no photons arrive.
    """
    result = np.zeros(metal.shape, np.float32)
    slices = np.flatnonzero(metal.max((1, 2)) > 0.3)
    if not slices.size:
        return result
    scale = grid.spacing_mm[1] / STREAK_PIXEL_MM
    coarse = np.stack([zoom(metal[s], scale, order=1) for s in slices], 2)
    size = max(coarse.shape[:2])
    square = np.zeros((size, size, len(slices)), np.float32)
    square[: coarse.shape[0], : coarse.shape[1]] = coarse
    projector = Projector(square.shape, STREAK_PIXEL_MM, STREAK_VIEWS)
    path = projector.forward(square) * STREAK_PIXEL_MM / 10
    error = -STREAK_GAIN * path**2 + 0.25 * path * rng.standard_normal(path.shape).astype(np.float32) * (path > 1.5)
    ramp = np.abs(np.fft.fftfreq(2 * size))[None, :, None]
    filtered = np.fft.ifft(np.fft.fft(error, 2 * size, axis=1) * ramp, axis=1).real[:, :size].astype(np.float32)
    image = projector.back(filtered) * (np.pi / STREAK_VIEWS) * 1000
    image = np.clip(image, -900, 900)
    for number, index in enumerate(slices):
        fine = zoom(image[: coarse.shape[0], : coarse.shape[1], number], 1 / scale, order=1)
        rows, columns = (min(a, b) for a, b in zip(fine.shape, metal.shape[1:], strict=True))
        result[index, :rows, :columns] = fine[:rows, :columns] * (metal[index, :rows, :columns] < 0.5)
    return result
