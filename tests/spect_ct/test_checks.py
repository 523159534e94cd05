"""Which series spect-ct takes, and the sentences for those it does not: drawn ones and the real ones kept for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipelines.contract import ContentRefused, InputSeries, PipelineInputs
from pipelines.spect_ct.checks import choose_study
from pipelines.spect_ct.pipeline import SpectCtPipeline
from tests.spect_ct.drawn_study import CT_FIELD, Field, counts, hounsfield, new_uid, write_ct, write_spect


def inputs(*series, rule: str = "") -> PipelineInputs:
    held = [InputSeries(str(n), tuple(paths)) for n, paths in enumerate(series)]
    return PipelineInputs(tuple(held), rule)


def spect(folder: Path, **more) -> list[Path]:
    return [write_spect(folder / "nm.dcm", counts(), **more)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"ImageType": ["ORIGINAL", "PRIMARY", "STATIC", "EMISSION"]}, "static view"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "RECON GATED TOMO", "EMISSION"]}, "gated"),
        ({"SeriesDescription": "JASZCZAK_PHAN"}, "quality control"),
        ({"BodyPartExamined": "HEART"}, "another organ"),
        ({"SeriesDescription": "Lung perfusion SPECT"}, "another organ"),
        ({"ProtocolName": "Tc99m MIBI stress"}, "another tracer"),
        ({"PixelSpacing": [2.0, 2.0]}, "field of 128 mm"),
    ],
)
def test_what_is_no_bone_spect_is_refused_with_the_reason(tmp_path, change, words):
    with pytest.raises(ContentRefused, match=words):
        choose_study(inputs(spect(tmp_path, **change)))


def test_a_spect_that_names_no_organ_is_taken_and_the_result_says_so(tmp_path):
    study = choose_study(inputs(spect(tmp_path, SeriesDescription="")))
    assert "nothing in the header names bone" in " ".join(study.remarks)


def test_a_ct_alone_needs_a_rule_that_asks_for_it(tmp_path):
    ct = write_ct(tmp_path / "ct", hounsfield())
    with pytest.raises(ContentRefused, match="without a bone SPECT"):
        choose_study(inputs(ct))
    study = choose_study(inputs(ct, rule="my-ct"))
    assert study.spect is None and study.ct is not None and "my-ct" in study.remarks[0]


def test_of_several_cts_the_one_for_bone_in_the_same_frame_is_taken_and_the_reasons_are_kept(tmp_path):
    bone = write_ct(tmp_path / "bone", hounsfield(), series="2")
    soft = write_ct(tmp_path / "soft", hounsfield(), series="3", ConvolutionKernel="B31s")
    other = write_ct(tmp_path / "other", hounsfield(), series="4", FrameOfReferenceUID=new_uid())
    scout = write_ct(tmp_path / "scout", hounsfield()[:12], series="5", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    study = choose_study(inputs(spect(tmp_path), soft, other, scout, bone))
    assert study.ct is not None and study.ct.name == 'Series 2 "CT AC bone"'
    said = " ".join(study.remarks)
    assert "kernel B31s is not one for bone" in said
    assert "Series 4" in said and "another frame of reference" in said
    assert "is a localiser" in said


def test_a_ct_that_misses_half_of_the_spect_is_not_used_and_the_reason_is_kept(tmp_path):
    far = Field(CT_FIELD.shape, CT_FIELD.spacing_mm, (*CT_FIELD.origin_mm[:2], 20.0))
    study = choose_study(inputs(spect(tmp_path), write_ct(tmp_path / "ct", hounsfield(far), far)))
    assert study.ct is None and "covers" in study.ct_absence


def test_a_ct_with_a_missing_slice_is_not_used_and_the_slice_is_named(tmp_path):
    paths = sorted(write_ct(tmp_path / "ct", hounsfield()))
    study = choose_study(inputs(spect(tmp_path), paths[:4] + paths[5:]))
    assert study.ct is None and "slices" in study.ct_absence and "missing" in study.ct_absence


def test_importing_the_pipeline_brings_no_torch():
    import subprocess
    import sys

    code = "import sys, pipelines.spect_ct.pipeline; print('torch' in sys.modules, 'SimpleITK' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert said.stdout.split() == ["False", "False"], said.stderr


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nm/recon_tomo_ge_1.dcm", "HEART"),
        ("nm/recon_tomo_ge_2.dcm", "HEART"),
        ("nm/recon_tomo_ge_3.dcm", "HEART"),
        ("nm/recon_tomo_no_geometry.dcm", "HEART"),
        ("nm/Jaszack.dcm", "quality control"),
        ("nm/UNIFORMIDAD_1.dcm", "static view"),
        ("nm/FourBar.dcm", "static view"),
        ("nm/static_renal.dcm", "static view"),
        ("nm/static_two_detectors.dcm", "static view"),
        ("nm/NM1_UNCOMPRESSED.dcm", "whole-body scan"),
        ("ct_lung_lidc", "without a bone SPECT"),
        ("ct_body", "without a bone SPECT"),
        ("ct_liver_with_seg", "CT|slices"),
        ("mr_sagittal_brain", "MR"),
    ],
)
def test_real_scans_that_are_no_bone_spect_are_refused(shared_data, name, words):
    path = shared_data / name
    files = [path] if path.is_file() else [p for p in path.iterdir() if p.is_file() and "seg" not in p.name.lower()]
    with pytest.raises(ContentRefused, match=words):
        SpectCtPipeline().check(inputs(files))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("gantrytilting__001", "tilted gantry"),
        ("sliceincrement__001", "slices 3 and 4 lie 10.0 mm apart"),
        ("sliceincrement__002", "slices|MR"),
        ("slicecount__001", "slices|MR"),
        ("sliceorientation__001", "orientations|MR"),
        ("notavolume__001", "place|MR"),
    ],
)
def test_geometry_traps_end_in_a_refusal_that_says_why(shared_data, name, words):
    files = sorted((shared_data / "geometry_traps").glob(f"{name}__*.dcm"))
    assert files
    with pytest.raises(ContentRefused, match=words):
        SpectCtPipeline().check(inputs(files, rule="ct-alone"))


def test_a_ct_with_a_frame_of_reference_per_slice_is_refused_even_where_a_rule_asks(shared_data):
    files = [path for path in (shared_data / "ct_lung_lidc").iterdir() if path.is_file()]
    with pytest.raises(ContentRefused, match="20 frames of reference"):
        SpectCtPipeline().check(inputs(files, rule="ct-alone"))


def test_counts_of_the_drawn_study_are_what_the_tests_above_rely_on():
    assert np.unique(counts()).tolist() == [0, 100, 400, 2500]
