"""The grid on which SPECT and CT meet, and the way onto it and back, all in patient space.

CT (HU) and SPECT (counts), each placed in the patient (`Placed`) -> one lattice: axial slices as the CT has them where
they lie about 3 mm apart (thinner ones averaged), else 3 mm apart, pixels of 1 x 1 mm as in the paper, as wide as the
body, at least 256 x 256 -> both resampled (SimpleITK, linear) -> CT windowed to -700..800 HU (width 1500, level 50),
each modality z-scored within the body -> float32 (slice, channel, row, column). A modality that is missing, on all or
some slices, is 0 there, which is its mean.

Departures from the paper, which says "z-score" and no more. The statistics are those of the body in the whole volume,
not of a slice or of air: within one slice the hottest normal rib would look like a lesion. The few hottest percent
(bladder, lesions) are cut before SPECT's mean and deviation are taken, and its z-scores are compressed (asinh), so that
a full bladder neither sets the scale nor drowns the rest.

SimpleITK is imported inside the functions: whoever lists pipelines imports modules beside this one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.spect_ct.body import BODY_HU, Placed, body_box, body_points, filled, spect_body

if TYPE_CHECKING:
    import SimpleITK

AXES = ("H", "P", "L")
"""Volumes are read with slices to the head, rows to the back, columns to the patient's left."""

PIXEL_MM, SLICE_MM = 1.0, 3.0
NEAR_SLICE_MM = (2.4, 3.4)
"""Slices so far apart are taken as they are: between others the network would see its neighbours nearer or further away
than it learned to, as those of a SPECT by itself (4 to 5 mm)."""

LEAST_SIDE = 256
SIDE_MULTIPLE = 16
WINDOW_HU = (-700.0, 800.0)
AIR_HU = -1000.0
BODY_MARGIN_MM = 8.0
HOTTEST_PERCENT = 99.0
LEAST_DEVIATION = {"ct": 20.0, "spect": 1e-6}


@dataclass(frozen=True)
class Voxels:
    """The plainest `Placed`."""

    values: np.ndarray
    spacing_mm: tuple[float, float, float]
    origin_mm: np.ndarray
    directions: np.ndarray


@dataclass(frozen=True)
class Lattice:
    """Where the voxels of an array lie: shape and spacing (slice, row, column), origin and directions in LPS."""

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    origin_mm: np.ndarray
    directions: np.ndarray

    @classmethod
    def of(cls, placed: Placed) -> Lattice:
        """Return the lattice of placed voxels."""
        slices, rows, columns = placed.values.shape
        return cls((slices, rows, columns), placed.spacing_mm, placed.origin_mm, placed.directions)

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel in millilitres."""
        return float(np.prod(self.spacing_mm)) / 1000.0

    def points(self, index: np.ndarray) -> np.ndarray:
        """Return LPS positions (n, 3) of fractional voxel indices (n, 3)."""
        return np.asarray(self.origin_mm + (np.asarray(index) * self.spacing_mm) @ self.directions)

    def index(self, points: np.ndarray) -> np.ndarray:
        """Return fractional voxel indices (n, 3) of LPS positions (n, 3)."""
        return np.asarray((np.asarray(points) - self.origin_mm) @ self.directions.T / self.spacing_mm)

    def part(self, box: tuple[slice, slice, slice]) -> Lattice:
        """Return the lattice of a part of the array."""
        starts = np.array([[part.start for part in box]])
        shape = (box[0].stop - box[0].start, box[1].stop - box[1].start, box[2].stop - box[2].start)
        return Lattice(shape, self.spacing_mm, self.points(starts)[0], self.directions)

    def corners(self) -> np.ndarray:
        """Return the LPS positions of the eight corner voxels' outer edges, (8, 3)."""
        ends = np.array([[-0.5, n - 0.5] for n in self.shape])
        return self.points(np.stack(np.meshgrid(*ends, indexing="ij"), -1).reshape(-1, 3))


@dataclass(frozen=True)
class Prepared:
    """What the network sees, and where.

    Attributes
    ----------
    inputs : float32 (slice, 2, row, column), channels `networks.CHANNELS`; rows and columns multiples of 16.
    lattice : of `inputs`. hu, counts : float32 on it (None where missing), before windowing and z-scoring.
    has_spect, has_ct : bool per slice.
    outside : share of the body that lies beside the grid, 0 to 1: of the SPECT's or the CT's, whichever is more.
    ct_width_mm : of the CT's field of view, 0 where there is none.
    """

    inputs: np.ndarray
    lattice: Lattice
    counts: np.ndarray | None
    hu: np.ndarray | None
    has_spect: np.ndarray
    has_ct: np.ndarray
    outside: float = 0.0
    ct_width_mm: float = 0.0


