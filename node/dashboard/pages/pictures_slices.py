"""The slices of a segmentation and of the images it was drawn on, read from the store for the viewer.

    SEG file + instances of the job's series --read_overlay--> frames of the source in their order, masks by frame
    one frame --grey--> uint8 picture;  --mask--> bool picture

A frame of the SEG names the source frame it belongs to (Derivation Image, PS3.3 C.7.6.16.2.6). It reads BINARY
segmentations, which is what this node writes; nothing here is computed anew.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset, dcmread

from node.dashboard.i18n import Text
from node.errors import PermanentError
from pipelines.contract import ContentRefused
from pipelines.imaging.instance import read_frames, read_stored

Opened = Callable[[str], AbstractContextManager[Path]]
"""Gives a local path for a storage key."""

PLACE_TAGS = ["ImagePositionPatient", "ImageOrientationPatient", "InstanceNumber", "NumberOfFrames", "PixelSpacing"]
KEY_FRAMES = 6
SAMPLES = 3
PERCENTILES = (0.5, 99.7)
NUCLEAR = ("NM", "PT")


class NoPictures(PermanentError):
    """The slices cannot be shown; `text` says why."""

    def __init__(self, text: Text) -> None:
        super().__init__(str(text))
        self.text = text


@dataclass(frozen=True)
class SourceFrame:
    """A frame of the source: its file, and its 0-based index within it. `label` is a view's name."""

    key: str
    index: int
    label: str = ""


