"""Volumes: the files of one series -> voxels in one orientation for every scanner, with the exact way back.

files -> `volume_frames` (headers) -> `volume_geometry` (a sorted stack, or a refusal) -> `read_volume`: pixels decoded,
scaled, turned so that the axes run as asked for. `Volume.grid` turns a mask back to the source's own frames; nothing
is resampled on either way. One image per slice and one multi-frame object are read alike.

Knows CT and MR by nothing but their geometry, and that MR alone is turned round where it is MONOCHROME1: whether a
series is the right one is asked elsewhere, on the `Stack`, before pixels are decoded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import permutations
from pathlib import Path

import numpy as np
from pydicom import Dataset

from pipelines.contract import ContentRefused, SourceSeries
from pipelines.imaging.instance import read_pixels
from pipelines.imaging.volume_frames import read_planes
from pipelines.imaging.volume_geometry import Stack, sort_stack

DIRECTIONS = {
    "L": (1.0, 0.0, 0.0), "R": (-1.0, 0.0, 0.0),
    "P": (0.0, 1.0, 0.0), "A": (0.0, -1.0, 0.0),
    "H": (0.0, 0.0, 1.0), "F": (0.0, 0.0, -1.0),
}  # fmt: skip
"""DICOM's letters for directions in the patient (PS3.3 C.7.6.1.1.1) as unit vectors in LPS coordinates."""

SAGITTAL_AXES = ("L", "F", "P")
"""Slices from the patient's right to the left, rows from superior to inferior, columns from anterior to posterior."""


@dataclass(frozen=True)
class GridMap:
    """How an array's axes lie in the source's frames: axis i is source axis `axes[i]`, from its end if `turned[i]`.

    Source axes are (frame, row, column), frames in the order of the stack.
    """

    axes: tuple[int, int, int]
    turned: tuple[bool, bool, bool]

    def from_source(self, array: np.ndarray) -> np.ndarray:
        """Turn an array on the source's grid into this orientation (contiguous copy)."""
        return np.ascontiguousarray(np.flip(array.transpose(self.axes), self._turned_axes))

    def to_source(self, array: np.ndarray) -> np.ndarray:
        """Turn an array in this orientation back onto the source's grid (contiguous copy)."""
        inverse = tuple(int(axis) for axis in np.argsort(self.axes))
        return np.ascontiguousarray(np.flip(array, self._turned_axes).transpose(inverse))

    def source_axis(self, axis: int) -> int:
        """Return which source axis an axis is."""
        return self.axes[axis]

    @property
    def _turned_axes(self) -> tuple[int, ...]:
        return tuple(axis for axis in range(3) if self.turned[axis])


@dataclass(frozen=True)
class Volume:
    """Voxels in the orientation asked for.

    Attributes
    ----------
    values
        float32, (axis 0, axis 1, axis 2), rescaled; on MR more is brighter, whatever MONOCHROME1 says.
    spacing_mm
        Per axis, centre to centre.
    origin_mm
        Centre of voxel (0, 0, 0), patient coordinates (LPS).
    directions
        (3, 3): row i is the unit vector along axis i, patient coordinates.
    grid
        The way back to the source's frames.
    stack
        The source's planes, sorted.
    """

    values: np.ndarray
    spacing_mm: tuple[float, float, float]
    origin_mm: np.ndarray
    directions: np.ndarray
    grid: GridMap
    stack: Stack

    @property
    def name(self) -> str:
        return self.stack.name

    @property
    def header(self) -> Dataset:
        """Header of the first source instance."""
        return self.stack.frames[0].header

    @cached_property
    def source(self) -> SourceSeries:
        """The source series, its frames in the order of `grid.to_source`'s first axis."""
        headers: dict[str, Dataset] = {}
        for frame in self.stack.frames:
            headers.setdefault(frame.reference.sop_instance_uid, frame.header)
        return SourceSeries(tuple(headers.values()), tuple(frame.reference for frame in self.stack.frames))

    def patient_mm(self, voxels: np.ndarray) -> np.ndarray:
        """Patient coordinates (LPS) of voxel indices, (n, 3) along the axes of `values`."""
        return self.origin_mm + (np.asarray(voxels) * self.spacing_mm) @ self.directions


def read_stack(paths: Sequence[Path]) -> Stack:
    """Read the headers of one series and sort its planes; no pixel is decoded.

    Raises
    ------
    ContentRefused
        With a sentence, if the series is no volume.
    """
    return sort_stack(read_planes(paths))


