"""Simulated studies on disk: a DICOM file per scan and its truth beside it.

Layout of one study: `OUT/bone-scan-<preset>-<seed>/scan.dcm`, `truth.npz` and `truth.json`.

truth.npz holds `labels` (uint8, frame x row x column on the scan's own grid: 0 background, 1 metastasis, 2 bladder)
and `expected` (float32, noise-free counts) and `expected_lesions` (float32, the metastases' share of them).
truth.json lists the metastases (bone, place, size, contrast, pixels per view), the benign findings and the settings.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np

from pipelines.phantoms.bone_scan import SimulatedBoneScan, simulate_bone_scan
from pipelines.phantoms.nm_dicom import bone_scan_dataset

SCAN, TRUTH, DESCRIPTION = "scan.dcm", "truth.npz", "truth.json"

Progress = Callable[[float, str], None]


def write_bone_scan_study(scan: SimulatedBoneScan, folder: Path) -> Path:
    """Write scan and truth into `folder` (created if missing); return the path of the DICOM file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / SCAN
    bone_scan_dataset(scan).save_as(path, enforce_file_format=True)
    np.savez_compressed(
        folder / TRUTH, labels=scan.labels, expected=scan.expected, expected_lesions=scan.expected_lesions
    )
    description = {
        "synthetic": True,
        "seed": scan.seed,
        "preset": scan.preset,
        "has_metastases": scan.has_metastases,
        "patient": asdict(scan.patient),
        "scanner": asdict(scan.scanner),
        "lesions": [asdict(lesion) for lesion in scan.lesions],
        "benign_findings": list(scan.benign),
        "labels": {"0": "background", "1": "metastasis", "2": "bladder"},
    }
    (folder / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
    return path


def generate(
    count: int, seed: int, out_dir: Path, progress: Progress | None = None, preset: str = "held_out"
) -> list[Path]:
    """Simulate `count` patients with seeds seed, seed + 1, ... and write them under `out_dir`.

    Returns
    -------
    list of pathlib.Path
        The DICOM files, in the order of the seeds.

    Raises
    ------
    ValueError
        If count is not positive or the preset does not exist.
    """
    if count < 1:
        raise ValueError(f"the number of patients must be at least 1, got {count}")
    paths = []
    for number in range(count):
        scan = simulate_bone_scan(seed + number, preset)
        paths.append(write_bone_scan_study(scan, out_dir / f"bone-scan-{preset}-{seed + number}"))
        if progress is not None:
            progress((number + 1) / count, f"simulated patient {number + 1} of {count}")
    return paths
