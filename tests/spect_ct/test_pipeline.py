"""`spect-ct` from files to results, with a stand-in for the network: what is drawn must come back where it was drawn.

Oracles: the drawing asked at the places that dcmqi reads from the written SEGs, hand-counted volumes, dciodvfy.
Not covered here: which series fit (test_checks), what the network finds (`osteon evaluate spect-ct`).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pydicom import Dataset

from node.results import build_results, write_results
from pipelines.contract import ContentRefused, Findings, InputSeries, PipelineInputs
from pipelines.spect_ct.header_checks import is_child
from pipelines.spect_ct.pipeline import SpectCtPipeline
from pipelines.spect_ct.uses import CT, SPECT
from pipelines.spect_ct.wording import missed_kinds
from tests.fixtures.dicom_tools import run_tool
from tests.results.result_sources import context
from tests.results.test_results_conformance import errors_of
from tests.spect_ct.drawn_study import LESIONS, SPECT_FIELD, counts, hounsfield, write_ct, write_spect
from tests.spect_ct.stand_in import HOT, Marker, card, pipeline


class Hot(Marker):
    """A network that looks at the SPECT alone."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (n, 1, rows, columns)."""
        return 8 * (x[:, :1] - HOT)


SIGNS = pytest.mark.parametrize("head_first", [False, True], ids=["spacing positive", "spacing negative"])


def analyse(folder: Path, head_first: bool = False, with_ct: bool = True, with_spect: bool = True) -> Findings:
    series = []
    if with_spect:
        series.append(InputSeries("nm", (write_spect(folder / "nm.dcm", counts(), head_first=head_first),)))
    if with_ct:
        series.append(
            InputSeries("ct", tuple(write_ct(folder / "ct", hounsfield())), "ct" if with_spect else "primary")
        )
    inputs = PipelineInputs(tuple(series), rule="" if with_spect else "ct-by-itself")
    told: list[float] = []
    found = pipeline()
    found.check(inputs)
    findings = found.run(inputs, lambda share, _text: told.append(share))
    assert told == sorted(told) and told[-1] == 1.0
    return findings


@pytest.fixture(scope="module")
def fused(tmp_path_factory: pytest.TempPathFactory) -> Findings:
    return analyse(tmp_path_factory.mktemp("fused"), head_first=True)


def value(region, meaning: str, derivation: str = "") -> float:
    return next(
        q.value
        for q in region.quantities
        if q.name.meaning == meaning and (q.derivation.meaning if q.derivation else "") == derivation
    )


def test_both_lesions_are_measured_as_they_were_drawn(fused: Findings):
    assert [r.laterality.meaning for r in fused.regions] == ["Left", "Right"]
    for region, (centre, radius) in zip(fused.regions, LESIONS, strict=True):
        assert value(region, "Volume") == pytest.approx(4 / 3 * np.pi * radius**3 / 1000, rel=0.12)
        assert value(region, "Nuclear Medicine Tomographic Activity", "Maximum") == 2500
        assert value(region, "Nuclear Medicine Tomographic Activity", "Mean") == pytest.approx(2500, rel=0.03)
        assert value(region, "Lesion to background ratio") == pytest.approx(25, rel=0.03)
        assert value(region, "Attenuation Coefficient", "Mean") == pytest.approx(700, rel=0.06)
        assert f"{abs(centre[0]):.0f} mm from the middle" in region.location.replace("41", "40")


def test_the_text_says_what_was_analysed_and_names_no_diagnosis(fused: Findings):
    said = " ".join((fused.conclusion, *fused.limitations, *(r.label for r in fused.regions)))
    assert "2 focal bone lesions" in fused.conclusion and "SPECT/CT" in fused.conclusion
    assert "nature of a lesion is undetermined" in said
    assert "trained on simulated patients only" in said
    assert "kernel B70s" in said and "frame of reference" in said
    assert not any(word in said.lower() for word in ("metasta", "tumour", "cancer"))


def drawn_at(points: np.ndarray) -> np.ndarray:
    """Which lesion lies at each LPS point, 0 for none."""
    found = np.zeros(len(points), int)
    for number, (centre, radius) in enumerate(LESIONS, 1):
        found[((points - centre) ** 2).sum(1) <= radius**2] = number
    return found