def read_volume(stack: Stack, axes: tuple[str, str, str] = SAGITTAL_AXES) -> Volume:
    """Decode a stack and turn it.

    Parameters
    ----------
    stack
        From `read_stack`.
    axes
        Letters of the directions in which the three axes shall run; an oblique stack gets the nearest orientation.

    Raises
    ------
    ContentRefused
        If pixels cannot be decoded or are not of the size that the headers promise.
    """
    grid = orient(stack, axes)
    vectors = _source_vectors(stack)
    spacing = (stack.step_mm, *stack.spacing_mm)
    shape = (len(stack.frames), *stack.frames[0].size)
    origin = np.array(stack.frames[0].position_mm, dtype=np.float64)
    for axis, turned in zip(grid.axes, grid.turned, strict=True):
        if turned:
            origin = origin + (shape[axis] - 1) * spacing[axis] * vectors[axis]
    signs = np.where(grid.turned, -1.0, 1.0)
    return Volume(
        values=grid.from_source(_decode(stack)),
        spacing_mm=(spacing[grid.axes[0]], spacing[grid.axes[1]], spacing[grid.axes[2]]),
        origin_mm=origin,
        directions=vectors[list(grid.axes)] * signs[:, None],
        grid=grid,
        stack=stack,
    )


def orient(stack: Stack, axes: tuple[str, str, str] = SAGITTAL_AXES) -> GridMap:
    """Choose the permutation and the turns that bring a stack's axes nearest to the directions wanted.

    Raises
    ------
    ValueError
        If `axes` are not three directions at right angles.
    """
    wanted = np.array([DIRECTIONS[letter] for letter in axes])
    if abs(np.linalg.det(wanted)) < 0.5:
        raise ValueError(f"{axes} are not three directions at right angles")
    cosines = wanted @ _source_vectors(stack).T
    best = max(permutations(range(3)), key=lambda order: sum(abs(cosines[i, order[i]]) for i in range(3)))
    turned = [bool(cosines[i, best[i]] < 0) for i in range(3)]
    return GridMap((best[0], best[1], best[2]), (turned[0], turned[1], turned[2]))


def tilt_deg(orientation: Sequence[float], direction: str) -> float:
    """Angle between the normal of a plane (six direction cosines) and a direction of the patient, 0 to 90 degrees."""
    normal = np.cross(orientation[:3], orientation[3:])
    cosine = abs(float(normal @ np.array(DIRECTIONS[direction]))) / max(float(np.linalg.norm(normal)), 1e-9)
    return float(np.degrees(np.arccos(min(1.0, cosine))))


def _source_vectors(stack: Stack) -> np.ndarray:
    """Unit vectors along the source's axes (frame, row, column): a row's number grows down the column."""
    vectors = np.array([stack.normal, stack.orientation[3:], stack.orientation[:3]])
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _decode(stack: Stack) -> np.ndarray:
    """Return the stack's pixels, float32 (frame, row, column), rescaled; MONOCHROME1 is turned round on MR alone.

    Photometric interpretation is about display: Hounsfield units and counts mean the same whichever way they are shown,
    while MR has no scale of its own, and a pipeline expects more to be brighter.
    """
    rows, columns = stack.frames[0].size
    values = np.empty((len(stack.frames), rows, columns), dtype=np.float32)
    decoded: dict[Path, np.ndarray] = {}
    for number, frame in enumerate(stack.frames):
        if frame.path not in decoded:
            # One object at a time: a series of single frames needs one in memory, a multi-frame object comes once.
            decoded = {frame.path: read_pixels(frame.path)}
        planes = decoded[frame.path]
        if frame.index >= len(planes) or planes.shape[1:] != (rows, columns):
            raise ContentRefused(
                f"{stack.name}: the pixels of {frame.path.name} are not of the size that its header promises."
            )
        slope, intercept = frame.rescale
        values[number] = planes[frame.index] * np.float32(slope) + np.float32(intercept)
        if not np.isfinite(values[number]).all():
            raise ContentRefused(f"{stack.name}: the pixel values are not finite numbers.")
    interpretation, modality = (
        str(stack.frames[0].header.get(key, "") or "").strip().upper()
        for key in ("PhotometricInterpretation", "Modality")
    )
    if interpretation == "MONOCHROME1" and modality == "MR":
        np.subtract(values.max(), values, out=values)
    return values
