"""The slice pack of one scan: number, thickness and distance of slices, pixel size, field of view and where it lies.

Fields reach from T9/T10 to S3 down to L2 to S2; packs are often off centre, so that right and left outer slices differ.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from pipelines.phantoms.lumbar.patient import LumbarAnatomy


@dataclass(frozen=True)
class Pack:
    """Sagittal slices in LPS millimetres.

    Attributes
    ----------
    slices, rows, columns : the matrix. thickness_mm : of the excited slab. step_mm : between slice centres.
    origin_mm : (x, y, z) of the centre of voxel [0, 0, 0].
    turn_rad : rotation of the anatomy in the sagittal plane about `pivot_mm` (y, z): how the patient lies.
    """

    slices: int
    rows: int
    columns: int
    pixel_mm: float
    thickness_mm: float
    step_mm: float
    origin_mm: tuple[float, float, float]
    turn_rad: float
    pivot_mm: tuple[float, float]
    echo_time_ms: float
    repetition_time_ms: float


def draw_pack(rng: np.random.Generator, anatomy: LumbarAnatomy, preset: str) -> Pack:
    """Draw a slice pack that lies inside the drawn anatomy."""
    slices = int(rng.integers(11, 25))
    low, high = {"train": (3.5, 5.0), "held_out": (3.5, 4.6), "domain_shift": (4.6, 5.6)}[preset]
    thickness = float(rng.uniform(low, high))
    step = thickness * float(rng.uniform(1.0, 1.12))
    count, _, _ = anatomy.labels.shape
    room = count * anatomy.spacing_mm[0] - 2.0
    step = min(step, (room - thickness) / 10)
    slices = min(slices, int((room - thickness) / step) + 1)
    width = (slices - 1) * step + thickness
    left = anatomy.origin_mm[0] + 1.0
    centre = float(np.mean(anatomy.spine_mm[1:6, 0])) + rng.normal(0, 5)
    start = float(np.clip(centre - width / 2, left, left + room - width)) + thickness / 2
    pixel = float(rng.uniform(0.5, 0.9) if preset == "held_out" else rng.uniform(0.5, 1.1))
    top, bottom = _vertical(rng, anatomy)
    pixel = max(pixel, (top - bottom) / 640)
    rows = int((top - bottom) / pixel)
    deep = float(rng.uniform(0.55, 1.0)) * rows
    columns = int(np.clip(deep, 150 / pixel, rows))
    spine_y = float(np.mean(anatomy.spine_mm[:, 1]))
    back = anatomy.back_mm + rng.uniform(0, 45)
    back = max(back, spine_y + 0.35 * columns * pixel * rng.uniform(0.8, 1.0))
    return Pack(
        slices=slices,
        rows=rows,
        columns=columns,
        pixel_mm=pixel,
        thickness_mm=thickness,
        step_mm=step,
        origin_mm=(start, back - columns * pixel, top),
        turn_rad=float(np.radians(np.clip(rng.normal(0, 4), -9, 9))),
        pivot_mm=(spine_y, (top + bottom) / 2),
        echo_time_ms=float(round(rng.uniform(85, 125))),
        repetition_time_ms=float(round(rng.uniform(2400, 4800))),
    )


def _vertical(rng: np.random.Generator, anatomy: LumbarAnatomy) -> tuple[float, float]:
    """Return upper and lower edge of the field (z in mm)."""
    highest = anatomy.origin_mm[2] - 6
    lowest = anatomy.origin_mm[2] - anatomy.labels.shape[1] * anatomy.spacing_mm[1] + 6
    spine = anatomy.spine_mm[:, 2]
    kind = rng.random()
    if kind < 0.12:
        top, bottom = spine[4] + rng.uniform(-5, 25), -rng.uniform(35, 60)
    elif kind < 0.75:
        top, bottom = spine[min(len(spine) - 2, 7)] + rng.uniform(-15, 35), -rng.uniform(45, 95)
    else:
        top, bottom = highest, lowest
    return float(min(top, highest)), float(max(bottom, lowest))


@dataclass(frozen=True)
class Sampler:
    """Maps between the drawing's grid and a pack: slab weights along x, one affine map in the plane."""

    anatomy: LumbarAnatomy
    pack: Pack

    def slab(self, number: int) -> tuple[int, np.ndarray]:
        """Return first drawn layer and weights (sum 1) of a slice: a slab with soft edges."""
        step, origin = self.anatomy.spacing_mm[0], self.anatomy.origin_mm[0]
        centre = self.pack.origin_mm[0] + number * self.pack.step_mm
        x = origin + step * np.arange(self.anatomy.labels.shape[0])
        inside = (self.pack.thickness_mm + step) / 2 - np.abs(x - centre)
        weights = np.clip(inside / step, 0, 1)
        used = np.nonzero(weights)[0]
        weights = weights[used[0] : used[-1] + 1]
        return int(used[0]), (weights / weights.sum()).astype(np.float32)

    def plane(self) -> tuple[np.ndarray, np.ndarray]:
        """Return matrix and offset that take a pixel (row, column) to the drawing's (row, column)."""
        pack, anatomy = self.pack, self.anatomy
        c, s = np.cos(pack.turn_rad), np.sin(pack.turn_rad)
        pixel, fine = pack.pixel_mm, anatomy.spacing_mm[1]
        # Position in the plane as (-z, y): rows downwards, columns backwards.
        rotation = np.array([[c, -s], [s, c]])
        pivot = np.array([-pack.pivot_mm[1], pack.pivot_mm[0]])
        first = np.array([-pack.origin_mm[2], pack.origin_mm[1]])
        start = np.array([-anatomy.origin_mm[2], anatomy.origin_mm[1]])
        matrix = rotation * (pixel / fine)
        return matrix, (rotation @ (first - pivot) + pivot - start) / fine

    def window(self, box: tuple[slice, slice]) -> tuple[slice, slice] | None:
        """Return the pixels that a box of the drawing's (row, column) plane can touch."""
        matrix, offset = self.plane()
        corners = np.array([[r, c] for r in (box[0].start, box[0].stop) for c in (box[1].start, box[1].stop)])
        pixels = (corners - offset) @ np.linalg.inv(matrix).T
        low = np.maximum(np.floor(pixels.min(0)).astype(int) - 1, 0)
        high = np.minimum(np.ceil(pixels.max(0)).astype(int) + 2, (self.pack.rows, self.pack.columns))
        if (high <= low).any():
            return None
        return slice(low[0], high[0]), slice(low[1], high[1])

    def sample(self, plane: np.ndarray, window: tuple[slice, slice], corner: tuple[int, int], mode: str) -> np.ndarray:
        """Return a plane of the drawing, whose first element is at `corner`, on the pixels of a window."""
        matrix, offset = self.plane()
        first = np.array([window[0].start, window[1].start])
        shape = (window[0].stop - window[0].start, window[1].stop - window[1].start)
        shifted = offset + matrix @ first - np.array(corner)
        return ndimage.affine_transform(
            plane, matrix, shifted, output_shape=shape, order=1, mode=mode, output=np.float32
        )
