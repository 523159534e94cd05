"""Heights and depth of one vertebral body or disc, along its own axes, from its mask.

voxels -> middle sagittal slices -> end plates at sub-voxel places -> planes -> own axes -> heights.

Definitions (vertebral morphometry with six points, Genant et al., J Bone Miner Res 1993;8:1137-48):

* The *own axis* is the normal of the plane that halves the angle between the two end plates. Each end plate is a plane
  fitted in three dimensions to the mask's border within the middle slices, so tilt in the sagittal plane (lordosis) and
  in the coronal plane (scoliosis) both leave the heights as they are.
* *Depth* is the median distance of the anterior and posterior border, perpendicular to the axis, over the middle 60 %
  of the height; *end-plate depths* are the same over the first and last 10 to 30 %.
* The *anterior height* is the distance, along the axis and at the anterior border, of two straight lines fitted to the
  end plates between 10 % and 40 % of the depth: rounded corners and osteophytes do not count. *Posterior* likewise.
  The *middle height* is the mean distance over the middle fifth.

The mask is sampled with linear interpolation within each slice, never across slices: slices are six times thicker than
pixels, and the border lies where the interpolated mask crosses one half.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

MIDDLE_SLICES_MM = 6.5
"""Slices whose centres lie this close to the middle are used: two or three of 4 mm."""

LEAST_SECTION = 0.5
"""A middle slice that shows less than this share of the largest section is an edge, not a middle."""

ACROSS_STEP_MM = 0.5
ALONG_STEP_MM = 0.3
"""Sampling within a slice, perpendicular to the axis and along it."""

ITERATIONS = 3
"""Times the axis is fitted again; the second already moves heights by less than 0.1 mm."""

CORNER_BAND = (0.1, 0.4)
MIDDLE_BAND = (0.4, 0.6)

LEAST_POINTS = 6
"""Border points a line or plane needs."""


@dataclass(frozen=True)
class Slab:
    """A body or disc between two end plates; lengths in mm.

    Attributes
    ----------
    anterior_mm, middle_mm, posterior_mm
        Heights.
    depth_mm, upper_depth_mm, lower_depth_mm
        Antero-posterior depth of the middle, near the upper and near the lower end plate.
    centre_mm, axis
        (slice, row, column): a point in the middle and the own axis, a unit vector pointing down.
    """

    anterior_mm: float
    middle_mm: float
    posterior_mm: float
    depth_mm: float
    upper_depth_mm: float
    lower_depth_mm: float
    centre_mm: np.ndarray
    axis: np.ndarray


@dataclass(frozen=True)
class _Borders:
    """End-plate points (n, 3) as (across, lateral, along) about the centre, and borders (anterior, posterior)."""

    upper: np.ndarray
    lower: np.ndarray
    middle: tuple[float, float]
    upper_end: tuple[float, float]
    lower_end: tuple[float, float]


def measure_slab(
    index: np.ndarray,
    spacing_mm: tuple[float, float, float],
    axis_hint: np.ndarray,
    lateral_mm: float | None = None,
) -> Slab | None:
    """Measure a body or disc; None where its middle slices do not show two end plates.

    Parameters
    ----------
    index
        int (n, 3), its voxels, (slice, row, column).
    spacing_mm
        (slice, row, column).
    axis_hint
        (slice, row, column), roughly down its axis (within 30 degrees).
    lateral_mm
        Lateral place of the middle in mm; by default the mask's own centre.
    """
    first = index.min(axis=0) - (0, 2, 2)
    mask = np.zeros(index.max(axis=0) - first + (1, 3, 3), dtype=np.float32)
    mask[tuple((index - first).T)] = 1.0
    slices, lateral_mm = _middle_slices(mask, first, spacing_mm, lateral_mm)
    if not slices:
        return None
    points = np.argwhere(mask[slices] > 0)
    centre = np.array([lateral_mm, *((points[:, 1:].mean(axis=0) + first[1:]) * spacing_mm[1:])])
    axis = axis_hint / np.linalg.norm(axis_hint)
    borders = None
    for _ in range(ITERATIONS):
        frame = _frame(axis)
        borders = _borders(mask, slices, first, spacing_mm, centre, frame)
        if borders is None:
            return None
        upper, lower = (_plane(p, borders.middle) for p in (borders.upper, borders.lower))
        if upper is None or lower is None:
            return None
        across, lateral, along = frame
        turned = sum((along - b * across - c * lateral) / np.sqrt(1 + b * b + c * c) for _, b, c in (upper, lower))
        axis = turned / np.linalg.norm(turned)
    assert borders is not None
    return _slab(borders, centre, axis)


def _middle_slices(
    mask: np.ndarray, first: np.ndarray, spacing_mm: tuple[float, float, float], lateral_mm: float | None
) -> tuple[list[int], float]:
    """Return the middle slices (of the crop) and the lateral place of the middle in mm."""
    areas = mask.sum(axis=(1, 2))
    places = (np.arange(len(areas)) + first[0]) * spacing_mm[0]
    middle = float(areas @ places / areas.sum()) if lateral_mm is None else lateral_mm
    usable = areas >= LEAST_SECTION * areas.max()
    distance = np.where(usable, np.abs(places - middle), np.inf)
    near = [int(k) for k in np.flatnonzero(distance <= MIDDLE_SLICES_MM)]
    if not near and distance.min() <= 2 * MIDDLE_SLICES_MM:
        near = [int(distance.argmin())]
    return near, middle


def _frame(axis: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return across (in the slice, to the back), lateral (to the left) and along (the axis): unit vectors."""
    across = np.array([0.0, -axis[2], axis[1]])
    across /= np.linalg.norm(across)
    return across, np.cross(axis, across), axis


