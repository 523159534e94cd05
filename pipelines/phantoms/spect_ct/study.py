"""Simulated SPECT/CT studies on disk: DICOM series and their truth beside them.

Layout of one study, `OUT/spect-ct-<preset>-<seed>/`: `SPECT/spect.dcm`, `CT/*.dcm` and, in some, `CT-soft/*.dcm` (the
same slices, another kernel) and `LOCALISER/scout.dcm`; `truth.npz` and `truth.json`.

truth.npz holds label maps of lesions (uint16, 0 or the lesion's `label`): `ct_labels` and `body_labels` on the stored
CT grid (slice from the feet to the head, row, column), `fused_labels` likewise, and `spect_labels` in the order of
the SPECT object's own frames. truth.json describes the lesions, the grids and the settings.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from pipelines.phantoms.spect_ct.dicom_ct import ct_datasets, frame_of_reference, localiser_dataset, stored, stored_grid
from pipelines.phantoms.spect_ct.dicom_nm import spect_dataset
from pipelines.phantoms.spect_ct.patient import SpectCtPatient
from pipelines.phantoms.spect_ct.simulate import simulate_spect_ct

TRUTH, DESCRIPTION = "truth.npz", "truth.json"
Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Layout:
    """What series a study has and how its SPECT is stacked; follows from the seed, as seen in real archives.

    Attributes
    ----------
    second_kernel, localiser : further CT series. head_first : negative SpacingBetweenSlices.
    own_frames : SPECT and CT have a frame of reference each, though they lie in one.
    """

    second_kernel: bool
    localiser: bool
    head_first: bool
    own_frames: bool

    @classmethod
    def of(cls, seed: int) -> Layout:
        """Draw the layout of a seed."""
        draws = np.random.default_rng([11, seed]).random(4)
        return cls(*(bool(drawn < chance) for drawn, chance in zip(draws, (0.4, 0.5, 0.5, 0.06), strict=True)))


def write_study(patient: SpectCtPatient, folder: Path) -> Path:
    """Write all series and the truth into `folder` (created if missing); return the path of the SPECT object."""
    layout = Layout.of(patient.seed)
    ct_frame, nm_frame = (frame_of_reference(patient, not layout.own_frames, m) for m in ("CT", "NM"))
    series = {"CT": ct_datasets(patient, ct_frame)}
    if layout.second_kernel and patient.settings.ct.sharpen:
        series["CT-soft"] = ct_datasets(patient, ct_frame, softened=True, series_number=3)
    for name, datasets in series.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for ds in datasets:
            ds.save_as(folder / name / f"{int(ds.InstanceNumber):04d}.dcm", enforce_file_format=True)
    if layout.localiser:
        (folder / "LOCALISER").mkdir(exist_ok=True)
        localiser_dataset(patient, ct_frame).save_as(folder / "LOCALISER" / "scout.dcm", enforce_file_format=True)
    path = folder / "SPECT" / "spect.dcm"
    path.parent.mkdir(exist_ok=True)
    spect_dataset(patient, nm_frame, layout.head_first).save_as(path, enforce_file_format=True)
    _write_truth(patient, folder, layout.head_first)
    return path


def generate(
    count: int, seed: int, out_dir: Path, progress: Progress | None = None, preset: str = "held_out"
) -> list[Path]:
    """Simulate `count` patients with seeds seed, seed + 1, ... and write them under `out_dir`.

    Returns
    -------
    list of pathlib.Path
        The SPECT objects, in the order of the seeds; each study's CT lies beside it.

    Raises
    ------
    ValueError
        If count is not positive or the preset does not exist.
    """
    if count < 1:
        raise ValueError(f"the number of patients must be at least 1, got {count}")
    paths = []
    for number in range(count):
        patient = simulate_spect_ct(seed + number, preset)
        paths.append(write_study(patient, out_dir / f"spect-ct-{preset}-{seed + number}"))
        if progress is not None:
            progress((number + 1) / count, f"simulated patient {number + 1} of {count}")
    return paths


def _write_truth(patient: SpectCtPatient, folder: Path, head_first: bool) -> None:
    np.savez_compressed(
        folder / TRUTH,
        ct_labels=stored(patient.ct_labels),
        body_labels=stored(patient.body_labels),
        fused_labels=stored(patient.fused_labels),
        spect_labels=patient.spect_labels[::-1] if head_first else patient.spect_labels,
    )
    description = {
        "synthetic": True,
        "seed": patient.seed,
        "preset": patient.preset,
        "patient": asdict(patient.patient),
        "settings": asdict(patient.settings),
        "ct_grid": asdict(stored_grid(patient.ct_grid)),
        "spect_grid": asdict(patient.spect_grid),
        "spect_frames_from_head": head_first,
        "lesions": [asdict(lesion) for lesion in patient.lesions],
        "benign_features": list(patient.benign_features),
    }
    (folder / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