@pytest.mark.peer
@SIGNS
def test_dcmqi_reads_both_segs_where_the_drawn_lesions_lie(tmp_path: Path, head_first: bool):
    simple_itk = pytest.importorskip("SimpleITK")
    findings = analyse(tmp_path, head_first=head_first)
    files = write_results(build_results(findings, context()), tmp_path / "out", "r")
    segs = sorted(path for path in files if ".seg" in path.name)
    assert len(segs) == 2
    for path, least in zip(segs, (0.9, 0.8), strict=True):
        folder = tmp_path / path.stem
        folder.mkdir()
        read = run_tool("segimage2itkimage", "--inputDICOM", path, "--outputDirectory", folder, "--outputType", "nrrd")
        assert read.returncode == 0, read.stderr
        for number, (centre, radius) in enumerate(LESIONS, 1):
            image = simple_itk.ReadImage(str(folder / f"{number}.nrrd"))
            index = np.argwhere(simple_itk.GetArrayFromImage(image) > 0)
            points = np.array([image.TransformIndexToPhysicalPoint([int(v) for v in one[::-1]]) for one in index])
            assert points.mean(0) == pytest.approx(centre, abs=1.5)
            volume = len(points) * float(np.prod(image.GetSpacing()))
            hits = (drawn_at(points) == number).sum() * float(np.prod(image.GetSpacing()))
            assert 2 * hits / (volume + 4 / 3 * np.pi * radius**3) > least


@pytest.mark.peer
def test_dciodvfy_finds_no_error_in_any_object(tmp_path: Path, fused: Findings):
    for path in write_results(build_results(fused, context()), tmp_path, "r"):
        assert errors_of(run_tool, path) == [], path.name


def test_every_lesion_is_a_segment_with_a_tracking_uid_of_its_own(fused: Findings):
    objects = build_results(fused, context())
    uids = [s.TrackingUID for o in objects if o.kind == "seg" for s in o.dataset.SegmentSequence]
    assert len(uids) == len(set(uids)) == 4


def test_without_a_ct_the_spect_is_analysed_alone_and_the_result_says_so(tmp_path: Path):
    findings = analyse(tmp_path, with_ct=False)
    assert len(findings.segmentations) == 1
    assert "SPECT alone was analysed, because no CT came with the SPECT" in " ".join(findings.limitations)
    assert len(findings.regions) == 2
    missing = [q for q in findings.regions[0].quantities if q.name.meaning == "Attenuation Coefficient"]
    assert missing[0].value is None and missing[0].reason


def test_a_ct_alone_is_analysed_where_a_rule_asks(tmp_path: Path):
    findings = analyse(tmp_path, with_spect=False)
    assert "CT alone was analysed" in " ".join(findings.limitations)
    assert "rule 'ct-by-itself'" in " ".join(findings.limitations)
    assert value(findings.regions[0], "Attenuation Coefficient", "Mean") == pytest.approx(700, rel=0.06)


def test_a_result_names_the_kinds_that_its_weights_mostly_miss_on_what_was_analysed():
    kinds = {
        "lytic": {"lesions": 12, "dice": 0.1, "missed": 7},
        "bone_island": {"lesions": 12, "dice": 0.4, "missed": 6},
        "mixed": {"lesions": 9, "dice": 0.0, "missed": 9},
    }
    told = card().model_copy(update={"metrics": {"held_out": {"uses": {CT: {"by_kind": kinds}}}}})
    assert (
        missed_kinds(told, CT)
        == "In their own evaluation these weights missed most lesions of these kinds on CT: lytic (7 of 12)."
    )
    assert missed_kinds(told, SPECT) == missed_kinds(card(), CT) == ""


def test_a_ct_of_another_position_is_left_out_and_the_result_says_so(tmp_path: Path):
    nm = write_spect(tmp_path / "nm.dcm", counts())
    moved = hounsfield()
    moved[:] = np.roll(moved, 75, axis=2)
    series = (InputSeries("nm", (nm,)), InputSeries("ct", tuple(write_ct(tmp_path / "ct", moved)), "ct"))
    findings = pipeline().run(PipelineInputs(series), lambda *_: None)
    assert len(findings.segmentations) == 1
    assert "do not lie on each other" in " ".join(findings.limitations)


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        ({"PixelData": b"\0" * 4}, "cannot be decoded"),
        ({"RescaleIntercept": 5000}, "shows no air or no bone in Hounsfield units"),
    ],
    ids=["undecodable", "no Hounsfield units"],
)
def test_a_ct_that_cannot_be_used_leaves_a_sound_spect_to_be_analysed_alone(tmp_path: Path, harm, words):
    nm = InputSeries("nm", (write_spect(tmp_path / "nm.dcm", counts()),))
    ct = tuple(write_ct(tmp_path / "ct", hounsfield(), **harm))
    findings = pipeline().run(PipelineInputs((nm, InputSeries("ct", ct, "ct"))), lambda *_: None)
    assert len(findings.segmentations) == 1 and len(findings.regions) == 2
    said = " ".join(findings.limitations)
    assert "SPECT alone was analysed, because no CT of the study can be used:" in said and words in said
    assert words in str(findings.details["ct_absence"]) and ".;" not in said
    with pytest.raises(ContentRefused, match=words):
        pipeline().run(PipelineInputs((InputSeries("ct", ct),), rule="ct-by-itself"), lambda *_: None)


