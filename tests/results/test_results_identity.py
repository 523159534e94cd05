"""Whose results they are: patient and study attributes, character sets, what is missing, what is never said.

Covered: names in Chinese, Korean, Japanese and Latin scripts through a round trip of bytes; impossible values; missing
type 1 and type 2 attributes; that no name reaches a warning or a log.
Not covered: matching in an archive.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.config import disable_value_validation
from pydicom.datadict import dictionary_VR
from pydicom.valuerep import PersonName

from node.errors import PermanentError
from node.results import build_results
from node.results.source import TYPE_2_IDENTITY
from pipelines.contract import Findings, FrameReference, SourceSeries
from tests.results.result_sources import context, header_of, planar_findings, planar_source, whole_body

NAMES = [
    ("GB18030", "Wang^XiaoDong=王^小东"),
    ("GBK", "Zhang^San=张^三"),
    ("ISO_IR 192", "Wang^XiaoDong=王^小东"),
    (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
    (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    ("ISO_IR 100", "Buc^Jérôme"),
    ("ISO_IR 144", "Люкceмбypг"),
]


def study(**attributes: object) -> Dataset:
    """A small whole-body header, read back from bytes as a receiver would have it."""
    dataset = whole_body(128, 32)
    del dataset.PixelData
    with disable_value_validation():
        for keyword, value in attributes.items():
            setattr(dataset, keyword, value)
        buffer = BytesIO()
        dcmwrite(buffer, dataset, enforce_file_format=True)
        return dcmread(BytesIO(buffer.getvalue()))


def results_for(header: Dataset, **changes: Any) -> list[Dataset]:
    findings = replace(planar_findings(planar_source([header])), **changes)
    with disable_value_validation():
        return [dcmread(BytesIO(item.to_bytes())) for item in build_results(findings, context())]


@pytest.mark.parametrize(("character_set", "name"), NAMES, ids=[str(c) for c, _ in NAMES])
def test_names_survive_in_the_character_set_of_the_source(character_set: object, name: str) -> None:
    header = study(SpecificCharacterSet=character_set, PatientName=name, ReferringPhysicianName=name)
    for dataset in results_for(header):
        assert dataset.SpecificCharacterSet == header.SpecificCharacterSet
        assert str(dataset.PatientName) == name and str(dataset.ReferringPhysicianName) == name
        assert dataset.PatientName.original_string == header.PatientName.original_string, "the very same bytes"


def test_words_that_do_not_fit_the_source_s_character_set_turn_the_object_to_utf_8() -> None:
    header = study(SpecificCharacterSet="ISO_IR 100", PatientName="Buc^Jérôme")
    conclusion = "右侧第三肋骨摄取增高"
    report = results_for(header, conclusion=conclusion)[1]
    assert report.SpecificCharacterSet == "ISO_IR 192"
    assert str(report.PatientName) == "Buc^Jérôme"
    assert conclusion in [e.value for e in report.iterall() if e.keyword == "TextValue"]


def test_words_that_do_fit_keep_the_source_s_character_set() -> None:
    header = study(SpecificCharacterSet="GB18030", PatientName="Wang^XiaoDong=王^小东")
    report = results_for(header, conclusion="右侧第三肋骨摄取增高")[1]
    assert report.SpecificCharacterSet == "GB18030"
    assert "右侧第三肋骨摄取增高" in [e.value for e in report.iterall() if e.keyword == "TextValue"]


def test_every_real_character_set_survives(shared_data: Path, read_header: Callable[[Path], Dataset]) -> None:
    files = sorted((shared_data / "odd").glob("charset__*.dcm"))
    assert files, "the folder of odd files has lost its character sets"
    for path in files:
        real = read_header(path)
        if "PatientName" not in real:
            continue
        header = study()
        with disable_value_validation():
            header.SpecificCharacterSet = real.SpecificCharacterSet
            header.PatientName = real.PatientName
        for dataset in results_for(header):
            assert dataset.SpecificCharacterSet == real.SpecificCharacterSet, path.name
            assert dataset.PatientName.original_string == real.PatientName.original_string, path.name


def test_gb2312_names_stay_right_where_our_words_need_utf_8(
    shared_data: Path, read_header: Callable[[Path], Dataset]
) -> None:
    real = read_header(shared_data / "odd" / "charset__chrGB2312.dcm")
    header = study()
    with disable_value_validation():
        header.SpecificCharacterSet, header.PatientName = real.SpecificCharacterSet, real.PatientName
    report = results_for(header, conclusion="右侧第三肋骨摄取增高")[1]
    assert report.SpecificCharacterSet == "ISO_IR 192"
    assert str(report.PatientName) == "Zhang^XiaoDong=张^小东", "without the escape sequences of the old set"
    assert "右侧第三肋骨摄取增高" in [e.value for e in report.iterall() if e.keyword == "TextValue"]


def test_patient_and_study_attributes_are_copied_unchanged() -> None:
    header = study(
        PatientID="0815/ä", PatientBirthDate="19431231", PatientSex="F", IssuerOfPatientID="HOSPITAL",
        StudyDescription="Skelettszintigraphie", AccessionNumber="ACC-7", PatientAge="082Y", PatientWeight="61.5",
        SpecificCharacterSet="ISO_IR 100",
    )  # fmt: skip
    for dataset in results_for(header):
        for keyword in (*TYPE_2_IDENTITY, "IssuerOfPatientID", "StudyDescription", "PatientAge", "PatientWeight"):
            assert dataset[keyword].value == header[keyword].value, keyword
        assert dataset.StudyInstanceUID == header.StudyInstanceUID


def test_missing_type_2_attributes_are_filled_in_on_a_copy() -> None:
    header = study()
    for keyword in TYPE_2_IDENTITY:
        del header[keyword]
    for dataset in results_for(header):
        for keyword in TYPE_2_IDENTITY:
            assert keyword in dataset and not dataset[keyword].value
    assert not any(keyword in header for keyword in TYPE_2_IDENTITY), "the source header itself is left alone"


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("PatientBirthDate", "00000000"),
        ("PatientBirthDate", "20040231"),
        ("StudyTime", "9:15"),
        ("PatientSex", "W"),
        ("PatientAge", "82"),
    ],
)
def test_impossible_values_do_not_stop_a_result(keyword: str, value: str) -> None:
    header = study()
    with disable_value_validation():
        header.add_new(keyword, dictionary_VR(keyword), value)
        for dataset in results_for(header):
            assert not dataset.get(keyword)


def test_a_number_that_is_none_does_not_stop_a_result() -> None:
    buffer = BytesIO()
    dcmwrite(buffer, study(PatientWeight="12345678"), enforce_file_format=True)
    header = dcmread(BytesIO(buffer.getvalue().replace(b"12345678", b"about 80")))
    assert all("PatientWeight" not in dataset for dataset in results_for(header))


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"])
@pytest.mark.parametrize("how", ["absent", "empty"])
def test_a_missing_type_1_uid_is_a_permanent_error_that_names_it(keyword: str, how: str) -> None:
    header = study()
    frames = planar_source([header]).frames
    if how == "absent":
        del header[keyword]
    else:
        header[keyword].value = ""
    source = SourceSeries((header,), frames, True, ("anterior", "posterior"))
    with pytest.raises(PermanentError, match=f"no {keyword} .*send it again"):
        build_results(planar_findings(source), context())


def test_a_sop_class_that_only_the_file_meta_knew_is_taken_from_the_reference() -> None:
    header = study()
    frames = tuple(FrameReference("1.2.840.10008.5.1.4.1.1.20", str(header.SOPInstanceUID), n) for n in (1, 2))
    header.SOPClassUID = ""
    source = SourceSeries((header,), frames, True, ("anterior", "posterior"))
    seg = build_results(planar_findings(source), context())[0].dataset
    reference = seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence[0]
    assert reference.ReferencedSOPClassUID == "1.2.840.10008.5.1.4.1.1.20"


def test_no_name_or_number_of_a_patient_reaches_a_log_or_warning(
    planar: Findings, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    source = planar.segmentations[0].source
    header = header_of(source.headers[0])
    header.PatientName, header.PatientID = PersonName("Onlyonecomponent"), "MRN-4711"
    header.ReferringPhysicianName = "Drsinglename"
    with caplog.at_level(logging.DEBUG):
        build_results(planar_findings(SourceSeries((header,), source.frames, True, source.view_names)), context())
    said = caplog.text + " ".join(str(w.message) for w in recwarn)
    assert not any(word in said for word in ("Onlyonecomponent", "MRN-4711", "Drsinglename"))
