"""Acquisition settings of the simulated scanners, drawn per scan from one of three presets.

`train` is what networks learn from. `held_out` draws from other scanners (counts, resolution, pixel size, septal
and scatter behaviour lie between or beside the training values) and is meant for evaluation with anatomy seeds of its
own. `domain_shift` lies outside the training ranges on purpose.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Scanner:
    """One gamma camera as it was set for one scan.

    Attributes
    ----------
    rows, columns, pixel_mm : the detector's grid.
    field_mm : width of the crystal's useful field; counts outside it are lost.
    intrinsic_mm, collimator_mm, collimator_slope : FWHM(d) in mm is the root of intrinsic^2 + (collimator + slope d)^2.
    gap_mm : distance from the body's nearest surface to the collimator.
    mu_soft_per_cm, mu_lung_per_cm : effective (broad-beam) attenuation.
    scatter_fraction, scatter_sigma_mm : share and width of scattered counts in the window.
    counts : expected total per anterior view, in counts.
    posterior_ratio : sensitivity of the posterior detector (and table) against the anterior.
    post_filter_mm : FWHM of a smoothing applied by the workstation; 0 for none.
    count_scale : factor a workstation multiplied the stored counts by.
    """

    name: str
    rows: int
    columns: int
    pixel_mm: float
    field_mm: float
    intrinsic_mm: float
    collimator_mm: float
    collimator_slope: float
    gap_mm: tuple[float, float]
    mu_soft_per_cm: float
    mu_lung_per_cm: float
    scatter_fraction: float
    scatter_sigma_mm: float
    counts: float
    posterior_ratio: float
    post_filter_mm: float
    count_scale: float
    speed_edge_mm: float
    scan_start_mm: float
    scan_length_mm: float
    background: float
    uniformity: float


PRESETS = ("train", "held_out", "domain_shift")


def draw_scanner(rng: np.random.Generator, preset: str, height_mm: float, top_mm: float) -> Scanner:
    """Draw the scanner and its settings.

    Parameters
    ----------
    preset : one of `PRESETS`.
    height_mm : the patient's stature; top_mm : the highest point (a raised hand lies above the crown, negative).

    Raises
    ------
    ValueError
        If the preset does not exist.
    """
    if preset not in PRESETS:
        raise ValueError(f"there is no acquisition preset '{preset}'; known: {', '.join(PRESETS)}")
    rows, columns, pixel = _matrix(rng, preset)
    shift = preset == "domain_shift"
    held = preset == "held_out"
    counts = {"train": (0.5e6, 3.6e6), "held_out": (0.6e6, 2.9e6), "domain_shift": (0.22e6, 0.45e6)}[preset]
    full = rows * pixel
    start = top_mm - rng.uniform(40, 220)
    length = min(full, height_mm - start + rng.uniform(60, 260))
    if rng.random() < 0.10:
        length -= rng.uniform(150, 420)
    if rng.random() < 0.04:
        start = top_mm + rng.uniform(20, 150)
    start = min(start, max(top_mm - 20, height_mm + 90 - full)) if rng.random() < 0.8 else start
    filtered = rng.random() < (0.9 if shift else 0.35)
    return Scanner(
        name={"train": "A", "held_out": "B", "domain_shift": "C"}[preset],
        rows=rows,
        columns=columns,
        pixel_mm=pixel,
        field_mm=float(rng.choice([520.0, 530.0, 540.0, 600.0])),
        intrinsic_mm=float(rng.uniform(4.3, 5.2) if shift else rng.uniform(3.3, 4.4)),
        collimator_mm=float(rng.uniform(2.6, 3.4) if shift else rng.uniform(1.2, 2.2)),
        collimator_slope=float(rng.uniform(0.062, 0.075) if shift else rng.uniform(0.034, 0.056)),
        gap_mm=(float(rng.uniform(5, 70)), float(rng.uniform(15, 60))),
        mu_soft_per_cm=float(rng.uniform(0.118, 0.142) if held else rng.uniform(0.105, 0.150)),
        mu_lung_per_cm=float(rng.uniform(0.03, 0.05)),
        scatter_fraction=float(rng.uniform(0.40, 0.50) if shift else rng.uniform(0.10, 0.36)),
        scatter_sigma_mm=float(rng.uniform(22, 48)),
        counts=float(np.exp(rng.uniform(*np.log(counts)))),
        posterior_ratio=float(rng.uniform(0.85, 1.1)),
        post_filter_mm=float(rng.uniform(7, 10) if shift else rng.uniform(3, 7)) if filtered else 0.0,
        count_scale=float(np.exp(rng.uniform(np.log(0.5), np.log(4)))) if rng.random() < 0.12 else 1.0,
        speed_edge_mm=float(rng.uniform(20, 380)) if rng.random() < 0.3 else 0.0,
        scan_start_mm=float(start),
        scan_length_mm=float(length),
        background=float(np.exp(rng.uniform(np.log(0.01), np.log(0.12)))),
        uniformity=float(rng.uniform(0.0, 0.03)),
    )


def _matrix(rng: np.random.Generator, preset: str) -> tuple[int, int, float]:
    if preset == "domain_shift":
        return (
            (512, 128, float(rng.uniform(4.2, 4.8)))
            if rng.random() < 0.3
            else (1024, 256, float(rng.uniform(1.72, 1.8)))
        )
    if preset == "held_out":
        return 1024, 256, float(rng.choice([2.0, 2.21, 2.33, 2.5]))
    if rng.random() < 0.12:
        return int(rng.choice([832, 900, 960, 1152])), 256, float(rng.uniform(2.0, 2.6))
    return 1024, 256, float(rng.choice([1.85, 2.13, 2.26, 2.26, 2.4, 2.4, 2.8]))
