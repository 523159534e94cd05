"""Are these planes a volume? Sorted along their normal if so, one sentence that says why not otherwise.

planes -> one orientation, one size, one spacing, one frame of reference -> one image per place -> places on a line
along the normal, evenly spaced -> `Stack`. Pure decisions on header values. The order of files, file names and
instance numbers mean nothing here: only positions do.

Nothing is repaired: a gap is not filled, tilted slices are not sheared back, a second echo is not dropped. A wrong
overlay costs more than a refused series.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.contract import ContentRefused
from pipelines.imaging.volume_frames import FramePlane, Planes

ORIENTATION_TOLERANCE = 1e-4
"""Largest difference of direction cosines within one orientation: scanners round to 4 to 6 digits. The results are
written with the same tolerance, so what is read here can be written."""

SAME_PLACE_MM = 0.02
"""Planes nearer than this along the normal are several images of one place."""

UNEVEN_PART = 0.05
"""Steps may differ from their median by this part of it; rounded positions differ by less, missing slices by 1."""

SHEAR_PART = 0.02
SHEAR_MM = 0.1
"""How far the planes' corners may drift sideways, as a part of their way along the normal (1 degree) and at least:
rounded positions stay below, a gantry tilt or slices that follow an oblique line go far beyond."""

PERPENDICULAR_TOLERANCE = 1e-2
"""Direction cosines may miss unit length and right angles by this much."""

TELLING_ATTRIBUTES = (
    ("EchoTime", "several echoes"),
    ("EffectiveEchoTime", "several echoes"),
    ("EchoNumbers", "several echoes"),
    ("InversionTime", "several inversion times"),
    ("TemporalPositionIdentifier", "several points in time"),
    ("TemporalPositionIndex", "several points in time"),
    ("DiffusionBValue", "several diffusion weightings"),
    ("StackID", "several stacks"),
    ("ImageType", "several kinds of image, such as water and fat"),
    ("FrameType", "several kinds of image, such as water and fat"),
    ("AcquisitionNumber", "several acquisitions"),
    ("TriggerTime", "several phases"),
    ("ConvolutionKernel", "several reconstructions"),
)
"""What tells images of one place apart, the most telling first, and what it means for a reader."""


@dataclass(frozen=True)
class Stack:
    """Planes of a volume in the order of their places along the normal.

    Attributes
    ----------
    frames
        Sorted so that positions grow along row x column.
    orientation
        Six direction cosines: along a row, then along a column.
    step_mm
        Distance between neighbouring planes' centres, positive.
    """

    name: str
    frames: tuple[FramePlane, ...]
    orientation: tuple[float, ...]
    spacing_mm: tuple[float, float]
    step_mm: float
    remarks: tuple[str, ...] = ()

    @property
    def normal(self) -> np.ndarray:
        """Unit vector row x column."""
        return _normal(self.orientation)

    @property
    def extent_mm(self) -> tuple[float, float, float]:
        """Extent along the normal, down the rows and across the columns."""
        rows, columns = self.frames[0].size
        return len(self.frames) * self.step_mm, rows * self.spacing_mm[0], columns * self.spacing_mm[1]


def sort_stack(planes: Planes) -> Stack:
    """Sort planes into a stack.

    Raises
    ------
    ContentRefused
        With the series' name and why it is no volume.
    """
    frames, name = planes.frames, planes.name
    orientation = _one_orientation(frames, name)
    _refuse_mixed_formats(frames, name)
    normal = _normal(orientation)
    positions = _positions(frames, name)
    along = positions @ normal
    order = np.argsort(along, kind="stable")
    _refuse_shared_places([frames[i] for i in order], along[order], name)
    if len(frames) < 2:
        raise ContentRefused(f"{name} has a single slice; a volume has at least two.")
    _refuse_shear(positions[order], normal, name)
    step_mm = _even_step(along[order], name)
    spacing = frames[0].spacing_mm
    assert spacing is not None  # _refuse_mixed_formats asked for it
    return Stack(name, tuple(frames[i] for i in order), orientation, (spacing[0], spacing[1]), step_mm, planes.remarks)


def _refuse_mixed_formats(frames: Sequence[FramePlane], name: str) -> None:
    sizes = sorted({frame.size for frame in frames})
    if min(min(size) for size in sizes) < 1:
        raise ContentRefused(f"{name} holds objects without rows and columns.")
    if len(sizes) > 1:
        listed = ", ".join(f"{columns} x {rows}" for rows, columns in sizes[:3])
        raise ContentRefused(f"{name} mixes images of different sizes ({listed} pixels).")
    spacings = [frame.spacing_mm for frame in frames]
    if any(spacing is None or min(spacing) <= 0 for spacing in spacings):
        raise ContentRefused(f"{name} has no usable pixel spacing, so nothing in it can be measured.")
    if np.ptp(np.array(spacings), axis=0).max() > 1e-3 * min(frames[0].spacing_mm or (1.0,)):
        raise ContentRefused(f"{name} mixes images of different pixel spacings.")
    references = {str(frame.header.get("FrameOfReferenceUID", "") or "") for frame in frames}
    if len(references) > 1:
        raise ContentRefused(
            f"{name} mixes {len(references)} frames of reference: the patient was positioned anew in between."
        )


def _one_orientation(frames: Sequence[FramePlane], name: str) -> tuple[float, ...]:
    if any(frame.orientation is None for frame in frames):
        raise ContentRefused(f"{name} has images without an orientation (ImageOrientationPatient).")
    found: list[tuple[float, ...]] = []
    for frame in frames:
        assert frame.orientation is not None
        if not any(np.abs(np.subtract(frame.orientation, other)).max() <= ORIENTATION_TOLERANCE for other in found):
            found.append(frame.orientation)
    if len(found) > 1:
        raise ContentRefused(
            f"{name} mixes {len(found)} orientations up to {_widest_angle_deg(found):.0f} degrees apart: several "
            "stacks, or slices that follow the discs, are no volume."
        )
    row, column = np.array(found[0][:3]), np.array(found[0][3:])
    off = max(abs(np.linalg.norm(row) - 1), abs(np.linalg.norm(column) - 1), abs(row @ column))
    if off > PERPENDICULAR_TOLERANCE:
        raise ContentRefused(f"{name}: ImageOrientationPatient is not two perpendicular unit vectors.")
    return frames[0].orientation or ()


def _widest_angle_deg(orientations: Sequence[tuple[float, ...]]) -> float:
    normals = np.array([_normal(orientation) for orientation in orientations])
    cosine = np.abs(normals @ normals.T).min()
    rows = np.array([orientation[:3] for orientation in orientations])
    # Planes turned within themselves share a normal; then the angle between their rows is what differs.
    return float(np.degrees(np.arccos(np.clip(min(cosine, np.abs(rows @ rows.T).min()), -1.0, 1.0))))


def _positions(frames: Sequence[FramePlane], name: str) -> np.ndarray:
    if any(frame.position_mm is None for frame in frames):
        raise ContentRefused(f"{name} has images without a position (ImagePositionPatient).")
    return np.array([frame.position_mm for frame in frames], dtype=np.float64)


def _refuse_shared_places(frames: Sequence[FramePlane], along: np.ndarray, name: str) -> None:
    shared = np.flatnonzero(np.diff(along) < SAME_PLACE_MM)
    if shared.size == 0:
        return
    places = len(along) - len(shared)
    what = _difference(frames[int(shared[0])], frames[int(shared[0]) + 1])
    raise ContentRefused(f"{name} has {len(along)} images at {places} place(s): {what}; send one image per slice.")


def _difference(one: FramePlane, other: FramePlane) -> str:
    """Say what tells two images of one place apart."""
    for keyword, meaning in TELLING_ATTRIBUTES:
        first, second = (_text(frame.value(keyword)) for frame in (one, other))
        if first != second:
            return f"{meaning} ({keyword} {first or 'absent'} and {second or 'absent'})"
    return "the same place was imaged or sent more than once"


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, (str, int, float)):
        return str(value)
    return "\\".join(map(str, value)) if hasattr(value, "__iter__") else str(value)


def _refuse_shear(positions: np.ndarray, normal: np.ndarray, name: str) -> None:
    offsets = positions - positions[0]
    sideways = offsets - (offsets @ normal)[:, None] * normal
    drift_mm = float(np.linalg.norm(sideways, axis=1).max())
    span_mm = float(offsets[-1] @ normal)
    if drift_mm > max(SHEAR_MM, SHEAR_PART * span_mm):
        angle = float(np.degrees(np.arctan2(drift_mm, span_mm)))
        raise ContentRefused(
            f"{name}: its slices do not lie one behind the other but {drift_mm:.1f} mm off to the side, as under a "
            f"tilted gantry ({angle:.0f} degrees); reformat it to an upright stack."
        )


def _even_step(along: np.ndarray, name: str) -> float:
    steps = np.diff(along)
    step_mm = float(np.median(steps)) if len(steps) > 2 else float(steps.min())
    worst = int(np.abs(steps - step_mm).argmax())
    if abs(steps[worst] - step_mm) <= UNEVEN_PART * step_mm:
        return float(along[-1] - along[0]) / len(steps)
    missing = round(float(steps[worst]) / step_mm) - 1
    whole = missing > 0 and abs(steps[worst] - (missing + 1) * step_mm) <= UNEVEN_PART * step_mm
    why = f"{missing} slice(s) are missing there" if whole else "the slices are unevenly spaced"
    raise ContentRefused(
        f"{name}: slices {worst + 1} and {worst + 2} lie {steps[worst]:.1f} mm apart where the others are "
        f"{step_mm:.1f} mm apart; {why}."
    )


def _normal(orientation: Sequence[float]) -> np.ndarray:
    normal = np.cross(orientation[:3], orientation[3:])
    length = float(np.linalg.norm(normal))
    return normal / length if length else normal
