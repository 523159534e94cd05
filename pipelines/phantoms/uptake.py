"""Normal uptake of a healthy or ageing patient: how much each bone takes up, and the organs beside the bones.

`normal_uptake` scales the skeleton's points (a general level, a factor per bone, a slow unevenness, warm joints,
growth plates in the young); `organs` adds kidneys, bladder, and what else a bone scan may show. Concentrations
are relative to soft tissue = 1 per mm3. Disease of any kind is in `confounders` and `lesions`.
"""

# ruff: noqa: RUF005 - array + [x, y, z] adds coordinates, it does not join lists.
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipelines.phantoms.anatomy import Patient
from pipelines.phantoms.cloud import Cloud, quasi_random
from pipelines.phantoms.limbs import SIDES, leg_joints
from pipelines.phantoms.skeleton import Skeleton

JOINT_WARMTH = {"shoulder": 0.35, "sternoclavicular": 0.35, "acromioclavicular": 0.45, "elbow": 0.3, "wrist": 0.35}
GROWTH_END_AGE = 19


@dataclass(frozen=True)
class Source:
    """Activity outside the skeleton's points: points (n, 3) mm before posture, activity (n,), what it is."""

    name: str
    points: np.ndarray
    activity: np.ndarray


def lognormal(rng: np.random.Generator, median: float, spread: float) -> float:
    """Draw a log-normal value from its median and the standard deviation of its logarithm."""
    return float(median * np.exp(rng.normal(0, spread)))


def blob(
    rng: np.random.Generator, centre: np.ndarray, radii: tuple[float, float, float], total: float, name: str
) -> Source:
    """Return a soft-edged ellipsoid (density falls to zero at its rim) with the given total activity."""
    count = int(np.clip(np.prod(radii) * 0.4, 150, 20000))
    q = quasi_random(count, rng)
    r = q[:, 0] ** (1 / 2.4)
    cos_t, phi = 2 * q[:, 1] - 1, 2 * np.pi * q[:, 2]
    sin_t = np.sqrt(1 - cos_t**2)
    unit = np.stack([sin_t * np.cos(phi), sin_t * np.sin(phi), cos_t], 1) * r[:, None]
    points = (unit * np.asarray(radii) + np.asarray(centre)).astype(np.float32)
    return Source(name, points, np.full(count, total / count, np.float32))


def normal_uptake(skeleton: Skeleton, patient: Patient, rng: np.random.Generator) -> np.ndarray:
    """Return the factor of every skeleton point, float32 (n,)."""
    bone_level = float(np.clip(lognormal(rng, 6.2, 0.38), 2.6, 18.0))
    per_bone = np.exp(rng.normal(0, 0.09, len(skeleton.names)))
    for number, name in enumerate(skeleton.names):
        if name.startswith("rib_"):
            per_bone[number] = np.exp(rng.normal(0, 0.06))
    factor = bone_level * per_bone[skeleton.structure]
    regional = {
        ("skull",): lognormal(rng, 0.95, 0.25),
        ("skull_base", "face"): lognormal(rng, 1.0, 0.28),
        ("mandible",): lognormal(rng, 0.9, 0.25),
        ("sternum", "joint_sternoclavicular"): lognormal(rng, 1.05, 0.2),
        ("rib_",): lognormal(rng, 0.95, 0.18),
        ("C", "T", "L", "sacrum"): lognormal(rng, 1.0, 0.15),
        ("joint_sacroiliac",): lognormal(rng, 1.0, 0.25),
        ("scapula",): lognormal(rng, 0.95, 0.18),
        ("humerus", "femur", "tibia", "fibula", "forearm"): lognormal(rng, 0.8, 0.22),
        ("hand", "foot", "joint_wrist", "joint_ankle"): lognormal(rng, 0.9, 0.3),
        ("joint_knee", "patella"): lognormal(rng, 1.0 + max(0, patient.age_years - 50) * 0.012, 0.3),
    }
    for prefixes, value in regional.items():
        factor[skeleton.select(*prefixes)] *= value
    factor *= _unevenness(skeleton.points, rng)
    if patient.age_years < GROWTH_END_AGE:
        factor *= _growth_plates(skeleton, patient, rng)
    return factor.astype(np.float32)