def _borders(
    mask: np.ndarray,
    slices: list[int],
    first: np.ndarray,
    spacing_mm: tuple[float, float, float],
    centre: np.ndarray,
    frame: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> _Borders | None:
    """Find the mask's borders in the middle slices, in the frame's coordinates about the centre."""
    across, lateral, along = frame
    down = np.array([0.0, along[1], along[2]])
    down /= np.linalg.norm(down)
    ends: list[tuple[np.ndarray, np.ndarray]] = []
    walls = []
    for k in slices:
        origin = np.array([(k + first[0]) * spacing_mm[0], centre[1], centre[2]])
        # Where the axis leans sideways, the body's middle moves within the slice with the distance from the centre.
        origin[1:] += lateral[1:] / lateral[0] * (origin[0] - centre[0])
        steps_across, steps_down, values = _sample(mask[k], first, spacing_mm, origin, across, down)
        top, bottom = _crossings(values, steps_down, axis=1)
        found = np.isfinite(top)
        if found.sum() < LEAST_POINTS:
            continue
        for n, border in enumerate((top, bottom)):
            place = origin + steps_across[found, None] * across + border[found, None] * down - centre
            local = np.stack([place @ across, place @ lateral, place @ along], axis=1)
            ends.append((np.full(len(local), n), local))
        walls.append(_walls(values, steps_across, steps_down, top[found], bottom[found]))
    if not walls:
        return None
    which, points = np.concatenate([e[0] for e in ends]), np.concatenate([e[1] for e in ends])
    mean = np.nanmean(np.array(walls), axis=0)
    if not np.isfinite(mean).all():
        return None
    pairs = [(float(a), float(b)) for a, b in mean]
    return _Borders(points[which == 0], points[which == 1], pairs[0], pairs[1], pairs[2])


def _sample(
    section: np.ndarray,
    first: np.ndarray,
    spacing_mm: tuple[float, float, float],
    origin: np.ndarray,
    across: np.ndarray,
    down: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the mask's values on a grid (across, down) within one slice, and the grid's steps in mm."""
    pixels = (np.argwhere(section > 0) + first[1:]) * spacing_mm[1:] - origin[1:]
    margin = 2 * max(spacing_mm[1:])
    grids = []
    for direction, step in ((across, ACROSS_STEP_MM), (down, ALONG_STEP_MM)):
        reach = pixels @ direction[1:]
        grids.append(np.arange(reach.min() - margin, reach.max() + margin + step, step))
    place = origin[1:, None, None] + (
        across[1:, None, None] * grids[0][None, :, None] + down[1:, None, None] * grids[1][None, None, :]
    )
    coordinates = place / np.array(spacing_mm[1:])[:, None, None] - first[1:, None, None]
    return grids[0], grids[1], ndimage.map_coordinates(section, coordinates, order=1)


def _crossings(values: np.ndarray, steps: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the first and the last place along an axis where the values cross one half; NaN where they never do."""
    lines = np.moveaxis(values, axis, 1)
    inside = lines >= 0.5
    inside[:, [0, -1]] = False
    rows = np.arange(len(lines))
    start = inside.argmax(axis=1)
    stop = inside.shape[1] - 1 - inside[:, ::-1].argmax(axis=1)
    never = ~inside.any(axis=1)
    start[never], stop[never] = 1, 1
    step = steps[1] - steps[0]
    with np.errstate(divide="ignore", invalid="ignore"):
        rise = (lines[rows, start] - 0.5) / (lines[rows, start] - lines[rows, start - 1])
        fall = (lines[rows, stop] - 0.5) / (lines[rows, stop] - lines[rows, stop + 1])
    begin, end = steps[start] - np.clip(rise, 0, 1) * step, steps[stop] + np.clip(fall, 0, 1) * step
    return np.where(never, np.nan, begin), np.where(never, np.nan, end)


def _walls(
    values: np.ndarray, across: np.ndarray, down: np.ndarray, top: np.ndarray, bottom: np.ndarray
) -> list[tuple[float, float]]:
    """Return (anterior, posterior) of one slice for the middle, the upper and the lower part of the height."""
    front, back = _crossings(values, across, axis=0)
    upper, lower = float(np.median(top)), float(np.median(bottom))
    pairs = []
    for start, stop in ((0.2, 0.8), (0.1, 0.3), (0.7, 0.9)):
        band = (down >= upper + start * (lower - upper)) & (down <= upper + stop * (lower - upper))
        band &= np.isfinite(front)
        pairs.append((float(np.median(front[band])), float(np.median(back[band]))) if band.any() else (np.nan, np.nan))
    return pairs


def _plane(points: np.ndarray, wall: tuple[float, float]) -> tuple[float, float, float] | None:
    """Fit along = a + b across + c lateral to end-plate points, without corners and outliers."""
    depth = wall[1] - wall[0]
    kept = points[(points[:, 0] > wall[0] + 0.1 * depth) & (points[:, 0] < wall[1] - 0.1 * depth)]
    fit = np.zeros(3)
    for _ in range(2):
        if len(kept) < LEAST_POINTS:
            return None
        columns = 3 if np.ptp(kept[:, 1]) > 2.0 else 2
        design = np.column_stack([np.ones(len(kept)), kept[:, :2]])[:, :columns]
        fit = np.zeros(3)
        fit[:columns] = np.linalg.lstsq(design, kept[:, 2], rcond=None)[0]
        residual = np.abs(kept[:, 2] - design @ fit[:columns])
        kept = kept[residual <= 3.0 * np.median(residual) + 0.3]
    return float(fit[0]), float(fit[1]), float(fit[2])


def _slab(borders: _Borders, centre: np.ndarray, axis: np.ndarray) -> Slab | None:
    front, back = borders.middle
    planes = [_plane(points, borders.middle) for points in (borders.upper, borders.lower)]
    heights = []
    for share, place in ((CORNER_BAND, 0.0), (MIDDLE_BAND, None), (tuple(1.0 - s for s in CORNER_BAND[::-1]), 1.0)):
        limits = (front + share[0] * (back - front), front + share[1] * (back - front))
        at = None if place is None else front + place * (back - front)
        upper, lower = (
            _level(points, plane, limits, at)
            for points, plane in zip((borders.upper, borders.lower), planes, strict=True)
        )
        if upper is None or lower is None:
            return None
        heights.append(max(lower - upper, 0.0))
    depth, upper_depth, lower_depth = (b - a for a, b in (borders.middle, borders.upper_end, borders.lower_end))
    return Slab(heights[0], heights[1], heights[2], depth, upper_depth, lower_depth, centre, axis)


def _level(
    points: np.ndarray, plane: tuple[float, float, float] | None, limits: tuple[float, float], at: float | None
) -> float | None:
    """Return an end plate's place along the axis in the middle slice, from its points within limits.

    The mean of the points, or with `at` the place there on the straight line through them.
    """
    near = points[(points[:, 0] >= limits[0]) & (points[:, 0] <= limits[1])]
    if plane is None or len(near) < LEAST_POINTS:
        return None
    along = near[:, 2] - plane[2] * near[:, 1]
    distance = np.abs(along - np.median(along))
    kept = distance <= 3.0 * np.median(distance) + 1.0
    if at is None:
        return float(along[kept].mean())
    return float(np.polyfit(near[kept, 0] - at, along[kept], 1)[1])
