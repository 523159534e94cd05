"""A dual-head whole-body camera looking at one body from both sides.

Points of uptake -> expected counts per pixel of the anterior and the posterior detector: attenuation by the tissue
between point and detector, blur that grows with the distance, scatter, then Poisson noise. Masks of the truth are
made from the same expected counts (`truth`). Images are as a workstation shows them: the anterior view has the
patient's left on the image's right, the posterior view has it on the left.

Attenuation and resolution follow the usual planar model (Cherry, Sorenson, Phelps, Physics in Nuclear Medicine,
4th ed., ch. 14): exp(-mu d), FWHM^2 = intrinsic^2 + (a + b d)^2. Scatter is a broad Gaussian kernel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter, zoom

from pipelines.phantoms.body import BodyMaps
from pipelines.phantoms.presets import Scanner

FWHM_PER_SIGMA = 2.3548
SLAB_MM = 26.0
"""Depth of one slab of equal blur; across it the FWHM changes by about 1 mm."""

ANTERIOR, POSTERIOR = 0, 1


@dataclass(frozen=True)
class Window:
    """A block of the detector's grid: rows [row0, row1), columns [col0, col1), in the anterior's orientation."""

    row0: int
    row1: int
    col0: int
    col1: int


@dataclass(frozen=True)
class Detector:
    """The detector's grid in table space: centres x_mm (columns,), z_mm (rows,)."""

    scanner: Scanner
    x_mm: np.ndarray
    z_mm: np.ndarray

    @classmethod
    def of(cls, scanner: Scanner, shift_x_mm: float) -> Detector:
        """Place the grid: the middle column at shift_x_mm, the first row at the scan's start."""
        x = (np.arange(scanner.columns) - (scanner.columns - 1) / 2) * scanner.pixel_mm + shift_x_mm
        z = scanner.scan_start_mm + (np.arange(scanner.rows) + 0.5) * scanner.pixel_mm
        return cls(scanner, x, z)

    @property
    def whole(self) -> Window:
        """The window that covers the grid."""
        return Window(0, self.scanner.rows, 0, self.scanner.columns)

    def pixels(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return row and column (float) of points (n, 3)."""
        p = self.scanner.pixel_mm
        return (points[:, 2] - self.z_mm[0]) / p, (points[:, 0] - self.x_mm[0]) / p

    def window_around(self, points: np.ndarray, margin_mm: float = 45.0) -> Window:
        """Return the smallest window that holds the points and a margin for their blur."""
        rows, cols = self.pixels(points)
        m = margin_mm / self.scanner.pixel_mm
        r0, r1 = np.clip([rows.min() - m, rows.max() + m + 1], 0, self.scanner.rows).astype(int)
        c0, c1 = np.clip([cols.min() - m, cols.max() + m + 1], 0, self.scanner.columns).astype(int)
        return Window(int(r0), int(r1), int(c0), int(c1))


def transmission(detector: Detector, maps: BodyMaps, points: np.ndarray, view: int) -> np.ndarray:
    """Return the share of each point's photons that reach the detector of that view, float32 (n,)."""
    s = detector.scanner
    rows, cols = detector.pixels(points)
    r = np.clip(rows.round().astype(int), 0, s.rows - 1)
    c = np.clip(cols.round().astype(int), 0, s.columns - 1)
    y = points[:, 1]
    lung_front, lung_back = maps.lung_front[r, c], maps.lung_back[r, c]
    if view == ANTERIOR:
        path = y - maps.front[r, c]
        lung = np.clip(y - lung_front, 0, lung_back - lung_front)
    else:
        path = maps.back[r, c] - y
        lung = np.clip(lung_back - y, 0, lung_back - lung_front)
    path = np.clip(path, 0, maps.thickness[r, c])
    lung = np.minimum(lung, path)
    return np.exp(-(s.mu_soft_per_cm * (path - lung) + s.mu_lung_per_cm * lung) / 10).astype(np.float32)


def project(
    detector: Detector, maps: BodyMaps, points: np.ndarray, activity: np.ndarray, view: int, window: Window
) -> np.ndarray:
    """Return primary (unscattered) counts of the points in a window, float32 (rows, columns), arbitrary units.

    Columns run as in the anterior view for both views; `to_view` mirrors the posterior one.
    """
    s = detector.scanner
    rows, cols = detector.pixels(points)
    r = np.floor(rows + 0.5).astype(int) - window.row0
    c = np.floor(cols + 0.5).astype(int) - window.col0
    shape = (window.row1 - window.row0, window.col1 - window.col0)
    seen = (r >= 0) & (r < shape[0]) & (c >= 0) & (c < shape[1])
    image = np.zeros(shape, np.float32)
    if not seen.any():
        return image
    points, r, c = points[seen], r[seen], c[seen]
    weight = activity[seen] * transmission(detector, maps, points, view)
    nearest = float(maps.front.min() if view == ANTERIOR else maps.back.max())
    distance = np.abs(points[:, 1] - nearest) + s.gap_mm[view]
    slab = (distance / SLAB_MM).astype(int)
    for number in np.unique(slab):
        here = slab == number
        flat = np.bincount(r[here] * shape[1] + c[here], weights=weight[here], minlength=shape[0] * shape[1])
        sigma = blur_sigma_mm(s, (number + 0.5) * SLAB_MM) / s.pixel_mm
        image += gaussian_filter(flat.reshape(shape).astype(np.float32), sigma, truncate=3.5, mode="constant")
    return image


def blur_sigma_mm(scanner: Scanner, distance_mm: float) -> float:
    """Return the standard deviation in mm of the camera's response at a distance from the collimator."""
    geometric = scanner.collimator_mm + scanner.collimator_slope * distance_mm
    return float(np.hypot(scanner.intrinsic_mm, geometric)) / FWHM_PER_SIGMA


def project_tissue(detector: Detector, maps: BodyMaps, concentration: np.ndarray, view: int) -> np.ndarray:
    """Return counts of soft tissue: its concentration (per mm3, a map) times the attenuated thickness.

    The lungs hold a quarter of the activity of other tissue and let more of it through.
    """
    s = detector.scanner
    lung = np.minimum(maps.lung_back - maps.lung_front, maps.thickness)
    mu = s.mu_soft_per_cm / 10
    solid = maps.thickness - 0.75 * lung
    visible = (1 - np.exp(-mu * np.maximum(maps.thickness - 0.7 * lung, 0))) / mu
    share = np.divide(solid, maps.thickness, out=np.zeros_like(solid), where=maps.thickness > 0)
    image = concentration * visible * share * s.pixel_mm**2
    sigma = blur_sigma_mm(s, 90.0 + s.gap_mm[view]) / s.pixel_mm
    return gaussian_filter(image.astype(np.float32), sigma, mode="constant")


def add_scatter(detector: Detector, image: np.ndarray) -> np.ndarray:
    """Return the image with its share of scattered counts, total grown by that share."""
    s = detector.scanner
    step = 4
    rows, cols = (n // step * step for n in image.shape)
    small = image[:rows, :cols].reshape(rows // step, step, cols // step, step).mean((1, 3))
    wide = gaussian_filter(small, s.scatter_sigma_mm / s.pixel_mm / step, mode="constant")
    scatter = np.zeros_like(image)
    scatter[:rows, :cols] = zoom(wide, step, order=1, mode="nearest", grid_mode=True)
    return image + s.scatter_fraction / (1 - s.scatter_fraction) * scatter


def sensitivity(detector: Detector, rng: np.random.Generator) -> np.ndarray:
    """Return the relative sensitivity per pixel: field edges, scan start and stop, slow ripples of uniformity."""
    s = detector.scanner
    rows, cols = np.arange(s.rows) + 0.5, np.arange(s.columns) - (s.columns - 1) / 2
    inside = (np.abs(cols) * s.pixel_mm < s.field_mm / 2).astype(np.float32)
    along = rows * s.pixel_mm
    line = ((along > 0) & (along < s.scan_length_mm)).astype(np.float32)
    if s.speed_edge_mm:
        # Some tables start and stop with the window still opening: counts rise over the first part of the field.
        ramp = np.clip(along / s.speed_edge_mm, 0, 1) * np.clip((s.scan_length_mm - along) / s.speed_edge_mm, 0, 1)
        line *= 0.55 + 0.45 * ramp
    ripple = gaussian_filter(rng.standard_normal(s.columns), 8) * s.uniformity * 4
    return line[:, None] * (inside * (1 + ripple))[None].astype(np.float32)


def to_view(image: np.ndarray, view: int) -> np.ndarray:
    """Return the image as that view shows it: the posterior detector sees the patient mirrored."""
    return image if view == ANTERIOR else image[:, ::-1]
