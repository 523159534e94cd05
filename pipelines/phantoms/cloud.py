"""Point clouds of uptake: the shapes a simulated skeleton is made of.

A bone is a set of quasi-random points in patient space, each carrying an activity (volume x uptake). Points follow
curved shapes exactly, bend with the posture, and project onto any detector grid without a voxel volume between.
A low-discrepancy sequence keeps the sampling noise far below the Poisson noise of a scan.

Patient space, in mm: x grows to the patient's left, y from front to back (0 is the mid-coronal plane), z from the
crown of the head downwards. Nothing here knows anatomy, attenuation or a camera.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.interpolate import CubicSpline

POINTS_PER_MM3 = 0.10
"""Sampling density; with the sequence below a rib's column under the collimator blur holds some 60 points."""

MIN_POINTS = 60

Profile = np.ndarray | Sequence[float] | float
"""One value for a whole path, or one per control point."""

_PHI3 = 1.2207440846057596  # root of x^4 = x + 1: the generalised golden ratio for three dimensions


def quasi_random(count: int, rng: np.random.Generator) -> np.ndarray:
    """Return `count` points of the R3 low-discrepancy sequence with a random offset.

    Returns
    -------
    numpy.ndarray
        float64 (count, 3) in [0, 1).
    """
    steps = np.array([1 / _PHI3, 1 / _PHI3**2, 1 / _PHI3**3])
    return (rng.random(3) + np.arange(1, count + 1)[:, None] * steps) % 1.0


def _count_for(volume_mm3: float) -> int:
    return max(MIN_POINTS, int(volume_mm3 * POINTS_PER_MM3))


