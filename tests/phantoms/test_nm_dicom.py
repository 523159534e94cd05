"""Simulated studies as DICOM: conformance by dciodvfy, reading back by pydicom, truth beside the scan."""

from __future__ import annotations

import json
import shutil
import subprocess

import numpy as np
import pydicom
import pytest
from pydicom.uid import NuclearMedicineImageStorage

from pipelines.phantoms import generate, simulate_bone_scan


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    (path,) = generate(1, 8, tmp_path_factory.mktemp("phantoms"))
    return path


def test_a_study_reads_back_identical(study):
    dataset = pydicom.dcmread(study)
    scan = simulate_bone_scan(8, "held_out")
    assert dataset.SOPClassUID == NuclearMedicineImageStorage
    assert np.array_equal(dataset.pixel_array, scan.counts)
    with np.load(study.parent / "truth.npz") as held:
        assert np.array_equal(held["labels"], scan.labels)
    description = json.loads((study.parent / "truth.json").read_text())
    assert description["has_metastases"] == scan.has_metastases
    assert len(description["lesions"]) == len(scan.lesions)
    assert [float(v) for v in dataset.PixelSpacing] == pytest.approx([scan.scanner.pixel_mm] * 2, rel=1e-4)


def test_a_study_is_marked_synthetic_wherever_a_person_would_be_named(study):
    dataset = pydicom.dcmread(study)
    for keyword in ("PatientID", "PatientName", "ImageComments", "ManufacturerModelName", "StudyDescription"):
        assert "SYNTHETIC" in str(dataset[keyword].value), keyword


def test_the_same_seed_is_the_same_instance(study, tmp_path):
    (again,) = generate(1, 8, tmp_path)
    assert again.read_bytes() == study.read_bytes()


def test_frames_name_their_views(study):
    first, second = pydicom.dcmread(study).DetectorInformationSequence
    assert (float(first.StartAngle), float(second.StartAngle)) == (180.0, 0.0)
    assert first.ViewCodeSequence[0].CodeMeaning != second.ViewCodeSequence[0].CodeMeaning
    assert first.ImageOrientationPatient[0] == 1 and second.ImageOrientationPatient[0] == -1


def test_a_count_below_one_is_refused(tmp_path):
    with pytest.raises(ValueError, match="at least 1"):
        generate(0, 1, tmp_path)


@pytest.mark.peer
def test_dciodvfy_finds_no_error(study):
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy (dicom3tools) is not installed")
    run = subprocess.run(["dciodvfy", str(study)], capture_output=True, text=True, timeout=60, check=False)
    found = [line for line in (run.stdout + run.stderr).splitlines() if line.startswith("Error")]
    assert found == []
