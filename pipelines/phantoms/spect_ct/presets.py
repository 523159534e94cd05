"""How the simulated SPECT/CT scanner was set for one patient, drawn from one of three presets.

`train` is what networks learn from: wide ranges of dose, resolution, kernel, reconstruction and calibration (domain
randomisation). `held_out` draws from other settings beside or between those, for evaluation with anatomy seeds of its
own. `domain_shift` lies outside the training ranges on purpose.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

PRESETS = ("train", "held_out", "domain_shift")
REGIONS = {"thorax": (405.0, 500.0), "thoracolumbar": (540.0, 640.0), "pelvis": (690.0, 770.0)}
"""Heights (mm below the crown of a person of 1700 mm) between which the middle of the bed is drawn."""


@dataclass(frozen=True)
class CtSettings:
    """The CT as it was set.

    Attributes
    ----------
    slices, slice_mm, pixel_mm : the stack. blur_mm : standard deviation of the in-plane response before sharpening.
    sharpen : how much of the detail above `sharpen_mm` a sharp kernel adds back (and overshoots); 0 for a soft one.
    noise_hu : standard deviation in the middle of soft tissue. noise_grain_mm : its correlation.
    gain : factor on all HU above water (tube voltage, calibration).
    """

    slices: int
    slice_mm: float
    pixel_mm: float
    blur_mm: float
    sharpen: float
    sharpen_mm: float
    noise_hu: float
    noise_grain_mm: float
    gain: float
    table: bool
    kernel: str


@dataclass(frozen=True)
class SpectSettings:
    """The gamma camera and the reconstruction as they were set.

    Attributes
    ----------
    matrix, pixel_mm : transaxial grid; slices are as thick as pixels are wide.
    views : projections over 360 degrees. counts : expected counts of all projections.
    intrinsic_mm, collimator_mm, collimator_slope : FWHM(d)^2 = intrinsic^2 + (collimator + slope d)^2.
    gap_mm : between body and collimator. scatter_fraction, scatter_mm : share and width of scattered counts.
    iterations, subsets, models_resolution, corrects_attenuation, corrects_scatter : OSEM. filter_mm : its post-filter.
    """

    matrix: int
    pixel_mm: float
    views: int
    counts: float
    intrinsic_mm: float
    collimator_mm: float
    collimator_slope: float
    gap_mm: float
    scatter_fraction: float
    scatter_mm: float
    iterations: int
    subsets: int
    models_resolution: bool
    corrects_attenuation: bool
    corrects_scatter: bool
    filter_mm: float


@dataclass(frozen=True)
class Settings:
    """One study.

    Attributes
    ----------
    region : key of `REGIONS`. bed_mm : reference height of the bed's middle.
    shift_mm : how far (LPS) the body moved between CT and SPECT; turn_deg : about the long axis.
    """

    region: str
    bed_mm: float
    ct: CtSettings
    spect: SpectSettings
    shift_mm: tuple[float, float, float]
    turn_deg: float


def draw_settings(rng: np.random.Generator, preset: str) -> Settings:
    """Draw a study's settings.

    Raises
    ------
    ValueError
        If the preset does not exist.
    """
    if preset not in PRESETS:
        raise ValueError(f"there is no acquisition preset '{preset}'; known: {', '.join(PRESETS)}")
    region = str(rng.choice(list(REGIONS), p=[0.4, 0.2, 0.4]))
    moved = rng.random() < 0.35
    shift = rng.normal(0, 3.0 if moved else 0.7, 3)
    return Settings(
        region=region,
        bed_mm=float(rng.uniform(*REGIONS[region])),
        ct=_draw_ct(rng, preset),
        spect=_draw_spect(rng, preset),
        shift_mm=(float(shift[0]), float(shift[1]), float(shift[2])),
        turn_deg=float(rng.normal(0, 1.2 if moved else 0.2)),
    )


def _draw_ct(rng: np.random.Generator, preset: str) -> CtSettings:
    held, shifted = preset == "held_out", preset == "domain_shift"
    sharp = rng.random() < (0.75 if held else 0.25 if shifted else 0.6)
    noise = float(
        np.exp(rng.uniform(*np.log({"train": (12, 48), "held_out": (15, 40), "domain_shift": (50, 80)}[preset])))
    )
    kernel = str(rng.choice(["B60s", "B70s", "B80s"] if sharp else ["B30s", "B31s", "B40s"]))
    return CtSettings(
        slices=int(rng.integers(122, 137)),
        slice_mm=3.0,
        pixel_mm=float(rng.choice([0.9, 1.0] if held else [1.171875] if shifted else [0.9765625, 0.9765625, 0.93, 1.05])
        ),
        blur_mm=float(rng.uniform(*((0.95, 1.15) if shifted else (0.45, 0.75) if sharp else (0.6, 0.95)))),
        sharpen=float(rng.uniform(0.3, 0.9)) if sharp else 0.0,
        sharpen_mm=float(rng.uniform(0.9, 1.5)),
        noise_hu=noise * (1.0 if sharp else 0.6),
        noise_grain_mm=float(rng.uniform(0.4, 0.7) if sharp else rng.uniform(0.9, 1.4)),
        gain=float(rng.uniform(*((0.80, 0.86) if shifted else (0.95, 1.05) if held else (0.88, 1.12)))),
        table=bool(rng.random() < 0.9),
        kernel=kernel,
    )  # fmt: skip


def _draw_spect(rng: np.random.Generator, preset: str) -> SpectSettings:
    held, shifted = preset == "held_out", preset == "domain_shift"
    counts = {"train": (3.0e6, 14e6), "held_out": (3.5e6, 10e6), "domain_shift": (1.4e6, 2.2e6)}[preset]
    iterations, subsets = (
        ((4, 10), (5, 6), (8, 4))[int(rng.integers(3))] if not held else ((4, 10), (6, 6))[int(rng.integers(2))]
    )
    return SpectSettings(
        matrix=128,
        pixel_mm=float(rng.choice([4.6, 4.7952] if held else [4.42, 4.42] if shifted else [4.7952, 4.7952, 4.8, 4.9])),
        views=60,
        counts=float(np.exp(rng.uniform(*np.log(counts)))),
        intrinsic_mm=float(rng.uniform(4.4, 5.0) if shifted else rng.uniform(3.3, 4.3)),
        collimator_mm=float(rng.uniform(2.4, 3.0) if shifted else rng.uniform(1.2, 2.1)),
        collimator_slope=float(rng.uniform(0.058, 0.070) if shifted else rng.uniform(0.036, 0.052)),
        gap_mm=float(rng.uniform(10, 45)),
        scatter_fraction=float(rng.uniform(0.38, 0.48) if shifted else rng.uniform(0.15, 0.35)),
        scatter_mm=float(rng.uniform(28, 48)),
        iterations=iterations,
        subsets=subsets,
        models_resolution=bool(rng.random() < 0.75),
        corrects_attenuation=bool(rng.random() < 0.85),
        corrects_scatter=bool(rng.random() < 0.6),
        filter_mm=float(rng.uniform(10, 12) if shifted else rng.uniform(5.0, 9.0)),
    )  # fmt: skip
