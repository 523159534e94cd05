"""Simulated lumbar MR studies on disk: DICOM files per series and the truth beside them.

Layout of one study: `OUT/lumbar-mr-<preset>-<seed>/sag-t2/0001.dcm` and so on (with companions also `sag-t1`,
`sag-stir`, `ax-t2`), `truth.npz` and `truth.json`.

truth.npz holds `structures` and `levels`, uint8, (slice, row, column) on the grid of `sag-t2`, slices in the order of
InstanceNumber (patient's right to left). truth.json names their values and says what was simulated.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pipelines.phantoms.lumbar.dicom import series_datasets
from pipelines.phantoms.lumbar.patient import STRUCTURES, LumbarPatient
from pipelines.phantoms.lumbar.render import simulate_lumbar
from pipelines.phantoms.lumbar.series import companion_series, sagittal_t2

TRUTH, DESCRIPTION = "truth.npz", "truth.json"

Progress = Callable[[float, str], None]


def write_lumbar_study(patient: LumbarPatient, folder: Path, *, companions: bool = False) -> Path:
    """Write a study and its truth into `folder` (created if missing); return the folder of the sagittal T2 series.

    Parameters
    ----------
    companions : also write T1 and STIR sagittal and an axial T2 of the same examination.
    """
    series = [sagittal_t2(patient), *(companion_series(patient) if companions else [])]
    for number, one in enumerate(series, 1):
        (folder / one.folder).mkdir(parents=True, exist_ok=True)
        for index, dataset in enumerate(series_datasets(patient, one, number), 1):
            dataset.save_as(folder / one.folder / f"{index:04d}.dcm", enforce_file_format=True)
    np.savez_compressed(folder / TRUTH, structures=patient.structures, levels=patient.levels)
    description = {
        "synthetic": True,
        "seed": patient.seed,
        "look_seed": patient.look_seed,
        "preset": patient.preset,
        "structures": dict(enumerate(STRUCTURES)),
        "levels": dict(enumerate(patient.level_names, 1)),
        "spacing_mm": list(patient.spacing_mm),
        "origin_mm": list(patient.origin_mm),
        "notes": patient.notes,
    }
    (folder / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
    return folder / series[0].folder


def generate_lumbar(
    count: int,
    seed: int,
    out_dir: Path,
    progress: Progress | None = None,
    preset: str = "held_out",
    *,
    companions: bool = False,
) -> list[Path]:
    """Simulate `count` patients with seeds seed, seed + 1, ... and write them under `out_dir`.

    Parameters
    ----------
    companions : see `write_lumbar_study`.

    Returns
    -------
    list of pathlib.Path
        The folders of the sagittal T2 series, in the order of the seeds.

    Raises
    ------
    ValueError
        If count is not positive or the preset does not exist.
    """
    if count < 1:
        raise ValueError(f"the number of patients must be at least 1, got {count}")
    folders = []
    for number in range(count):
        patient = simulate_lumbar(seed + number, preset)
        folder = out_dir / f"lumbar-mr-{preset}-{seed + number}"
        folders.append(write_lumbar_study(patient, folder, companions=companions))
        if progress is not None:
            progress((number + 1) / count, f"simulated patient {number + 1} of {count}")
    return folders
