"""All bones in the field of view, drawn on a `BoneCanvas`.

Ribs, sternum, shoulder girdle, arms, hip bones and femora are the whole-body phantom's own functions; vertebrae are
`vertebrae`'s. What a CT shows and a camera does not is added here: joint spaces at hip and shoulder, the sacrum's
canal and foramina, room for a hip prosthesis.
"""

# ruff: noqa: RUF005 - array + [x, y, z] adds coordinates, it does not join lists.
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from pipelines.phantoms import axial, limbs
from pipelines.phantoms.anatomy import Patient
from pipelines.phantoms.skeleton import Posture
from pipelines.phantoms.spect_ct.canvas import BoneCanvas
from pipelines.phantoms.spect_ct.grid import Grid
from pipelines.phantoms.spect_ct.vertebrae import Vertebra, add_vertebra, place_vertebra

HIP_BALL_MM, SHOULDER_BALL_MM = 25.0, 26.0
"""Radius of the room opened for a joint's head and its cartilage; the heads have 22 and 23 mm."""


@dataclass(frozen=True)
class Placement:
    """The way from the reference space (`cloud`: mm, z down from the crown) to the patient (LPS, mm).

    bed_z_mm : table height of the bed's middle, which becomes z = `centre_z_mm`.
    """

    patient: Patient
    posture: Posture
    bed_z_mm: float
    centre_z_mm: float

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Carry reference points (n, 3)."""
        return self.from_table(self.posture.apply(np.asarray(points, float) * np.asarray(self.patient.stretch)))

    def from_table(self, points: np.ndarray) -> np.ndarray:
        """Carry points (n, 3) that are stretched and posed already."""
        return np.asarray(points * [1, 1, -1] + [0, 0, self.bed_z_mm + self.centre_z_mm])

    @property
    def scale(self) -> float:
        """Mean stretch, for radii."""
        return float(np.prod(self.patient.stretch) ** (1 / 3))


@dataclass(frozen=True)
class Skeleton:
    """The bones drawn: the canvas, and the vertebrae in it by name."""

    canvas: BoneCanvas
    vertebrae: Mapping[str, Vertebra]


def draw_skeleton(
    grid: Grid, placement: Placement, rng: np.random.Generator, collapsed: Mapping[str, float], prosthesis: int = 0
) -> Skeleton:
    """Draw every bone near the grid.

    Parameters
    ----------
    collapsed : share of height lost per vertebra with a compression fracture.
    prosthesis : side (1 left, -1 right) whose femoral head and neck are taken out, 0 for none.
    """
    patient = placement.patient
    canvas = BoneCanvas(grid, placement, placement.scale, rng)
    _add_sacrum(canvas, patient)
    vertebrae = {}
    low, high = grid.coordinates(0)[[0, -1]]
    for name in axial.vertebra_levels():
        v = place_vertebra(name, patient, canvas, collapsed.get(name, 0.0))
        if low - 40 < v.origin_mm[2] < high + 40:
            add_vertebra(canvas, v)
            vertebrae[name] = v
    axial.add_ribs(canvas, patient)
    axial.add_sternum(canvas, patient)
    for side, letter in limbs.SIDES:
        limbs.add_pelvis(canvas, patient, side, letter)
        _open_hip(canvas, patient, side)
        limbs.add_leg(canvas, patient, side, letter)
        if side == prosthesis:
            _open_hip(canvas, patient, side)
        limbs.add_shoulder(canvas, patient, side, letter)
        _open_shoulder(canvas, patient, side)
        limbs.add_arm(canvas, patient, side, letter)
    return Skeleton(canvas, vertebrae)


def _add_sacrum(canvas: BoneCanvas, patient: Patient) -> None:
    """Five fused segments with a flat top, wings up to the sacroiliac joints, a canal, four pairs of foramina."""
    z = np.array([738.0, 752, 775, 805, 832])
    x, y = axial.spine_axis(patient, z)
    axis = np.stack([x * 0.5, y, z], 1)
    canvas.tube("sacrum", axis, [19, 17.5, 13, 10, 7], [1.3, 1.2, 1.1, 1.0, 0.95], flat=1.7)
    for height, out, back, radius in (
        (744.0, 27.0, 20, 15),
        (758.0, 26.0, 22, 14),
        (776.0, 23.0, 22, 12),
        (794.0, 17.0, 16, 9),
    ):
        xs, ys = (float(v) for v in axial.spine_axis(patient, height))
        for side in (-1, 1):
            wing = [[xs * 0.5 + side * 10, ys + 2, height - 2],
                    [side * out * patient.pelvis_width, min(ys + back, 66.0), height]]  # fmt: skip
            canvas.tube("sacrum", np.array(wing), [radius, radius * 0.85], 1.0, flat=0.75)
    canvas.tube("sacrum", axis[1:4] + [0, 22, 0], [6, 6, 5], 1.0, flat=0.6)
    canvas.tube("coccyx", np.array([[0, 78, 836], [0, 66, 860]]), [6, 4], 0.8)
    _flatten_top(canvas, patient)
    canal = canvas.place(axis + [0, 15, 0])
    for start, end in pairwise(canal[:4]):
        _bore(canvas, start, end, 6.0)
    for height, out in ((752.0, 20.0), (774.0, 17.0), (795.0, 14.0), (815.0, 11.0)):
        xs, ys = (float(v) for v in axial.spine_axis(patient, height))
        for side in (-1, 1):
            ends = canvas.place(
                np.array([[xs * 0.5 + side * out, ys + 22, height], [xs * 0.5 + side * (out + 4), ys - 30, height + 6]])
            )
            _bore(canvas, ends[0], ends[1], 3.6)


def _flatten_top(canvas: BoneCanvas, patient: Patient) -> None:
    """Cut the sacrum where its upper end plate lies, square to the spine."""
    z = np.array([axial.S1_TOP_MM - 8, axial.S1_TOP_MM + 4, axial.S1_TOP_MM + 16])
    x, y = axial.spine_axis(patient, z)
    above, middle, below = canvas.place(np.stack([x, y, z], 1))
    up = (above - below) / np.linalg.norm(above - below)
    reach = middle + np.array([[-60, -45, 0], [60, 60, 45.0]])

    def inside(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        return np.asarray((x - middle[0]) * up[0] + (y - middle[1]) * up[1] + (z - middle[2]) * up[2])

    canvas.carve(reach, 0.0, inside)


def _bore(canvas: BoneCanvas, start: np.ndarray, end: np.ndarray, radius_mm: float) -> None:
    """Take a round rod of bone away."""
    along = end - start
    length2 = float(along @ along)

    def inside(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        dx, dy, dz = x - start[0], y - start[1], z - start[2]
        share = np.clip((dx * along[0] + dy * along[1] + dz * along[2]) / length2, 0, 1)
        off = (dx - share * along[0]) ** 2 + (dy - share * along[1]) ** 2 + (dz - share * along[2]) ** 2
        return np.asarray(radius_mm - np.sqrt(off))

    canvas.carve(np.stack([start, end]), radius_mm + 2, inside)


def _open_hip(canvas: BoneCanvas, patient: Patient, side: int) -> None:
    """Make room for the femoral head, and open the socket sideways and down where the neck leaves it."""
    hip = limbs.leg_joints(patient, side).hip
    ends = canvas.place(np.stack([hip, hip + [side * 46, 10, 30]]))
    radius = HIP_BALL_MM * canvas.scale
    _bore(canvas, ends[0], ends[0] + 0.01, radius)
    _bore(canvas, ends[0] + (ends[1] - ends[0]) * 0.45, ends[1], radius * 1.1)


def _open_shoulder(canvas: BoneCanvas, patient: Patient, side: int) -> None:
    """Make room for the humeral head."""
    shoulder = canvas.place(limbs.arm_joints(patient, side).shoulder[None])[0]
    _bore(canvas, shoulder, shoulder + 0.01, SHOULDER_BALL_MM * canvas.scale)
