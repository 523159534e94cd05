"""Bones as implicit shapes in voxels: the same tubes, ellipsoids and plates that the whole-body phantom is made of.

`BoneCanvas` takes the calls of `pipelines.phantoms.cloud.Cloud` (so `axial` and `limbs` draw on it unchanged) and
keeps, per voxel, how deep below the bone's surface it lies, which bone it is, how thick the cortex is there and how
much the shape takes up. Pieces of one bone are joined smoothly, so that no cortex runs through its inside; different
bones only touch. `carve` opens joints and canals.

Control points are in the reference space of `cloud`; `place` carries them to the patient. Nothing here knows
Hounsfield units or counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from scipy.interpolate import CubicSpline, RBFInterpolator

from pipelines.phantoms.cloud import Cloud, Profile
from pipelines.phantoms.spect_ct.grid import Box, Grid

OUTSIDE_MM = -30.0
BLEND_MM = 6.0
"""Width over which pieces of one bone are rounded into each other."""

CORTEX_MM = {
    "C": 0.9, "T": 0.9, "L": 1.0, "sacrum": 1.1, "rib_": 1.1, "sternum": 1.0, "ilium": 1.5, "acetabulum": 1.8,
    "pubis": 1.6, "ischium": 1.8, "scapula": 1.1, "clavicle": 2.0, "humerus": 2.0, "femur": 2.2, "joint_": 1.2,
}  # fmt: skip
DEFAULT_CORTEX_MM = 1.2
FAMILIES = (
    ("hip", ("ilium", "acetabulum", "pubis", "ischium", "joint_sacroiliac")),
    ("sternum", ("sternum", "xiphoid")),
)
SHAFT_END_MM = 70.0
"""Distance from a long bone's end from which its cortex has its full thickness."""

CORTEX_STEP_MM, WARMTH_STEP = 0.1, 0.02
"""Resolution of the stored cortex thickness and of the relative uptake."""

Place = Callable[[np.ndarray], np.ndarray]
Field = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def family_of(name: str) -> str:
    """Return the bone that a structure is a piece of."""
    side = name[-2:] if name[-2:] in ("_L", "_R") else ""
    for family, prefixes in FAMILIES:
        if name.startswith(prefixes):
            return family + side
    return name


