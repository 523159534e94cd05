"""Augmentation of planar count images, a whole batch at a time.

Input is the count level (counts over a reference), so that display windows, dose and blur are varied before the
window clips anything; output is what a network sees, in [0, 1], with 1 the hottest.

Order: mirror -> rotate, scale, shift -> blur (collimator) -> fewer counts (noise) -> smoothing (the scanner's filter,
which makes blobs of the noise) -> whole counts (what is stored) -> display window -> gamma.

A lesion that fewer counts drown in noise is no lesion to learn any more: where it is known how far each stands out
(`snr`), its label goes with it, as the simulation's own truth has it (`phantoms.truth`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch.nn import functional

SMALLEST_BLUR = 0.5
"""Standard deviation in pixels: a narrower Gaussian changes nothing."""

WHOLE_COUNTS = (0.4, 1.2)
"""A stored count in counts of a pixel of the working grid: the scanner's own pixels are smaller or larger."""


@dataclass(frozen=True)
class AugmentSettings:
    """Ranges of the augmentation; every tile draws its own values.

    window : upper level of the first window as a multiple of the reference, log-uniform.
    windows : upper levels of the windows relative to the first; one channel of output each.
    log_top : where a last channel, log(1 + level), ends, in units of the first window; 0 for no such channel.
    dose : share of the counts kept, log-uniform from this value to 1 (drawn for `dose_share` of the tiles).
    blur_pixels : largest standard deviation of the extra blur (drawn for `blur_share` of the tiles).
    filter_pixels : the same of the smoothing after the noise (drawn for `filter_share`).
    whole_share : share of the tiles that are rounded to whole counts.
    least_snr : signal to noise below which a lesion cannot be seen.
    """

    rotate_deg: float = 10.0
    scale: tuple[float, float] = (0.85, 1.2)
    shift: float = 0.06
    window: tuple[float, float] = (0.25, 1.6)
    windows: tuple[float, ...] = (1.0,)
    log_top: float = 0.0
    gamma: tuple[float, float] = (0.75, 1.35)
    dose: float = 0.35
    dose_share: float = 0.3
    blur_pixels: float = 1.4
    blur_share: float = 0.25
    filter_pixels: float = 1.5
    filter_share: float = 0.0
    whole_share: float = 0.0
    least_snr: float = 0.0


