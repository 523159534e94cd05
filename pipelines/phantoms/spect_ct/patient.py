"""What the simulation hands out: one bed of SPECT/CT with everything that is true of it. No drawing happens here.

Arrays have axes (slice, row, column); both grids run to the head, to the back, to the patient's left (`grid.Grid`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.phantoms.anatomy import Patient
from pipelines.phantoms.spect_ct.grid import Grid
from pipelines.phantoms.spect_ct.presets import Settings

ENOUGH_ON_CT = 0.5
"""Share of a lesion's diseased bone that the CT must show to give its outline on the fused images by itself: where it
shows a rim of gone cortex alone, a reader who sees the uptake outlines more."""


@dataclass(frozen=True)
class LesionTruth:
    """What is known of one lesion.

    Attributes
    ----------
    label : its value in the label maps. kind : key of `lesions.KINDS`. site : group of bones.
    centre_mm : LPS, as the CT saw it. volume_ml : of diseased bone. diameter_mm : largest, of the diseased bone.
    uptake : relative to the bone around it, 1 for none. hu_change : mean over the lesion.
    visible_on : of "ct" and "spect", where an outline can be drawn.
    """

    label: int
    kind: str
    malignant: bool
    bone: str
    site: str
    centre_mm: tuple[float, float, float]
    volume_ml: float
    diameter_mm: float
    uptake: float
    hu_change: float
    visible_on: tuple[str, ...]


@dataclass(frozen=True)
class SpectCtPatient:
    """One simulated bed.

    Attributes
    ----------
    ct : int16, HU, on `ct_grid`. spect : float32, counts, on `spect_grid`.
    body_labels : uint16 on `ct_grid`, the diseased bone of EVERY lesion, whether a modality shows it or not.
    ct_labels : what of it the CT shows (`truth.ct_outline`).
    spect_labels : uint16 on `spect_grid`, the outline of every lesion that the SPECT shows.
    spect_labels_on_ct : the same outlines drawn at the CT's resolution, uint16 on `ct_grid`.
    benign_features : what else the patient has that is no lesion (a prosthesis, bowel contrast, ...).
    total_counts : counted in all projections.
    """

    seed: int
    preset: str
    patient: Patient
    settings: Settings
    ct_grid: Grid
    spect_grid: Grid
    ct: np.ndarray
    spect: np.ndarray
    body_labels: np.ndarray
    ct_labels: np.ndarray
    spect_labels: np.ndarray
    spect_labels_on_ct: np.ndarray
    lesions: tuple[LesionTruth, ...]
    benign_features: tuple[str, ...]
    total_counts: int
    notes: dict[str, Any]

    @property
    def fused_labels(self) -> np.ndarray:
        """Outlines on the fused images, uint16 on `ct_grid`: the CT's where it shows half of the lesion, else both."""
        size = len(self.lesions) + 1
        whole, shown = (np.bincount(labels.ravel(), minlength=size) for labels in (self.body_labels, self.ct_labels))
        seen = (shown > 0) & (shown >= ENOUGH_ON_CT * whole)
        only_spect = np.where(seen[self.spect_labels_on_ct], 0, self.spect_labels_on_ct)
        return np.where(self.ct_labels > 0, self.ct_labels, only_spect)