class BoneCanvas(Cloud):
    """Bones being drawn.

    Attributes
    ----------
    depth : float32 (slice, row, column), mm below the surface; negative outside.
    structure : uint8, index + 1 into `names`, 0 where no shape came near.
    cortex, warmth : uint8, thickness in `CORTEX_STEP_MM`, relative uptake in `WARMTH_STEP`.
    """

    def __init__(self, grid: Grid, place: Place, scale: float, rng: np.random.Generator) -> None:
        super().__init__(rng)
        self.grid, self.place, self.scale = grid, place, scale
        self.depth = np.full(grid.shape, OUTSIDE_MM, np.float32)
        self.structure = np.zeros(grid.shape, np.uint8)
        self.cortex = np.zeros(grid.shape, np.uint8)
        self.warmth = np.zeros(grid.shape, np.uint8)
        self._families = [""]

    def number(self, name: str) -> int:
        """Return the value of a structure in `structure`, registering it at its first use."""
        if name not in self.names:
            self.names.append(name)
            self._families.append(family_of(name))
        return self.names.index(name) + 1

    def merge(
        self,
        name: str,
        box: Box,
        depth: np.ndarray,
        warmth: np.ndarray | float,
        cortex_mm: np.ndarray | float | None = None,
    ) -> None:
        """Join a shape (its depth in a box) with what is there: smoothly with its own bone, else the deeper wins."""
        number = self.number(name)
        held, structure = self.depth[box], self.structure[box]
        same = np.array([family == self._families[number] for family in self._families])[structure]
        wins = depth > held
        overlap = np.maximum(BLEND_MM - np.abs(held - depth), 0) / BLEND_MM
        blended = np.maximum(held, depth) + np.where(same & (np.minimum(held, depth) > -BLEND_MM), overlap, 0) ** 2 * (
            BLEND_MM / 4
        )
        self.depth[box] = blended
        structure[wins] = number
        if cortex_mm is None:
            cortex_mm = next((mm for p, mm in CORTEX_MM.items() if name.startswith(p)), DEFAULT_CORTEX_MM)
        for held_codes, value, step in ((self.cortex, cortex_mm, CORTEX_STEP_MM), (self.warmth, warmth, WARMTH_STEP)):
            codes = np.clip(np.rint(np.asarray(value) / step), 1, 255).astype(np.uint8)
            held_codes[box][wins] = np.broadcast_to(codes, depth.shape)[wins]

    def carve(self, points: np.ndarray, margin_mm: float, inside: Field) -> None:
        """Take bone away where `inside(x, y, z)` (mm, LPS) is positive, in a box around LPS points (n, 3)."""
        box = self.grid.around(np.atleast_2d(points), margin_mm)
        if box is not None:
            held = self.depth[box]
            np.minimum(held, -inside(*self.grid.open_coordinates(box)), out=held)

    def shape(self, name: str, low: np.ndarray, high: np.ndarray, field: Field, warmth: float = 1.0) -> None:
        """Merge any shape given by its depth `field(x, y, z)` (mm, LPS) between two LPS corners."""
        box = self.grid.box(low, high)
        if box is not None:
            x, y, z = self.grid.open_coordinates(box)
            self.merge(name, box, np.maximum(field(x, y, z), OUTSIDE_MM), warmth)

    def ellipsoid(
        self,
        name: str,
        centre: Iterable[float],
        radii: Iterable[float],
        uptake: float = 1.0,
        shell: float = 0.0,
        rotation: np.ndarray | None = None,
    ) -> None:
        """Fill an ellipsoid; `shell` > 0 keeps only radii from that fraction outwards."""
        middle = self.place(np.asarray([list(centre)], float))[0]
        half = np.asarray(list(radii), float) * self.scale
        turn = np.eye(3) if rotation is None else rotation
        box = self.grid.around(middle[None], float(half.max()) + BLEND_MM)
        if box is None:
            return
        x, y, z = self.grid.open_coordinates(box)
        rho = _normalised(x - middle[0], y - middle[1], z - middle[2], turn / half)
        depth = 1 - rho if shell <= 0 else np.minimum(1 - rho, rho - shell)
        self.merge(name, box, (depth * half.min()).astype(np.float32), uptake)

    def tube(
        self,
        name: str,
        path: np.ndarray,
        radius: Profile,
        uptake: Profile = 1.0,
        hollow: float = 0.0,
        flat: float = 1.0,
    ) -> None:
        """Sweep a rounded disc along a smooth path; parameters as in `Cloud.tube`, radii in reference mm.

        `hollow` becomes a cortex of that thickness around a marrow cavity.
        """
        radii = np.asarray(radius, float) * self.scale
        self.tube_at(name, self.place(np.asarray(path, float)), radii, uptake, hollow, flat)

    def tube_at(
        self,
        name: str,
        control: np.ndarray,
        radius: Profile,
        uptake: Profile = 1.0,
        hollow: float = 0.0,
        flat: float = 1.0,
    ) -> None:
        """Sweep a tube whose control points (k, 3) and radii are in the patient already (LPS, mm)."""
        radii = np.broadcast_to(np.asarray(radius, float), (len(control),))
        box = self.grid.around(control, float(radii.max()) * max(1.0, flat) + BLEND_MM)
        if box is None:
            return
        depth, warmth, along = self._sweep(box, control, radii, np.asarray(uptake, float), flat)
        cortex: np.ndarray | None = None
        if hollow > 0:
            # A shaft's cortex thins out towards both ends.
            cortex = np.interp(along, [0, 25, SHAFT_END_MM], [2.0, 2.4, (1 - hollow) * float(radii.min())])
        self.merge(name, box, depth, warmth, cortex)

    def _sweep(
        self, box: Box, control: np.ndarray, radii: np.ndarray, uptake: np.ndarray, flat: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return depth, warmth and the distance (mm) along the path to its nearer end, in a box."""
        arc = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(control, axis=0), axis=1))])
        smooth = CubicSpline(arc, control) if len(control) > 2 else None
        step = max(0.5 * float(radii.min()) * min(flat, 1.0), 1.0)
        places = np.linspace(0, arc[-1], max(2, int(np.ceil(arc[-1] / step)) + 1))
        centres = smooth(places) if smooth else control[0] + np.outer(places / arc[-1], control[1] - control[0])
        tangents = smooth(places, 1) if smooth else np.broadcast_to(control[1] - control[0], centres.shape)
        local = np.interp(places, arc, radii)
        warm = np.interp(places, arc, np.broadcast_to(uptake, (len(control),)))
        depth = np.full(tuple(s.stop - s.start for s in box), OUTSIDE_MM, np.float32)
        warmth, along = np.ones(depth.shape, np.float32), np.zeros(depth.shape, np.float32)
        for centre, tangent, r, w, s in zip(centres, tangents, local, warm, places, strict=True):
            painted = ((warmth, w), (along, min(s, arc[-1] - s)))
            self._stamp(box, depth, painted, centre, tangent / np.linalg.norm(tangent), r, flat)
        return depth, warmth, along

    def _stamp(
        self, box: Box, depth: np.ndarray, painted: tuple[tuple[np.ndarray, float], ...], centre: np.ndarray,
        tangent: np.ndarray, radius: float, flat: float,
    ) -> None:  # fmt: skip
        """Deepen a box's depth by one flattened ball of the sweep, and set the arrays painted where it did."""
        part = self.grid.around(centre[None], radius * max(1.0, flat) + BLEND_MM / 2)
        if part is None:
            return
        part = tuple(slice(max(p.start, b.start), min(p.stop, b.stop)) for p, b in zip(part, box, strict=True))  # type: ignore[assignment]
        if any(p.start >= p.stop for p in part):
            return
        up = np.array([0.0, 1.0, 0.0]) if abs(tangent[2]) > 0.9 else np.array([0.0, 0.0, 1.0])
        side = np.cross(tangent, up)
        side /= np.linalg.norm(side)
        axes = np.stack([side / (flat * radius), np.cross(side, tangent) / radius, tangent / (min(flat, 1.0) * radius)])
        x, y, z = self.grid.open_coordinates(part)
        rho = _normalised(x - centre[0], y - centre[1], z - centre[2], axes)
        new = (1 - rho) * (min(flat, 1.0) * radius)
        inner = tuple(slice(p.start - b.start, p.stop - b.start) for p, b in zip(part, box, strict=True))
        deeper = new > depth[inner]
        depth[inner][deeper] = new[deeper]
        for array, value in painted:
            array[inner][deeper] = value

    def plate(
        self, name: str, outline: np.ndarray, thickness_mm: float, uptake: float = 1.0, bulge_mm: float = 0.0
    ) -> None:
        """Fill a curved plate, its depth y between the corners a thin-plate spline; `Cloud.plate` has the rest."""
        corners = self.place(np.asarray(outline, float))
        half = thickness_mm * self.scale / 2
        box = self.grid.around(corners, half + abs(bulge_mm) + BLEND_MM)
        if box is None:
            return
        x, y, z = self.grid.open_coordinates(box)
        across = np.stack(np.broadcast_arrays(x[0, 0], z[:, 0]), -1)
        edge = _polygon_depth(across, corners[:, [0, 2]])
        surface = RBFInterpolator(corners[:, [0, 2]], corners[:, 1], smoothing=1.0)(across.reshape(-1, 2).astype(float))
        surface = surface.reshape(edge.shape) + bulge_mm * np.clip(edge / max(float(edge.max()), 1.0), 0, 1)
        slopes = [_slope(surface, axis, self.grid.spacing_mm[2 * axis]) for axis in (0, 1)]
        normal = np.sqrt(1 + slopes[0] ** 2 + slopes[1] ** 2)
        away = np.abs(y - surface[:, None, :]) / normal[:, None, :]
        depth = np.minimum(half - away, edge[:, None, :]).astype(np.float32)
        self.merge(name, box, np.maximum(depth, OUTSIDE_MM), uptake)


def _slope(surface: np.ndarray, axis: int, spacing_mm: float) -> np.ndarray:
    """Return the derivative along an axis; 0 where the field of view leaves one row or column of the surface."""
    if surface.shape[axis] < 2:
        return np.zeros_like(surface)
    return np.asarray(np.gradient(surface, spacing_mm, axis=axis))


def _normalised(x: np.ndarray, y: np.ndarray, z: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """Return the length of the offset (x, y, z) measured along axes (3, 3), rows being axes over their radii."""
    total: np.ndarray | float = 0.0
    for ax, ay, az in axes.astype(np.float32):
        total = total + ((ax * x + ay * y) + az * z) ** 2
    return np.asarray(np.sqrt(total))


def _polygon_depth(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Return how far points (..., 2) lie inside a polygon (k, 2), mm; negative outside."""
    distance = np.full(points.shape[:-1], np.inf)
    inside = np.zeros(points.shape[:-1], bool)
    x, y = points[..., 0], points[..., 1]
    for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        edge = b - a
        share = np.clip(((points - a) @ edge) / max(float(edge @ edge), 1e-9), 0, 1)
        distance = np.minimum(distance, np.linalg.norm(points - a - share[..., None] * edge, axis=-1))
        if a[1] != b[1]:
            crosses = (a[1] > y) != (b[1] > y)
            inside ^= crosses & (x < (b[0] - a[0]) * (y - a[1]) / (b[1] - a[1]) + a[0])
    return np.where(inside, distance, -distance)