def prepare(spect: Placed | None, ct: Placed | None) -> Prepared:
    """Bring a study onto its common grid.

    With both the grid has the CT's orientation and slices, over the SPECT's extent from feet to head: what of the CT
    lies beyond it is left out, where the CT ends earlier SPECT stands alone.

    Raises
    ------
    ValueError
        If both are missing, or one shows no body.
    """
    if spect is None and ct is None:
        raise ValueError("there is neither a SPECT nor a CT")
    shrunk = shrink(ct) if ct is not None else None
    lattice = common_lattice(spect, shrunk)
    hu = resample(shrunk, lattice, AIR_HU) if shrunk is not None else None
    counts = resample(spect, lattice, 0.0) if spect is not None else None
    has_ct = _reached(shrunk, lattice)
    has_spect = _reached(spect, lattice)
    inputs = np.zeros((lattice.shape[0], 2, *lattice.shape[1:]), np.float32)
    if counts is not None:
        inputs[:, 0] = normalise_spect(counts, has_spect)
    if hu is not None:
        inputs[:, 1] = normalise_ct(hu, has_ct)
    outside = max(share_outside(one, one is shrunk, lattice) for one in (spect, shrunk) if one is not None)
    width_mm = ct.values.shape[2] * ct.spacing_mm[2] if ct is not None else 0.0
    return Prepared(inputs, lattice, counts, hu, has_spect, has_ct, outside, width_mm)


def shrink(ct: Placed) -> Placed:
    """Average whole voxels where they are much finer than the grid's, so that nothing is lost to sampling."""
    import SimpleITK as sitk

    targets = (SLICE_MM, PIXEL_MM, PIXEL_MM)
    factors = [max(1, int(1.07 * mm / have)) for mm, have in zip(targets, ct.spacing_mm, strict=True)]
    if factors == [1, 1, 1]:
        return ct
    return from_itk(sitk.BinShrink(to_itk(ct), factors[::-1]))


