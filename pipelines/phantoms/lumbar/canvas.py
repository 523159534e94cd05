"""The drawing grid: implicit shapes painted into a label map, each inside its own box only.

Positions are LPS millimetres (x left, y posterior, z superior). Arrays have axes (x ascending, z descending,
y ascending), the orientation of a sagittal series. Painting overwrites, so the order of calls is the order of depth.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from pipelines.phantoms.lumbar.patient import Instance


@dataclass(frozen=True)
class Frame:
    """A local coordinate system: `axes` rows are lateral (to the left), posterior and up, as LPS unit vectors."""

    origin: np.ndarray
    axes: np.ndarray

    def at(self, lateral: float, posterior: float, up: float) -> np.ndarray:
        """Return the LPS position of a point given in local millimetres."""
        return self.origin + np.array([lateral, posterior, up]) @ self.axes


@dataclass(frozen=True)
class Box:
    """A part of the grid: slices into the arrays and the coordinates along each axis, ready to broadcast."""

    index: tuple[slice, slice, slice]
    x: np.ndarray
    z: np.ndarray
    y: np.ndarray

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return (x, z, y) sizes."""
        return self.x.shape[0], self.z.shape[1], self.y.shape[2]

    def local(self, frame: Frame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return lateral, posterior and up coordinates (mm) of the voxels in the frame, float32 each."""
        x, y, z = (a - np.float32(o) for a, o in zip((self.x, self.y, self.z), frame.origin, strict=True))
        axes = frame.axes.astype(np.float32)
        lateral, posterior, up = ((row[0] * x + row[2] * z) + row[1] * y for row in axes)
        return lateral, posterior, up


@dataclass
class Canvas:
    """Label map and instance map under construction."""

    x: np.ndarray
    z: np.ndarray
    y: np.ndarray
    labels: np.ndarray = field(init=False)
    instances: np.ndarray = field(init=False)
    tissues: list[str] = field(default_factory=lambda: ["air"])
    hints: list[float] = field(default_factory=lambda: [0.5])
    table: list[Instance] = field(default_factory=list)

    def __post_init__(self) -> None:
        shape = (self.x.size, self.z.size, self.y.size)
        self.labels = np.zeros(shape, np.uint8)
        self.instances = np.zeros(shape, np.uint8)

    def label(self, tissue: str, hint: float = 0.5) -> int:
        """Return a new fine label of this tissue; every call makes another, with a grey value of its own later."""
        if len(self.tissues) > 255:
            raise ValueError("more than 255 fine labels do not fit into the label map")
        self.tissues.append(tissue)
        self.hints.append(hint)
        return len(self.tissues) - 1

    def instance(self, structure: int, level: str = "") -> int:
        """Register a named structure and return its value in the instance map."""
        self.table.append(Instance(structure, level))
        return len(self.table)

    def box(self, low: ArrayLike, high: ArrayLike) -> Box | None:
        """Return the part of the grid between two LPS corners (any order), None where they miss it."""
        a, b = np.minimum(low, high), np.maximum(low, high)
        i0, i1 = np.searchsorted(self.x, [a[0], b[0]])
        j0, j1 = np.searchsorted(-self.z, [-b[2], -a[2]])
        k0, k1 = np.searchsorted(self.y, [a[1], b[1]])
        if i0 >= i1 or j0 >= j1 or k0 >= k1:
            return None
        return Box(
            (slice(i0, i1), slice(j0, j1), slice(k0, k1)),
            self.x[i0:i1, None, None],
            self.z[None, j0:j1, None],
            self.y[None, None, k0:k1],
        )

    def around(self, points: ArrayLike, margin: float) -> Box | None:
        """Return the box that holds the LPS points and a margin (mm)."""
        p = np.atleast_2d(points)
        return self.box(p.min(0) - margin, p.max(0) + margin)

    def frame_box(self, frame: Frame, low: ArrayLike, high: ArrayLike) -> Box | None:
        """Return the box around a local box given by two corners (lateral, posterior, up)."""
        lo, hi = np.asarray(low, float), np.asarray(high, float)
        corners = np.array([[(lo, hi)[i >> k & 1][k] for k in range(3)] for i in range(8)])
        return self.around(frame.origin + corners @ frame.axes, 0.5)

    def holds(self, box: Box, *structures: int) -> np.ndarray:
        """Return where the box holds one of these structures of the truth."""
        wanted = np.zeros(256, bool)
        for number, instance in enumerate(self.table, 1):
            wanted[number] = instance.structure in structures
        return wanted[self.instances[box.index]]

    def paint(self, box: Box, mask: np.ndarray, label: int, instance: int = 0) -> None:
        """Set the fine label and the instance (0 clears it) of the voxels of a mask."""
        self.labels[box.index][mask] = label
        self.instances[box.index][mask] = instance

    def mark(self, box: Box, mask: np.ndarray, instance: int) -> None:
        """Set the instance only."""
        self.instances[box.index][mask] = instance

    def capsule(
        self, a: np.ndarray, b: np.ndarray, radius: float, stretch: tuple[np.ndarray, float] | None = None
    ) -> tuple[Box, np.ndarray] | None:
        """Return box and signed distance (mm) of a capsule from a to b.

        Parameters
        ----------
        stretch : a unit vector and a factor: the cross-section is that much longer along the vector.
        """
        box = self.around([a, b], radius * (stretch[1] if stretch else 1.0) + 1.0)
        if box is None:
            return None
        return box, capsule_distance(box, a, b, stretch) - np.float32(radius)

    def ellipsoid(
        self, centre: ArrayLike, radii: ArrayLike, rotation: np.ndarray | None = None
    ) -> tuple[Box, np.ndarray] | None:
        """Return box and normalised radius (1 on the surface) of an ellipsoid; radii along x, y, z or rotated axes."""
        axes = np.eye(3) if rotation is None else rotation
        r = np.asarray(radii, float)
        reach = np.sqrt(((axes * r[:, None]) ** 2).sum(0)) + 0.5
        c = np.asarray(centre, float)
        box = self.box(c - reach, c + reach)
        if box is None:
            return None
        u, v, w = box.local(Frame(c, axes / r[:, None]))
        return box, np.sqrt(u * u + v * v + w * w)


def capsule_distance(
    box: Box, a: np.ndarray, b: np.ndarray, stretch: tuple[np.ndarray, float] | None = None
) -> np.ndarray:
    """Return the distance (mm, float32) of the box's voxels to the line from a to b, shortened along `stretch`."""
    px, py, pz = (g - np.float32(o) for g, o in zip((box.x, box.y, box.z), a, strict=True))
    axis = np.asarray(b - a, np.float32)
    length2 = float(axis @ axis) or 1e-6
    along = np.clip(((px * axis[0] + pz * axis[2]) + py * axis[1]) / np.float32(length2), 0, 1)
    qx, qy, qz = px - along * axis[0], py - along * axis[1], pz - along * axis[2]
    distance2 = qx * qx + qy * qy + qz * qz
    if stretch:
        s = stretch[0].astype(np.float32)
        component = qx * s[0] + qy * s[1] + qz * s[2]
        distance2 -= np.float32(1 - 1 / stretch[1] ** 2) * component * component
    return np.asarray(np.sqrt(np.maximum(distance2, 0)))


def smooth_noise(rng: np.random.Generator, box: Box, scale_mm: tuple[float, float, float]) -> np.ndarray:
    """Return smooth noise of about unit variance (float32) on a box: a cubic B-spline through random knots.

    Parameters
    ----------
    scale_mm : distance of the knots along x, z and y.
    """
    weights = []
    for coordinate, scale in zip((box.x[:, 0, 0], box.z[0, :, 0], box.y[0, 0, :]), scale_mm, strict=True):
        # The phase of the knots is random, so that they do not line up with the edge of the box.
        place = np.abs(coordinate - coordinate[0]) / scale + rng.random()
        weights.append(_spline_weights(place, int(place[-1]) + 4))
    knots = rng.standard_normal([w.shape[1] for w in weights]).astype(np.float32)
    along_x = np.tensordot(weights[0], knots, 1)
    along_z = np.matmul(weights[1], along_x)
    return np.asarray(np.matmul(along_z, weights[2].T) * np.float32(_SPLINE_GAIN), np.float32)


_SPLINE_GAIN = 3.0
"""A cubic B-spline of white knots has a variance of about 0.48 per axis; three axes leave about a ninth."""


def _spline_weights(place: np.ndarray, knots: int) -> np.ndarray:
    """Return the uniform cubic B-spline's weights, float32 (points, knots)."""
    distance = np.abs(place[:, None] + 1.0 - np.arange(knots)[None, :])
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = np.clip(2 - distance, 0, None) ** 3 / 6
    return np.where(distance < 1, near, far).astype(np.float32)


def rounded_max(a: np.ndarray, b: np.ndarray, radius: float) -> np.ndarray:
    """Return the distance to the intersection of two shapes whose common edge is rounded (mm)."""
    r = np.float32(radius)
    ar, br = np.maximum(a + r, 0), np.maximum(b + r, 0)
    return np.sqrt(ar * ar + br * br) - r + np.minimum(np.maximum(a, b) + r, 0)