def augment(
    levels: torch.Tensor,
    labels: torch.Tensor,
    counts_per_level: torch.Tensor,
    settings: AugmentSettings,
    generator: torch.Generator,
    snr: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Augment a batch.

    Parameters
    ----------
    levels : float32 (n, planes, h, w), counts over the reference level, not clipped. Planes are images of one patient,
        changed alike, each with noise of its own.
    labels : int64 (n, h, w).
    counts_per_level : float32 (n,) or (n, planes), counts in a pixel of level 1.
    snr : float32 (n, h, w), signal to noise of the lesion that a pixel belongs to, infinite elsewhere; None if unknown.

    Returns
    -------
    tuple
        Network input float32 (n, channels, h, w) in [0, 1], plane by plane, and labels int64 (n, h, w).
    """
    units = counts_per_level.reshape(len(levels), -1, 1, 1).clamp(min=1e-3)
    names = labels[:, None].float()
    levels, moved = _move(levels, names if snr is None else torch.cat([names, snr[:, None]], 1), settings, generator)
    labels = moved[:, 0].round().long()
    levels = _smooth(levels, settings.blur_share, settings.blur_pixels, generator)
    kept = _kept(len(levels), settings, generator)
    levels = _thin(levels, units, kept, generator)
    if snr is not None:
        labels = labels.masked_fill(moved[:, 1] * kept[:, None, None].sqrt() < settings.least_snr, 0)
    levels = _smooth(levels, settings.filter_share, settings.filter_pixels, generator)
    levels = _whole(levels, units * kept[:, None, None, None], settings.whole_share, generator)
    count = len(levels)
    upper = _log_uniform(count, *settings.window, generator)[:, None, None, None, None]
    gamma = _log_uniform(count, *settings.gamma, generator)
    seen = levels[:, :, None] / upper
    shown = (seen / torch.tensor(settings.windows)[:, None, None]).clamp(0, 1)
    if settings.log_top:
        held = seen.clamp(0, settings.log_top).log1p() / math.log1p(settings.log_top)
        shown = torch.cat([shown, held], 2)
    return shown.flatten(1, 2).pow(gamma[:, None, None, None]), labels


def _uniform(count: int, low: float, high: float, generator: torch.Generator) -> torch.Tensor:
    return low + (high - low) * torch.rand(count, generator=generator)


def _log_uniform(count: int, low: float, high: float, generator: torch.Generator) -> torch.Tensor:
    return torch.exp(_uniform(count, math.log(low), math.log(high), generator))


def _move(
    levels: torch.Tensor, labels: torch.Tensor, settings: AugmentSettings, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mirror, rotate, scale and shift; labels, float32 (n, channels, h, w), by nearest neighbour."""
    count = len(levels)
    angle = torch.deg2rad(_uniform(count, -settings.rotate_deg, settings.rotate_deg, generator))
    scale = _log_uniform(count, *settings.scale, generator)
    mirror = 1 - 2 * torch.randint(0, 2, (count,), generator=generator).float()
    shift_x = _uniform(count, -settings.shift, settings.shift, generator)
    shift_y = _uniform(count, -settings.shift, settings.shift, generator)
    cos, sin = torch.cos(angle) / scale, torch.sin(angle) / scale
    matrix = torch.stack(
        [torch.stack([cos * mirror, -sin, shift_x], 1), torch.stack([sin * mirror, cos, shift_y], 1)], 1
    )
    grid = functional.affine_grid(matrix, list(levels.shape), align_corners=False)
    moved = functional.grid_sample(levels, grid, mode="bilinear", align_corners=False)
    return moved, functional.grid_sample(labels, grid, mode="nearest", align_corners=False)


def _smooth(levels: torch.Tensor, share: float, largest: float, generator: torch.Generator) -> torch.Tensor:
    """Smooth a share of the tiles, each by a Gaussian of its own of `SMALLEST_BLUR` to `largest` pixels."""
    chosen = torch.rand(len(levels), generator=generator) < share
    count = int(chosen.sum())
    if not count:
        return levels
    sigma = _uniform(count, SMALLEST_BLUR, largest, generator)
    reach = math.ceil(3 * largest)
    taps = torch.exp(-0.5 * (torch.arange(-reach, reach + 1)[None] / sigma[:, None]) ** 2)
    taps = taps / taps.sum(1, keepdim=True)
    # A channel for each plane of each tile, so that every one meets its own taps.
    part = levels[chosen]
    groups = part.shape[0] * part.shape[1]
    taps = taps.repeat_interleave(part.shape[1], 0)
    smooth = functional.conv2d(part.flatten(0, 1)[None], taps[:, None, :, None], padding=(reach, 0), groups=groups)
    smooth = functional.conv2d(smooth, taps[:, None, None, :], padding=(0, reach), groups=groups)
    result = levels.clone()
    result[chosen] = smooth[0].reshape(part.shape)
    return result


def _kept(count: int, settings: AugmentSettings, generator: torch.Generator) -> torch.Tensor:
    """Draw the share of the counts that each tile keeps, (n,)."""
    chosen = torch.rand(count, generator=generator) < settings.dose_share
    kept = _log_uniform(count, settings.dose, 1.0, generator)
    return torch.where(chosen, kept, 1.0)


def _thin(levels: torch.Tensor, units: torch.Tensor, kept: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Make tiles as noisy as with a share of their counts; units, (n, 1 or planes, 1, 1), are the counts of level 1.

    Keeping a share k of Poisson counts c and dividing by k adds the variance c (1 - k) / k; it is added as a
    Gaussian, which at these levels differs from a binomial draw only in single counts.
    """
    variance = ((1 - kept) / kept)[:, None, None, None] / units
    noise = torch.randn(levels.shape, generator=generator)
    return (levels + noise * (levels.clamp(min=0) * variance).sqrt()).clamp(min=0)


def _whole(levels: torch.Tensor, units: torch.Tensor, share: float, generator: torch.Generator) -> torch.Tensor:
    """Round a share of the tiles to whole counts: what a filter made of few counts is stored in coarse steps."""
    chosen = torch.rand(len(levels), generator=generator) < share
    if not bool(chosen.any()):
        return levels
    step = _log_uniform(len(levels), *WHOLE_COUNTS, generator)[:, None, None, None] / units
    return torch.where(chosen[:, None, None, None], torch.round(levels / step) * step, levels)
