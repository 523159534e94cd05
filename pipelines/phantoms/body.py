"""The body around the skeleton: front and back surface, soft tissue, lungs.

Surfaces are maps on the detector's grid: for every pixel the depth (y, mm) where tissue begins and ends, how much
tissue lies between, and where the lungs are. `camera` attenuates with them; the soft tissue's own counts come from
the same thickness. Parts are ellipses in cross-section, strung along the posed joints of `limbs`.
"""

# ruff: noqa: RUF005 - array + [x, y, z] adds coordinates, it does not join lists.
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipelines.phantoms.anatomy import Patient
from pipelines.phantoms.limbs import SIDES, arm_joints, leg_joints
from pipelines.phantoms.skeleton import Posture

TRUNK_Z_MM = (225, 262, 285, 312, 380, 470, 560, 640, 700, 760, 820, 872, 900)
TRUNK_HALF_WIDTH_MM = (58, 64, 105, 150, 156, 150, 138, 134, 146, 164, 172, 160, 100)
TRUNK_HALF_DEPTH_MM = (60, 62, 76, 92, 108, 110, 104, 100, 100, 106, 108, 96, 80)
TRUNK_CENTRE_Y_MM = (12, 14, 16, 14, 6, 2, -4, -6, 2, 10, 14, 10, 6)
"""Silhouette of a person of 1700 mm at a body-mass index of 24, written from standard body proportions."""

LUNGS_MM = (((72, 8, 410), (54, 68, 112)), ((-74, 8, 405), (58, 70, 108)))


@dataclass(frozen=True)
class BodyMaps:
    """Maps (row, column), float32, mm; `front` and `back` are NaN-free, outside the body thickness is 0.

    lung_front, lung_back : where lung tissue begins and ends (equal where there is none).
    """

    front: np.ndarray
    back: np.ndarray
    thickness: np.ndarray
    lung_front: np.ndarray
    lung_back: np.ndarray


def body_maps(patient: Patient, posture: Posture, x_mm: np.ndarray, z_mm: np.ndarray) -> BodyMaps:
    """Compute the maps for pixel centres x_mm (columns,) and z_mm (rows,) in the table's space."""
    x, z = posture.untilt(*np.meshgrid(x_mm, z_mm))
    sx, sy, sz = patient.stretch
    x, z = x / sx, z / sz
    front = np.full(x.shape, 400.0)
    back = np.full(x.shape, -400.0)
    thickness = np.zeros(x.shape)
    for centre_y, half in _parts(patient, x, z):
        present = half > 0
        front = np.where(present, np.minimum(front, centre_y - half), front)
        back = np.where(present, np.maximum(back, centre_y + half), back)
        thickness += np.where(present, 2 * half, 0)
    empty = thickness <= 0
    front[empty] = back[empty] = 0.0
    lung_front, lung_back = _lungs(x, z)
    thickness = np.minimum(thickness, back - front) * sy
    maps = (front * sy, back * sy, thickness, lung_front * sy, lung_back * sy)
    return BodyMaps(*(m.astype(np.float32) for m in maps))


def _parts(patient: Patient, x: np.ndarray, z: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return (centre depth, half thickness) maps of head, trunk, arms and legs."""
    girth = patient.girth
    parts = [_trunk(patient, x, z)]
    head = np.clip(1 - (x / 80) ** 2 - ((z - 105) / 112) ** 2, 0, None)
    parts.append((np.full(x.shape, 2.0), 100 * np.sqrt(head)))
    neck = _limb(x, z, [(0, 8, 150), (0, 12, 280)], (58, 64))
    parts.append(neck)
    for side, _ in SIDES:
        word = "left" if side == 1 else "right"
        arm = arm_joints(patient, side)
        leg = leg_joints(patient, side)
        parts.append(_limb(x, z, [arm.shoulder, arm.elbow], (58 * girth**0.7, 42 * girth**0.7)))
        if f"{word}_forearm" not in patient.missing:
            parts.append(_limb(x, z, [arm.elbow, arm.wrist], (42 * girth**0.6, 29)))
            parts.append(_limb(x, z, [arm.wrist, arm.tips], (36, 26), flat=0.4))
        thigh = (98 * girth**0.8, 62 * girth**0.5)
        if f"{word}_leg" in patient.missing:
            parts.append(_limb(x, z, [leg.hip, leg.hip + (leg.knee - leg.hip) * 0.5], thigh))
            continue
        parts.append(_limb(x, z, [leg.hip + [0, 0, 10], leg.knee], thigh))
        if f"{word}_lower_leg" not in patient.missing:
            calf = leg.knee + (leg.ankle - leg.knee) * 0.3
            parts.append(_limb(x, z, [leg.knee, calf], (60 * girth**0.5, 62 * girth**0.5)))
            parts.append(_limb(x, z, [calf, leg.ankle], (62 * girth**0.5, 39)))
            parts.append(_limb(x, z, [leg.ankle + [0, 10, 15], leg.toes], (44, 40)))
    return parts


def _trunk(patient: Patient, x: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    girth = patient.girth
    belly = np.exp(-(((z - 650) / 140) ** 2))
    fat = 1 + (girth - 1) * (0.55 + 0.55 * belly)
    half_width = np.interp(z, TRUNK_Z_MM, TRUNK_HALF_WIDTH_MM, left=0, right=0) * fat
    half_width *= np.interp(z, [320, 640, 760], [patient.shoulder_width, 1.0, patient.pelvis_width])
    half_depth = np.interp(z, TRUNK_Z_MM, TRUNK_HALF_DEPTH_MM) * (1 + (girth - 1) * (0.6 + 0.7 * belly))
    centre = np.interp(z, TRUNK_Z_MM, TRUNK_CENTRE_Y_MM) - 30 * belly * max(0.0, girth - 1)
    inside = np.clip(1 - (np.abs(x) / np.maximum(half_width, 1)) ** 2.4, 0, None)
    return centre, np.where(half_width > 0, half_depth * np.sqrt(inside), 0)


def _limb(
    x: np.ndarray, z: np.ndarray, ends: list, radii: tuple[float, float], flat: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """A tapered capsule between two joints; `flat` is its depth relative to its width."""
    a, b = (np.asarray(e, float) for e in ends)
    dx, dz = b[0] - a[0], b[2] - a[2]
    share = np.clip(((x - a[0]) * dx + (z - a[2]) * dz) / max(dx * dx + dz * dz, 1.0), 0, 1)
    radius = radii[0] + (radii[1] - radii[0]) * share
    off = np.hypot(x - a[0] - share * dx, z - a[2] - share * dz)
    inside = np.clip(1 - (off / radius) ** 2, 0, None)
    return a[1] + (b[1] - a[1]) * share, radius * flat * np.sqrt(inside)


def _lungs(x: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    front, back = np.zeros(x.shape), np.zeros(x.shape)
    for (cx, cy, cz), (rx, ry, rz) in LUNGS_MM:
        inside = 1 - ((x - cx) / rx) ** 2 - ((z - cz) / rz) ** 2
        half = ry * np.sqrt(np.clip(inside, 0, None))
        front = np.where(half > 0, cy - half, front)
        back = np.where(half > 0, cy + half, back)
    return front, back
