"""Findings: what a pipeline found, in the terms of DICOM but free of any DICOM object to write.

A pipeline returns one `Findings`; `node.results` turns it into SEG, Structured Report and secondary capture.
Codes are pydicom's `Code(value, scheme_designator, meaning)`.

Conventions
-----------
* A label map has the axes (frame, row, column) of the *source* series, at its own size: pipelines map their masks
  back to the source grid before they return. Frame order is `SourceSeries.frames`.
* Contour points are (column, row) in pixels with the centre of the first pixel at (0.5, 0.5) (PS3.3 C.18.6).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from pydicom import Dataset
from pydicom.sr.coding import Code

RESEARCH_USE = "Research use"
"""Said in every object; with what it was trained on short enough for a 64-character attribute."""

Box = tuple[slice, slice, slice]
"""Frames, rows and columns of a part of a label map."""


@dataclass(frozen=True)
class FrameReference:
    """One frame of the source: which instance and, for a multi-frame object, which frame (1-based)."""

    sop_class_uid: str
    sop_instance_uid: str
    frame_number: int | None = None


@dataclass(frozen=True, eq=False)
class SourceSeries:
    """The series a result is drawn on; one is equal to itself alone, so that what was read of it can be remembered.

    Attributes
    ----------
    headers
        One header per source instance, without PixelData, in the order of the frames.
    frames
        One reference per plane of the label map, in its order.
    planar
        True for projections (whole-body scans): there is no volume and no place in patient space.
    view_names
        For planar sources a name per frame ("anterior", "posterior"); empty otherwise.
    """

    headers: tuple[Dataset, ...]
    frames: tuple[FrameReference, ...]
    planar: bool = False
    view_names: tuple[str, ...] = ()

    @property
    def series_instance_uid(self) -> str:
        return str(self.headers[0].SeriesInstanceUID)


@dataclass(frozen=True)
class Segment:
    """One segment of a segmentation.

    `tracking_id` is unique within the Findings and stable from run to run; the tracking UID is derived from it and from
    `Findings.numbering`.
    `colour_rgb` is the recommended display colour, 0 to 255 each. `laterality` is given for a structure that exists on
    either side (CID 244).
    """

    number: int
    label: str
    category: Code
    type: Code
    tracking_id: str
    colour_rgb: tuple[int, int, int]
    description: str = ""
    anatomic_region: Code | None = None
    laterality: Code | None = None

    def __post_init__(self) -> None:
        if self.number < 1:
            raise ValueError(f"segment numbers start at 1, got {self.number}")


@dataclass(frozen=True)
class Segmentation:
    """Exclusive segments on the grid of one source series.

    Attributes
    ----------
    label_map
        uint8 or uint16, (frame, row, column): 0 is background, n is the segment of that number.
        Several segments may share a frame; a segment without any voxel is dropped by its writer.
    display
        uint8, same shape: the source as a person would look at it (already windowed), for pictures.
    display_inverted
        True where a reader expects dark for high (bone scans).
    key_frames
        0-based frames worth a picture, most important first.
    key_overlays
        Another modality on each key frame, uint8 (row, column), 255 for its highest; empty for none. Pictures show it
        beside the frame and laid over it, under the name `overlay_name`.
    """

    source: SourceSeries
    label_map: np.ndarray
    segments: tuple[Segment, ...]
    display: np.ndarray
    display_inverted: bool = False
    key_frames: tuple[int, ...] = ()
    key_overlays: tuple[np.ndarray, ...] = ()
    overlay_name: str = ""

    def __post_init__(self) -> None:
        if self.key_overlays and len(self.key_overlays) != len(self.key_frames):
            raise ValueError("there must be one overlay for each key frame, or none")
        if any(o.shape != self.label_map.shape[1:] or o.dtype != np.uint8 for o in self.key_overlays):
            raise ValueError("overlays must be uint8 and of a frame's shape")
        if self.label_map.dtype not in (np.uint8, np.uint16):
            raise TypeError(f"label map must be uint8 or uint16, got {self.label_map.dtype}")
        if self.label_map.ndim != 3 or self.label_map.shape[0] != len(self.source.frames):
            raise ValueError(f"label map {self.label_map.shape} does not have {len(self.source.frames)} frames")
        if self.display.shape != self.label_map.shape or self.display.dtype != np.uint8:
            raise ValueError("display must be uint8 and of the label map's shape")
        numbers = [s.number for s in self.segments]
        if len(set(numbers)) != len(numbers):
            raise ValueError("segment numbers repeat")
        unknown = set(self.boxes) - set(numbers)
        if unknown:
            raise ValueError(f"label map holds values without a segment: {sorted(unknown)}")

    @cached_property
    def boxes(self) -> dict[int, Box]:
        """The part of the label map that holds each segment, by number; without those that have no voxel.

        Looked for once: with many segments on a long series, comparing the whole map for each of them takes minutes.
        """
        from scipy import ndimage  # the listener imports this module and never needs it

        found = ndimage.find_objects(self.label_map)
        return {number: (box[0], box[1], box[2]) for number, box in enumerate(found, 1) if box is not None}

    def pixels_by_frame(self, number: int) -> np.ndarray:
        """Return how many pixels a segment has on each frame, int64 (frame,)."""
        counts = np.zeros(len(self.label_map), np.int64)
        if number in self.boxes:
            box = self.boxes[number]
            counts[box[0]] = (self.label_map[box] == number).sum((1, 2))
        return counts


@dataclass(frozen=True)
class Quantity:
    """One measured number; `value` None means it could not be computed, and `reason` says why.

    `derivation` tells mean from maximum (SCT 373098007, 56851009); `method` is a short text for definitions
    that no code covers (window limits, K of the BSTBI).
    """

    name: Code
    value: float | None
    unit: Code
    derivation: Code | None = None
    method: str = ""
    reason: str = ""

    def __post_init__(self) -> None:
        if self.value is None and not self.reason:
            raise ValueError(f"{self.name.meaning}: a missing value needs a reason")
        if self.value is not None and not np.isfinite(self.value):
            raise ValueError(f"{self.name.meaning}: {self.value} is not a number to report")


@dataclass(frozen=True)
class Contour:
    """A closed polyline on one frame of a segmentation's source.

    points: float (n, 2), (column, row), first pixel's centre at (0.5, 0.5); the last point repeats the first.
    """

    frame: int
    points: np.ndarray


@dataclass(frozen=True)
class Region:
    """One measured region: a lesion on one view, a bladder, a vertebra.

    `segmentation` is the index into `Findings.segmentations`, `segment_number` the segment there.
    `view` is the view's name on planar sources. `mark` is what stands beside the region on pictures, where it is not to
    be its number ("L4"). In a volume, regions without contours of their own are the whole segment.
    """

    tracking_id: str
    label: str
    finding: Code
    segmentation: int
    segment_number: int
    finding_site: Code | None = None
    laterality: Code | None = None
    view: str = ""
    location: str = ""
    contours: tuple[Contour, ...] = ()
    quantities: tuple[Quantity, ...] = ()
    mark: str = ""


@dataclass(frozen=True)
class Table:
    """Figures side by side as a reader wants them on a picture; objects carry the same figures as measurements.

    columns
        Headings with their units; rows have as many cells, "" where there is nothing to say.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        if any(len(row) != len(self.columns) for row in self.rows):
            raise ValueError(f"table '{self.title}': a row does not have {len(self.columns)} cells")


