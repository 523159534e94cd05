"""What other people's programs say of our objects.

dciodvfy (dicom3tools) checks them against the standard's modules, DCMTK's dsrdump parses the report, and dcmqi's
segimage2itkimage reads volumetric segmentations with code of its own: voxels at their place in the patient.
Not covered: planar segmentations in dcmqi (it needs a frame of reference); LABELMAP (dciodvfy does not know it).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import Dataset
from scipy import ndimage

from node.results import Superseded, build_results, write_results
from node.results.geometry import plane_geometry
from node.results.outline import largest_outline
from pipelines.bone_scan import codes
from pipelines.contract import Findings, Quantity, Region, Segment, Segmentation
from pipelines.phantoms.bone_scan import simulate_bone_scan
from pipelines.phantoms.nm_dicom import bone_scan_dataset
from tests.results.result_sources import (
    LESION,
    context,
    planar_findings,
    planar_source,
    volume_findings,
    volume_label_map,
    volume_source,
    whole_body,
)

pytestmark = pytest.mark.peer

REAL = ["nm1", "ct", "mr", "spect", "spect without frame of reference"]


def errors_of(run_tool: Callable, path: Path) -> list[str]:
    """Error lines of dciodvfy, which must have recognised the object."""
    checked = run_tool("dciodvfy", path)
    said = (checked.stdout + checked.stderr).splitlines()
    assert any(line in ("Segmentation", "Comprehensive3DSR", "SCImage", "NMImage") for line in said), said
    return [line for line in said if line.startswith("Error")]


def test_the_synthetic_source_itself_is_valid(run_tool: Callable, tmp_path: Path) -> None:
    path = tmp_path / "source.dcm"
    pydicom.dcmwrite(path, whole_body(128, 32), enforce_file_format=True)
    assert errors_of(run_tool, path) == []


def test_dciodvfy_finds_no_error_in_planar_results(run_tool: Callable, planar: Findings, tmp_path: Path) -> None:
    first = build_results(planar, context())
    empty = planar_findings(planar_source([whole_body(128, 32)]), np.zeros((2, 128, 32), np.uint8), regions=())
    again = context(revision=2, supersedes=Superseded(1, tuple(o.reference() for o in first)))
    for stem, objects in (
        ("first", first),
        ("again", build_results(planar, again)),
        ("empty", build_results(empty, context())),
    ):
        for path in write_results(objects, tmp_path, stem):
            assert errors_of(run_tool, path) == [], path.name


def test_a_simulated_patient_with_one_segment_per_lesion_gives_valid_objects(
    run_tool: Callable, tmp_path: Path
) -> None:
    scan = next(s for s in (simulate_bone_scan(seed, "held_out") for seed in range(7, 40)) if len(s.lesions) > 2)
    findings = one_segment_per_lesion(bone_scan_dataset(scan), scan.labels)
    assert len(findings.regions) >= 2
    for path in write_results(build_results(findings, context()), tmp_path, "simulated"):
        assert errors_of(run_tool, path) == [], path.name
    parsed = run_tool("dsrdump", tmp_path / "simulated.sr.dcm")
    assert parsed.returncode == 0, parsed.stderr
    assert parsed.stdout.count(codes.CONTRAST.meaning) == len(findings.regions), "a code value of over 16 characters"


def one_segment_per_lesion(dataset: Dataset, labels: np.ndarray) -> Findings:
    """The truth as findings, laid out as the bone-scan pipeline does: a segment and a region per focus and view."""
    label_map = np.zeros(labels.shape, np.uint16)
    segments: list[Segment] = []
    regions: list[Region] = []
    for frame, view in enumerate(("anterior", "posterior")):
        foci, count = ndimage.label(labels[frame] == 1)
        for number in range(1, count + 1):
            mask = foci == number
            label_map[frame][mask] = len(segments) + 1
            name = f"{view}-lesion-{number}"
            segment = replace(LESION, number=len(segments) + 1, label=name, tracking_id=name)
            contrast = Quantity(codes.CONTRAST, 2.5, codes.RATIO, method="mean over ring")
            regions.append(
                Region(name, name, codes.BONE_METASTASIS, 0, segment.number, view=view,
                       contours=(largest_outline(frame, mask),), quantities=(contrast,))
            )  # fmt: skip
            segments.append(segment)
    source = planar_source([dataset])
    display = np.clip(dataset.pixel_array, 0, 255).astype(np.uint8)
    segmentation = Segmentation(source, label_map, tuple(segments), display, True)
    return replace(
        planar_findings(source, np.zeros(labels.shape, np.uint8)), segmentations=(segmentation,), regions=tuple(regions)
    )


@pytest.mark.parametrize("name", REAL)
def test_dciodvfy_finds_no_error_in_results_of_real_scans(
    run_tool: Callable, real_objects: dict, name: str, tmp_path: Path
) -> None:
    for path in write_results(list(real_objects[name].values()), tmp_path, "real"):
        assert errors_of(run_tool, path) == [], path.name


def test_dciodvfy_finds_no_error_where_the_source_lacks_type_2_attributes(run_tool: Callable, tmp_path: Path) -> None:
    dataset = whole_body(128, 32)
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
                    "AccessionNumber", "ReferringPhysicianName", "Manufacturer", "Modality"):  # fmt: skip
        del dataset[keyword]
    for path in write_results(build_results(planar_findings(planar_source([dataset])), context()), tmp_path, "bare"):
        assert errors_of(run_tool, path) == [], path.name


@pytest.mark.parametrize("name", ["planar", *REAL])
def test_dsrdump_parses_the_report(
    run_tool: Callable, name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    fixture = request.getfixturevalue("planar_objects" if name == "planar" else "real_objects")
    objects = fixture if name == "planar" else fixture[name]
    (path,) = write_results([objects["sr"]], tmp_path, "report")
    parsed = run_tool("dsrdump", path)
    assert parsed.returncode == 0, parsed.stderr
    assert "Comprehensive 3D SR Document" in parsed.stdout
    groups = sum('CONTAINER:(,,"Measurement Group")' in line for line in parsed.stdout.splitlines())
    assert groups == sum(
        e.value[0].get("CodeValue") == "125007"
        for e in objects["sr"].dataset.iterall()
        if e.keyword == "ConceptNameCodeSequence"
    )
    assert not [line for line in parsed.stderr.splitlines() if line.startswith(("E:", "F:"))]


@pytest.mark.parametrize("case", ["ct", "mr", "spect", "spect upwards"])
def test_dcmqi_finds_every_voxel_at_its_place_in_the_patient(
    run_tool: Callable, real_sources: dict[str, Findings], case: str, tmp_path: Path
) -> None:
    simple_itk = pytest.importorskip("SimpleITK")
    findings = real_sources[case.split()[0]]
    if case == "spect upwards":
        header = findings.segmentations[0].source.headers[0].copy()
        header.SpacingBetweenSlices = abs(float(header.SpacingBetweenSlices))
        findings = volume_findings(volume_source([header]), volume_label_map((50, 70, 70)))
    objects = build_results(findings, context())
    (path,) = write_results(objects[:1], tmp_path, "volume")
    read = run_tool("segimage2itkimage", "--inputDICOM", path, "--outputDirectory", tmp_path, "--outputType", "nrrd")
    assert read.returncode == 0, read.stderr
    segmentation = findings.segmentations[0]
    geometry = plane_geometry(segmentation.source)
    for number in (1, 2):
        image = simple_itk.ReadImage(str(tmp_path / f"{number}.nrrd"))
        found = {places(image, index) for index in np.argwhere(simple_itk.GetArrayFromImage(image) > 0)}
        assert found == expected_places(segmentation.label_map == number, geometry)


def places(image, index: np.ndarray) -> tuple[float, ...]:
    """Patient coordinates of a voxel as ITK computes them, to a tenth of a millimetre."""
    x, y, z = (int(v) for v in index[::-1])
    return tuple(round(v, 1) + 0.0 for v in image.TransformIndexToPhysicalPoint((x, y, z)))


def expected_places(mask: np.ndarray, geometry) -> set[tuple[float, ...]]:
    """Patient coordinates of a mask by the image plane equation (PS3.3 C.7.6.2.1.1)."""
    along_row, along_column = np.array(geometry.orientation[:3]), np.array(geometry.orientation[3:])
    between_rows, between_columns = geometry.pixel_spacing_mm
    frame, row, column = np.nonzero(mask)
    points = (
        geometry.positions_mm[frame]
        + (column * between_columns)[:, None] * along_row
        + (row * between_rows)[:, None] * along_column
    )
    return {tuple(float(round(v, 1)) + 0.0 for v in point) for point in points}