@pytest.mark.parametrize("with_ct", [True, False], ids=["with a CT", "SPECT alone"])
def test_what_is_hot_where_the_ct_shows_no_bone_is_left_out_and_the_result_says_so(tmp_path: Path, with_ct: bool):
    full = ((0.0, 5.0, -10.0), 12.0)  # in front of the spine, as a full bladder lies between the hips
    series = [InputSeries("nm", (write_spect(tmp_path / "nm.dcm", counts(lesions=(*LESIONS, full))),))]
    if with_ct:
        series.append(InputSeries("ct", tuple(write_ct(tmp_path / "ct", hounsfield())), "ct"))
    analysing = pipeline()
    analysing._engine._network = Hot()
    findings = analysing.run(PipelineInputs(tuple(series)), lambda *_: None)
    told = [sentence for sentence in findings.limitations if "no bone near" in sentence]
    centres = [one["centre_mm"] for one in findings.details["lesions"]]
    expected = LESIONS if with_ct else (*LESIONS, full)
    assert len(centres) == len(expected) and len(told) == with_ct
    for centre, _ in expected:
        assert min(np.linalg.norm(np.subtract(centre, one)) for one in centres) < 3.0
    assert not told or told[0].startswith("1 place that the network marked was left out")


@pytest.mark.parametrize("age", [{"PatientAge": "009Y"}, {"PatientAge": "", "PatientBirthDate": "20101231"}])
def test_of_a_child_nothing_is_left_out_as_off_bone_and_the_result_says_so(tmp_path: Path, age: dict[str, str]):
    full = ((0.0, 5.0, -10.0), 12.0)
    nm = write_spect(tmp_path / "nm.dcm", counts(lesions=(*LESIONS, full)), **age)
    ct = InputSeries("ct", tuple(write_ct(tmp_path / "ct", hounsfield())), "ct")
    analysing = pipeline()
    analysing._engine._network = Hot()
    findings = analysing.run(PipelineInputs((InputSeries("nm", (nm,)), ct)), lambda *_: None)
    assert len(findings.regions) == 3
    assert any("under 16" in sentence for sentence in findings.limitations)
    assert not any("no bone near" in sentence for sentence in findings.limitations)


@pytest.mark.parametrize(
    ("said", "child"),
    [
        ({"PatientAge": "015Y"}, True),
        ({"PatientAge": "016Y"}, False),
        ({"PatientAge": "011M"}, True),
        ({"PatientBirthDate": "20080302", "StudyDate": "20240301"}, True),
        ({"PatientBirthDate": "20080301", "StudyDate": "20240301"}, False),
        ({"PatientBirthDate": "", "StudyDate": "20240301"}, False),
        ({}, False),
    ],
)
def test_a_child_is_told_by_the_age_or_by_the_dates(said: dict[str, str], child: bool):
    header = Dataset()
    for keyword, value in said.items():
        setattr(header, keyword, value)
    assert is_child(header) is child


def test_nothing_marked_is_a_result_without_lesions(tmp_path: Path):
    nm = write_spect(tmp_path / "nm.dcm", counts(lesions=()))
    findings = pipeline().run(PipelineInputs((InputSeries("nm", (nm,)),)), lambda *_: None)
    assert findings.regions == () and "no focal bone lesion" in findings.conclusion
    assert [o.kind for o in build_results(findings, context())] == ["sr", "sc"]


def test_a_spect_without_counts_is_refused(tmp_path: Path):
    nm = write_spect(tmp_path / "nm.dcm", np.full(SPECT_FIELD.shape, 3, np.float32))
    with pytest.raises(ContentRefused, match="next to no counts"):
        pipeline().run(PipelineInputs((InputSeries("nm", (nm,)),)), lambda *_: None)


def test_run_before_load_is_a_programming_error(tmp_path: Path):
    nm = write_spect(tmp_path / "nm.dcm", counts())
    with pytest.raises(RuntimeError, match="load"):
        SpectCtPipeline().run(PipelineInputs((InputSeries("nm", (nm,)),)), lambda *_: None)


def test_what_check_chose_is_run_and_other_inputs_are_looked_at_anew(tmp_path: Path):
    first, second = (
        PipelineInputs((InputSeries(name, (write_spect(tmp_path / f"{name}.dcm", counts(lesions=())),)),))
        for name in ("a", "b")
    )
    checked = pipeline()
    checked.check(first)
    assert checked.run(second, lambda *_: None).regions == ()
    checked.check(first)
    first.series[0].paths[0].rename(tmp_path / "gone.dcm")
    with pytest.raises(FileNotFoundError):  # its header was known, its pixels are read now
        checked.run(first, lambda *_: None)
    with pytest.raises(FileNotFoundError):
        checked.check(first)


def test_the_same_input_gives_the_same_bytes(tmp_path: Path, fused: Findings):
    again = analyse(tmp_path, head_first=True)
    first, second = (
        write_results(build_results(f, context()), tmp_path / n, "r") for n, f in (("a", fused), ("b", again))
    )
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]
