"""Files of a result and the summary: names, atomic writing, the documented schema."""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError
from pydicom import dcmread
from pydicom.uid import MultiFrameGrayscaleWordSecondaryCaptureImageStorage

from node.results import (
    build_results,
    json_schema,
    summary,
    write_atomically,
    write_pictures,
    write_results,
    write_summary,
)
from node.results import summary as summary_function
from node.results.source import source_modality
from node.results.summary import Summary
from pipelines.contract import Findings, Segmentation
from tests.results.result_sources import UNUSED, context

SCHEMA_FILE = Path(summary_function.__code__.co_filename).with_name("summary.schema.json")


def test_files_are_named_after_kind_and_number(planar: Findings, tmp_path: Path) -> None:
    two = replace(planar, segmentations=planar.segmentations * 2, regions=())
    objects = build_results(two, context())
    paths = write_results(objects, tmp_path / "out", "scan")
    assert [path.name for path in paths] == [
        "scan.seg.dcm",
        "scan-2.seg.dcm",
        "scan.sr.dcm",
        "scan.sc.dcm",
        "scan-2.sc.dcm",
    ]
    for path, item in zip(paths, objects, strict=True):
        assert dcmread(path).SOPInstanceUID == item.sop_instance_uid
    assert len({dcmread(path).SeriesInstanceUID for path in paths}) == 5, "one object per series"
    pictures = write_pictures(two, context(), tmp_path / "out", "scan")
    assert [path.name for path in pictures] == ["scan.png", "scan-2.png"]
    assert sorted(tmp_path.joinpath("out").iterdir()) == sorted(paths + pictures), "no temporary file is left"


def test_segmentations_on_several_series_say_which_and_a_single_one_has_nothing_to_tell(planar: Findings) -> None:
    (alone,) = [o for o in build_results(planar, context()) if o.kind == "seg"]
    assert (alone.source_modality, alone.description) == ("NM", "bone-scan segmentation (osteon, research use)")
    two = replace(planar, segmentations=(planar.segmentations[0], captured(planar.segmentations[0])), regions=())
    objects = build_results(two, context())
    assert [o.source_modality for o in objects] == ["NM", "XA", "", "", ""], "of a SEG only"
    assert [o.description for o in objects[:2]] == [
        "bone-scan segmentation NM (osteon, research use)",
        "bone-scan segmentation XA (osteon, research use)",
    ]


def captured(segmentation: Segmentation) -> Segmentation:
    """The same on a secondary capture of an angiography."""
    header = deepcopy(segmentation.source.headers[0])
    header.SOPClassUID, header.Modality = MultiFrameGrayscaleWordSecondaryCaptureImageStorage, "XA"
    frames = tuple(replace(frame, sop_class_uid=str(header.SOPClassUID)) for frame in segmentation.source.frames)
    return replace(segmentation, source=replace(segmentation.source, headers=(header,), frames=frames))


@pytest.mark.parametrize("stated", ["NM", "OT", ""])
def test_a_nuclear_medicine_image_is_one_whatever_its_sender_calls_it(planar: Findings, stated: str) -> None:
    header = deepcopy(planar.segmentations[0].source.headers[0])
    header.Modality = stated
    assert source_modality(replace(planar.segmentations[0].source, headers=(header,))) == "NM"


def test_a_failed_write_leaves_the_old_file_and_no_scraps(tmp_path: Path) -> None:
    path = tmp_path / "result.dcm"
    write_atomically(path, b"old")
    with pytest.raises(TypeError):
        write_atomically(path, "not bytes")  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_summary_tells_the_findings(planar: Findings, planar_objects: dict, tmp_path: Path) -> None:
    objects = list(planar_objects.values())
    path = tmp_path / "summary.json"
    write_summary(summary(planar, objects), path)
    told = json.loads(path.read_text())
    assert told["schema"] == "osteon.summary/1"
    assert told["quantities"][0]["value"] == planar.quantities[0].value
    assert told["quantities"][0]["name"] == {
        "value": "BSTBI",
        "scheme": "99OSTEON",
        "meaning": "Bone scan tumour burden index",
    }
    missing = told["regions"][0]["quantities"][2]
    assert missing["value"] is None and missing["reason"] == "a frame was clipped"
    assert [r["number"] for r in told["regions"]] == [1, 2, 3]
    segments = told["segmentations"][0]["segments"]
    assert UNUSED.label not in [s["label"] for s in segments]
    assert [s["pixels"] for s in segments] == [
        int((planar.segmentations[0].label_map == number).sum()) for number in (1, 2)
    ]
    assert [o["sop_instance_uid"] for o in told["objects"]] == [o.sop_instance_uid for o in objects]
    assert told["details"] == {"windows": [1.0, 0.4]}
    Summary.model_validate(told)


def test_the_summary_holds_no_patient_attribute(planar: Findings, planar_objects: dict) -> None:
    text = json.dumps(summary(planar, list(planar_objects.values())))
    header = planar.segmentations[0].source.headers[0]
    assert str(header.PatientName) not in text and header.PatientID not in text and header.StudyDate not in text


def test_the_schema_beside_the_code_is_the_code_s() -> None:
    assert json.loads(SCHEMA_FILE.read_text()) == json_schema()


def test_a_summary_with_an_unknown_field_is_not_valid(planar: Findings, planar_objects: dict) -> None:
    told = summary(planar, list(planar_objects.values()))
    with pytest.raises(ValidationError):
        Summary.model_validate({**told, "surprise": 1})
