"""A received file is read as far as the registry needs it, whatever it holds: identity, digest, rules' attributes."""

from __future__ import annotations

import hashlib
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian

from node.assemble.attributes import OWN_MANUFACTURER, attribute_problem, collect_headers, plane_orientation
from node.assemble.instance_file import (
    MAX_INFLATED_BYTES,
    UnregistrableError,
    data_set_offset,
    digest_file,
    read_instance,
)
from node.assemble.text import clean_text, repair_text
from tests.assemble.objects import NM_IMAGE, ROOT, data_set, part10


def write(tmp_path: Path, content: bytes | Dataset, name: str = "file") -> Path:
    path = tmp_path / name
    path.write_bytes(part10(content) if isinstance(content, Dataset) else content)
    return path


def test_identity_and_headers_are_read(tmp_path: Path) -> None:
    instance = read_instance(write(tmp_path, data_set(3, 2, 1, AccessionNumber="A1", ImagesInAcquisition=4)))
    assert (instance.study_uid, instance.series_uid, instance.sop_uid) == (f"{ROOT}.1", f"{ROOT}.1.2", f"{ROOT}.1.2.3")
    assert (instance.sop_class_uid, instance.transfer_syntax_uid) == (NM_IMAGE, "1.2.840.10008.1.2.1")
    assert (instance.patient_id, instance.patient_name) == ("PID-4711", "SECRET^PATIENT")
    assert instance.expected_count == 4
    assert instance.headers["ImageType"] == ["ORIGINAL", "PRIMARY", "WHOLE BODY", "EMISSION"]
    assert instance.headers["RowColumnRatio"] == 4.0
    assert instance.text("SeriesDescription") == "WB BONE"


def test_patient_data_stand_neither_in_the_headers_nor_in_what_is_logged(tmp_path: Path) -> None:
    instance = read_instance(write(tmp_path, data_set(AccessionNumber="ACC-0815")))
    for shown in (repr(instance), repr(instance.headers)):
        assert "SECRET" not in shown
        assert "4711" not in shown
        assert "0815" not in shown


def test_the_digest_covers_the_data_set_alone_so_a_resend_by_another_node_is_identical(tmp_path: Path) -> None:
    one = write(tmp_path, part10(data_set(), "SCANNER"), "one")
    other = write(tmp_path, part10(data_set(), "PACS_WITH_LONG_N"), "other")
    assert one.read_bytes() != other.read_bytes()
    assert digest_file(one).sha256 == digest_file(other).sha256
    assert digest_file(one).byte_count == one.stat().st_size
    changed = write(tmp_path, data_set(PixelData=bytes(255) + b"\x01"), "changed")
    assert digest_file(changed).sha256 != digest_file(one).sha256


def test_the_data_set_begins_where_pydicom_says_it_begins(tmp_path: Path) -> None:
    content = part10(data_set())
    buffer = BytesIO(content)
    dcmread(buffer, stop_before_pixels=True, specific_tags=["SOPClassUID"])
    offset = data_set_offset(content)
    assert content[offset : offset + 4] == b"\x08\x00\x08\x00"  # ImageType, the first element of the data set
    assert digest_file(write(tmp_path, content)).sha256 == hashlib.sha256(content[offset:]).hexdigest()


def test_a_wrong_group_length_does_not_move_the_data_set() -> None:
    content = bytearray(part10(data_set()))
    right = data_set_offset(bytes(content))
    content[140:144] = (9999).to_bytes(4, "little")
    assert data_set_offset(bytes(content)) == right


def test_a_file_without_preamble_is_all_data_set(tmp_path: Path) -> None:
    buffer = BytesIO()
    dcmwrite(buffer, data_set(), implicit_vr=True, little_endian=True)
    path = write(tmp_path, buffer.getvalue())
    assert digest_file(path).sha256 == hashlib.sha256(buffer.getvalue()).hexdigest()
    assert read_instance(path).series_uid == f"{ROOT}.1.1"


