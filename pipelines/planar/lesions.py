"""Foci of one view: from a class map on the source grid to a list with size, counts, place and outline.

class map (0 background, 1 metastasis, 2 bladder) + counts + probabilities -> clean map (specks removed, holes filled,
nothing beside the body) -> connected components, most counts first -> `Focus` each. The clean map is what every later
figure is computed on, so the overlay, the list and the BSTBI speak of the same pixels.

A focus is counted on each view by itself: a lesion that both detectors see is two foci, and nothing here pairs them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from pipelines.imaging.contours import outline_of
from pipelines.planar.location import Location, locate
from pipelines.planar.outline import WORKING_SPACING_MM
from pipelines.planar.prepare import PreparedView

METASTASIS = 1
BLADDER = 2

MINIMUM_AREA_MM2 = 30.0
"""Foci smaller than this are dropped: half the area of a point source's half-maximum disc (about 9 mm FWHM at the
body's surface), so nothing real is that small, while seams of two classes are."""

LARGEST_HOLE_MM2 = 200.0
"""Larger holes stay open: lesions about the pelvis or along ribs and spine may close a ring on a projection, and what
lies within is no lesion. Those within a single lesion are smaller."""

ON_THE_BODY = 0.5
"""Share of its pixels that a focus must have on the body; the air beside it holds noise, lossy compression's blocks,
catheter bags and spilt urine. All foci of simulated patients lie on the body whole."""

RING_INNER_MM = 5.0
RING_OUTER_MM = 15.0
"""The background of a focus is the ring between these distances from it, inside the body, free of foci and bladder."""

EIGHT_CONNECTED = np.ones((3, 3), dtype=bool)


@dataclass(frozen=True)
class Focus:
    """One focus on one view.

    Attributes
    ----------
    number
        1-based, most counts first; the value of the focus in `FociOfView.numbers`.
    pixels, area_mm2
        Size; the area is None where the pixel spacing is unknown.
    counts_total, counts_max, counts_mean
        Of the source's own pixels.
    background_mean
        Mean counts per pixel of the ring around it; None where no such pixel is left.
    contrast
        `counts_mean` over `background_mean`; None without a background above zero.
    probability
        Mean probability of metastasis over the focus, 0 to 1.
    centroid
        (column, row), the first pixel's centre at (0.5, 0.5).
    location
        Region and side.
    contours
        Closed polylines, float (n, 2), (column, row): see `outline_of`.
    """

    number: int
    pixels: int
    area_mm2: float | None
    counts_total: float
    counts_max: float
    counts_mean: float
    background_mean: float | None
    contrast: float | None
    probability: float
    centroid: tuple[float, float]
    location: Location
    contours: tuple[np.ndarray, ...]


@dataclass(frozen=True)
class FociOfView:
    """What was found on one view, on the source grid.

    `classes` is the clean class map (uint8), `numbers` the focus of each pixel (uint16, 0 for none).
    """

    classes: np.ndarray
    numbers: np.ndarray
    foci: tuple[Focus, ...]


def find_foci(probabilities: np.ndarray, counts: np.ndarray, view: PreparedView, name: str) -> FociOfView:
    """List the foci of one view.

    Parameters
    ----------
    probabilities
        float, (3, rows, columns) on the source grid: background, metastasis, bladder.
    counts
        (rows, columns), source pixels, not negative.
    view
        The prepared view, for the body's frame and the way to it.
    name
        "anterior" or "posterior".
    """
    row_mm, column_mm = view.grid.source_spacing_mm
    pixel_mm2 = row_mm * column_mm
    body = np.asarray(view.grid.probabilities_to_source(np.stack([~view.mask, view.mask]))[1] >= 0.5)
    first, last = (row * WORKING_SPACING_MM / row_mm for row in view.frame.pelvis_rows)
    classes = clean_classes(probabilities.argmax(axis=0).astype(np.uint8), pixel_mm2, (first, last))
    labels, number = ndimage.label(classes == METASTASIS, EIGHT_CONNECTED)
    beside = _beside_the_body(labels, number, body)
    classes[beside[labels]] = 0
    totals = ndimage.sum_labels(counts, labels, np.arange(1, number + 1))
    order = [label for label in np.argsort(-np.asarray(totals), kind="stable") if not beside[label + 1]]
    numbers = np.zeros(classes.shape, dtype=np.uint16)
    surroundings = body & (classes == 0)
    boxes = ndimage.find_objects(labels, number)
    foci = []
    for rank, label in enumerate(order, start=1):
        box = _grown(boxes[label], view.grid.source_spacing_mm)
        mask = labels[box] == label + 1
        numbers[box][mask] = rank
        cut = (mask, probabilities[METASTASIS][box], counts[box], surroundings[box])
        foci.append(_measure(rank, *cut, (box[0].start, box[1].start), view, name))
    return FociOfView(classes, numbers, tuple(foci))


