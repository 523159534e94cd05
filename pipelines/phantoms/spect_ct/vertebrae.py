"""Vertebrae as CT sees them: bodies with waists and concave end plates, arches, facet joints, and a canal.

Landmarks (`axial.vertebra_levels`, `axial.spine_axis`) are the whole-body phantom's; its vertebrae are blobs, which a
camera cannot tell from the real thing but a CT can. Each vertebra has a `Frame` of its own (left, back, up along the
spine), which lesions and degeneration are placed in as well.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipelines.phantoms.anatomy import Patient
from pipelines.phantoms.axial import spine_axis, vertebra_levels
from pipelines.phantoms.spect_ct.canvas import BoneCanvas

SQUARENESS = 2.5
"""Exponent of the superellipse of a body's outline: 2 is an ellipse."""

WAIST = 0.11


@dataclass(frozen=True)
class Vertebra:
    """One vertebra's place and size (LPS, mm).

    Attributes
    ----------
    origin_mm : centre of the body. axes : (3, 3), rows are left, back and up along the spine.
    half_width, half_depth, half_height : of the body. collapse : share of the height lost in front (a fracture).
    """

    name: str
    origin_mm: np.ndarray
    axes: np.ndarray
    half_width: float
    half_depth: float
    half_height: float
    collapse: float = 0.0

    @property
    def region(self) -> str:
        """C, T or L."""
        return self.name[0]

    @property
    def canal(self) -> tuple[float, float]:
        """Half width and half depth of the canal."""
        return {"C": (12.0, 7.5), "T": (8.5, 8.0), "L": (11.5, 8.5)}[self.region]

    @property
    def canal_back(self) -> float:
        """Distance of the canal's centre behind the body's centre."""
        return self.half_depth * 0.85 + self.canal[1]

    def at(self, left: float, back: float, up: float) -> np.ndarray:
        """Return the LPS position of a point of the vertebra's frame."""
        return np.asarray(self.origin_mm + np.array([left, back, up]) @ self.axes)

    def local(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return left, back, up (mm) of LPS positions."""
        dx, dy, dz = (c - np.float32(o) for c, o in zip((x, y, z), self.origin_mm, strict=True))
        left, back, up = ((a[0] * dx + a[1] * dy) + a[2] * dz for a in self.axes.astype(np.float32))
        return left, back, up

    def height_at(self, back: np.ndarray | float) -> np.ndarray | float:
        """Return the half height of the body, less in front where it has collapsed."""
        front = np.clip(0.5 - np.asarray(back) / (2 * self.half_depth), 0, 1)
        return self.half_height * (1 - self.collapse * front)

    def outline(self, left: np.ndarray, back: np.ndarray, up: np.ndarray) -> np.ndarray:
        """Return the normalised radius of the body's outline (1 on its side wall)."""
        level = np.clip(up / self.half_height, -1, 1)
        waist = 1 - WAIST * (1 - level * level)
        e = SQUARENESS
        rho = np.abs(left / (self.half_width * waist)) ** e + np.abs(back / (self.half_depth * waist)) ** e
        return np.asarray(rho ** (1 / e))

    def body_depth(self, left: np.ndarray, back: np.ndarray, up: np.ndarray) -> np.ndarray:
        """Return the depth (mm) below the surface of the body."""
        rho = self.outline(left, back, up)
        side = (1 - rho) * self.half_depth * 0.9
        hollow = 1.6 * np.clip(1 - (left / (0.6 * self.half_width)) ** 2, 0, 1)
        wall = self.half_depth * 0.88 - hollow - back
        dish = np.clip(1 - (rho / 0.85) ** 2, 0, 1) * (2.0 if self.region == "L" else 1.3)
        lost = self.half_height - self.height_at(back)
        top = self.half_height - 2 * lost - dish - up
        bottom = self.half_height - dish + up
        return np.asarray(np.minimum(np.minimum(side, wall), np.minimum(top, bottom)))


def place_vertebra(name: str, patient: Patient, canvas: BoneCanvas, collapse: float = 0.0) -> Vertebra:
    """Work out a vertebra's frame from the patient's spine."""
    top, height = vertebra_levels()[name]
    middle = top + height * 0.45
    x, y = spine_axis(patient, np.array([middle - 14, middle, middle + 14]))
    above, centre, below = canvas.place(np.stack([x, y, [middle - 14, middle, middle + 14]], 1))
    up = (above - below) / np.linalg.norm(above - below)
    left = np.array([1.0, 0, 0]) - up[0] * up
    left /= np.linalg.norm(left)
    region = name[0]
    wide = {"C": 11.0, "T": 13.5, "L": 21.0}[region] + {"C": 0.0, "T": 0.5, "L": 0.8}[region] * int(name[1:])
    s = canvas.scale
    return Vertebra(
        name, centre, np.stack([left, np.cross(up, left), up]), wide * s,
        wide * {"C": 0.72, "T": 0.92, "L": 0.76}[region] * s, height * {"C": 0.38, "T": 0.40, "L": 0.385}[region] * s,
        collapse,
    )  # fmt: skip


def add_vertebra(canvas: BoneCanvas, v: Vertebra) -> None:
    """Draw body and arch, then open the canal."""
    reach = np.array([v.half_width, v.half_depth, v.half_height]) + 12
    corners = np.array([v.at(*(reach * s)) for s in _CORNERS])
    canvas.shape(v.name, corners.min(0), corners.max(0), lambda x, y, z: v.body_depth(*v.local(x, y, z)))
    _add_arch(canvas, v)
    wide, deep = v.canal
    reach = np.array([wide + 2, deep + 2, v.half_height * 1.5])
    corners = np.array([v.at(0, v.canal_back, 0) + (reach * s) @ v.axes for s in _CORNERS])

    def inside(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        left, back, up = v.local(x, y, z)
        rho = np.sqrt((left / wide) ** 2 + ((back - v.canal_back) / deep) ** 2)
        return np.asarray(np.minimum((1 - rho) * deep, v.half_height * 1.5 - np.abs(up)))

    canvas.carve(corners, 2.0, inside)


def _add_arch(canvas: BoneCanvas, v: Vertebra) -> None:
    w, d, h = v.half_width, v.half_depth, v.half_height
    lumbar, behind = v.region == "L", v.canal_back + v.canal[1]
    s = canvas.scale
    for side in (-1, 1):

        def at(left: float, back: float, up: float, side: int = side) -> np.ndarray:
            return v.at(side * left, back, up)

        pillar = max(0.66 * w, v.canal[0] + 2.5)
        _tube(canvas, v.name, [at(0.62 * w, 0.6 * d, 0.35 * h), at(pillar, d + 8, 0.3 * h)], 6.0 if lumbar else 4.2, s,
              1.05, flat=0.8)  # fmt: skip
        facet = 5.2 if lumbar else 4.0
        _tube(canvas, v.name, [at(pillar, d + 8, 0.2 * h), at(pillar + 2.5, d + 7, 1.25 * h)], facet, s, 1.25)
        _tube(canvas, v.name, [at(pillar, d + 10, 0.1 * h), at(pillar - 3.5, d + 15, -1.2 * h)], facet, s, 1.25)
        _tube(canvas, v.name, [at(pillar - 1, d + 11, -0.1 * h), at(1.0, behind + 2.5, -0.45 * h)],
              7.0 if lumbar else 6.0, s, 1.0, flat=0.42)  # fmt: skip
        tip = at(1.95 * w, d + 11, 0.25 * h) if lumbar else at(1.85 * w, d + 19, 0.4 * h)
        _tube(canvas, v.name, [at(pillar, d + 8, 0.25 * h), tip], [5.0, 3.6], s, 0.95, flat=0.7)
    reach, drop = {"L": (24, 0.7), "T": (22, 1.7), "C": (16, 1.0)}[v.region]
    spine = [v.at(0, behind + 2, -0.4 * h), v.at(0, behind + 2 + reach, -drop * h)]
    _tube(canvas, v.name, spine, [7.5, 8.5] if lumbar else [4.5, 3.6], s, 1.15, flat=0.36 if lumbar else 0.75)


def _tube(
    canvas: BoneCanvas, name: str, points: list[np.ndarray], radius: float | list[float], scale: float,
    uptake: float, flat: float = 1.0,
) -> None:  # fmt: skip
    """A tube whose control points are in LPS already."""
    canvas.tube_at(name, np.array(points), np.asarray(radius) * scale, uptake, flat=flat)


_CORNERS = np.array([[a, b, c] for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)], float)
