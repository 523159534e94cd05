"""Where the planes of a volumetric source lie in patient space.

Three layouts are read: one instance per slice (CT, MR), functional groups (enhanced CT, MR), and nuclear medicine
reconstructions, which have neither: one position and orientation in DetectorInformationSequence[0], frame i at
IPP + (slice - 1) * SpacingBetweenSlices * (row x column), where the spacing is *signed* (PS3.3 C.8.4.15.1; negative
in GE and Mediso files) and the slice comes from SliceVector. Nothing is guessed: what is not stated is an error.
"""

from __future__ import annotations

from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
from pydicom import Dataset
from pydicom.config import disable_value_validation

from node.errors import PermanentError
from node.results.uids import frame_of_reference_uid
from pipelines.contract import SourceSeries

ORIENTATION_TOLERANCE = 1e-4
"""Largest difference of direction cosines that still counts as one orientation: scanners round to 4 to 6 digits."""

SAME_PLACE_MM = 1e-3
"""Two planes nearer than this along the normal are the same plane."""


@dataclass(frozen=True)
class PlaneGeometry:
    """Planes of one series, all parallel.

    Attributes
    ----------
    positions_mm
        float64 (frame, 3): centre of each plane's first pixel, patient coordinates (LPS), in the order of the
        source's frames.
    orientation
        Six direction cosines: along a row, then along a column (ImageOrientationPatient).
    pixel_spacing_mm
        Between rows, then between columns (PixelSpacing).
    slice_thickness_mm
        None where the source says nothing usable.
    """

    positions_mm: np.ndarray
    orientation: tuple[float, ...]
    pixel_spacing_mm: tuple[float, float]
    slice_thickness_mm: float | None
    frame_of_reference_uid: str

    @property
    def normal(self) -> np.ndarray:
        """Unit vector row x column."""
        return np.cross(self.orientation[:3], self.orientation[3:])

    @property
    def spacing_mm(self) -> float | None:
        """Distance between neighbouring planes, always positive; None for a single plane."""
        if len(self.positions_mm) < 2:
            return None
        return float(np.median(np.diff(np.sort(self.positions_mm @ self.normal))))


_READ: WeakKeyDictionary[SourceSeries, PlaneGeometry] = WeakKeyDictionary()


def plane_geometry(source: SourceSeries) -> PlaneGeometry:
    """Return the geometry of a volumetric source, read once: a segmentation and each panel of its picture ask for it.

    Raises
    ------
    PermanentError
        If position, orientation or spacing are missing, planes are not parallel, or two of them coincide.
    """
    if source not in _READ:
        _READ[source] = _read_geometry(source)
    return _READ[source]


def _read_geometry(source: SourceSeries) -> PlaneGeometry:
    first = source.headers[0]
    if source.frames[0].frame_number is None:
        positions, orientations, plane = _from_instances(source)
    elif "PerFrameFunctionalGroupsSequence" in first:
        positions, orientations, plane = _from_functional_groups(source)
    else:
        positions, orientations, plane = _from_detector(source)
    _check(positions, orientations)
    spacing = numbers(plane, "PixelSpacing", 2)
    if spacing is None or min(spacing) <= 0:
        raise PermanentError("the source has no usable PixelSpacing, so a segmentation cannot be placed on it")
    thickness = numbers(plane, "SliceThickness", 1)
    frame_of_reference = str(first.get("FrameOfReferenceUID") or "").strip()
    return PlaneGeometry(
        positions_mm=positions,
        orientation=tuple(float(v) for v in orientations[0]),
        pixel_spacing_mm=(spacing[0], spacing[1]),
        slice_thickness_mm=thickness[0] if thickness and thickness[0] > 0 else None,
        frame_of_reference_uid=frame_of_reference or frame_of_reference_uid(source.series_instance_uid),
    )


def _from_instances(source: SourceSeries) -> tuple[np.ndarray, np.ndarray, Dataset]:
    if len(source.headers) != len(source.frames):
        raise PermanentError(
            f"{len(source.frames)} planes were segmented on {len(source.headers)} single-frame source images"
        )
    positions, orientations = [], []
    for header in source.headers:
        positions.append(_demand(header, "ImagePositionPatient", 3))
        orientations.append(_demand(header, "ImageOrientationPatient", 6))
    return np.array(positions), np.array(orientations), source.headers[0]


