"""Foci in the terms of `Findings`: a segment, a region with its measurements, the picture's grey levels.

`lesions.Focus` -> `Segment` and `Region`. Texts never diagnose: the network marks foci, a physician says what they are.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pipelines.contract import Contour, Quantity, Region, Segment
from pipelines.planar import codes
from pipelines.planar.lesions import FociOfView, Focus
from pipelines.planar.levels import to_grey, window
from pipelines.planar.prepare import PreparedView

LESION_COLOUR = (226, 58, 48)
"""Red for foci, as in the figure of the whole-body paper."""

DISPLAY_FACTOR = 0.6
"""Upper level of the picture as a multiple of the reference: between the two windows, as a reader would set it."""


def focus_segment(number: int, focus: Focus, view: str) -> Segment:
    """Describe a focus as a segment."""
    return Segment(
        number,
        f"Focus {focus.number}, {view}",
        codes.ABNORMAL_STRUCTURE,
        codes.SECONDARY_NEOPLASM,
        f"{view}-lesion-{focus.number}",
        LESION_COLOUR,
        description=f"Suspected by the network, not confirmed: {focus.location.words}"[:1024],
        anatomic_region=focus.location.region,
    )


def numbering_of(found: Mapping[str, FociOfView]) -> str:
    """Return `Findings.numbering` of what was found on each view, by name: the foci's places in the order of rank."""
    places = ((name, *focus.centroid) for name, view in found.items() for focus in view.foci)
    return "; ".join(f"{name} {column:.0f} {row:.0f}" for name, column, row in places)


def focus_region(number: int, focus: Focus, view: str, frame: int, segmentation: int) -> Region:
    """Describe a focus as a measured region of a frame."""
    quantities = [
        size_of(focus.pixels, focus.area_mm2),
        Quantity(codes.COUNTS, focus.counts_total, codes.COUNTS_UNIT, codes.TOTAL),
        Quantity(codes.COUNTS, focus.counts_max, codes.COUNTS_UNIT, codes.MAXIMUM),
        Quantity(
            codes.CONTRAST,
            focus.contrast,
            codes.RATIO,
            method="mean counts of the focus over mean counts of the ring 5 to 15 mm around it",
            reason="" if focus.contrast is not None else "no background with counts lies around the focus",
        ),
        Quantity(
            codes.METASTASIS_PROBABILITY,
            100.0 * focus.probability,
            codes.PERCENT,
            codes.MEAN,
            method="mean output of the segmentation network over the focus; not calibrated",
        ),
    ]
    return Region(
        tracking_id=f"{view}-lesion-{focus.number}",
        label=f"Focus {focus.number}, {view}",
        finding=codes.BONE_METASTASIS,
        segmentation=segmentation,
        segment_number=number,
        finding_site=focus.location.region,
        laterality=focus.location.laterality,
        view=view,
        location=focus.location.words,
        contours=tuple(Contour(frame, line) for line in focus.contours),
        quantities=tuple(quantities),
    )


def size_of(pixels: int, area_mm2: float | None) -> Quantity:
    """State a size: an area where it is known (mm2), else pixels."""
    if area_mm2 is not None:
        return Quantity(codes.AREA, area_mm2, codes.SQUARE_MM)
    return Quantity(codes.PIXELS, float(pixels), codes.PIXELS_UNIT, method="the pixel spacing is unknown")


def display_of(counts: np.ndarray, prepared: PreparedView) -> np.ndarray:
    """Show counts (rows, columns) of the source as a person would look at them (uint8, 255 is hot)."""
    upper = DISPLAY_FACTOR * prepared.reference / prepared.grid.source_pixels_per_pixel
    return to_grey(window(counts, upper))
