"""Appearance of one scan: a grey value per fine label, and what coil, gradients and receiver do to it.

Half of the looks follow a T2 turbo spin echo; the others scatter the grey values of every tissue widely, so that a
network learns shape and not one scanner (after SynthSeg, Billot et al. 2023). What makes the structures visible at all
is kept: a least contrast between marrow and disc, between fluid and cord, between fluid and the bone beside it.
Held-out presets draw from other ranges; `domain_shift` lies outside those of `train`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipelines.phantoms.lumbar.patient import LumbarAnatomy

T2 = {
    "air": 0.0, "skin": 0.35, "subcutaneous fat": 0.80, "back fat": 0.85, "visceral fat": 0.62, "septum": 0.25,
    "wall muscle": 0.13, "back muscle": 0.14, "psoas": 0.14, "crus": 0.12, "fascia": 0.08,
    "muscle fat": 0.62, "marbled muscle": 0.26, "mesentery": 0.42, "plexus": 0.40,
    "interspinous": 0.22, "interspinous fat": 0.60, "ligament": 0.06, "flavum": 0.16, "cortex": 0.05,
    "marrow": 0.36, "marrow island": 0.48, "end-plate change": 0.48, "haemangioma": 0.72, "posterior marrow": 0.42,
    "sacral marrow": 0.40, "iliac marrow": 0.45, "basivertebral vein": 0.60,
    "annulus": 0.12, "inner annulus": 0.22, "nucleus": 0.55,
    "cleft": 0.28, "fissure": 0.75, "vacuum": 0.03, "schmorl": 0.35, "schmorl rim": 0.08, "remnant disc": 0.25,
    "herniation": 0.22, "herniation rim": 0.06, "epidural fat": 0.72, "foraminal fat": 0.68, "nerve": 0.28,
    "dura": 0.10, "csf": 1.0, "root": 0.48, "root fluid": 0.85, "cord": 0.36, "cord grey": 0.43,
    "facet fluid": 0.70, "artery": 0.05, "vena cava": 0.20, "vessel": 0.12, "liver": 0.18, "kidney": 0.48,
    "kidney medulla": 0.55, "cyst": 1.0, "lung": 0.03, "bowel wall": 0.24, "bowel content": 0.35, "bladder": 1.05,
    "uterus": 0.35,
}  # fmt: skip
"""Relative signal of the tissues in a T2 turbo spin echo at 3000/100 ms, fluid being 1."""

FAT = frozenset(
    ("subcutaneous fat", "back fat", "visceral fat", "muscle fat", "interspinous fat", "epidural fat", "foraminal fat")
)
_WILD = frozenset(("bowel content", "vessel", "vena cava", "end-plate change", "uterus", "cyst"))
_TARGETS = frozenset(
    ("marrow", "annulus", "nucleus", "csf", "cord", "cord grey", "root", "root fluid", "foraminal fat", "sacral marrow",
     "cortex", "ligament", "air", "dura", "herniation", "schmorl")
)  # fmt: skip


_T1 = {
    "csf": 0.14, "root fluid": 0.17, "cord": 0.38, "cord grey": 0.36, "root": 0.30, "nerve": 0.32, "marrow": 0.50,
    "nucleus": 0.30, "annulus": 0.24, "inner annulus": 0.27, "back muscle": 0.30, "psoas": 0.30, "wall muscle": 0.28,
    "liver": 0.42, "kidney": 0.30, "kidney medulla": 0.26, "cyst": 0.12, "bladder": 0.12, "facet fluid": 0.15,
    "basivertebral vein": 0.25, "haemangioma": 0.65, "end-plate change": 0.45, "skin": 0.45,
}  # fmt: skip
_STIR_FATTY = frozenset(("marrow", "marrow island", "posterior marrow", "sacral marrow", "iliac marrow", "haemangioma"))


@dataclass(frozen=True)
class Look:
    """Grey values and degradations of one scan.

    Attributes
    ----------
    grey : float32 (256,), signal of each fine label. texture : float32 (256,), relative amplitude of its texture.
    coil_per_m : decay of the surface coil's sensitivity from the back forwards. elements : modulation along z.
    ghosts : (shift as a share of the field, amplitude). band : (y in mm, factor) of an anterior saturation band.
    breathing_mm : sigma of the blur along z of what lies in front of the spine.
    blur_mm : sigma of the point spread in the plane.
    noise : standard deviation, as a share of the signal of fluid at the spine. offset : of air, as a share of the top.
    """

    grey: np.ndarray
    texture: np.ndarray
    mode: str
    gamma: float
    coil_per_m: float
    elements: tuple[float, float, float]
    lateral: tuple[float, float]
    fade_mm: float
    ghosts: tuple[tuple[float, float], ...]
    ghost_along_rows: bool
    band: tuple[float, float]
    flow: float
    blur_mm: float
    noise: float
    offset: float
    shift_px: float
    breathing_mm: float
    scale: float


def draw_look(rng: np.random.Generator, anatomy: LumbarAnatomy, preset: str) -> Look:
    """Draw the appearance of a scan of this anatomy."""
    mode = str(rng.choice(["t2", "scattered", "random"], p=_modes(preset)))
    grey = _grey(rng, anatomy, mode, preset)
    texture = np.full(256, rng.uniform(0.02, 0.10), np.float32)
    for index, tissue in enumerate(anatomy.tissues):
        texture[index] *= np.float32(rng.uniform(0.4, 1.6))
        if tissue in ("marrow", "sacral marrow", "posterior marrow", "haemangioma", "liver", "bowel content"):
            texture[index] += np.float32(rng.uniform(0.0, 0.10))
    shift = preset == "domain_shift"
    held = preset == "held_out"
    ghosts = tuple(
        (float(rng.uniform(0.03, 0.5)), float(rng.uniform(0.01, 0.07))) for _ in range(int(rng.choice([0, 1, 2, 3])))
    )
    return Look(
        grey=grey,
        texture=texture,
        mode=mode,
        gamma=float(rng.uniform(0.85, 1.15) if held else rng.uniform(0.78, 1.28)),
        coil_per_m=float(rng.uniform(9.0, 13.0) if shift else rng.uniform(0.0, 9.0)),
        elements=(float(rng.uniform(0, 0.14)), float(rng.uniform(90, 160)), float(rng.uniform(0, 2 * np.pi))),
        lateral=(float(rng.normal(0, 1.2)), float(rng.uniform(0, 18))),
        fade_mm=float(rng.uniform(8, 45)) if rng.random() < 0.5 else 0.0,
        ghosts=ghosts,
        ghost_along_rows=bool(rng.random() < 0.7),
        band=(float(rng.uniform(-75, -38)), float(rng.uniform(0.08, 0.6)) if rng.random() < 0.35 else 1.0),
        flow=float(rng.uniform(0, 0.5)) if rng.random() < 0.6 else 0.0,
        blur_mm=float(rng.uniform(0.6, 0.9) if shift else rng.uniform(0.2, 0.6)),
        noise=float(np.exp(rng.uniform(*np.log((0.045, 0.08) if shift else (0.006, 0.05))))),
        offset=float(rng.uniform(0.02, 0.14)) if rng.random() < 0.35 else 0.0,
        shift_px=float(rng.uniform(-1.8, 1.8)) if rng.random() < 0.6 else 0.0,
        breathing_mm=float(rng.uniform(0.5, 5.0)) if rng.random() < 0.75 else 0.0,
        scale=float(np.exp(rng.uniform(np.log(250), np.log(2200)))),
    )


def grey_values(anatomy: LumbarAnatomy, weighting: str) -> np.ndarray:
    """Return typical grey values, float32 (256,), for "t2", "t1" (fat bright, fluid dark) or "stir" (fat gone).

    Raises
    ------
    KeyError
        If the weighting is none of these.
    """
    rules = {
        "t2": lambda tissue: T2[tissue],
        "t1": lambda tissue: _T1.get(tissue, 0.95 if tissue in FAT else min(T2[tissue], 0.4)),
        "stir": lambda tissue: T2[tissue] * (0.08 if tissue in FAT else 0.25 if tissue in _STIR_FATTY else 1.0),
    }
    rule = rules[weighting]
    grey = np.zeros(256, np.float32)
    grey[: len(anatomy.tissues)] = [rule(tissue) for tissue in anatomy.tissues]
    return grey


def _modes(preset: str) -> list[float]:
    return {"train": [0.5, 0.3, 0.2], "held_out": [0.8, 0.2, 0.0], "domain_shift": [0.1, 0.6, 0.3]}[preset]


def _grey(rng: np.random.Generator, anatomy: LumbarAnatomy, mode: str, preset: str) -> np.ndarray:
    """Draw a signal per fine label until what must be seen can be seen."""
    wide = {"t2": 0.16, "scattered": 0.45, "random": 0.35}[mode] * (0.8 if preset == "held_out" else 1.0)
    for _ in range(60):
        tissue_grey = {t: _tissue(rng, t, wide, mode) for t in T2}
        hydration_low, hydration_high = rng.uniform(0.06, 0.16), rng.uniform(0.45, 0.95)
        grey = np.zeros(256, np.float32)
        for index, (tissue, hint) in enumerate(zip(anatomy.tissues, anatomy.hints, strict=True)):
            value = tissue_grey[tissue]
            if tissue in ("nucleus", "schmorl"):
                value *= (hydration_low + (hydration_high - hydration_low) * hint**0.8) / T2["nucleus"]
            elif tissue in ("inner annulus", "herniation", "cleft"):
                value *= 0.5 + 1.0 * hint
            elif tissue == "annulus":
                value *= 0.75 + 0.5 * hint
            jitter = 0.35 if tissue in _WILD else 0.05 if tissue == "marrow" else 0.10
            if tissue in _WILD and rng.random() < 0.6:
                value = rng.uniform(0.02, 1.0)
            grey[index] = max(0.0, value * np.exp(rng.normal(0, jitter)))
        if _visible(anatomy, grey):
            return grey
    return grey


def _tissue(rng: np.random.Generator, tissue: str, wide: float, mode: str) -> float:
    value = T2[tissue] * float(np.exp(rng.normal(0, wide)))
    if mode == "random" and tissue not in _TARGETS and rng.random() < 0.5:
        value = float(rng.uniform(0.02, 1.0))
    return value


def _visible(anatomy: LumbarAnatomy, grey: np.ndarray) -> bool:
    """Tell whether marrow stands out from every annulus and nucleus, and fluid from cord, roots and marrow."""
    mean = {}
    for tissue in ("marrow", "cord", "csf", "cortex", "root", "root fluid"):
        mean[tissue] = float(np.mean([grey[i] for i, t in enumerate(anatomy.tissues) if t == tissue]))
    annuli = np.array([grey[i] for i, t in enumerate(anatomy.tissues) if t == "annulus"])
    return bool(
        abs(np.median(annuli) - mean["marrow"]) > 0.10
        and mean["marrow"] - mean["cortex"] > 0.10
        and mean["csf"] - mean["cord"] > 0.20
        and mean["csf"] - mean["marrow"] > 0.10
        and mean["csf"] - (mean["root fluid"] + mean["root"]) / 2 > 0.10
    )
