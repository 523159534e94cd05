"""What results make of volumes with many named segments: sides, regions that are parts, names on pictures, a table.

Oracles: pydicom for the attributes, pixels of the picture for what is drawn where. The picture of planar results and of
volumes without names is in test_results_picture; a whole lumbar spine is in tests/lumbar/test_findings.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.sr.coding import Code

from node.results import build_results
from node.results.caption import legend_lines
from node.results.picture import TITLE_HEIGHT, _title, render
from node.results.table import draw_table
from pipelines.contract import Contour, Findings, FrameReference, Region, Segment, Segmentation, SourceSeries, Table
from tests.imaging.mr_objects import MrSeries, classic_slices, enhanced_object
from tests.results.result_sources import ANATOMY, BLADDER, context, header_of

DISC = Code("84020006", "SCT", "L4/L5 disc")
FORAMEN = Code("NEURAL-FORAMEN", "99OSTEON", "Neural foramen")
SIDES = {"right": Code("24028007", "SCT", "Right"), "left": Code("7771000", "SCT", "Left")}
GREEN, MAGENTA, BLUE = (60, 200, 60), (230, 60, 230), (40, 90, 255)
SHAPE = (9, 60, 50)
SERIES = MrSeries(shape=SHAPE, spacing_mm=(4.0, 3.0, 3.0))
TABLE = Table("By level", ("Disc", "Height, mm"), (("L4/L5", "10.5"), ("L5/S1", "-")))


def sagittal(*, enhanced: bool = False) -> SourceSeries:
    """Nine sagittal slices from the patient's right to left, as one object or nine."""
    if enhanced:
        dataset = enhanced_object(SERIES)
        frames = tuple(
            FrameReference(dataset.SOPClassUID, dataset.SOPInstanceUID, number) for number in range(1, SHAPE[0] + 1)
        )
        return SourceSeries((header_of(dataset),), frames)
    headers = [header_of(dataset) for dataset in classic_slices(SERIES)]
    return SourceSeries(tuple(headers), tuple(FrameReference(h.SOPClassUID, h.SOPInstanceUID) for h in headers))


def spine(source: SourceSeries) -> Findings:
    """A disc with its name, foramina on both sides, a canal with one of its levels as a part."""
    label_map = np.zeros(SHAPE, np.uint8)
    label_map[2:7, 30:36, 20:34] = 1
    label_map[1, 26:34, 36:40] = 2
    label_map[7, 26:34, 36:40] = 3
    label_map[4, 10:50, 40:45] = 4
    segments = (
        Segment(1, "L4/L5 disc", ANATOMY, DISC, "disc-L4-L5", GREEN),
        *(
            Segment(number, f"Foramen, {side}", ANATOMY, FORAMEN, f"foramen-{side}", MAGENTA, laterality=SIDES[side])
            for number, side in ((2, "left"), (3, "left"))
        ),
        Segment(4, "Canal", ANATOMY, BLADDER, "canal", BLUE),
    )
    corners = [(40, 28), (45, 28), (45, 34), (40, 34), (40, 28)]
    regions = (
        Region("disc-L4-L5", "L4/L5 disc", DISC, 0, 1, mark="L4/L5"),
        Region("canal", "Canal", BLADDER, 0, 4),
        Region("sac-L4-L5", "Sac at L4/L5", BLADDER, 0, 4, contours=(Contour(4, np.array(corners, float)),)),
    )
    display = np.full(SHAPE, 40, np.uint8)
    segmentation = Segmentation(source, label_map, segments, display, key_frames=(4, 7, 1))
    return Findings("lumbar", "0.1.0", "test", (), (segmentation,), regions, conclusion="One disc.", table=TABLE)


@pytest.fixture(scope="module")
def findings() -> Findings:
    return spine(sagittal())


def groups_of(findings: Findings) -> dict[str, list[Dataset]]:
    """Measurement groups of the written report by tracking identifier."""
    sr = next(item.dataset for item in build_results(findings, context()) if item.kind == "sr")
    found: dict[str, list[Dataset]] = {}
    for element in sr.iterall():
        if element.keyword != "ContentSequence":
            continue
        for item in element.value:
            if item.get("ConceptNameCodeSequence") and item.ConceptNameCodeSequence[0].CodeValue == "125007":
                told = next(c for c in item.ContentSequence if c.ConceptNameCodeSequence[0].CodeValue == "112039")
                found.setdefault(str(told.TextValue), []).append(item)
    return found


def kinds(group: Dataset) -> list[str]:
    return [str(item.ValueType) for item in group.ContentSequence]


def texts(group: Dataset) -> list[str]:
    return [str(item.TextValue) for item in group.ContentSequence if item.ValueType == "TEXT"]


def test_a_region_beside_parts_of_its_segment_is_the_segment_and_the_parts_are_outlines(findings: Findings) -> None:
    groups = groups_of(findings)
    whole, outline = groups["canal"]
    assert "IMAGE" in kinds(whole) and "SCOORD" not in kinds(whole)
    assert "SCOORD" in kinds(outline)
    (part,) = groups["sac-L4-L5"]
    assert "SCOORD" in kinds(part) and "IMAGE" not in kinds(part)
    # The foramina have no region: their segments speak for themselves.
    assert {"foramen-left", "disc-L4-L5"} <= set(groups)


def test_two_outlined_parts_of_a_segment_are_not_the_segment(findings: Findings) -> None:
    disc, _, part = findings.regions
    groups = groups_of(replace(findings, regions=(disc, part, replace(part, tracking_id="sac-L3-L4"))))
    assert all("IMAGE" not in kinds(group) for name in ("sac-L4-L5", "sac-L3-L4") for group in groups[name])