def clean_classes(classes: np.ndarray, pixel_mm2: float, pelvis_rows: tuple[float, float] | None = None) -> np.ndarray:
    """Drop metastasis specks below `MINIMUM_AREA_MM2`, fill holes of background, keep the largest bladder.

    Holes in metastases are filled up to `LARGEST_HOLE_MM2`, all in the bladder.

    Parameters
    ----------
    classes
        uint8, (rows, columns).
    pixel_mm2
        Area of a pixel; an estimate will do.
    pelvis_rows
        First and last row of the pelvis: the largest bladder that reaches them is kept, where there is one of more
        than a speck.
    """
    cleaned = np.zeros_like(classes)
    fewest = max(1, math.ceil(MINIMUM_AREA_MM2 / pixel_mm2))
    bladder = _filled(_largest(classes == BLADDER, pelvis_rows, fewest))
    cleaned[bladder] = BLADDER
    metastasis = (classes == METASTASIS) & ~bladder
    labels, number = ndimage.label(metastasis, EIGHT_CONNECTED)
    if number:
        sizes = np.bincount(labels.ravel())
        keep = sizes >= fewest
        keep[0] = False
        filled = _filled(keep[labels], LARGEST_HOLE_MM2 / pixel_mm2)
        cleaned[filled & ~bladder] = METASTASIS
    return cleaned


def _beside_the_body(labels: np.ndarray, number: int, body: np.ndarray) -> np.ndarray:
    """Tell of each label, 0 to `number`, whether it lies beside the body (`ON_THE_BODY`)."""
    sizes = np.bincount(labels.ravel(), minlength=number + 1)
    beside = np.bincount(labels[body], minlength=number + 1) < ON_THE_BODY * sizes
    beside[0] = False
    return np.asarray(beside)


def _measure(
    number: int,
    mask: np.ndarray,
    probability: np.ndarray,
    counts: np.ndarray,
    surroundings: np.ndarray,
    corner: tuple[int, int],
    view: PreparedView,
    name: str,
) -> Focus:
    """Measure the focus in `mask`; the images are its neighbourhood alone, which begins at `corner` of the source."""
    values = np.asarray(counts[mask], dtype=np.float64)
    grid = view.grid
    ring = _ring(mask, grid.source_spacing_mm) & surroundings
    background = float(counts[ring].mean(dtype=np.float64)) if ring.any() else None
    row, column = (float(v) + 0.5 + first for v, first in zip(ndimage.center_of_mass(mask), corner, strict=True))
    mean = float(values.mean())
    return Focus(
        number=number,
        pixels=int(values.size),
        area_mm2=values.size * grid.source_spacing_mm[0] * grid.source_spacing_mm[1] if grid.spacing_known else None,
        counts_total=float(values.sum()),
        counts_max=float(values.max()),
        counts_mean=mean,
        background_mean=background,
        contrast=mean / background if background else None,
        probability=float(np.clip(probability[mask].mean(dtype=np.float64), 0.0, 1.0)),
        centroid=(column, row),
        location=locate(*grid.point_to_working(row, column), view.frame, name),
        contours=tuple(line + np.array(corner[::-1]) for line in outline_of(mask)),
    )


def _grown(box: tuple[slice, slice], spacing_mm: tuple[float, float]) -> tuple[slice, slice]:
    """Grow a focus's box by the reach of its ring."""
    rows, columns = (
        slice(max(0, part.start - reach), part.stop + reach)
        for part, reach in zip(box, (math.ceil(RING_OUTER_MM / pitch) + 1 for pitch in spacing_mm), strict=True)
    )
    return rows, columns


def _ring(mask: np.ndarray, spacing_mm: tuple[float, float]) -> np.ndarray:
    """Pixels between the ring's distances from a mask."""
    distance_mm = ndimage.distance_transform_edt(~mask, sampling=spacing_mm)
    return np.asarray((distance_mm > RING_INNER_MM) & (distance_mm <= RING_OUTER_MM))


def _filled(mask: np.ndarray, most_pixels: float = math.inf) -> np.ndarray:
    """Fill holes as `ndimage.binary_fill_holes` does, in a fifth of the time on a whole-body view, or small ones."""
    background, _ = ndimage.label(~mask)
    outside = np.unique(np.concatenate([background[[0, -1]].ravel(), background[:, [0, -1]].ravel()]))
    sizes = np.bincount(background.ravel())
    fill = sizes <= most_pixels
    fill[outside] = False
    return np.asarray(mask | fill[background])


def _largest(mask: np.ndarray, rows: tuple[float, float] | None, fewest: int) -> np.ndarray:
    """Keep the largest piece of those of at least `fewest` pixels that reach the rows, or of all where none does."""
    labels, number = ndimage.label(mask, EIGHT_CONNECTED)
    if number == 0:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    if rows is not None:
        first, last = (max(0, math.floor(row)) for row in rows)
        reaching = np.zeros(number + 1, dtype=bool)
        reaching[np.unique(labels[first : last + 1])] = True
        reaching &= sizes >= fewest
        if reaching.any():
            sizes[~reaching] = 0
    return np.asarray(labels == int(sizes.argmax()))
