"""A simulated patient on the network's grid, with what is true of it there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipelines.spect_ct.body import Placed
from pipelines.spect_ct.grid import Prepared, Voxels, prepare, resample_labels
from pipelines.spect_ct.uses import CT, FUSED, SPECT

if TYPE_CHECKING:
    from pipelines.phantoms.spect_ct.grid import Grid
    from pipelines.phantoms.spect_ct.patient import SpectCtPatient

HEAD_BACK_LEFT = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
"""Directions of the simulator's arrays (`phantoms.spect_ct.grid`)."""


@dataclass(frozen=True)
class GridPatient:
    """A simulated patient on the common grid.

    labels : per use uint16 (slice, row, column), 0 or the lesion's label, of the lesions that the use shows.
    """

    prepared: Prepared
    labels: dict[str, np.ndarray]


def placed(values: np.ndarray, grid: Grid) -> Placed:
    """Return an array of the simulator with its place."""
    return Voxels(values, grid.spacing_mm, np.array(grid.origin_mm, float), HEAD_BACK_LEFT)


def on_grid(patient: SpectCtPatient, *, ct: bool = True) -> GridPatient:
    """Bring a simulated patient and the truth of each use onto the common grid; without `ct` onto that of the SPECT."""
    spect = placed(patient.spect, patient.spect_grid)
    prepared = prepare(spect, placed(patient.ct, patient.ct_grid) if ct else None)
    truths = {SPECT: patient.spect_labels_on_ct, CT: patient.ct_labels, FUSED: patient.fused_labels}
    labels = {use: resample_labels(placed(truth, patient.ct_grid), prepared.lattice) for use, truth in truths.items()}
    return GridPatient(prepared, labels)
