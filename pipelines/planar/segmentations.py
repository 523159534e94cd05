"""Label maps per source series, from the foci of all views: what the findings of every planar pipeline begin with.

scan (which view came from which series) + analyses -> for each series the segments of its views, numbered through, its
label map, the picture's grey levels, and a region for every segment.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import numpy as np

from pipelines.contract import Region, Segment, Segmentation
from pipelines.imaging.planar import PlanarScan
from pipelines.planar.lesions import FociOfView
from pipelines.planar.prepare import PreparedView
from pipelines.planar.regions import display_of, focus_region, focus_segment


class AnalysedView(Protocol):
    """What every pipeline's analysis of a view has."""

    @property
    def name(self) -> str:
        """ "anterior" or "posterior"."""

    @property
    def counts(self) -> np.ndarray:
        """(rows, columns), source grid."""

    @property
    def prepared(self) -> PreparedView:
        """The view on the working grid."""

    @property
    def found(self) -> FociOfView:
        """Class map and foci on the source grid."""


View = TypeVar("View", bound=AnalysedView)


class Numbering:
    """The segments of one source series as they are numbered.

    Attributes
    ----------
    label_map : uint16 (frame, rows, columns), 0 or a segment's number. segments, regions : in the order of the numbers.
    """

    def __init__(self, views: Sequence[AnalysedView], segmentation: int) -> None:
        self.segmentation = segmentation
        self.label_map = np.zeros((len(views), *views[0].counts.shape), dtype=np.uint16)
        self.segments: list[Segment] = []
        self.regions: list[Region] = []
        for frame, view in enumerate(views):
            for focus in view.found.foci:
                number = self.add(frame, view.found.numbers == focus.number)
                self.segments.append(focus_segment(number, focus, view.name))
                self.regions.append(focus_region(number, focus, view.name, frame, segmentation))

    def add(self, frame: int, mask: np.ndarray) -> int:
        """Give the next number to a mask (rows, columns) of a frame; its segment and region are the caller's."""
        number = len(self.segments) + 1
        self.label_map[frame][mask] = number
        return number


Extra = Callable[[Numbering, Sequence[View]], None]
"""Adds what a pipeline marks besides foci, after them."""


def segmentations_of(
    scan: PlanarScan, analyses: Sequence[View], extra: Extra[View] | None = None
) -> tuple[tuple[Segmentation, ...], tuple[Region, ...]]:
    """Return a segmentation per source series and the regions of all, which name it by its place."""
    made: list[Segmentation] = []
    regions: list[Region] = []
    for source, indices in scan.groups():
        views = [analyses[index] for index in indices]
        numbered = Numbering(views, len(made))
        if extra is not None:
            extra(numbered, views)
        labels = numbered.label_map
        if len(numbered.segments) < 256:
            labels = labels.astype(np.uint8)
        display = np.stack([display_of(view.counts, view.prepared) for view in views])
        by_count = sorted(range(len(views)), key=lambda frame: -len(views[frame].found.foci))
        made.append(Segmentation(source, labels, tuple(numbered.segments), display, True, tuple(by_count)))
        regions += numbered.regions
    return tuple(made), tuple(regions)
