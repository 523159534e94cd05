"""The planes of a series: what each frame's header says of its place, size and scale.

files -> headers, each instance once -> one `FramePlane` per frame: single-frame objects (classic CT, MR) state it at
their top level, multi-frame objects (Enhanced CT, MR) in functional groups, shared or per frame (PS3.3 C.7.6.16).

Nothing is compared here (`volume_geometry` does that) and no pixel is decoded (`volume` does that).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom import Dataset

from pipelines.contract import ContentRefused, FrameReference
from pipelines.imaging.instance import read_header
from pipelines.imaging.planar import identity_refusal

SHARED, PER_FRAME = "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"

DESCRIPTION_LENGTH = 40
"""Characters of a series description that a sentence quotes."""


@dataclass(frozen=True)
class FramePlane:
    """One frame of a series and what its header says of it; None where it says nothing usable.

    Attributes
    ----------
    path, header, index
        The file, its header without pixels, and the frame's 0-based number in it.
    position_mm
        Centre of the first pixel, patient coordinates (LPS).
    orientation
        Six direction cosines: along a row, then along a column.
    spacing_mm
        Between rows, then between columns.
    size
        Rows and columns.
    rescale
        Slope and intercept.
    """

    path: Path
    header: Dataset
    index: int
    reference: FrameReference
    position_mm: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    spacing_mm: tuple[float, ...] | None
    thickness_mm: float | None
    size: tuple[int, int]
    rescale: tuple[float, float]

    def value(self, keyword: str) -> Any:
        """What is said of this frame under a keyword, wherever it stands; None if nothing is."""
        return frame_value(self.header, self.index, keyword)


@dataclass(frozen=True)
class Planes:
    """All planes of one series in the order found, its name for sentences, and remarks about files left out."""

    name: str
    frames: tuple[FramePlane, ...]
    remarks: tuple[str, ...] = ()


def read_planes(paths: Sequence[Path]) -> Planes:
    """Read the headers of one series.

    Raises
    ------
    ContentRefused
        If there is no readable image, an instance cannot be referred to, or a multi-frame object says nothing about
        its frames.
    """
    headers: dict[str, tuple[Path, Dataset]] = {}
    repeated = 0
    for path in sorted(paths):
        header = read_header(path)
        reason = identity_refusal(header, path.name)
        if reason:
            raise ContentRefused(reason)
        uid = str(header.SOPInstanceUID)
        repeated += uid in headers
        headers.setdefault(uid, (path, header))
    if not headers:
        raise ContentRefused("The series holds no files.")
    name = series_name(next(iter(headers.values()))[1])
    multi_frame = [header for _, header in headers.values() if frame_count(header) > 1 or PER_FRAME in header]
    if multi_frame and len(headers) > 1:
        raise ContentRefused(
            f"{name} holds {len(headers)} objects of which {len(multi_frame)} have several frames; a volume is one "
            "such object or one image per slice."
        )
    frames = tuple(plane for path, header in headers.values() for plane in _planes(path, header, name))
    remark = f"{repeated} file(s) repeat an image of the series and were left out"
    return Planes(name, frames, (remark,) if repeated else ())


def series_name(header: Dataset) -> str:
    """Name a series as people know it: its number and description, or the end of its UID."""
    number = str(header.get("SeriesNumber", "") or "").strip()
    description = "".join(c for c in str(header.get("SeriesDescription", "") or "") if c.isprintable()).strip()
    quoted = f' "{description[:DESCRIPTION_LENGTH]}"' if description else ""
    if number or quoted:
        return f"Series{f' {number}' if number else ''}{quoted}"
    return f"The series whose UID ends in {str(header.SeriesInstanceUID)[-12:]}"


def frame_count(header: Dataset) -> int:
    """Return the number of frames of an object, 1 where it states none."""
    try:
        return max(1, int(header.get("NumberOfFrames", 1) or 1))
    except (TypeError, ValueError):
        return 1


def frame_value(header: Dataset, index: int, keyword: str) -> Any:
    """Return what a header says of one frame: per frame, else shared by all frames, else at its top level."""
    for group in _groups(header, index):
        for element in group:
            if element.VR != "SQ":
                continue
            for item in element.value or []:
                found = item.get(keyword)
                if _is_said(found):
                    return found
    found = header.get(keyword)
    return found if _is_said(found) else None


def numbers(value: Any, count: int) -> tuple[float, ...] | None:
    """Return `count` finite numbers, or None for anything else."""
    if value is None or isinstance(value, str):
        return None
    try:
        found = tuple(float(part) for part in ([value] if count == 1 and not hasattr(value, "__iter__") else value))
    except (TypeError, ValueError):
        return None
    return found if len(found) == count and all(math.isfinite(part) for part in found) else None


def _groups(header: Dataset, index: int) -> list[Dataset]:
    """Return the functional groups of one frame, its own before the shared ones."""
    per_frame, shared = header.get(PER_FRAME) or [], header.get(SHARED) or []
    return ([per_frame[index]] if index < len(per_frame) else []) + ([shared[0]] if shared else [])


def _planes(path: Path, header: Dataset, name: str) -> list[FramePlane]:
    count = frame_count(header)
    grouped = PER_FRAME in header
    if count > 1 and not grouped:
        raise ContentRefused(
            f"{name}: the {count} frames of {path.name} come without functional groups, so their places are unknown."
        )
    if grouped and len(header[PER_FRAME].value or []) < count:
        raise ContentRefused(f"{name}: {path.name} promises {count} frames and describes fewer.")
    size = (int(header.get("Rows", 0) or 0), int(header.get("Columns", 0) or 0))
    planes = []
    for index in range(count):
        number = index + 1 if grouped else None
        reference = FrameReference(str(header.SOPClassUID), str(header.SOPInstanceUID), number)
        thickness = numbers(frame_value(header, index, "SliceThickness"), 1)
        slope = numbers(frame_value(header, index, "RescaleSlope"), 1)
        intercept = numbers(frame_value(header, index, "RescaleIntercept"), 1)
        planes.append(
            FramePlane(
                path=path,
                header=header,
                index=index,
                reference=reference,
                position_mm=numbers(frame_value(header, index, "ImagePositionPatient"), 3),
                orientation=numbers(frame_value(header, index, "ImageOrientationPatient"), 6),
                spacing_mm=numbers(frame_value(header, index, "PixelSpacing"), 2),
                thickness_mm=thickness[0] if thickness and thickness[0] > 0 else None,
                size=size,
                # A slope of 0 would wipe the image out: some writers mean "none" by it.
                rescale=((slope[0] if slope else 0.0) or 1.0, intercept[0] if intercept else 0.0),
            )
        )
    return planes


def _is_said(value: Any) -> bool:
    """Tell a value from an empty one."""
    return value is not None and not (hasattr(value, "__len__") and len(value) == 0)