@pytest.mark.parametrize("missing", [{"SOPClassUID": ""}, {"SOPInstanceUID": ""}])
def test_identity_that_the_data_set_lacks_comes_from_the_file_meta(tmp_path: Path, missing: dict[str, Any]) -> None:
    dataset = dcmread(BytesIO(part10(data_set())))
    for keyword, value in missing.items():
        setattr(dataset, keyword, value)
    buffer = BytesIO()
    dcmwrite(buffer, dataset)  # keeps the meta information as it is
    instance = read_instance(write(tmp_path, buffer.getvalue()))
    assert (instance.sop_class_uid, instance.sop_uid) == (NM_IMAGE, f"{ROOT}.1.1.1")


def test_the_acknowledged_uid_serves_where_the_file_has_none_at_all(tmp_path: Path) -> None:
    buffer = BytesIO()
    dcmwrite(buffer, data_set(SOPInstanceUID=None), implicit_vr=True, little_endian=True)
    path = write(tmp_path, buffer.getvalue())
    assert read_instance(path, acknowledged_uid="1.2.3").sop_uid == "1.2.3"
    with pytest.raises(UnregistrableError, match="no valid SOPInstanceUID"):
        read_instance(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "names no study"),
        (b"<html>not DICOM</html>" * 100, "names no study|cannot be parsed"),
        (bytes(128) + b"DICM", "names no study"),
        (part10(data_set(StudyInstanceUID=None)), "names no study"),
        (part10(data_set(SeriesInstanceUID="")), "names no series"),
        (part10(data_set(StudyInstanceUID="1.2.3/../../etc")), "StudyInstanceUID is not a valid UID"),
        (part10(data_set(SeriesInstanceUID="1." + "2" * 70)), "SeriesInstanceUID is not a valid UID"),
        (part10(data_set())[:200], "names no study|cannot be parsed"),
    ],
    ids=["empty", "html", "preamble only", "no study", "no series", "path", "long", "cut"],
)
def test_what_has_no_place_is_refused_with_a_reason(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(UnregistrableError, match=message):
        read_instance(write(tmp_path, content))


def deflated(dataset: Dataset, padding: int) -> bytes:
    buffer = BytesIO()
    dcmwrite(buffer, dataset, implicit_vr=False, little_endian=True)
    plain = buffer.getvalue() + b"\xe0\x7f\x10\x00OW\x00\x00" + padding.to_bytes(4, "little") + bytes(padding)
    frame = part10(data_set(), transfer_syntax=DeflatedExplicitVRLittleEndian)
    compressor = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return frame[: data_set_offset(frame)] + compressor.compress(plain) + compressor.flush()


def test_a_deflated_file_that_inflates_beyond_any_memory_is_read_as_far_as_its_header(tmp_path: Path) -> None:
    content = deflated(data_set(PixelData=None), padding=MAX_INFLATED_BYTES + (1 << 20))
    assert len(content) < MAX_INFLATED_BYTES // 100
    assert read_instance(write(tmp_path, content)).series_uid == f"{ROOT}.1.1"


def test_every_odd_and_fuzzed_file_is_either_read_or_refused(shared_data: Path) -> None:
    outcomes = {"read": 0, "refused": 0}
    for folder in ("odd", "fuzz"):
        for path in sorted((shared_data / folder).iterdir()):
            digest_file(path)
            try:
                instance = read_instance(path)
            except UnregistrableError:
                outcomes["refused"] += 1
            else:
                assert instance.series_uid
                outcomes["read"] += 1
    assert outcomes["read"] > 100
    assert outcomes["refused"] > 100


def test_the_class_of_a_real_ct_with_an_empty_one_comes_from_its_meta_but_it_has_no_study(shared_data: Path) -> None:
    path = sorted((shared_data / "ct_body").iterdir())[0]
    with pytest.raises(UnregistrableError, match="it names no study"):
        read_instance(path)


def test_a_real_whole_body_scan_is_recognised_in_every_transfer_syntax(shared_data: Path) -> None:
    ratios = {read_instance(path).headers["RowColumnRatio"] for path in sorted((shared_data / "nm").glob("NM1_*"))}
    assert ratios == {4.0}


@pytest.mark.parametrize(
    ("cosines", "plane"),
    [
        ([1, 0, 0, 0, 1, 0], "axial"),
        ([0, 1, 0, 0, 0, -1], "sagittal"),
        ([1, 0, 0, 0, 0, -1], "coronal"),
        ([-1, 0, 0, 0, 0, -1], "coronal"),
        ([1, 0, 0, 0, 0.866, 0.5], "axial"),  # a lumbar disc, 30 degrees off
        ([1, 0, 0, 0, 0.7071, 0.7071], "oblique"),
        ([1, 0, 0, 1, 0, 0], None),
        ([0, 0, 0, 0, 0, 0], None),
        ([1, 0, 0], None),
        (None, None),
        (["a"] * 6, None),
    ],
)
def test_orientation_is_the_plane_of_the_image(cosines: Any, plane: str | None) -> None:
    assert plane_orientation([float(c) if isinstance(c, int) else c for c in cosines] if cosines else None) == plane


def item(**attributes: Any) -> Dataset:
    dataset = Dataset()
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


def test_orientation_and_echo_time_are_found_where_enhanced_objects_keep_them() -> None:
    groups = item(
        PlaneOrientationSequence=[item(ImageOrientationPatient=[0, 1, 0, 0, 0, -1])],
        MREchoSequence=[item(EffectiveEchoTime=99.5)],
    )
    headers = collect_headers(item(SharedFunctionalGroupsSequence=[groups]))
    assert (headers["Orientation"], headers["EchoTime"]) == ("sagittal", 99.5)


def test_detector_orientation_counts_for_nuclear_medicine_the_first_detector_only() -> None:
    detectors = [item(ImageOrientationPatient=[-1, 0, 0, 0, 0, -1]) for _ in range(2)]
    headers = collect_headers(item(DetectorInformationSequence=detectors))
    assert headers["ImageOrientationPatient"] == [-1, 0, 0, 0, 0, -1]
    assert headers["Orientation"] == "coronal"


def test_tracers_regions_and_views_are_gathered_from_texts_and_codes() -> None:
    code = item(CodeValue="272673000", CodingSchemeDesignator="SCT", CodeMeaning="Bone")
    agent = item(
        Radiopharmaceutical="MDP", RadiopharmaceuticalCodeSequence=[item(CodeValue="1", CodeMeaning="medronate")]
    )
    headers = collect_headers(
        item(
            RadiopharmaceuticalInformationSequence=[agent],
            AnatomicRegionSequence=[code],
            DetectorInformationSequence=[
                item(ViewCodeSequence=[item(CodeMeaning="Anterior")]),
                item(ViewCodeSequence=[]),
            ],
        )
    )
    assert headers["Radiopharmaceutical"] == ["MDP", "medronate", "1"]
    assert headers["AnatomicRegion"] == ["Bone", "272673000"]
    assert headers["View"] == "Anterior"


def test_rules_may_ask_for_any_other_public_attribute_but_not_for_patient_data() -> None:
    dataset = item(AcquisitionNumber=3, RequestAttributesSequence=[item(ScheduledProcedureStepDescription="Bone")])
    extra = ["AcquisitionNumber", "RequestAttributesSequence.ScheduledProcedureStepDescription"]
    headers = collect_headers(dataset, extra)
    assert headers["AcquisitionNumber"] == 3
    assert headers["RequestAttributesSequence.ScheduledProcedureStepDescription"] == "Bone"
    assert all(attribute_problem(name) is None for name in extra)
    for name in ("PatientName", "PatientID", "PatientBirthDate", "OtherPatientIDs", "ReferringPhysicianName"):
        assert "patient data" in str(attribute_problem(name))


def short_element(tag: int, vr: bytes, value: bytes) -> bytes:
    """One element in Explicit VR Little Endian, whatever its value."""
    head = (tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little")
    return head + vr + len(value).to_bytes(2, "little") + value


def test_malformed_values_are_left_out_and_stop_nothing(tmp_path: Path) -> None:
    frame = part10(data_set())
    elements = [
        short_element(0x00080060, b"CS", b"MR"),
        short_element(0x00180080, b"DS", b"not a number"),  # RepetitionTime
        short_element(0x00180081, b"DS", b"1e999 "),  # EchoTime, infinite
        short_element(0x00181314, b"DS", b"90"),  # FlipAngle, sound
        short_element(0x0020000D, b"UI", b"1.2.3\x00"),
        short_element(0x0020000E, b"UI", b"1.2.3.4\x00"),
        short_element(0x00200011, b"IS", b"12abc "),  # SeriesNumber
        short_element(0x00280010, b"US", b"\x01"),  # Rows, half a number
    ]
    content = frame[: data_set_offset(frame)] + b"".join(elements)
    headers = read_instance(write(tmp_path, content)).headers
    assert headers == {"Modality": "MR", "FlipAngle": 90.0, "SOPClassUID": NM_IMAGE}


def test_long_and_many_values_are_cut(tmp_path: Path) -> None:
    dataset = data_set(SeriesDescription=None, ImageType=[f"V{n}" for n in range(100)])
    dataset.add_new(0x0008103E, "LO", "x" * 60 + " " + "y" * 3)
    instance = read_instance(write(tmp_path, dataset))
    assert len(instance.headers["ImageType"]) == 32
    assert clean_text("x" * 10_000) == "x" * 256


@pytest.mark.parametrize(
    ("raw", "declared", "meant"),
    [
        ("全身骨显像".encode("gb2312"), (), "全身骨显像"),
        ("全身骨显像".encode("gb2312"), ("ISO_IR 100",), "全身骨显像"),
        ("腰椎 矢状位 T2".encode(), (), "腰椎 矢状位 T2"),
        ("腰椎 矢状位 T2".encode(), ("ISO_IR 100",), "腰椎 矢状位 T2"),
        ("Jérôme".encode("latin-1"), ("ISO_IR 100",), "Jérôme"),
        ("Schädelübersicht".encode("latin-1"), (), "Schädelübersicht"),
        ("CRÉÉ".encode("latin-1"), (), "CRÉÉ"),
        (b"WB BONE", (), "WB BONE"),
    ],
)
def test_undeclared_chinese_is_recognised_and_european_text_left_alone(
    raw: bytes, declared: tuple[str, ...], meant: str
) -> None:
    assert repair_text(raw.decode("latin-1"), declared) == meant


@pytest.mark.parametrize("encoding", ["utf-8", "gb2312"])
def test_undeclared_chinese_in_a_file_reaches_the_rules_as_chinese(tmp_path: Path, encoding: str) -> None:
    """The bytes are put into the file by hand, as such devices do: pydicom would encode them properly."""
    wanted = "全身骨显像" if encoding == "gb2312" else "骨显像"
    raw = wanted.encode(encoding)
    placeholder = b"#" * (len(raw) + len(raw) % 2)
    content = part10(data_set(SeriesDescription=placeholder.decode(), BodyPartExamined="%%%%"))
    content = content.replace(placeholder, raw.ljust(len(placeholder))).replace(b"%%%%", "全身".encode("gb2312"))
    headers = read_instance(write(tmp_path, content)).headers
    assert headers["SeriesDescription"] == wanted
    assert headers["BodyPartExamined"] == "全身"


def test_control_characters_and_lone_surrogates_never_reach_the_database() -> None:
    assert clean_text("a\x00b\x1b[31m\ud800c\r\nd") == "ab[31mc  d"


@pytest.mark.parametrize(("promised", "believed"), [(16, 16), (0, None), (-3, None), (10**9, None)])
def test_only_a_sensible_promise_of_images_is_believed(tmp_path: Path, promised: int, believed: int | None) -> None:
    assert read_instance(write(tmp_path, data_set(ImagesInAcquisition=promised))).expected_count == believed


def test_what_osteon_wrote_is_known_by_maker_and_class(tmp_path: Path) -> None:
    seg = data_set(SOPClassUID="1.2.840.10008.5.1.4.1.1.66.4", Modality="SEG", Manufacturer=OWN_MANUFACTURER)
    assert read_instance(write(tmp_path, seg)).headers["MadeByOsteon"] is True
    phantom = data_set(Manufacturer=OWN_MANUFACTURER)  # `osteon phantom` makes images, which are to be routed
    assert "MadeByOsteon" not in read_instance(write(tmp_path, phantom)).headers


def test_results_carry_the_maker_by_which_they_are_known() -> None:
    from node.results.context import MANUFACTURER

    assert MANUFACTURER == OWN_MANUFACTURER


def test_implicit_files_are_read_too(tmp_path: Path) -> None:
    path = write(tmp_path, part10(data_set(), transfer_syntax=ImplicitVRLittleEndian))
    assert read_instance(path).text("Modality") == "NM"
