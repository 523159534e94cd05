"""The studies of the demo: one real whole-body scan and two simulated patients.

The real one is the NEMA WG-04 sample that the pydicom package carries (an anterior whole-body bone scan of 1997 as
Secondary Capture, lossy JPEG 2000); nothing is downloaded.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.data import get_testdata_file

NEMA_SAMPLE = "JPEG2000.dcm"
SIMULATED_PATIENTS = 2
SIMULATION_SEED = 2026


@dataclass(frozen=True)
class DemoStudy:
    """A study to send: what to call it on screen, its files, its UID."""

    title: str
    files: tuple[Path, ...]
    study_uid: str


def real_study() -> DemoStudy:
    """The NEMA sample inside pydicom."""
    path = get_testdata_file(NEMA_SAMPLE, download=False)
    if not isinstance(path, str):
        raise FileNotFoundError(f"the installed pydicom package lacks its test file {NEMA_SAMPLE}")
    return _study("real scan (NEMA sample)", [Path(path)])


def simulated_studies(folder: Path) -> list[DemoStudy]:
    """Simulate patients into `folder`, by the command a user would type."""
    subprocess.run(
        [
            *(sys.executable, "-m", "node.cli.main", "phantom", "bone-scan"),
            *("--count", str(SIMULATED_PATIENTS), "--seed", str(SIMULATION_SEED), "--out", str(folder)),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    folders = sorted(path.parent for path in folder.rglob("*.dcm"))
    return [_study(f"simulated patient {i}", sorted(f.glob("*.dcm"))) for i, f in enumerate(dict.fromkeys(folders), 1)]


def _study(title: str, files: Sequence[Path]) -> DemoStudy:
    header = pydicom.dcmread(files[0], stop_before_pixels=True, specific_tags=["StudyInstanceUID"])
    return DemoStudy(title, tuple(files), str(header.StudyInstanceUID))
