"""Reconstructed SPECT: one multi-frame Nuclear Medicine object without functional groups -> planes with a place each.

Geometry stands in DetectorInformationSequence[0] (or, in some exports, at the top level): frame i lies at
ImagePositionPatient + (slice - 1) x SpacingBetweenSlices x (row x column). The spacing is SIGNED, negative in GE and
Mediso files, and the slice comes from SliceVector where it is there (PS3.3 C.8.4.9, C.8.4.15). Nothing is guessed: an
object that does not say where its frames lie is refused.

The planes then go through `volume_geometry.sort_stack` and `volume.read_volume` as those of any other volume.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydicom import Dataset

from pipelines.contract import ContentRefused, FrameReference
from pipelines.imaging.instance import read_header
from pipelines.imaging.planar import identity_refusal
from pipelines.imaging.volume_frames import FramePlane, Planes, frame_count, numbers, series_name

PLACE = ("ImagePositionPatient", "ImageOrientationPatient")


def read_spect_planes(paths: Sequence[Path]) -> Planes:
    """Read the header of a SPECT reconstruction.

    Raises
    ------
    ContentRefused
        If the series is not one multi-frame object, or does not state where its frames lie.
    """
    headers = [(path, read_header(path)) for path in sorted(paths)]
    for path, header in headers:
        if reason := identity_refusal(header, path.name):
            raise ContentRefused(reason)
    different = {str(header.SOPInstanceUID): (path, header) for path, header in headers}
    if not different:
        raise ContentRefused("The series holds no files.")
    path, header = next(iter(different.values()))
    name = series_name(header)
    if len(different) > 1:
        raise ContentRefused(
            f"{name} holds {len(different)} objects; a reconstructed SPECT is one object with all its slices."
        )
    positions, orientation = _places(header, name)
    size = (int(header.get("Rows", 0) or 0), int(header.get("Columns", 0) or 0))
    spacing = numbers(header.get("PixelSpacing"), 2)
    thickness = numbers(header.get("SliceThickness"), 1)
    slope, intercept = numbers(header.get("RescaleSlope"), 1), numbers(header.get("RescaleIntercept"), 1)
    frames = tuple(
        FramePlane(
            path=path,
            header=header,
            index=index,
            reference=FrameReference(str(header.SOPClassUID), str(header.SOPInstanceUID), index + 1),
            position_mm=(float(position[0]), float(position[1]), float(position[2])),
            orientation=orientation,
            spacing_mm=spacing,
            thickness_mm=thickness[0] if thickness and thickness[0] > 0 else None,
            size=size,
            rescale=((slope[0] if slope else 0.0) or 1.0, intercept[0] if intercept else 0.0),
        )
        for index, position in enumerate(positions)
    )
    return Planes(name, frames)


def _places(header: Dataset, name: str) -> tuple[np.ndarray, tuple[float, ...]]:
    """Return the position of each frame's first pixel, float64 (frame, 3), and the orientation of all."""
    count = frame_count(header)
    if count < 2:
        raise ContentRefused(f"{name} has a single frame; a reconstructed SPECT has one for each slice.")
    detectors = header.get("DetectorInformationSequence") or []
    holder = detectors[0] if detectors and PLACE[0] in detectors[0] else header
    origin, orientation = numbers(holder.get(PLACE[0]), 3), numbers(holder.get(PLACE[1]), 6)
    if origin is None or orientation is None:
        raise ContentRefused(
            f"{name} does not say where its slices lie (no {PLACE[0] if origin is None else PLACE[1]} in its detector "
            "information), so no result could be put on it; export the reconstruction with its geometry."
        )
    step = numbers(header.get("SpacingBetweenSlices"), 1)
    if step is None or step[0] == 0:
        raise ContentRefused(f"{name} has no SpacingBetweenSlices, so where its slices lie is unknown.")
    slices = _slices(header, count, name)
    normal = np.cross(orientation[:3], orientation[3:])
    return np.array(origin) + (slices - 1)[:, None] * step[0] * normal, orientation


def _slices(header: Dataset, count: int, name: str) -> np.ndarray:
    """1-based slice of each frame: SliceVector where it is there, else the frame's own number."""
    vector = header.get("SliceVector")
    if vector is None:
        return np.arange(1, count + 1)
    stated = numbers(vector if hasattr(vector, "__iter__") else [vector], count)
    if stated is None:
        raise ContentRefused(f"{name}: its SliceVector does not name a slice for each of its {count} frames.")
    return np.array(stated)