def _unevenness(points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A slow random field over the body, about 8 % high."""
    field = np.zeros(len(points))
    for _ in range(6):
        wave = rng.normal(0, 1, 3) / rng.uniform(18, 90)
        field += np.sin(points @ wave.astype(np.float32) + rng.uniform(0, 2 * np.pi))
    return np.asarray(np.exp(field * 0.055 * rng.uniform(0.5, 1.6)))


def _growth_plates(skeleton: Skeleton, patient: Patient, rng: np.random.Generator) -> np.ndarray:
    """Bright bands at the ends of the long bones of a growing patient, thinner and fainter towards adulthood."""
    factor = np.ones(len(skeleton.points))
    strength = 1.2 + 0.65 * (GROWTH_END_AGE - patient.age_years) * rng.uniform(0.7, 1.2)
    for bone in ("femur", "tibia", "humerus", "forearm", "fibula"):
        for _, letter in SIDES:
            chosen = skeleton.select(f"{bone}_{letter}")
            z = skeleton.points[chosen, 2]
            if not z.size:
                continue
            low, high = np.percentile(z, [1.5, 98.5])
            for edge in (low + 22, high - 16):
                factor[chosen] += strength * np.exp(-(((z - edge) / 6.0) ** 2))
    return factor


def organs(patient: Patient, rng: np.random.Generator) -> tuple[list[Source], Source | None]:
    """Return sources outside bone and, apart from them, the bladder (None if it was just emptied)."""
    sources = _kidneys(rng)
    if rng.random() < 0.3:
        for side in (-1, 1):
            centre = np.array([side * 13.0, -28, 268])
            sources.append(blob(rng, centre, (9, 9, 20), 4 * np.pi * 1600 * rng.uniform(0.4, 2.5), "thyroid"))
    if rng.random() < 0.08:
        total = 4.2 * 35 * 30 * 50 * rng.uniform(0.8, 3)
        sources.append(blob(rng, np.array([60, -30, 560]), (42, 32, 55), total, "stomach"))
    if rng.random() < 0.15:
        for side in (-1, 1):
            total = 4.2 * 45 * 25 * 45 * rng.uniform(0.3, 1.2)
            sources.append(blob(rng, np.array([side * 80, -112, 430]), (48, 24, 46), total, "breast"))
    if rng.random() < 0.10:
        centre = np.array([rng.uniform(-70, 70), -40, rng.uniform(620, 730)])
        sources.append(blob(rng, centre, (30, 18, 22), 4.2 * 30 * 18 * 22 * rng.uniform(1, 4), "bowel"))
    if patient.sex == "M" and rng.random() < 0.8:
        total = 4.2 * 24 * 26 * 34 * rng.uniform(1.0, 4.5)
        sources.append(blob(rng, np.array([rng.normal(0, 8), -58, 893]), (22, 26, 34), total, "genitals"))
    stretch = np.asarray(patient.stretch, np.float32)
    scaled = [Source(s.name, s.points * stretch, s.activity) for s in sources]
    bladder = _bladder(patient, rng)
    return scaled, None if bladder is None else Source("bladder", bladder.points * stretch, bladder.activity)


def _kidneys(rng: np.random.Generator) -> list[Source]:
    sources = []
    level = lognormal(rng, 4.5, 0.6)
    drop = rng.normal(0, 14)
    for side in (-1, 1):
        if rng.random() < 0.02:
            continue
        own = level * lognormal(rng, 1.0, 0.2)
        centre = np.array([side * (60 + rng.normal(0, 5)), 56, 596 + drop + (12 if side < 0 else 0) + rng.normal(0, 6)])
        sources.append(blob(rng, centre, (25, 20, 50), 4.2 * 25 * 20 * 50 * own, "kidney"))
        pelvis = centre + [-side * 12, -4, 6]
        if rng.random() < 0.3:
            sources.append(blob(rng, pelvis, (10, 10, 14), 4.2 * 1400 * own * rng.uniform(1, 5), "renal_pelvis"))
        if rng.random() < 0.07:
            swollen = centre + [-side * 6, -6, 4]
            sources.append(blob(rng, swollen, (22, 20, 34), 4.2 * 15000 * own * rng.uniform(1, 5), "hydronephrosis"))
        if rng.random() < 0.08:
            z = np.linspace(pelvis[2] + 30, 775, 50)
            x = pelvis[0] + (side * 26 - pelvis[0]) * np.linspace(0, 1, 50) + 6 * np.sin(z / 30)
            keep = rng.random(50) < rng.uniform(0.3, 0.9)
            track = np.stack([x, np.full(50, 20.0), z], 1)[keep] + rng.normal(0, 2.5, (int(keep.sum()), 3))
            sources.append(Source("ureter", track.astype(np.float32), np.full(len(track), 350 * own, np.float32)))
    return sources


def _bladder(patient: Patient, rng: np.random.Generator) -> Source | None:
    """An irregular bladder: several overlapping lobes, from nearly empty to overflowing, urine from faint to hot."""
    if rng.random() < 0.04:
        return None
    fill_ml = float(np.clip(lognormal(rng, 90, 0.9), 12, 750))
    radius = (fill_ml * 1000 * 3 / (4 * np.pi)) ** (1 / 3)
    concentration = float(np.clip(lognormal(rng, 35, 0.9), 5, 260))
    flat = rng.uniform(0.55, 0.95)
    half = np.array([radius * rng.uniform(1.0, 1.3), radius * rng.uniform(0.85, 1.1), radius * flat])
    base = np.array([rng.normal(0, 7), -28 + radius * 0.25, 828.0])
    centre = base - [0, 0, half[2]]
    total = concentration * fill_ml * 1000
    lobes = [blob(rng, centre, tuple(half), total, "bladder")]
    for _ in range(int(rng.integers(0, 4))):
        offset = rng.normal(0, 0.55, 3) * half
        part = tuple(half * rng.uniform(0.3, 0.75, 3))
        lobes.append(blob(rng, centre + offset, part, total * rng.uniform(0.05, 0.4), "bladder"))
    if rng.random() < 0.12:
        urethra = base + [0, -18, 18]
        lobes.append(blob(rng, urethra, (7, 9, 20), total * rng.uniform(0.005, 0.03), "bladder"))
    points = np.concatenate([lobe.points for lobe in lobes])
    activity = np.concatenate([lobe.activity for lobe in lobes])
    floor = 838.0
    points[:, 2] = np.where(points[:, 2] > floor, floor - (points[:, 2] - floor) * 0.3, points[:, 2])
    return Source("bladder", points, activity)


def knee_centres(patient: Patient) -> list[np.ndarray]:
    """Return the knees' centres in the patient's own (stretched) space."""
    stretch = np.asarray(patient.stretch)
    return [leg_joints(patient, side).knee * stretch for side, _ in SIDES]


def local_cloud(rng: np.random.Generator) -> Cloud:
    """Return an empty cloud for shapes that belong to no bone (prostheses, catheters)."""
    return Cloud(rng)
