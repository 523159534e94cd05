"""Which MR series the lumbar pipeline takes, and the sentences with which it refuses the others.

Covered: weighting by TR and TE, fat suppression and inversion in classic and Enhanced terms, Dixon, plane, body part
in English and Chinese, field of view, kinds of image; the choice among the series of a study; real series.
Series that are no volume are in tests/imaging/test_volume_refusals.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset

from pipelines.contract import ContentRefused, InputSeries
from pipelines.imaging.mr import read_acquisition
from pipelines.imaging.volume_frames import Planes, read_planes
from pipelines.imaging.volume_geometry import sort_stack
from pipelines.lumbar.checks import acquisition_refusal, choose_series, field_refusal
from tests.imaging.mr_objects import AXIAL, CORONAL, MrSeries, classic_slices, enhanced_object, save

LUMBAR = MrSeries(spacing_mm=(4.0, 1.1, 1.1), shape=(7, 256, 256), world=lambda points: points[..., 0] * 0)
DIXON = ["DERIVED", "PRIMARY", "DIXON"]


def planes_of(folder: Path, series: MrSeries, *, enhanced: bool = False, **attributes: Any) -> Planes:
    """Planes from headers alone: no pixel is made for a check that reads none."""
    tiny = replace(series, shape=(series.shape[0], 1, 1), spacing_mm=(series.spacing_mm[0], 1.0, 1.0))
    objects = [enhanced_object(tiny)] if enhanced else classic_slices(tiny)
    for dataset in objects:
        dataset.Rows, dataset.Columns = series.shape[1:]
        place(dataset, "PixelSpacing", list(series.spacing_mm[1:]))
        for keyword, value in attributes.items():
            place(dataset, keyword, value)
    return read_planes(save(objects, folder))


def place(dataset: Dataset, keyword: str, value: Any) -> None:
    """Set an attribute where the object keeps it: in its functional groups, if it is there, else at its top level."""
    for group in dataset.get("SharedFunctionalGroupsSequence", []):
        for element in group:
            if keyword in element.value[0]:
                setattr(element.value[0], keyword, value)
                return
    if value is None:
        dataset.pop(keyword, None)
    else:
        setattr(dataset, keyword, value)


def coded(meaning: str) -> list[Dataset]:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "1", "SCT", meaning
    return [item]


TAKEN: dict[str, dict[str, Any]] = {
    "plain T2": {},
    "Chinese": {"SeriesDescription": "腰椎 矢状位 T2", "AnatomicRegionSequence": coded("腰椎")},
    "nothing but physics": {"SeriesDescription": None, "BodyPartExamined": None},
    "three-dimensional": {"RepetitionTime": 1500, "EchoTime": 190, "MRAcquisitionType": "3D"},
    "no TR, TE, but says T2": {"RepetitionTime": None, "EchoTime": None},
    "in-phase image of a Dixon": {"ImageType": [*DIXON, "IN_PHASE"], "SeriesDescription": "t2_tse_dixon_sag_in"},
    "inversion time of 0": {"InversionTime": 0},
    "saturation bands and phase oversampling": {"ScanOptions": ["PFP", "SAT1", "NPW"]},
    "says pelvis, but the study is lumbar": {"BodyPartExamined": "PELVIS", "StudyDescription": "MR LUMBAR SPINE"},
    "whole spine study, lumbar series": {"SeriesDescription": "T2 sag L-spine", "StudyDescription": "C + lumbar"},
    "thoracolumbar": {"SeriesDescription": "T2 sag thoracolumbar", "BodyPartExamined": None},
    "left decubitus": {"PatientPosition": "HFDL"},
    "research mode, as GE says of its newer sequences": {"ScanningSequence": "RM"},
}  # fmt: skip

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "T1": ({"RepetitionTime": 500, "EchoTime": 10, "SeriesDescription": "T1_SAG"}, r"weighted by T1.*TR 500 ms, TE 10"),
    "says T2, is T1": ({"RepetitionTime": 500, "EchoTime": 10}, "weighted by T1, not by T2"),
    "proton density": ({"RepetitionTime": 3000, "EchoTime": 25}, "weighted by proton density"),
    "STIR by time": ({"InversionTime": 160}, r"inversion pulse \(TI 160 ms\)"),
    "STIR by sequence": ({"ScanningSequence": ["SE", "IR"]}, "inversion pulse, as in STIR"),
    "STIR by sequence name": ({"SequenceName": "*tir2d1_11"}, "inversion pulse"),
    "fat saturation by option": ({"ScanOptions": ["PFP", "FS"]}, r"fat-suppressed \(ScanOptions FS\)"),
    "SPAIR by option": ({"ScanOptions": "SPAIR"}, r"ScanOptions SPAIR"),
    "fat saturation by word": ({"SeriesDescription": "T2_TSE_FS_SAG"}, r"fat-suppressed by its description \('FS'\)"),
    "in Chinese": ({"SeriesDescription": "腰椎矢状位 T2 压脂"}, "'压脂'"),
    "water of a Dixon": ({"ImageType": [*DIXON, "WATER"]}, "water image of a Dixon acquisition; the in-phase image"),
    "opposed phase": ({"ImageType": ["ORIGINAL", "PRIMARY", "OP", "OP"]}, "opposed-phase image of a Dixon"),
    "gradient echo": ({"ScanningSequence": "GR", "EchoTime": 80}, "gradient echo"),
    "T2*": ({"SeriesDescription": "T2* sag", "EchoTime": None}, "gradient echo by its description"),
    "short TR": ({"RepetitionTime": 800}, "too short a repetition time"),
    "myelography": ({"EchoTime": 700, "RepetitionTime": 8000}, "MR myelography"),
    "weighting unknown": ({"EchoTime": None, "SeriesDescription": "SAG"}, "states no echo time and does not say T2"),
    "says T1 and T2, no time": ({"EchoTime": None, "SeriesDescription": "SAG T1 T2"}, "says T1"),
    "diffusion": ({"DiffusionBValue": 800.0}, "diffusion-weighted"),
    "FLAIR by word": ({"SeriesDescription": "T2 FLAIR SAG"}, "a FLAIR series by its description"),
    "localiser": ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "a localiser"),
    "localiser in Chinese": ({"SeriesDescription": "T2 定位像"}, "a localiser by its description"),
    "reformatted": ({"ImageType": ["DERIVED", "SECONDARY", "MPR"]}, "a reformatted image"),
    "derived": ({"ImageType": ["DERIVED", "PRIMARY", "M"]}, "a derived image"),
    "secondary": ({"ImageType": ["ORIGINAL", "SECONDARY", "M"]}, "a secondary image"),
    "phase": ({"ImageType": ["ORIGINAL", "PRIMARY", "P", "ND"]}, "a phase image"),
    "brain by part": ({"BodyPartExamined": "BRAIN"}, r"another part of the body \('BRAIN'\), not the lumbar spine"),
    "head by word": ({"BodyPartExamined": None, "SeriesDescription": "t2_tse_sag head"}, "another part.*'head'"),
    "brain in Chinese": ({"BodyPartExamined": None, "StudyDescription": "颅脑平扫"}, "'颅'"),
    "cervical": ({"BodyPartExamined": "CSPINE"}, "'CSPINE'"),
    "cervical in a lumbar study": ({"SeriesDescription": "T2 C-spine", "StudyDescription": "lumbar"}, "'C-spine'"),
    "thoracic": ({"BodyPartExamined": "TSPINE"}, "'TSPINE'"),
    "thoracic in Chinese": ({"BodyPartExamined": None, "SeriesDescription": "胸椎 T2 矢状"}, "'胸椎'"),
    "pelvis of a pelvic study": ({"BodyPartExamined": "PELVIS", "StudyDescription": "MR PELVIS"}, "'PELVIS'"),
    "knee by region code": ({"BodyPartExamined": None, "AnatomicRegionSequence": coded("Knee")}, "'Knee'"),
    "secondary capture": ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, "is no MR image"),
    "CT": ({"Modality": "CT"}, "is no MR image"),
}  # fmt: skip


@pytest.mark.parametrize("case", TAKEN)
def test_a_plain_sagittal_t2_of_the_lumbar_spine_is_taken(case: str, tmp_path: Path) -> None:
    assert verdict(planes_of(tmp_path, LUMBAR, **TAKEN[case])) is None


@pytest.mark.parametrize("case", REFUSED)
def test_another_series_is_refused_with_its_reason(case: str, tmp_path: Path) -> None:
    attributes, reason = REFUSED[case]
    said = verdict(planes_of(tmp_path, LUMBAR, **attributes))
    assert said is not None and re.search(reason, said), said
    assert not said.endswith(".")


ENHANCED: dict[str, tuple[dict[str, Any], str | None]] = {
    "plain T2": ({}, None),
    "T1": ({"EffectiveEchoTime": 10.0, "RepetitionTime": 500.0}, "weighted by T1"),
    "STIR": ({"InversionRecovery": "YES"}, "inversion pulse"),
    "suppression": ({"SpectrallySelectedSuppression": "FAT"}, r"SpectrallySelectedSuppression FAT"),
    "water excitation": ({"SpectrallySelectedExcitation": "WATER"}, r"SpectrallySelectedExcitation WATER"),
    "gradient echo": ({"EchoPulseSequence": "GRADIENT"}, "gradient echo"),
    "STIR by flavour": ({"ImageType": ["ORIGINAL", "PRIMARY", "STIR", "NONE"]}, "a STIR series"),
    "brain": ({"BodyPartExamined": "HEAD"}, "another part of the body"),
}


@pytest.mark.parametrize("case", ENHANCED)
def test_enhanced_objects_are_judged_by_their_own_terms(case: str, tmp_path: Path) -> None:
    attributes, reason = ENHANCED[case]
    said = verdict(planes_of(tmp_path, LUMBAR, enhanced=True, **attributes))
    if reason is None:
        assert said is None
    else:
        assert said is not None and re.search(reason, said), said


FIELDS: dict[str, tuple[dict[str, Any], str | None]] = {
    "three-dimensional, 1 mm": ({"shape": (30, 300, 300), "spacing_mm": (1.0, 1.0, 1.0)}, None),
    "oblong, with the spine along the rows": (
        {"orientation": (0, 0, -1, 0, 1, 0), "shape": (7, 140, 300), "spacing_mm": (4.0, 1.0, 1.0)},
        None,
    ),
    "oblique by 30 degrees": ({"orientation": (-0.5, 0.866025, 0, 0, 0, -1)}, None),
    "oblique by 45 degrees": ({"orientation": (-0.707107, 0.707107, 0, 0, 0, -1)}, "is oblique by 45 degrees"),
    "axial": ({"orientation": AXIAL}, "is axial; sagittal slices are needed"),
    "coronal": ({"orientation": CORONAL}, "is coronal"),
    "five slices": ({"shape": (5, 256, 256)}, "has 5 slices"),
    "narrow": ({"shape": (7, 256, 256), "spacing_mm": (1.0, 1.1, 1.1)}, "7 mm from side to side"),
    "knee": ({"spacing_mm": (4.0, 0.6, 0.6)}, "shows 154 mm from head to foot"),
    "whole body": ({"spacing_mm": (4.0, 1.8, 1.8), "shape": (7, 400, 256)}, "shows 720 mm from head to foot"),
    "strip": ({"shape": (7, 256, 80)}, "shows 88 mm from front to back"),
    "coarse": ({"spacing_mm": (4.0, 2.4, 2.4), "shape": (7, 128, 128)}, r"pixels of 2\.4 mm"),
}


@pytest.mark.parametrize("case", FIELDS)
def test_the_field_must_be_able_to_hold_a_lumbar_spine(case: str, tmp_path: Path) -> None:
    changes, reason = FIELDS[case]
    said = verdict(planes_of(tmp_path, replace(LUMBAR, **changes)))
    if reason is None:
        assert said is None
    else:
        assert said is not None and re.search(reason, said), said


SMALL = replace(LUMBAR, shape=(7, 112, 96), spacing_mm=(4.0, 1.9, 1.9))


def verdict(planes: Planes) -> str | None:
    return acquisition_refusal(read_acquisition(planes)) or field_refusal(sort_stack(planes))


def inputs(folder: Path, *members: MrSeries) -> list[InputSeries]:
    return [InputSeries(s.uid, tuple(save(classic_slices(s), folder / str(s.number)))) for s in members]


def test_of_a_study_the_right_series_is_chosen(tmp_path: Path) -> None:
    study = inputs(
        tmp_path,
        replace(SMALL, number=2, description="T1_TSE_SAG").with_attributes(EchoTime=10.0, RepetitionTime=500.0),
        replace(SMALL, number=3, description="STIR_SAG").with_attributes(InversionTime=150.0),
        replace(SMALL, number=5, orientation=AXIAL, description="T2_TSE_TRA"),
        replace(SMALL, number=7),
    )
    stack, remarks = choose_series(study)
    assert stack.name == 'Series 7 "T2_TSE_SAG"' and remarks == ()


def test_of_two_that_fit_the_finer_one_is_chosen_and_the_other_is_said(tmp_path: Path) -> None:
    study = inputs(tmp_path, replace(SMALL, number=2), replace(SMALL, number=3, shape=(8, 112, 96)))
    stack, remarks = choose_series(study)
    assert stack.name.startswith("Series 3")
    assert remarks == ('Series 2 "T2_TSE_SAG" would have fitted, too; Series 3 "T2_TSE_SAG" was analysed',)


def test_where_none_fits_each_series_has_its_reason(tmp_path: Path) -> None:
    axial = replace(SMALL, number=5, orientation=AXIAL, description="T2_TSE_TRA")
    brain = replace(SMALL, number=6).with_attributes(BodyPartExamined="BRAIN")
    with pytest.raises(ContentRefused) as both:
        choose_series(inputs(tmp_path / "both", axial, brain))
    assert str(both.value).startswith("None of the 2 series is a sagittal T2-weighted lumbar spine")
    assert 'Series 5 "T2_TSE_TRA" is axial' in str(both.value) and "BRAIN" in str(both.value)
    with pytest.raises(ContentRefused, match=r'^Series 5 "T2_TSE_TRA" is axial'):
        choose_series(inputs(tmp_path / "one", axial))


REAL = {
    "mr_sagittal_brain": r'Series \d+ "t1_fl2d_sag" is a gradient echo \(TR 300 ms, TE 2\.46 ms\)',
    "mr_lspine_axial": r'Series \d+ "Ax T2 FSE" is axial; sagittal slices are needed',
    "ct_lung_lidc": r"Series \d+ is no MR image \(CT Image Storage\)",
}


@pytest.mark.parametrize("folder", REAL)
def test_real_series_of_other_kinds_are_refused(folder: str, shared_data: Path) -> None:
    paths = tuple(sorted((shared_data / folder).iterdir()))
    with pytest.raises(ContentRefused, match=REAL[folder]):
        choose_series([InputSeries("1", paths)])


def test_the_real_brain_is_refused_for_being_a_brain_even_if_it_were_t2(shared_data: Path) -> None:
    planes = read_planes(sorted((shared_data / "mr_sagittal_brain").iterdir()))
    brain = replace(read_acquisition(planes), repetition_ms=4000.0, echo_ms=100.0, is_spin_echo=True, series_text="t2")
    assert "another part of the body ('BRAIN')" in str(acquisition_refusal(brain))


def test_a_real_stack_of_two_slices_is_refused(shared_data: Path) -> None:
    planes = read_planes(sorted((shared_data / "geometry_traps").glob("slicecount__001*")))
    assert "inversion pulse" in str(acquisition_refusal(read_acquisition(planes)))
    assert "has 2 slices" in str(field_refusal(sort_stack(planes)))