def _from_functional_groups(source: SourceSeries) -> tuple[np.ndarray, np.ndarray, Dataset]:
    header = source.headers[0]
    shared = header.get("SharedFunctionalGroupsSequence", [Dataset()])[0]
    positions, orientations = [], []
    for frame in source.frames:
        group = header.PerFrameFunctionalGroupsSequence[(frame.frame_number or 1) - 1]
        positions.append(_demand(_macro(group, shared, "PlanePositionSequence"), "ImagePositionPatient", 3))
        orientations.append(_demand(_macro(group, shared, "PlaneOrientationSequence"), "ImageOrientationPatient", 6))
    first = header.PerFrameFunctionalGroupsSequence[(source.frames[0].frame_number or 1) - 1]
    return np.array(positions), np.array(orientations), _macro(first, shared, "PixelMeasuresSequence")


def _from_detector(source: SourceSeries) -> tuple[np.ndarray, np.ndarray, Dataset]:
    header = source.headers[0]
    detectors = header.get("DetectorInformationSequence")
    holder = detectors[0] if detectors and "ImagePositionPatient" in detectors[0] else header
    origin = np.array(_demand(holder, "ImagePositionPatient", 3))
    orientation = np.array(_demand(holder, "ImageOrientationPatient", 6))
    slices = np.array([_slice_number(header, frame.frame_number or 1) for frame in source.frames])
    step = numbers(header, "SpacingBetweenSlices", 1)
    if step is None or step[0] == 0:
        if len(slices) > 1:
            raise PermanentError(
                "the source has no SpacingBetweenSlices, so its frames have no known place and no segmentation "
                "can be written on them"
            )
        step = [0.0]
    normal = np.cross(orientation[:3], orientation[3:])
    positions = origin + (slices - 1)[:, None] * step[0] * normal
    return positions, np.tile(orientation, (len(slices), 1)), header


def _slice_number(header: Dataset, frame_number: int) -> int:
    """1-based slice of a frame: SliceVector (0054,0080) where it is there, else the frame's own number."""
    vector = header.get("SliceVector")
    if vector is None:
        return frame_number
    slices = [int(v) for v in (vector if hasattr(vector, "__iter__") else [vector])]
    return slices[frame_number - 1] if frame_number <= len(slices) else frame_number


def _check(positions: np.ndarray, orientations: np.ndarray) -> None:
    if np.abs(orientations - orientations[0]).max() > ORIENTATION_TOLERANCE:
        raise PermanentError("the source planes are not parallel, so they are no volume a segmentation can be put on")
    row, column = orientations[0][:3], orientations[0][3:]
    if abs(np.linalg.norm(row) - 1) > 1e-2 or abs(np.linalg.norm(column) - 1) > 1e-2 or abs(row @ column) > 1e-2:
        raise PermanentError("the source's ImageOrientationPatient is not two perpendicular unit vectors")
    along = np.sort(positions @ np.cross(row, column))
    if len(along) > 1 and np.diff(along).min() < SAME_PLACE_MM:
        raise PermanentError(
            "two source planes lie at the same place (a dynamic or gated series?), so a segmentation on them "
            "would be ambiguous"
        )


def _macro(group: Dataset, shared: Dataset, keyword: str) -> Dataset:
    sequence = group.get(keyword) or shared.get(keyword)
    return sequence[0] if sequence else Dataset()


def _demand(holder: Dataset, keyword: str, count: int) -> list[float]:
    found = numbers(holder, keyword, count)
    if found is None:
        raise PermanentError(
            f"the source has no {keyword}, so its place in the patient is unknown and no segmentation can be "
            "written on it"
        )
    return found


def numbers(holder: Dataset, keyword: str, count: int) -> list[float] | None:
    """The `count` finite numbers of an attribute, or None where it holds anything else."""
    try:
        with disable_value_validation():
            value = holder.get(keyword)
        if value is None or str(value) == "":
            return None
        found = [float(item) for item in ([value] if count == 1 else list(value))]
    except (TypeError, ValueError):
        return None
    return found if len(found) == count and bool(np.isfinite(found).all()) else None
