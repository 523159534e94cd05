"""Sources, findings and objects that several results tests look at; all built once."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import Dataset
from pydicom.config import disable_value_validation

from node.results import ResultObject, build_results
from pipelines.contract import Findings
from tests.fixtures import dicom_tools
from tests.results.result_sources import (
    context,
    planar_findings,
    planar_source,
    volume_findings,
    volume_label_map,
    volume_source,
    whole_body,
)


@pytest.fixture(scope="session")
def planar() -> Findings:
    """A small two-view study."""
    return planar_findings(planar_source([whole_body(rows=256, columns=64)]))


@pytest.fixture(scope="session")
def planar_objects(planar: Findings) -> dict[str, ResultObject]:
    return by_kind(build_results(planar, context()))


def by_kind(objects: list[ResultObject]) -> dict[str, ResultObject]:
    found: dict[str, ResultObject] = {item.kind: item for item in objects}
    assert len(found) == len(objects), "a test with one segmentation expects one object of a kind"
    return found


@pytest.fixture(scope="session")
def read_header() -> Callable[[Path], Dataset]:
    """Read a real file without its pixels; real files break rules that pydicom warns about."""

    def read(path: Path) -> Dataset:
        with disable_value_validation():
            return pydicom.dcmread(path, stop_before_pixels=True, force=True)

    return read


@pytest.fixture(scope="session")
def real_sources(shared_data: Path, read_header: Callable[[Path], Dataset]) -> dict[str, Findings]:
    """Findings on real scans of every kind of source, slices sorted along the normal."""
    nm1 = read_header(shared_data / "nm" / "NM1_UNCOMPRESSED.dcm")
    found = {"nm1": planar_findings(planar_source([nm1], ("anterior",)))}
    for name, folder in (("ct", "ct_lung_lidc"), ("mr", "mr_sagittal_brain")):
        headers = [read_header(path) for path in sorted((shared_data / folder).iterdir())]
        headers.sort(key=lambda h: float(np.dot(normal_of(h.ImageOrientationPatient), h.ImagePositionPatient)))
        shape = (len(headers), int(headers[0].Rows), int(headers[0].Columns))
        found[name] = volume_findings(volume_source(headers), volume_label_map(shape))
    for name, file in (("spect", "recon_tomo_ge_1.dcm"), ("spect without frame of reference", "Jaszack.dcm")):
        header = read_header(shared_data / "nm" / file)
        shape = (int(header.NumberOfFrames), int(header.Rows), int(header.Columns))
        found[name] = volume_findings(volume_source([header]), volume_label_map(shape))
    return found


@pytest.fixture(scope="session")
def real_objects(real_sources: dict[str, Findings]) -> dict[str, dict[str, ResultObject]]:
    """The objects of each of the real sources, by kind."""
    return {name: by_kind(build_results(findings, context(job_key=name))) for name, findings in real_sources.items()}


def normal_of(orientation: list[float]) -> np.ndarray:
    cosines = np.array([float(v) for v in orientation])
    return np.cross(cosines[:3], cosines[3:])


@pytest.fixture(scope="session")
def run_tool() -> Callable[..., subprocess.CompletedProcess[str]]:
    """See `tests.fixtures.dicom_tools`."""
    return dicom_tools.run_tool
