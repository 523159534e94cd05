"""The rules that ship with osteon send what hospitals call a bone scan, in English, Chinese or not at all, to the right
pipeline, and leave everything else alone: first on headers written for the purpose, then on every real series at hand.

The headers go through the same reading as received files. Whether the content is what it claims to be is the
pipelines' check, not tested here.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset

from node.assemble.attributes import collect_headers
from node.assemble.explain import SeriesTrace, explain
from node.assemble.routing import Trace, route
from node.assemble.rules import Rules, load_rules
from tests.assemble.objects import MR_IMAGE, NM_IMAGE, SECONDARY_CAPTURE, configure, switched_on

ALL_PIPELINES = {"bone-scan", "spect-ct", "lumbar", "thorax"}
SAGITTAL = [0, 1, 0, 0, 0, -1]
AXIAL = [1, 0, 0, 0, 1, 0]


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Rules:
    return load_rules(switched_on(tmp_path_factory.mktemp("configuration"), "spect-ct"))


def coded(meaning: str, value: str = "1") -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "SCT", meaning
    return item


def tracer(name: str = "", meaning: str = "") -> list[Dataset]:
    item = Dataset()
    if name:
        item.Radiopharmaceutical = name
    if meaning:
        item.RadiopharmaceuticalCodeSequence = [coded(meaning)]
    return [item]


def header(**attributes: Any) -> dict[str, Any]:
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scanners write what pydicom warns of
        for keyword, value in attributes.items():
            setattr(dataset, keyword, value)
    return collect_headers(dataset)


def whole_body(**attributes: Any) -> dict[str, Any]:
    return header(**{
        "Modality": "NM",
        "SOPClassUID": NM_IMAGE,
        "ImageType": ["ORIGINAL", "PRIMARY", "WHOLE BODY", "EMISSION"],
        "Rows": 1024,
        "Columns": 256,
        "NumberOfFrames": 2,
        "SamplesPerPixel": 1,
    } | attributes)  # fmt: skip


def spect(**attributes: Any) -> dict[str, Any]:
    return header(**{
        "Modality": "NM",
        "SOPClassUID": NM_IMAGE,
        "ImageType": ["ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION"],
        "Rows": 128,
        "Columns": 128,
        "NumberOfFrames": 80,
        "SamplesPerPixel": 1,
    } | attributes)  # fmt: skip


def lumbar(**attributes: Any) -> dict[str, Any]:
    return header(**{
        "Modality": "MR",
        "SOPClassUID": MR_IMAGE,
        "ImageType": ["ORIGINAL", "PRIMARY", "M"],
        "ImageOrientationPatient": SAGITTAL,
        "EchoTime": 100,
        "RepetitionTime": 3000,
        "Rows": 384,
        "Columns": 384,
    } | attributes)  # fmt: skip


CASES: dict[str, tuple[dict[str, Any], str | None]] = {
    # whole-body bone scans
    "English": (whole_body(SeriesDescription="Whole Body Bone Scan"), "bone-scan"),
    "initials": (whole_body(SeriesDescription="WB", StudyDescription="NM BONE SCAN"), "bone-scan"),
    "Chinese: whole-body bone imaging": (whole_body(SeriesDescription="全身骨显像"), "bone-scan"),
    "Chinese: bone scan": (whole_body(SeriesDescription="骨扫描"), "bone-scan"),
    "Chinese in the protocol only": (whole_body(ProtocolName="全身骨静态显像"), "bone-scan"),
    "no description at all": (whole_body(), "bone-scan"),
    "empty description": (whole_body(SeriesDescription="", StudyDescription=""), "bone-scan"),
    "no description, but the agent": (
        whole_body(RadiopharmaceuticalInformationSequence=tracer("Tc-99m MDP")),
        "bone-scan",
    ),
    "meaningless description": (whole_body(SeriesDescription="Series 1"), "bone-scan"),
    "German": (whole_body(SeriesDescription="Ganzkoerper", StudyDescription="Skelettszintigraphie"), "bone-scan"),
    "modality OT, but the class of NM": (whole_body(Modality="OT", SeriesDescription="bone"), "bone-scan"),
    "secondary capture, one view, nothing said": (
        whole_body(SOPClassUID=SECONDARY_CAPTURE, ImageType=["DERIVED", "SECONDARY"], NumberOfFrames=1),
        "bone-scan",
    ),
    "secondary capture, both views side by side, said in words": (
        whole_body(
            SOPClassUID=SECONDARY_CAPTURE,
            ImageType=["DERIVED", "SECONDARY"],
            Columns=512,
            SeriesDescription="Whole body bone",
        ),
        "bone-scan",
    ),
    "secondary capture, both views, Chinese": (
        whole_body(
            SOPClassUID=SECONDARY_CAPTURE,
            ImageType=["DERIVED", "SECONDARY"],
            Columns=512,
            SeriesDescription="全身骨显像",
        ),
        "bone-scan",
    ),
    "full-width letters": (
        whole_body(
            ImageType=["DERIVED", "SECONDARY"],
            Columns=512,
            SeriesDescription="ＷＢ　ＢＯＮＥ",
            SOPClassUID=SECONDARY_CAPTURE,
        ),
        "bone-scan",
    ),
    # whole bodies of another kind, and other pictures of a bone study
    "iodine whole body": (whole_body(SeriesDescription="I-131 whole body"), None),
    "iodine in Chinese": (whole_body(SeriesDescription="碘131全身显像"), None),
    "octreotide by agent only": (
        whole_body(RadiopharmaceuticalInformationSequence=tracer(meaning="Indium^111^ pentetreotide")),
        None,
    ),
    "blood pool of a bone study": (whole_body(SeriesDescription="BLOOD POOL", StudyDescription="3 PHASE BONE"), None),
    "blood pool in Chinese": (whole_body(SeriesDescription="血池相", StudyDescription="骨三相"), None),
    "spot view": (
        whole_body(ImageType=["ORIGINAL", "PRIMARY", "STATIC", "EMISSION"], Rows=256, SeriesDescription="bone spot"),
        None,
    ),
    "projections of a bone SPECT": (
        whole_body(
            ImageType=["ORIGINAL", "PRIMARY", "TOMO", "EMISSION"],
            Rows=128,
            Columns=128,
            NumberOfFrames=120,
            SeriesDescription="Bone SPECT",
        ),
        None,
    ),
    "page of a report in colour": (
        whole_body(
            SOPClassUID=SECONDARY_CAPTURE,
            SamplesPerPixel=3,
            Rows=1024,
            Columns=768,
            ImageType=["DERIVED", "SECONDARY"],
            SeriesDescription="Whole body bone report",
        ),
        None,
    ),
    "a flood sent as whole body": (whole_body(SeriesDescription="FLOOD_TEST_INTR"), None),
    "quality control in Chinese": (whole_body(SeriesDescription="均匀性质控"), None),
    "chest radiograph": (header(Modality="CR", SeriesDescription="Chest PA", Rows=2000, Columns=500), None),
    "whole-body CT": (header(Modality="CT", SeriesDescription="whole body bone", ImageOrientationPatient=AXIAL), None),
    # bone SPECT
    "bone SPECT": (spect(SeriesDescription="Bone SPECT"), "spect-ct"),
    "Chinese: tomographic fusion": (spect(SeriesDescription="断层融合"), "spect-ct"),
    "Chinese: bone tomography": (spect(SeriesDescription="骨断层显像"), "spect-ct"),
    "Chinese study, meaningless series": (
        spect(SeriesDescription="Recon 1", StudyDescription="全身骨显像"),
        "spect-ct",
    ),
    "SPECT, no description": (spect(), "spect-ct"),
    "SPECT, no description, agent only": (
        spect(RadiopharmaceuticalInformationSequence=tracer(meaning="Technetium Tc^99m^ medronate")),
        "spect-ct",
    ),
    "SPECT, no description, region only": (spect(AnatomicRegionSequence=[coded("Bone", "272673000")]), "spect-ct"),
    "SPECT/CT of a bone study with lung cancer": (
        spect(SeriesDescription="SPECT/CT", StudyDescription="骨显像 肺癌"),
        "spect-ct",
    ),
    "heart": (spect(BodyPartExamined="HEART"), None),
    "myocardial perfusion": (spect(SeriesDescription="Myocardial SPECT/CT"), None),
    "brain by region": (spect(AnatomicRegionSequence=[coded("Brain")]), None),
    "MIBI without words": (spect(RadiopharmaceuticalInformationSequence=tracer("Tc99m sestaMIBI")), None),
    "parathyroid fusion in Chinese": (spect(SeriesDescription="甲状旁腺断层融合"), None),
    "meaningless SPECT": (spect(SeriesDescription="Series 2"), None),
    "Jaszczak phantom in a bone template": (
        spect(SeriesDescription="JASZCZAK_PHAN", StudyDescription="BONE SPECT"),
        None,
    ),
    "gated": (
        spect(ImageType=["ORIGINAL", "PRIMARY", "RECON GATED TOMO", "EMISSION"], SeriesDescription="bone"),
        None,
    ),
    # sagittal T2 of the lumbar spine
    "T2 sagittal": (lumbar(SeriesDescription="T2_TSE_SAG", StudyDescription="Lumbar spine"), "lumbar"),
    "Chinese: lumbar, sagittal, T2": (lumbar(SeriesDescription="腰椎 矢状位 T2"), "lumbar"),
    "Chinese part, words for T2": (lumbar(SeriesDescription="SAG T2 FSE", BodyPartExamined="腰椎"), "lumbar"),
    "no description, part and physics": (lumbar(BodyPartExamined="LSPINE"), "lumbar"),
    "no description, region code and physics": (
        lumbar(AnatomicRegionSequence=[coded("Lumbar spine", "122496007")]),
        "lumbar",
    ),
    "axial": (lumbar(SeriesDescription="T2 lumbar", ImageOrientationPatient=AXIAL), None),
    "T1 by word": (lumbar(SeriesDescription="T1 lumbar sag", EchoTime=10, RepetitionTime=500), None),
    "says T2, is T1": (lumbar(SeriesDescription="T2 lumbar sag", EchoTime=10, RepetitionTime=500), None),
    "STIR": (lumbar(SeriesDescription="STIR lumbar T2 sag", InversionTime=160), None),
    "fat suppressed by word": (lumbar(SeriesDescription="T2 FS sag lumbar"), None),
    "fat suppressed in Chinese": (lumbar(SeriesDescription="腰椎 矢状位 T2 压脂"), None),
    "fat suppressed by option": (lumbar(SeriesDescription="T2 sag lumbar", ScanOptions=["FS", "PFP"]), None),
    "cervical": (lumbar(SeriesDescription="T2 sag", StudyDescription="Cervical spine", BodyPartExamined="SPINE"), None),
    "brain": (lumbar(SeriesDescription="t2 sag", BodyPartExamined="BRAIN"), None),
    "knee, nothing said": (lumbar(), None),
    "localizer": (lumbar(SeriesDescription="lumbar localizer t2"), None),
}


def verdict(trace: Trace) -> str | None:
    fired = [rule.pipeline for rule in trace.fired]
    assert len(fired) <= 1
    return fired[0] if fired else None


@pytest.mark.parametrize("case", CASES)
def test_a_series_goes_where_it_belongs(case: str, shipped: Rules) -> None:
    headers, expected = CASES[case]
    trace = route(headers, shipped, ALL_PIPELINES)
    assert verdict(trace) == expected, "\n".join(f"{rule.rule}: {rule.outcome}" for rule in trace.rules)


def test_thorax_would_take_the_same_scans_once_it_is_switched_on(shipped: Rules) -> None:
    by_name = {rule.rule: rule for rule in route(whole_body(), shipped, ALL_PIPELINES).rules}
    assert by_name["thorax"].matched
    assert by_name["thorax"].outcome == "rule 'thorax' matches but is switched off (enabled: false)"


def test_spect_goes_nowhere_until_its_rule_is_switched_on(tmp_path: Path) -> None:
    trace = route(spect(SeriesDescription="Bone SPECT"), load_rules(configure(tmp_path)), ALL_PIPELINES)
    assert not trace.fired
    assert "rule 'spect-ct' matches but is switched off (enabled: false)" in [rule.outcome for rule in trace.rules]


def test_a_shipped_rule_waits_for_its_pipeline_to_be_installed(shipped: Rules) -> None:
    trace = route(lumbar(SeriesDescription="T2 lumbar sag"), shipped, {"bone-scan"})
    assert not trace.fired
    assert "pipeline 'lumbar' is not installed in this node" in trace.summary


@pytest.fixture(scope="module")
def real(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[SeriesTrace]:
    """Every real series, as `osteon route explain` reads it."""
    folders = [folder for folder in sorted(shared_data.iterdir()) if folder.is_dir() and folder.name != "lumbar_mri"]
    return explain(switched_on(tmp_path_factory.mktemp("real"), "spect-ct"), folders)


REASONS = {
    "FourBar.dcm": ("bone-scan", "ImageType[2] is 'STATIC'"),
    "UNIFORMIDAD_1.dcm": ("bone-scan", "AnyDescription is 'UNIF_INT_H1_H1'\\'FLOOD_TEST_INTR'"),
    "static_renal.dcm": ("bone-scan", "ImageType[2] is 'STATIC'"),
    "static_two_detectors.dcm": ("bone-scan", "ImageType[2] is 'STATIC'"),
    "Jaszack.dcm": ("spect-ct", "AnyDescription is 'JASZCZAK_PHAN_DH Reor OK'\\'HUESO_CIC'"),
    "recon_tomo_ge_1.dcm": ("spect-ct", "BodyPartExamined is 'HEART'"),
    "recon_tomo_ge_2.dcm": ("spect-ct", "BodyPartExamined is 'HEART'"),
    "recon_tomo_ge_3.dcm": ("spect-ct", "BodyPartExamined is 'HEART'"),
    "recon_tomo_no_geometry.dcm": ("spect-ct", "BodyPartExamined is 'HEART'"),
    "mr_sagittal_brain": ("lumbar", "BodyPartExamined is 'BRAIN'"),
    "mr_lspine_axial": ("lumbar", "Orientation is 'axial', wanted sagittal"),
    "ct_lung_lidc": ("bone-scan", "Modality is 'CT'"),
}


@pytest.mark.parametrize("name", REASONS)
def test_a_real_series_that_must_not_run_is_left_alone_for_the_right_reason(name: str, real: list[SeriesTrace]) -> None:
    rule_name, reason = REASONS[name]
    (series,) = [s for s in real if any(name in (file.name, file.parent.name) for file in s.files)]
    assert series.trace is not None
    assert not any(rule.matched for rule in series.trace.rules)
    (rule,) = [rule for rule in series.trace.rules if rule.rule == rule_name]
    assert reason in rule.outcome


def test_of_all_real_series_the_bone_scans_fire_and_nothing_else(real: list[SeriesTrace]) -> None:
    fired = {
        file.name: [rule.rule for rule in series.trace.fired]
        for series in real
        if series.trace is not None
        for file in series.files
        if series.trace.fired
    }
    assert fired
    assert {name for name in fired if not name.startswith("NM1_")} == set()
    assert len(fired) == 8
    assert set(map(tuple, fired.values())) == {("bone-scan",)}


def test_real_files_without_a_place_say_so(real: list[SeriesTrace]) -> None:
    problems = [series.problem for series in real if series.trace is None]
    assert problems
    assert all("it names no study" in p or "cannot be parsed" in p or "no valid" in p or "not a valid UID" in p
               or "names no series" in p for p in problems)  # fmt: skip
