"""The shipped rule asks for the lumbar pipeline once per study, on the sagittal T2 series, and the trace says why.

Headers go through the same reading as received files. More descriptions are in tests/assemble/test_shipped_rules; what
the pipeline itself refuses is in test_checks.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset

from node.assemble.attributes import collect_headers
from node.assemble.explain import explain
from node.assemble.routing import Trace, route
from node.assemble.rules import Rules, load_rules
from tests.assemble.objects import configure
from tests.imaging.mr_objects import AXIAL, MrSeries, classic_slices, enhanced_object, save
from tests.lumbar.test_checks import coded, place

SERIES = MrSeries(shape=(2, 4, 4))
DIXON = ["DERIVED", "PRIMARY", "DIXON"]


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Rules:
    return load_rules(configure(tmp_path_factory.mktemp("configuration")))


def traced(rules: Rules, *, enhanced: bool = False, **attributes: Any) -> Trace:
    dataset: Dataset = enhanced_object(SERIES) if enhanced else classic_slices(SERIES)[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # devices write Chinese where codes belong
        for keyword, value in attributes.items():
            place(dataset, keyword, value)
        return route(collect_headers(dataset), rules, {"bone-scan", "lumbar"})


FIRES: dict[str, dict[str, Any]] = {
    "plain": {},
    "no word for T2, but its times": {"SeriesDescription": "SAG FSE"},
    "Chinese description": {"SeriesDescription": "腰椎 矢状位 T2WI", "BodyPartExamined": None},
    "Chinese body part": {"SeriesDescription": "矢状位 T2", "BodyPartExamined": "腰椎"},
    "German": {"SeriesDescription": "t2_tse_sag", "StudyDescription": "MR LWS", "BodyPartExamined": None},
    "underscores": {"SeriesDescription": "t2_tse_sag_lspine", "BodyPartExamined": None},
    "spine, nothing else said": {"BodyPartExamined": "SPINE"},
    "study of two parts, series says lumbar": {
        "SeriesDescription": "T2 sag L-spine", "StudyDescription": "cervical and lumbar", "BodyPartExamined": None,
    },
    "in-phase image of a Dixon": {"ImageType": [*DIXON, "IN_PHASE"], "SeriesDescription": "t2_tse_dixon_sag_in"},
}  # fmt: skip
STAYS: dict[str, dict[str, Any]] = {
    "water image of a Dixon": {"ImageType": [*DIXON, "WATER"], "SeriesDescription": "t2_tse_sag_W"},
    "Dixon of unknown kind": {"SeriesDescription": "t2_tse_dixon_sag"},
    "T1": {"EchoTime": 11, "RepetitionTime": 560, "SeriesDescription": "T1 TSE SAG"},
    "STIR": {"InversionTime": 160, "SeriesDescription": "T2 SAG"},
    "inversion recovery by sequence": {"ScanningSequence": ["SE", "IR"]},
    "gradient echo": {"ScanningSequence": "GR", "EchoTime": None, "RepetitionTime": None},
    "fat suppressed by underscore": {"SeriesDescription": "t2_tse_fs_sag"},
    "fat suppressed in Chinese": {"SeriesDescription": "腰椎 矢状位 T2 抑脂"},
    "axial": {"ImageOrientationPatient": list(AXIAL)},
    "cervical series of a study of both": {
        "SeriesDescription": "T2 sag C-spine", "StudyDescription": "cervical and lumbar", "BodyPartExamined": "SPINE",
    },
    "cervical by part, in a study of both": {"BodyPartExamined": "CSPINE", "StudyDescription": "C and lumbar spine"},
    "thoracic": {"BodyPartExamined": "TSPINE"},
    "brain": {"BodyPartExamined": "BRAIN", "SeriesDescription": "t2 sag"},
    "head, although the part says spine": {"BodyPartExamined": "SPINE", "StudyDescription": "MR head"},
    "reformatted": {"ImageType": ["DERIVED", "SECONDARY", "MPR"]},
    "localizer": {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]},
}  # fmt: skip


@pytest.mark.parametrize("case", FIRES)
def test_a_sagittal_t2_of_the_lumbar_spine_is_asked_for(case: str, rules: Rules) -> None:
    trace = traced(rules, **FIRES[case])
    assert [rule.pipeline for rule in trace.fired] == ["lumbar"], trace.summary


@pytest.mark.parametrize("case", STAYS)
def test_another_series_is_left_alone(case: str, rules: Rules) -> None:
    assert not traced(rules, **STAYS[case]).fired


ENHANCED: dict[str, tuple[dict[str, Any], bool]] = {
    "plain": ({}, True),
    "region in its functional groups": ({"BodyPartExamined": None, "FrameAnatomySequence": "lumbar"}, True),
    "T1": ({"EffectiveEchoTime": 11.0, "RepetitionTime": 560.0}, False),
    "STIR": ({"InversionTimes": [160.0]}, False),
    "fat suppressed": ({"SpectrallySelectedSuppression": "FAT"}, False),
}


@pytest.mark.parametrize("case", ENHANCED)
def test_enhanced_objects_are_routed_by_their_functional_groups(case: str, rules: Rules) -> None:
    attributes, fires = ENHANCED[case]
    dataset = enhanced_object(SERIES)
    shared = dataset.SharedFunctionalGroupsSequence[0]
    for keyword, value in attributes.items():
        if keyword == "FrameAnatomySequence":
            shared.FrameAnatomySequence = [Dataset()]
            shared.FrameAnatomySequence[0].AnatomicRegionSequence = coded("Lumbar spine")
        elif keyword == "InversionTimes":
            shared.MRModifierSequence[0].InversionTimes = value
        else:
            place(dataset, keyword, value)
    assert bool(route(collect_headers(dataset), rules, {"lumbar"}).fired) == fires


def test_of_a_study_with_t1_stir_and_axial_series_the_t2_runs_once_and_the_trace_says_why(tmp_path: Path) -> None:
    study = (
        replace(SERIES, number=1, description="T2 TSE SAG"),
        replace(SERIES, number=2, description="T1 TSE SAG").with_attributes(EchoTime=11.0, RepetitionTime=560.0),
        replace(SERIES, number=3, description="T2 STIR SAG").with_attributes(InversionTime=170.0),
        replace(SERIES, number=4, description="T2 TSE TRA", orientation=AXIAL),
    )
    for one in study:
        save(classic_slices(one), tmp_path / "study" / str(one.number))
    traces = {t.description: t.trace for t in explain(configure(tmp_path), [tmp_path / "study"])}
    fired = {description: [r.pipeline for r in trace.fired] for description, trace in traces.items() if trace}
    assert fired == {"T2 TSE SAG": ["lumbar"], "T1 TSE SAG": [], "T2 STIR SAG": [], "T2 TSE TRA": []}
    why = {
        "T1 TSE SAG": "EchoTime is 11, wanted any of nothing, [60, 250]",
        "T2 STIR SAG": "InversionTime is 170",
        "T2 TSE TRA": "Orientation is 'axial', wanted sagittal",
    }
    for description, reason in why.items():
        trace = traces[description]
        assert trace is not None
        (rule,) = [rule for rule in trace.rules if rule.rule == "lumbar"]
        assert reason in rule.outcome