@dataclass
class Overlay:
    """A segmentation on its source.

    frames: of the source, in the order of display. masks: (index into `frames`, segment) -> frame of the SEG.
    window: grey values shown as black and white. dark_is_high: as bone scans are read. stretch: height of a pixel
    over its width.
    """

    rows: int
    columns: int
    frames: tuple[SourceFrame, ...]
    masks: dict[tuple[int, int], int]
    bits: bytes = field(repr=False)
    window: tuple[float, float]
    dark_is_high: bool
    stretch: float

    def mask(self, frame: int, segment: int) -> np.ndarray | None:
        """The mask (rows, columns) of a segment on a frame; None where it has no pixel there."""
        number = self.masks.get((frame, segment))
        if number is None:
            return None
        size = self.rows * self.columns
        first = number * size
        packed = np.frombuffer(self.bits[first // 8 : (first + size + 7) // 8 + 1], np.uint8)
        bits = np.unpackbits(packed, bitorder="little")[first % 8 : first % 8 + size]
        return bits.reshape(self.rows, self.columns).astype(bool)

    def key_frames(self) -> list[int]:
        """Up to six frames with something on them, evenly over all such frames."""
        filled = sorted({frame for frame, _segment in self.masks}) or [len(self.frames) // 2]
        chosen = np.linspace(0, len(filled) - 1, min(KEY_FRAMES, len(filled)))
        return [filled[round(float(place))] for place in chosen]

    def fullest(self) -> int:
        """The frame with most segments on it, the middle one of several."""
        count: dict[int, int] = defaultdict(int)
        for frame, _segment in self.masks:
            count[frame] += 1
        best = [frame for frame, found in sorted(count.items()) if found == max(count.values())]
        return best[len(best) // 2] if best else len(self.frames) // 2


def read_overlay(seg_path: Path, keys: Mapping[str, str], opened: Opened) -> Overlay:
    """Read a SEG file and where its source frames lie.

    Parameters
    ----------
    keys
        SOP instance UID -> storage key of the instances that may be the source.

    Raises
    ------
    NoPictures
        If the source is no longer kept, or the segmentation is not one of this node's kind.
    """
    seg = dcmread(seg_path)
    if seg.get("SegmentationType") != "BINARY" or "PixelData" not in seg:
        raise NoPictures(Text("This segmentation is of a kind that the viewer does not read."))
    places = [_place(group) for group in seg.PerFrameFunctionalGroupsSequence]
    named = {uid for uid, _number, _segment, _label in places}
    for series in seg.get("ReferencedSeriesSequence", []):
        named |= {str(item.ReferencedSOPInstanceUID) for item in series.get("ReferencedInstanceSequence", [])}
    missing = named - set(keys)
    if missing or not named:
        raise NoPictures(Text("The images that this result was drawn on are no longer kept."))
    headers = {uid: _header(keys[uid], opened) for uid in named}
    frames, index_of = _source_frames(headers, keys, places)
    masks = {(index_of[uid, number], segment): n for n, (uid, number, segment, _label) in enumerate(places)}
    window, dark, stretch = _display(frames, opened)
    return Overlay(int(seg.Rows), int(seg.Columns), frames, masks, seg.PixelData, window, dark, stretch)


def grey(overlay: Overlay, frame: int, opened: Opened) -> np.ndarray:
    """A frame of the source as it is shown: uint8 (rows, columns)."""
    values = _values(overlay.frames[frame], opened)[0]
    low, high = overlay.window
    shown = np.clip((values - low) / max(high - low, 1e-6), 0.0, 1.0) * 255.0
    picture = shown.round().astype(np.uint8)
    return 255 - picture if overlay.dark_is_high else picture


def _place(group: Dataset) -> tuple[str, int, int, str]:
    """(SOP instance UID, 0-based frame, segment number, label) of a frame of the SEG."""
    image = group.DerivationImageSequence[0].SourceImageSequence[0]
    number = image.get("ReferencedFrameNumber")
    first = number if isinstance(number, int) or number is None else number[0]
    segment = int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
    label = str(group.FrameContentSequence[0].get("FrameLabel", ""))
    return str(image.ReferencedSOPInstanceUID), 0 if first is None else int(first) - 1, segment, label


def _header(key: str, opened: Opened) -> Dataset:
    try:
        with opened(key) as path:
            return dcmread(path, stop_before_pixels=True, specific_tags=[*PLACE_TAGS])
    except FileNotFoundError as error:
        raise NoPictures(Text("The images that this result was drawn on are no longer kept.")) from error


def _source_frames(
    headers: Mapping[str, Dataset], keys: Mapping[str, str], places: list[tuple[str, int, int, str]]
) -> tuple[tuple[SourceFrame, ...], dict[tuple[str, int], int]]:
    """All frames of the source in the order of display, and the place of each."""
    labels = {(uid, number): label for uid, number, _segment, label in places if label}
    ordered = sorted(headers, key=lambda uid: (_along(headers[uid]), int(headers[uid].get("InstanceNumber") or 0), uid))
    frames: list[SourceFrame] = []
    index_of: dict[tuple[str, int], int] = {}
    for uid in ordered:
        for number in range(int(headers[uid].get("NumberOfFrames") or 1)):
            index_of[uid, number] = len(frames)
            frames.append(SourceFrame(keys[uid], number, labels.get((uid, number), "")))
    return tuple(frames), index_of


def _along(header: Dataset) -> float:
    """Where a slice lies along the normal of its plane, in mm; 0 where that is not said."""
    position, orientation = header.get("ImagePositionPatient"), header.get("ImageOrientationPatient")
    if not position or not orientation or len(orientation) != 6:
        return 0.0
    cosines = np.asarray(orientation, float)
    return float(np.dot(np.cross(cosines[:3], cosines[3:]), np.asarray(position, float)))


def _values(frame: SourceFrame, opened: Opened) -> tuple[np.ndarray, Dataset]:
    """Values of a frame, float32 (rows, columns), and the header of its file."""
    try:
        with opened(frame.key) as path:
            dataset, values = read_stored(path)
            if dataset.get("Modality") in NUCLEAR:
                return read_frames(path).values[frame.index], dataset
    except FileNotFoundError as error:
        raise NoPictures(Text("The images that this result was drawn on are no longer kept.")) from error
    except ContentRefused as error:
        raise NoPictures(Text("The images that this result was drawn on cannot be decoded.")) from error
    slope, intercept = dataset.get("RescaleSlope") or 1.0, dataset.get("RescaleIntercept") or 0.0
    return values[frame.index] * float(slope) + float(intercept), dataset


def _display(frames: tuple[SourceFrame, ...], opened: Opened) -> tuple[tuple[float, float], bool, float]:
    """Window, whether dark is high, and the stretch of a pixel; from the header, else from a few frames."""
    chosen = sorted({round(float(place)) for place in np.linspace(0, len(frames) - 1, min(SAMPLES + 2, len(frames)))})
    if len(chosen) > SAMPLES:
        chosen = chosen[1:-1]
    samples = [_values(frames[number], opened) for number in chosen]
    header = samples[len(samples) // 2][1]
    spacing = header.get("PixelSpacing")
    stretch = float(spacing[0]) / float(spacing[1]) if spacing and float(spacing[1]) > 0 else 1.0
    nuclear = header.get("Modality") in NUCLEAR
    stated = None if nuclear else _stated_window(header)
    if stated is None:
        low, high = np.percentile(np.stack([values for values, _header in samples]), PERCENTILES)
        stated = (0.0, max(float(high), 1.0)) if nuclear else (float(low), float(high))
    dark = nuclear and int(header.get("NumberOfFrames") or 1) <= 4
    return stated, dark, stretch


def _stated_window(header: Dataset) -> tuple[float, float] | None:
    def first(value: Any) -> float:
        return float(value[0] if hasattr(value, "__iter__") and not isinstance(value, str) else value)

    try:
        centre, width = first(header.WindowCenter), first(header.WindowWidth)
    except (AttributeError, TypeError, ValueError, IndexError):
        return None
    return (centre - width / 2, centre + width / 2) if width > 1 else None
