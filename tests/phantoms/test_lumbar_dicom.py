"""Simulated lumbar studies as DICOM: geometry by pydicom, conformance by dciodvfy, truth beside the series."""

from __future__ import annotations

import json
import shutil
import subprocess
from itertools import pairwise

import numpy as np
import pydicom
import pytest
from pydicom.uid import MRImageStorage

from pipelines.phantoms.lumbar import generate_lumbar, regrid, simulate_lumbar, write_lumbar_study


@pytest.fixture(scope="module")
def patient():
    return simulate_lumbar(11, "held_out")


@pytest.fixture(scope="module")
def study(patient, tmp_path_factory):
    folder = tmp_path_factory.mktemp("lumbar")
    write_lumbar_study(patient, folder, companions=True)
    return folder


def slices_of(study, series):
    return [pydicom.dcmread(path) for path in sorted((study / series).glob("*.dcm"))]


def test_slices_stand_from_right_to_left_at_their_distance(study, patient):
    slices = slices_of(study, "sag-t2")
    assert len(slices) == patient.image.shape[0]
    assert {ds.SOPClassUID for ds in slices} == {MRImageStorage}
    assert [int(ds.InstanceNumber) for ds in slices] == list(range(1, len(slices) + 1))
    assert all([float(v) for v in ds.ImageOrientationPatient] == [0, 1, 0, 0, 0, -1] for ds in slices)
    steps = [float(b.ImagePositionPatient[0]) - float(a.ImagePositionPatient[0]) for a, b in pairwise(slices)]
    assert np.allclose(steps, patient.spacing_mm[0], atol=1e-3)
    assert float(slices[0].SpacingBetweenSlices) == pytest.approx(patient.spacing_mm[0], abs=1e-4)
    assert float(slices[0].SliceThickness) <= float(slices[0].SpacingBetweenSlices)
    assert [float(v) for v in slices[0].PixelSpacing] == pytest.approx(list(patient.spacing_mm[1:]), abs=1e-5)
    assert float(slices[0].EchoTime) > 80 and float(slices[0].RepetitionTime) > 2000


def test_pixels_are_the_image_and_truth_lies_beside_it(study, patient):
    pixels = np.stack([ds.pixel_array for ds in slices_of(study, "sag-t2")])
    assert np.abs(pixels - patient.image).max() <= 0.51
    with np.load(study / "truth.npz") as held:
        assert np.array_equal(held["structures"], patient.structures)
        assert np.array_equal(held["levels"], patient.levels)
    described = json.loads((study / "truth.json").read_text())
    assert tuple(described["levels"].values()) == patient.level_names
    assert described["notes"]["lumbar_count"] == patient.notes["lumbar_count"]


def test_companions_share_study_and_frame_of_reference(study):
    series = {name: slices_of(study, name) for name in ("sag-t2", "sag-t1", "sag-stir", "ax-t2")}
    everything = [ds for slices in series.values() for ds in slices]
    assert len({ds.StudyInstanceUID for ds in everything}) == 1
    assert len({ds.FrameOfReferenceUID for ds in everything}) == 1
    assert len({ds.SeriesInstanceUID for ds in everything}) == 4
    assert len({ds.SOPInstanceUID for ds in everything}) == len(everything)
    assert float(series["sag-t1"][0].RepetitionTime) < 800
    assert float(series["sag-stir"][0].InversionTime) > 100
    assert "InversionTime" not in series["sag-t2"][0]


def test_the_axial_companion_has_an_angle_per_disc(study):
    normals = [
        np.cross(o[:3], o[3:])
        for o in (np.array(ds.ImageOrientationPatient, float) for ds in slices_of(study, "ax-t2"))
    ]
    assert all(abs(n[2]) > 0.6 for n in normals)
    assert len({tuple(np.round(n, 3)) for n in normals}) >= 4


def test_every_object_says_synthetic_where_a_person_would_be_named(study):
    for name in ("sag-t2", "ax-t2"):
        dataset = slices_of(study, name)[0]
        for keyword in ("PatientID", "PatientName", "ImageComments", "ManufacturerModelName", "StudyDescription"):
            assert "SYNTHETIC" in str(dataset[keyword].value), keyword


@pytest.mark.slow
def test_the_same_seed_is_the_same_file(study, patient, tmp_path):
    (again,) = generate_lumbar(1, 11, tmp_path)
    assert again.parent.name == "lumbar-mr-held_out-11"
    for first, second in zip(sorted((study / "sag-t2").iterdir()), sorted(again.iterdir()), strict=True):
        assert first.read_bytes() == second.read_bytes()


def test_a_count_below_one_is_refused(tmp_path):
    with pytest.raises(ValueError, match="at least 1"):
        generate_lumbar(0, 1, tmp_path)


@pytest.mark.peer
@pytest.mark.parametrize("series", ["sag-t2", "sag-t1", "sag-stir", "ax-t2"])
def test_dciodvfy_finds_no_error(study, series):
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed")
    report = subprocess.run(
        ["dciodvfy", str(study / series / "0001.dcm")], capture_output=True, text=True, timeout=60, check=False
    )
    assert "MRImage" in report.stdout + report.stderr
    assert "Error" not in report.stdout + report.stderr


def test_on_another_matrix_every_structure_stays_at_its_place_in_the_patient(patient):
    held = len(patient.image) - 1
    fitted = regrid(patient, held, 320)
    assert fitted.image.shape == fitted.structures.shape == fitted.levels.shape == (held, 320, 320)

    def place(scan, structure):
        index = np.argwhere(scan.structures[:held] == structure).mean(0)  # one slice too many: the last goes
        x, y, z = scan.origin_mm
        slice_mm, row_mm, column_mm = scan.spacing_mm
        return np.array([x + index[0] * slice_mm, y + index[2] * column_mm, z - index[1] * row_mm])

    for structure in (1, 2, 3):
        np.testing.assert_allclose(place(fitted, structure), place(patient, structure), atol=0.5)
    with pytest.raises(ValueError, match="are asked for"):
        regrid(patient, len(patient.image) + 1, 320)
