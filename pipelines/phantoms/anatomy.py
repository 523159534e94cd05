"""Who the simulated patient is: everything about the body that is drawn before a bone is placed.

`draw_patient` turns a random generator into one frozen `Patient`; all lengths elsewhere are written for a person
of 1700 mm and scaled by it. Uptake, disease and the camera are drawn elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

REFERENCE_HEIGHT_MM = 1700.0
"""Stature for which the landmarks of `axial` and `limbs` are written."""


@dataclass(frozen=True)
class Pose:
    """How the patient lies. Angles in degrees; per-side values are (left, right)."""

    tilt_deg: float
    rotation_deg: float
    head_turn_deg: float
    head_tilt_deg: float
    arms: str
    arm_abduction_deg: tuple[float, float]
    elbow_bend_deg: tuple[float, float]
    leg_abduction_deg: tuple[float, float]
    leg_turn_deg: tuple[float, float]
    foot_point: float


@dataclass(frozen=True)
class Patient:
    """One simulated person.

    Attributes
    ----------
    stretch : (3,) factors along x, y, z against the reference skeleton.
    scoliosis_mm : amplitude of the lateral curve, signed; `scoliosis_phase` shifts it along the spine.
    girth : soft-tissue thickness relative to a body-mass index of 24.
    missing : limbs that were amputated ("left_leg", "right_forearm"...), usually none.
    """

    age_years: int
    sex: str
    height_mm: float
    weight_kg: float
    stretch: tuple[float, float, float]
    kyphosis: float
    scoliosis_mm: float
    scoliosis_phase: float
    girth: float
    pelvis_width: float
    shoulder_width: float
    chest_depth: float
    missing: tuple[str, ...]
    pose: Pose


def draw_patient(rng: np.random.Generator) -> Patient:
    """Draw age, sex, build and posture; ages follow the paper's spread (12 to 93 years, median 66)."""
    young = rng.random() < 0.10
    age = int(rng.integers(12, 45)) if young else int(np.clip(rng.normal(66, 12), 30, 93))
    sex = "M" if rng.random() < 389 / 621 else "F"
    height = rng.normal(1690 if sex == "M" else 1580, 70)
    if age < 17:
        height *= 0.83 + 0.034 * (age - 12)
    bmi = float(np.clip(rng.normal(24.0, 4.2), 15.5, 40))
    scale = height / REFERENCE_HEIGHT_MM
    breadth = scale * rng.normal(1.0, 0.04)
    curved = rng.random() < 0.25
    missing: tuple[str, ...] = ()
    if rng.random() < 0.02:
        limb = str(rng.choice(["leg", "lower_leg", "forearm"]))
        missing = (f"{rng.choice(['left', 'right'])}_{limb}",)
    return Patient(
        age_years=age,
        sex=sex,
        height_mm=float(height),
        weight_kg=float(bmi * (height / 1000) ** 2),
        stretch=(float(breadth), float(scale * rng.normal(1.0, 0.05)), float(scale)),
        kyphosis=float(np.clip(rng.normal(1.0 + max(0, age - 60) * 0.012, 0.3), 0.2, 2.4)),
        scoliosis_mm=float(rng.normal(0, 14) if curved else rng.normal(0, 3)),
        scoliosis_phase=float(rng.uniform(0, 2 * np.pi)),
        girth=float((bmi / 24.0) ** 0.75),
        pelvis_width=float(rng.normal(1.05 if sex == "F" else 1.0, 0.04)),
        shoulder_width=float(rng.normal(0.94 if sex == "F" else 1.02, 0.04)),
        chest_depth=float(rng.normal(1.0, 0.06)),
        missing=missing,
        pose=_draw_pose(rng),
    )


def _draw_pose(rng: np.random.Generator) -> Pose:
    arms = str(rng.choice(["beside", "folded", "up", "one_up"], p=[0.82, 0.09, 0.06, 0.03]))

    def pair(mean: float, sd: float) -> tuple[float, float]:
        common = rng.normal(mean, sd)
        return float(common + rng.normal(0, sd / 2)), float(common + rng.normal(0, sd / 2))

    turned = rng.random() < 0.25
    return Pose(
        tilt_deg=float(rng.normal(0, 1.6)),
        rotation_deg=float(rng.normal(0, 3.0) + (rng.normal(0, 7) if rng.random() < 0.12 else 0)),
        head_turn_deg=float(rng.normal(0, 35) if turned else rng.normal(0, 6)),
        head_tilt_deg=float(rng.normal(0, 5)),
        arms=arms,
        arm_abduction_deg=pair(11, 5),
        elbow_bend_deg=pair(6, 8),
        leg_abduction_deg=pair(3.0, 2.0),
        leg_turn_deg=pair(18, 12),
        foot_point=float(rng.uniform(0.25, 1.0)),
    )