@dataclass
class Cloud:
    """Points of many structures, grown shape by shape, read once through `arrays`.

    `names` lists the structures; the index of a name is the structure number of its points.
    """

    rng: np.random.Generator
    names: list[str] = field(default_factory=list)
    _points: list[np.ndarray] = field(default_factory=list)
    _weights: list[np.ndarray] = field(default_factory=list)
    _structures: list[np.ndarray] = field(default_factory=list)

    def add(self, name: str, points: np.ndarray, activity: np.ndarray | float) -> None:
        """Add points (n, 3) in mm to a structure; `activity` per point (volume in mm3 x uptake)."""
        if name not in self.names:
            self.names.append(name)
        number = self.names.index(name)
        self._points.append(points.astype(np.float32))
        self._weights.append(np.broadcast_to(np.asarray(activity, np.float32), (len(points),)).copy())
        self._structures.append(np.full(len(points), number, np.int32))

    def ellipsoid(
        self,
        name: str,
        centre: Iterable[float],
        radii: Iterable[float],
        uptake: float = 1.0,
        shell: float = 0.0,
        rotation: np.ndarray | None = None,
    ) -> None:
        """Fill an ellipsoid; `shell` > 0 keeps only radii from that fraction outwards (a skull's vault)."""
        centre_mm, radii_mm = np.asarray(list(centre)), np.asarray(list(radii))
        volume = 4 / 3 * np.pi * float(np.prod(radii_mm)) * (1 - shell**3)
        count = _count_for(volume)
        q = quasi_random(count, self.rng)
        r = (shell**3 + q[:, 0] * (1 - shell**3)) ** (1 / 3)
        cos_t = 2 * q[:, 1] - 1
        sin_t = np.sqrt(1 - cos_t**2)
        phi = 2 * np.pi * q[:, 2]
        unit = np.stack([sin_t * np.cos(phi), sin_t * np.sin(phi), cos_t], 1) * r[:, None]
        points = unit * radii_mm
        if rotation is not None:
            points = points @ rotation.T
        self.add(name, points + centre_mm, volume / count * uptake)

    def tube(
        self,
        name: str,
        path: np.ndarray,
        radius: Profile,
        uptake: Profile = 1.0,
        hollow: float = 0.0,
        flat: float = 1.0,
    ) -> None:
        """Fill a tube around a smooth path.

        Parameters
        ----------
        path : (k, 3) control points in mm, joined by a cubic spline (a straight line for k = 2).
        radius, uptake : one value or one per control point, interpolated along the arc.
        hollow : inner radius as a fraction of the outer (a long bone's marrow cavity).
        flat : radius across the path in the x-y plane relative to that along z (ribs are taller than thick).
        """
        path = np.asarray(path, float)
        arc = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
        spline = CubicSpline(arc, path) if len(path) > 2 else None
        radii = np.broadcast_to(np.asarray(radius, float), (len(path),))
        uptakes = np.broadcast_to(np.asarray(uptake, float), (len(path),))
        mean_area = np.pi * float(np.mean(radii**2)) * flat * (1 - hollow**2)
        volume = arc[-1] * mean_area
        count = _count_for(volume)
        q = quasi_random(count, self.rng)
        s = q[:, 0] * arc[-1]
        centre = spline(s) if spline is not None else path[0] + np.outer(s / arc[-1], path[1] - path[0])
        tangent = spline(s, 1) if spline is not None else np.broadcast_to(path[1] - path[0], centre.shape)
        side, upright = _frame(tangent)
        local_radius = np.interp(s, arc, radii)
        r = np.sqrt(hollow**2 + q[:, 1] * (1 - hollow**2)) * local_radius
        theta = 2 * np.pi * q[:, 2]
        points = centre + side * (flat * r * np.cos(theta))[:, None] + upright * (r * np.sin(theta))[:, None]
        # Points lie evenly along the arc, so a thick stretch needs heavier points, not more of them.
        weights = volume / count * np.interp(s, arc, uptakes) * local_radius**2 / np.mean(radii**2)
        self.add(name, points, weights)

    def plate(
        self, name: str, outline: np.ndarray, thickness_mm: float, uptake: float = 1.0, bulge_mm: float = 0.0
    ) -> None:
        """Fill a curved plate whose outline (k, 3) is a polygon in the x-z plane with a depth y at each corner.

        Depth between the corners is interpolated by inverse distance; `bulge_mm` pushes the middle backwards.
        """
        outline = np.asarray(outline, float)
        xz = outline[:, [0, 2]]
        low, high = xz.min(0), xz.max(0)
        box = float(np.prod(high - low))
        count = _count_for(box * thickness_mm)
        q = quasi_random(count, self.rng)
        uv = low + q[:, :2] * (high - low)
        inside = _inside_polygon(uv, xz)
        uv, q = uv[inside], q[inside]
        distance = np.linalg.norm(uv[:, None] - xz[None], axis=2) + 1e-3
        share = distance**-2
        depth = (share * outline[:, 1]).sum(1) / share.sum(1)
        edge = distance.min(1) / max(float(distance.min(1).max()), 1e-3)
        y = depth + bulge_mm * edge + (q[:, 2] - 0.5) * thickness_mm
        self.add(name, np.stack([uv[:, 0], y, uv[:, 1]], 1), box * thickness_mm / count * uptake)

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return points float32 (n, 3) in mm, activity float32 (n,), structure number int32 (n,)."""
        return np.concatenate(self._points), np.concatenate(self._weights), np.concatenate(self._structures)


def _frame(tangent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two unit vectors across each tangent; the second is as upright (along z) as it can be."""
    t = tangent / np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-9)
    up = np.where(np.abs(t[:, 2:3]) > 0.9, [[0.0, 1.0, 0.0]], [[0.0, 0.0, 1.0]])
    side = np.cross(t, up)
    side /= np.maximum(np.linalg.norm(side, axis=1, keepdims=True), 1e-9)
    return side, np.cross(side, t)


def _inside_polygon(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Even-odd rule for points (n, 2) in a polygon (k, 2)."""
    inside = np.zeros(len(points), bool)
    x, y = points[:, 0], points[:, 1]
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if y0 == y1:
            continue
        crosses = (y0 > y) != (y1 > y)
        inside ^= crosses & (x < (x1 - x0) * (y - y0) / (y1 - y0) + x0)
    return inside