@dataclass(frozen=True)
class ModelIdentity:
    """Which weights produced a result: name and version of the card, sha256 of the weights file."""

    name: str
    version: str
    sha256: str
    trained_on: str
    simulated_only: bool = True


@dataclass(frozen=True)
class Findings:
    """Everything a pipeline found in one study.

    Attributes
    ----------
    quantities
        Figures of the whole study (BSTBI, classifier probabilities).
    conclusion
        One or two sentences; never a diagnosis.
    limitations
        Sentences that must travel with the result (one view only, companion missing, research use).
    details
        JSON-ready values for `summary.json` and the dashboard that have no place in DICOM.
    table
        What stands below the pictures; None for nothing.
    numbering
        Where tracking identifiers are ranks ("lesion-1" is the largest): what was ranked, by place. It is part of every
        tracking UID, so that the largest lesion of another analysis does not pass for the same one. "" where an
        identifier names a structure.
    """

    pipeline: str
    pipeline_version: str
    algorithm_name: str
    models: tuple[ModelIdentity, ...]
    segmentations: tuple[Segmentation, ...]
    regions: tuple[Region, ...] = ()
    quantities: tuple[Quantity, ...] = ()
    conclusion: str = ""
    limitations: tuple[str, ...] = ()
    details: dict[str, object] = field(default_factory=dict)
    table: Table | None = None
    numbering: str = ""

    @property
    def research_statement(self) -> str:
        """The sentence that travels with every object; a site's own weights may have been trained on real data."""
        real = self.models and not any(model.simulated_only for model in self.models)
        return RESEARCH_USE if real else f"{RESEARCH_USE}, trained on simulated data"
