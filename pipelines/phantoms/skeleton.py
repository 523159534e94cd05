"""The whole skeleton of one patient as a point cloud: bones placed, stretched and posed.

`build_skeleton` gives points in the patient's own space (mm, see `cloud`); `Posture` carries them, and anything
else that belongs to the body, to the space of the scanner's table. Uptake is that of a healthy adult.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipelines.phantoms import axial, limbs
from pipelines.phantoms.anatomy import Patient
from pipelines.phantoms.cloud import Cloud

HEAD_PIVOT_MM = np.array([0.0, 12.0, 185.0])
HEAD_STRUCTURES = ("skull", "skull_base", "face", "mandible")


@dataclass(frozen=True)
class Skeleton:
    """Points of all bones.

    Attributes
    ----------
    points : float32 (n, 3), mm. activity : float32 (n,), mm3 x uptake. structure : int32 (n,), index into `names`.
    """

    points: np.ndarray
    activity: np.ndarray
    structure: np.ndarray
    names: tuple[str, ...]

    def select(self, *prefixes: str) -> np.ndarray:
        """Return a bool mask of the points whose structure's name starts with one of the prefixes."""
        numbers = [i for i, n in enumerate(self.names) if n.startswith(prefixes)]
        return np.isin(self.structure, numbers)


def rotation_matrix(axis: int, degrees: float) -> np.ndarray:
    """Return the 3x3 rotation about axis 0, 1 or 2 (x, y, z)."""
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    i, j = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.eye(3)
    matrix[i, i], matrix[i, j], matrix[j, i], matrix[j, j] = c, -s, s, c
    return matrix


def build_skeleton(patient: Patient, rng: np.random.Generator) -> Skeleton:
    """Place every bone of the patient; lengths are stretched to the patient's stature."""
    cloud = Cloud(rng)
    axial.add_skull(cloud)
    axial.add_spine(cloud, patient)
    axial.add_ribs(cloud, patient)
    axial.add_sternum(cloud, patient)
    axial.add_sacrum(cloud, patient)
    for side, letter in limbs.SIDES:
        limbs.add_shoulder(cloud, patient, side, letter)
        limbs.add_arm(cloud, patient, side, letter)
        limbs.add_pelvis(cloud, patient, side, letter)
        limbs.add_leg(cloud, patient, side, letter)
    points, activity, structure = cloud.arrays()
    skeleton = Skeleton(points, activity, structure, tuple(cloud.names))
    head = skeleton.select(*HEAD_STRUCTURES)
    turn = rotation_matrix(2, patient.pose.head_turn_deg) @ rotation_matrix(1, patient.pose.head_tilt_deg)
    points[head] = (points[head] - HEAD_PIVOT_MM) @ turn.T + HEAD_PIVOT_MM
    points *= np.asarray(patient.stretch, np.float32)
    return skeleton


@dataclass(frozen=True)
class Posture:
    """How the body lies on the table: turned about its long axis, then tilted in the plane of the image."""

    tilt_deg: float
    rotation_deg: float
    pivot_mm: np.ndarray

    @classmethod
    def of(cls, patient: Patient) -> Posture:
        """Return the posture of a patient; the pivot lies in the middle of the trunk."""
        pivot = np.array([0.0, 0.0, 560.0]) * np.asarray(patient.stretch)
        return cls(patient.pose.tilt_deg, patient.pose.rotation_deg, pivot)

    def apply(self, points: np.ndarray) -> np.ndarray:
        """Return points (n, 3) on the table, mm."""
        matrix = rotation_matrix(1, self.tilt_deg) @ rotation_matrix(2, self.rotation_deg)
        return (points - self.pivot_mm.astype(points.dtype)) @ matrix.T.astype(points.dtype) + self.pivot_mm.astype(
            points.dtype
        )

    def untilt(self, x: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the image plane's x and z (mm) before the tilt; the turn about the long axis stays."""
        inverse = rotation_matrix(1, -self.tilt_deg)
        dx, dz = x - self.pivot_mm[0], z - self.pivot_mm[2]
        return inverse[0, 0] * dx + inverse[0, 2] * dz + self.pivot_mm[0], (
            inverse[2, 0] * dx + inverse[2, 2] * dz + self.pivot_mm[2]
        )
