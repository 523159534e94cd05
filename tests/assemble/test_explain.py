"""`osteon route explain` says of files what the node would do, and why, without a node."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from node.assemble.explain import explain, explain_text
from node.settings import Configuration
from tests.assemble.objects import CT_IMAGE, configure, data_set, part10, switched_on


@pytest.fixture
def configuration(tmp_path: Path) -> Configuration:
    return configure(tmp_path)


def write(folder: Path, name: str, **attributes: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    sop, series = int(attributes.pop("sop", 1)), int(attributes.pop("series", 1))  # type: ignore[call-overload]
    (folder / name).write_bytes(part10(data_set(sop, series, **attributes)))


def test_files_are_grouped_into_series_and_routed(configuration: Configuration, tmp_path: Path) -> None:
    folder = tmp_path / "in" / "deep"
    write(folder, "b.dcm")
    write(folder, "a.dcm", sop=2)
    write(folder, "c.dcm", sop=1, series=2, Modality="CT", SOPClassUID=CT_IMAGE, ImageType=["ORIGINAL", "PRIMARY"],
          Rows=512, Columns=512, SeriesDescription="thorax")  # fmt: skip
    scan, ct = explain(configuration, [tmp_path / "in"])
    assert [file.name for file in scan.files] == ["a.dcm", "b.dcm"]
    assert scan.trace is not None
    assert [rule.rule for rule in scan.trace.fired] == ["bone-scan"]
    assert ct.trace is not None
    assert not ct.trace.fired


def test_the_text_names_series_rule_and_values_and_no_patient(configuration: Configuration, tmp_path: Path) -> None:
    write(tmp_path, "a.dcm")
    (series,) = explain(configuration, [tmp_path / "a.dcm"])
    text = explain_text(series)
    assert text.startswith(f"series {series.series_uid} (NM, 'WB BONE', 1 file)")
    assert "rule bone-scan -> pipeline bone-scan: FIRES" in text
    assert "+ ImageType[2]: 'WHOLE BODY'   (wanted: WHOLE?BODY)" in text
    assert "SECRET" not in text + json.dumps(series.as_json())


def test_the_json_has_a_stable_shape(configuration: Configuration, tmp_path: Path) -> None:
    write(tmp_path, "a.dcm")
    (tmp_path / "b.dcm").write_bytes(b"no DICOM")
    good, bad = (
        json.loads(json.dumps(series.as_json()))
        for series in explain(configuration, [tmp_path / "a.dcm", tmp_path / "b.dcm"])
    )
    for entry in (good, bad):
        assert set(entry) == {
            "study_uid", "series_uid", "modality", "description", "files", "problem", "companions", "routing",
        }  # fmt: skip
    assert set(good["routing"]) == {"summary", "skipped", "fired", "rules"}
    assert bad["routing"] is None
    assert "b.dcm" in bad["problem"]


def test_the_companion_of_a_spect_is_looked_for_among_the_files(tmp_path: Path) -> None:
    configuration = switched_on(tmp_path / "configured", "spect-ct")
    spect = {"ImageType": ["ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION"], "SeriesDescription": "Bone SPECT",
             "Rows": 64, "Columns": 64}  # fmt: skip
    write(tmp_path / "alone", "a.dcm", **spect)
    (series,) = explain(configuration, [tmp_path / "alone"])
    assert series.companions == {"spect-ct": None}
    assert "companion for rule spect-ct: none among these files" in explain_text(series)
    shutil.copytree(tmp_path / "alone", tmp_path / "both")
    write(tmp_path / "both", "ct.dcm", series=2, Modality="CT", SOPClassUID=CT_IMAGE, ImageType=["ORIGINAL", "PRIMARY"],
          ImageOrientationPatient=[1, 0, 0, 0, 1, 0], SeriesDescription="CT AC")  # fmt: skip
    series, ct = explain(configuration, [tmp_path / "both"])
    assert series.companions == {"spect-ct": ct.series_uid}


def test_a_real_scan_is_explained(configuration: Configuration, shared_data: Path) -> None:
    (series,) = explain(configuration, [shared_data / "nm" / "NM1_J2KR"])
    assert series.trace is not None
    assert series.trace.summary == "rule 'bone-scan' asks for pipeline 'bone-scan'."
