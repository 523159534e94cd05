"""Bone metastases: where they sit, how large and how hot they are.

A metastasis raises the uptake of the bone points around its centre, so it takes the bone's own shape: long in a rib,
round in a vertebral body, a patch in the ilium; some also grow beyond the bone. Sites follow the frequencies of
the SPECT/CT series (spine 74, ribs and sternum 55, pelvis and lower limbs 33, upper limbs and girdle 15, skull 7
of 184), sizes and contrasts are log-normal from faint to intense, numbers run from one to diffuse.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipelines.phantoms.skeleton import Skeleton
from pipelines.phantoms.uptake import Source, blob, lognormal

SITE_COUNTS = {"spine": 74, "rib_sternum": 55, "pelvis_leg": 33, "arm_girdle": 15, "skull": 7}
SITE_BONES = {
    "spine": ("C5", "C6", "C7", "T", "L", "sacrum"),
    "rib_sternum": ("rib_", "sternum"),
    "pelvis_leg": ("ilium", "acetabulum", "pubis", "ischium", "femur"),
    "arm_girdle": ("scapula", "clavicle", "humerus"),
    "skull": ("skull",),
}


@dataclass(frozen=True)
class Lesion:
    """One metastasis in the patient's own space.

    Attributes
    ----------
    bone : structure at its centre. centre_mm : (3,). radius_mm : mean semi-axis of the bone it occupies.
    contrast : uptake relative to the bone around it. points, activity : the excess over normal bone.
    """

    bone: str
    site: str
    centre_mm: tuple[float, float, float]
    radius_mm: float
    contrast: float
    points: np.ndarray
    activity: np.ndarray


def draw_number(rng: np.random.Generator) -> int:
    """Draw how many metastases a patient with metastases has: few, several, many or diffuse."""
    kind = rng.choice(["single", "few", "many", "diffuse"], p=[0.17, 0.40, 0.33, 0.10])
    low, high = {"single": (1, 2), "few": (2, 6), "many": (6, 25), "diffuse": (25, 80)}[str(kind)]
    return int(rng.integers(low, high))


def draw_lesions(skeleton: Skeleton, factor: np.ndarray, number: int, rng: np.random.Generator) -> list[Lesion]:
    """Place `number` metastases; `factor` is the normal uptake of each skeleton point."""
    sites = list(SITE_COUNTS)
    share = np.array(list(SITE_COUNTS.values()), float)
    share /= share.sum()
    level = lognormal(rng, 1.0, 0.35)
    crowd = {True: 0.85, False: 1.0}[number > 20]
    lesions = []
    for _ in range(number):
        site = str(rng.choice(sites, p=share))
        radius = float(np.clip(lognormal(rng, 13.5 * crowd, 0.5), 5.0, 55))
        contrast = 1 + float(np.clip(lognormal(rng, 4.2 * level, 0.6), 0.8, 22))
        lesion = make_lesion(skeleton, factor, site, radius, contrast, rng)
        if lesion is not None:
            lesions.append(lesion)
    return lesions


def make_lesion(
    skeleton: Skeleton, factor: np.ndarray, site: str, radius_mm: float, contrast: float, rng: np.random.Generator
) -> Lesion | None:
    """Place one metastasis at a site; None if the patient has no such bone."""
    candidates = np.flatnonzero(skeleton.select(*SITE_BONES[site]))
    if site == "pelvis_leg":
        candidates = candidates[_not_distal(skeleton, candidates)]
    if not candidates.size:
        return None
    seed = int(rng.choice(candidates))
    centre = skeleton.points[seed]
    axes = radius_mm * np.exp(rng.normal(0, 0.28, 3))
    bone = skeleton.names[int(skeleton.structure[seed])]
    near = np.flatnonzero((np.abs(skeleton.points - centre) < 1.6 * axes.max()).all(1))
    offset = (skeleton.points[near] - centre) / axes
    wobble = 1 + 0.18 * np.sin(offset @ rng.normal(0, 2.2, 3) + rng.uniform(0, 6.28))
    distance = np.linalg.norm(offset, axis=1) * wobble
    same = np.array([_joined(bone, name) for name in skeleton.names])[skeleton.structure[near]]
    # A flat top with a soft rim: uptake of a metastasis is not a Gaussian.
    profile = np.clip((1.15 - distance) / 0.3, 0, 1) * same
    inside = profile > 0
    near, profile = near[inside], profile[inside]
    if near.size < 12:
        return None
    excess = skeleton.activity[near] * factor[near] * (contrast - 1) * profile
    points = skeleton.points[near]
    if rng.random() < 0.3:
        grown = blob(rng, centre, tuple(axes * 0.7), float(excess.sum()) * rng.uniform(0.15, 0.6), "growth")
        points = np.concatenate([points, grown.points])
        excess = np.concatenate([excess, grown.activity])
    place = (float(centre[0]), float(centre[1]), float(centre[2]))
    return Lesion(bone, site, place, radius_mm, contrast, points, excess.astype(np.float32))


def _joined(bone: str, other: str) -> bool:
    """Tell whether a metastasis of one bone may reach into another (never from rib to rib)."""
    return bone == other or not (bone.startswith("rib_") or other.startswith(("rib_", "joint_")))


def _not_distal(skeleton: Skeleton, candidates: np.ndarray) -> np.ndarray:
    """Femoral metastases sit in the proximal two thirds."""
    z = skeleton.points[candidates, 2]
    femur = skeleton.select("femur")[candidates]
    limit = np.percentile(z[femur], 60) if femur.any() else np.inf
    return ~femur | (z < limit)


def as_source(lesion: Lesion) -> Source:
    """Return the lesion's excess as a source."""
    return Source("lesion", lesion.points, lesion.activity)
