"""Augmentation of stacks of thick slices (slice, row, column), one patient at a time.

Geometry is the same for every slice and goes straight from the source into the network's grid: a region of the source,
rotated, stretched and gently warped, is sampled once (`sampling_grid`, `sample_image`, `sample_labels`). Appearance
(`vary_appearance`): gamma -> coil gradient -> slice-to-slice brightness -> blur -> noise. Nothing here knows a pipeline
or an anatomy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

WARP_KNOTS = (6, 5)
"""Rows and columns of random displacements that are spread smoothly over the region."""

BIAS_KNOTS = (4, 3)


@dataclass(frozen=True)
class SliceAugmentSettings:
    """Ranges; every draw is independent.

    rotate_deg : in-plane rotation. warp : largest displacement of a warp knot as a share of the region's side.
    gamma : log-uniform. bias : largest logarithm of the coil's gain at a knot. slice_gain : standard deviation of the
    logarithm of a slice's brightness. blur_pixels : largest standard deviation, drawn for `blur_share`. noise : largest
    standard deviation as a share of the intensity range. reverse : share of stacks shown from left to right.
    """

    rotate_deg: float = 14.0
    warp: float = 0.012
    gamma: tuple[float, float] = (0.65, 1.5)
    bias: float = 0.7
    slice_gain: float = 0.06
    blur_pixels: float = 1.2
    blur_share: float = 0.4
    noise: float = 0.045
    noise_share: float = 0.6
    reverse: float = 0.5


def rotation_about(points: np.ndarray, angle_rad: float, centre: np.ndarray) -> np.ndarray:
    """Rotate (n, 2) points, (row, column), about a centre."""
    cos, sin = math.cos(angle_rad), math.sin(angle_rad)
    return (points - centre) @ np.array([[cos, sin], [-sin, cos]]) + centre


def sampling_grid(
    region: tuple[float, float, float, float],
    angle_rad: float,
    centre: tuple[float, float],
    source: tuple[int, int],
    size: tuple[int, int],
    warp: float,
    rng: np.random.Generator,
) -> torch.Tensor:
    """Return where in the source each pixel of the target lies, for `sample_image`.

    Parameters
    ----------
    region : first and last row, first and last column (edges of pixels) in the source turned by `angle_rad` about
        `centre` (row, column). source : rows and columns of the source. size : rows and columns of the target.
    warp : see `SliceAugmentSettings`.

    Returns
    -------
    torch.Tensor
        float32 (rows, columns, 2), (x, y) in the convention of `torch.nn.functional.grid_sample`.
    """
    top, bottom, left, right = region
    rows = top + (np.arange(size[0]) + 0.5) / size[0] * (bottom - top)
    columns = left + (np.arange(size[1]) + 0.5) / size[1] * (right - left)
    points = np.stack(np.meshgrid(rows, columns, indexing="ij"), -1)
    if warp:
        knots = rng.uniform(-warp, warp, (2, *WARP_KNOTS)) * np.array([bottom - top, right - left])[:, None, None]
        points = points + smooth_field(torch.from_numpy(knots), size).numpy().transpose(1, 2, 0)
    turned = rotation_about(points.reshape(-1, 2), -angle_rad, np.array(centre)).reshape(*size, 2)
    scaled = 2 * turned / np.array(source) - 1
    return torch.from_numpy(scaled[..., ::-1].astype(np.float32).copy())


def sample_image(stack: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
    """Sample a float stack (slice, row, column) linearly; what lies outside is 0."""
    return functional.grid_sample(stack[None], grid[None], mode="bilinear", align_corners=False)[0]


def sample_labels(stack: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
    """Sample a stack of labels by nearest neighbour; what lies outside is 0. Returns int64."""
    found = functional.grid_sample(stack.float()[None], grid[None], mode="nearest", align_corners=False)[0]
    return found.round().long()


def vary_appearance(stack: torch.Tensor, settings: SliceAugmentSettings, rng: np.random.Generator) -> torch.Tensor:
    """Change contrast, coil, sharpness and noise of a stack whose intensities lie about in [0, 1]."""
    low, high = (math.log(v) for v in settings.gamma)
    stack = stack.clamp(min=0).pow(math.exp(rng.uniform(low, high)))
    bias = torch.from_numpy(rng.uniform(-settings.bias, settings.bias, (1, *BIAS_KNOTS)))
    gain = torch.from_numpy(rng.normal(0, settings.slice_gain, (len(stack), 1, 1)))
    stack = stack * torch.exp(smooth_field(bias, tuple(stack.shape[1:])) + gain).float()
    if rng.random() < settings.blur_share:
        sigma = rng.uniform(0.3, settings.blur_pixels)
        stack = blur(stack, sigma, sigma * rng.uniform(0.5, 1.0))
    if rng.random() < settings.noise_share:
        noise = torch.from_numpy(rng.standard_normal(stack.shape, dtype=np.float32))
        stack = stack + noise * float(rng.uniform(0, settings.noise) * stack.max().clamp(max=1.5))
    return stack


def smooth_field(knots: torch.Tensor, size: tuple[int, ...]) -> torch.Tensor:
    """Spread knots (channel, row, column) smoothly over a size (rows, columns)."""
    return functional.interpolate(knots[None], list(size), mode="bicubic", align_corners=True)[0]


def blur(stack: torch.Tensor, sigma_rows: float, sigma_columns: float) -> torch.Tensor:
    """Blur every slice by a Gaussian; the edge is repeated."""
    for axis, sigma in ((0, sigma_rows), (1, sigma_columns)):
        reach = max(1, math.ceil(2.5 * sigma))
        taps = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
        taps = (taps / taps.sum()).reshape((1, 1, -1, 1) if axis == 0 else (1, 1, 1, -1))
        padding = (0, 0, reach, reach) if axis == 0 else (reach, reach, 0, 0)
        stack = functional.conv2d(functional.pad(stack[:, None], padding, mode="replicate"), taps)[:, 0]
    return stack