def common_lattice(spect: Placed | None, ct: Placed | None) -> Lattice:
    """Return the common grid: see `prepare`.

    Raises
    ------
    ValueError
        If the reference shows no body.
    """
    reference = ct if ct is not None else spect
    assert reference is not None
    held = Lattice.of(reference)
    first, last = 0, held.shape[0] - 1
    if ct is not None and spect is not None:
        reach = held.index(Lattice.of(spect).corners())[:, 0]
        first, last = int(np.ceil(reach.min() - 1e-6)), int(np.floor(reach.max() + 1e-6))
    low, high = body_box(reference, is_ct=ct is not None)
    own_mm = held.spacing_mm[0]
    step_mm = own_mm if NEAR_SLICE_MM[0] <= own_mm <= NEAR_SLICE_MM[1] else SLICE_MM
    slices = max(1, int((last - first + 1) * own_mm / step_mm + 1e-6))
    start = (first + last) / 2 - (slices - 1) / 2 * step_mm / own_mm
    sides, starts = [], []
    for axis in (1, 2):
        ends = (np.array([low[axis - 1] - 0.5, high[axis - 1] + 0.5])) * held.spacing_mm[axis]
        width = float(ends[1] - ends[0]) + 2 * BODY_MARGIN_MM
        side = max(LEAST_SIDE, -(-int(np.ceil(width / PIXEL_MM)) // SIDE_MULTIPLE) * SIDE_MULTIPLE)
        sides.append(side)
        starts.append((float(ends.mean()) - (side - 1) / 2 * PIXEL_MM) / held.spacing_mm[axis])
    origin = held.points(np.array([[start, *starts]]))[0]
    return Lattice((slices, sides[0], sides[1]), (step_mm, PIXEL_MM, PIXEL_MM), origin, held.directions)


def share_outside(placed: Placed, is_ct: bool, lattice: Lattice) -> float:
    """Return the share of a body that lies beside a grid, in the slices that the grid has; 0 where there is none."""
    held = Lattice.of(placed)
    index = lattice.index(held.points(body_points(placed, is_ct)))
    index = index[(index[:, 0] >= -0.5) & (index[:, 0] <= lattice.shape[0] - 0.5)]
    ends = np.array(lattice.shape[1:]) - 0.5
    beside = ((index[:, 1:] < -0.5) | (index[:, 1:] > ends)).any(1)
    return float(beside.mean()) if len(index) else 0.0


def resample(placed: Placed, lattice: Lattice, outside: float) -> np.ndarray:
    """Return voxels on another lattice, linear between them, float32; `outside` where there are none."""
    import SimpleITK as sitk

    return _resampled(to_itk(placed, np.float32), lattice, sitk.sitkLinear, outside)


def resample_labels(placed: Placed, lattice: Lattice) -> np.ndarray:
    """Return a label map on another lattice, nearest neighbour, uint16; 0 outside."""
    import SimpleITK as sitk

    return _resampled(to_itk(placed, np.uint16), lattice, sitk.sitkNearestNeighbor, 0)


def _resampled(image: SimpleITK.Image, lattice: Lattice, interpolator: int, outside: float) -> np.ndarray:
    import SimpleITK as sitk

    found = sitk.Resample(
        image,
        lattice.shape[::-1],
        sitk.Transform(),
        interpolator,
        [float(v) for v in lattice.origin_mm],
        lattice.spacing_mm[::-1],
        _itk_direction(lattice.directions),
        outside,
    )
    return np.asarray(sitk.GetArrayFromImage(found))


def to_itk(placed: Placed, dtype: Any = np.float32) -> SimpleITK.Image:
    """Return an ITK image: axes (column, row, slice), LPS as in DICOM."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(np.ascontiguousarray(placed.values, dtype))
    image.SetSpacing([float(v) for v in placed.spacing_mm[::-1]])
    image.SetOrigin([float(v) for v in placed.origin_mm])
    image.SetDirection(_itk_direction(placed.directions))
    return image


def from_itk(image: SimpleITK.Image) -> Voxels:
    """Return an ITK image's voxels in our order of axes."""
    import SimpleITK as sitk

    columns, rows, slices = image.GetSpacing()
    directions = np.array(image.GetDirection()).reshape(3, 3).T[::-1]
    return Voxels(sitk.GetArrayFromImage(image), (slices, rows, columns), np.array(image.GetOrigin()), directions)


def normalise_ct(hu: np.ndarray, held: np.ndarray) -> np.ndarray:
    """Window and z-score a CT on the grid, float32; slices that are not `held` are 0."""
    windowed = np.clip(hu, *WINDOW_HU)
    body = filled(hu[:, ::4, ::4] > BODY_HU) & held[:, None, None]
    mean, deviation = _statistics(windowed[:, ::4, ::4], body, "ct")
    return np.where(held[:, None, None], (windowed - mean) / deviation, 0.0).astype(np.float32)


def normalise_spect(counts: np.ndarray, held: np.ndarray) -> np.ndarray:
    """Z-score and compress a SPECT on the grid, float32; slices that are not `held` are 0."""
    thin = counts[:, ::4, ::4]
    body = spect_body(thin) & held[:, None, None]
    top = float(np.percentile(thin[body], HOTTEST_PERCENT)) if body.any() else 0.0
    mean, deviation = _statistics(np.minimum(thin, top), body, "spect")
    return np.where(held[:, None, None], np.arcsinh((counts - mean) / deviation), 0.0).astype(np.float32)


def _statistics(values: np.ndarray, body: np.ndarray, modality: str) -> tuple[float, float]:
    inside = values[body].astype(np.float64)
    if not inside.size:
        raise ValueError(f"the {modality.upper()} shows no body")
    return float(inside.mean()), max(float(inside.std()), LEAST_DEVIATION[modality])


def _reached(placed: Placed | None, lattice: Lattice) -> np.ndarray:
    """Tell which slices of a lattice lie within a volume, half a slice beyond its ends included."""
    if placed is None:
        return np.zeros(lattice.shape[0], bool)
    held = Lattice.of(placed)
    middle = np.array([(n - 1) / 2 for n in lattice.shape[1:]])
    index = np.column_stack([np.arange(lattice.shape[0]), np.tile(middle, (lattice.shape[0], 1))])
    along = held.index(lattice.points(index))[:, 0]
    return np.asarray((along >= -0.5) & (along <= held.shape[0] - 0.5))


def _itk_direction(directions: np.ndarray) -> list[float]:
    return [float(v) for v in np.asarray(directions)[::-1].T.reshape(-1)]