def test_the_report_names_the_mark_on_the_picture_and_no_number_that_is_not_there(findings: Findings) -> None:
    groups = groups_of(findings)
    assert "L4/L5: L4/L5 disc" in texts(groups["disc-L4-L5"][0])
    assert "Canal" in texts(groups["canal"][0])
    assert not any("2: " in text for text in texts(groups["canal"][0]))


def test_the_side_of_a_segment_is_coded_with_its_type(findings: Findings) -> None:
    seg = build_results(findings, context())[0].dataset
    by_label = {str(item.SegmentLabel): item for item in seg.SegmentSequence}
    (kind,) = by_label["Foramen, left"].SegmentedPropertyTypeCodeSequence
    (modifier,) = kind.SegmentedPropertyTypeModifierCodeSequence
    assert (modifier.CodeValue, modifier.CodingSchemeDesignator) == ("7771000", "SCT")
    assert "SegmentedPropertyTypeModifierCodeSequence" not in by_label["Canal"].SegmentedPropertyTypeCodeSequence[0]


def test_the_legend_says_the_side_and_leaves_out_what_has_its_name_on_the_picture(findings: Findings) -> None:
    assert legend_lines(findings.segmentations[0], frozenset({1})) == [
        (MAGENTA, "Neural foramen, left (2 segments)"),
        (BLUE, "Canal"),
    ]


@pytest.mark.parametrize("kind", ["classic", "enhanced"])
def test_a_name_stands_left_of_its_structure_and_only_where_that_is_seen(kind: str) -> None:
    found = spine(sagittal(enhanced=kind == "enhanced"))
    alone = replace(found, table=None, regions=found.regions[:1])
    segmentation = replace(found.segmentations[0], key_frames=(4,))
    named = render(replace(alone, segmentations=(segmentation,)), context())
    plain = render(replace(alone, segmentations=(segmentation,), regions=()), context())
    scale = min(1200 / (60 * 3), 620 / (50 * 3)) * 3
    left, top = 14 + round(20 * scale), 14 + TITLE_HEIGHT + round(33 * scale)
    panel = (slice(0, round(60 * scale)), slice(0, 14 + round(50 * scale)))  # the legend beside it differs, too
    changed = (named[panel] != plain[panel]).any(axis=2)
    rows, columns = np.nonzero(changed)
    assert len(rows) and columns.max() < left and columns.min() > left - 90
    assert abs(rows.mean() - top) < 12
    elsewhere = replace(segmentation, key_frames=(0,))
    unseen = [
        render(replace(alone, segmentations=(elsewhere,), regions=regions), context())[panel]
        for regions in (alone.regions, ())
    ]
    np.testing.assert_array_equal(*unseen)


def test_panels_carry_the_image_s_own_number_and_its_side(findings: Findings) -> None:
    segmentation = findings.segmentations[0]
    # Slices run along the normal of the sagittal plane, from the patient's left to the right.
    assert [_title(segmentation, frame) for frame in (4, 7, 1)] == [
        "image 5 of 9",
        "image 8 of 9, 12 mm to the right",
        "image 2 of 9, 12 mm to the left",
    ]
    renumbered = []
    for number, header in enumerate(segmentation.source.headers):
        copied = header_of(header)
        copied.InstanceNumber = 9 - number
        renumbered.append(copied)
    source = replace(segmentation.source, headers=tuple(renumbered))
    assert _title(replace(segmentation, source=source), 7).startswith("image 2 of 9")


def test_the_table_is_drawn_below_the_panels(findings: Findings) -> None:
    with_table, without = render(findings, context()), render(replace(findings, table=None), context())
    table = np.asarray(draw_table(TABLE))
    assert with_table.shape[1] == without.shape[1]
    rows = [
        r for r in range(with_table.shape[0] - len(table) + 1) if (with_table[r, 14 : 14 + 60] == table[0, :60]).all()
    ]
    assert any((with_table[r : r + len(table), 14 : 14 + table.shape[1]] == table).all() for r in rows)


def test_a_table_with_a_short_row_is_no_table() -> None:
    with pytest.raises(ValueError, match="does not have 2 cells"):
        Table("By level", ("Disc", "Height"), (("L4/L5",),))


def test_numbers_stand_flush_right_and_words_flush_left() -> None:
    narrow, wide = (np.asarray(draw_table(Table("", ("A", "Bbbbbb"), (("x", cell),)))) for cell in ("1", "1234567"))
    ink = [np.nonzero((image < 128).any(axis=2).any(axis=0))[0] for image in (narrow, wide)]
    assert ink[0].min() == ink[1].min()
    assert abs((narrow.shape[1] - ink[0].max()) - (wide.shape[1] - ink[1].max())) <= 2


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_the_pixels_of_a_segment_on_each_frame_are_those_of_its_whole_map(kind):
    findings = spine(sagittal())
    drawn = findings.segmentations[0]
    held = drawn.label_map.copy()
    held[held == 3] = 0
    segmentation = replace(drawn, label_map=held.astype(kind))
    assert sorted(segmentation.boxes) == [1, 2, 4], "a segment without a voxel has no box"
    for number in (1, 2, 3, 4):
        assert segmentation.pixels_by_frame(number).tolist() == (held == number).sum(axis=(1, 2)).tolist()
    assert replace(drawn, label_map=np.zeros(SHAPE, kind)).boxes == {}
