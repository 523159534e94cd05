"""The overlay picture, as PNG and as secondary capture.

The oracle is the geometry worked out by hand: where a mask's pixels must come to lie, which side is left.
Not covered: how it looks (look at it), or text beyond its presence.
"""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread

from node.results import build_results, render, render_png
from node.results.caption import headline, headline_quantities, legend_lines
from node.results.orientation import direction_letter, patient_orientation
from node.results.picture import MARGIN, PANEL_HEIGHT, PANEL_WIDTH, TITLE_HEIGHT
from pipelines.contract import Findings, Quantity
from tests.results.result_sources import (
    AREA,
    BLADDER_SEGMENT,
    BSTBI,
    LESION,
    MEAN,
    NO_UNITS,
    SQUARE_MM,
    context,
    planar_findings,
    planar_source,
    volume_findings,
    whole_body,
)


def coloured(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return (picture == np.array(colour, np.uint8)).all(axis=2)


def panel_of(picture: np.ndarray, number: int, findings: Findings) -> np.ndarray:
    """Cut out the panel of one view; both have the same size."""
    _, rows, columns = findings.segmentations[0].label_map.shape
    height, width = PANEL_HEIGHT, round(PANEL_HEIGHT * columns / rows)
    top, left = MARGIN + TITLE_HEIGHT, MARGIN + number * (width + MARGIN)
    return picture[top : top + height, left : left + width]


@pytest.fixture(scope="module")
def plain(planar: Findings) -> Findings:
    """Without regions, so that no number stands beside an outline in its colour."""
    return replace(planar, regions=())


@pytest.mark.parametrize("view", [0, 1])
@pytest.mark.parametrize("segment", [LESION, BLADDER_SEGMENT])
def test_each_segment_is_outlined_where_its_mask_is(plain: Findings, view: int, segment) -> None:
    mask = plain.segmentations[0].label_map[view] == segment.number
    outline = coloured(panel_of(render(plain, context()), view, plain), segment.colour_rgb)
    assert outline.any() == mask.any()
    if not mask.any():
        return
    scale = outline.shape[0] / mask.shape[0]
    rows, columns = np.nonzero(outline)
    mask_rows, mask_columns = np.nonzero(mask)
    expected = np.array([mask_rows.min(), mask_rows.max() + 1, mask_columns.min(), mask_columns.max() + 1]) * scale
    found = [rows.min(), rows.max() + 1, columns.min(), columns.max() + 1]
    np.testing.assert_allclose(found, expected, atol=2.5)


def test_the_outline_hides_nothing_of_what_it_surrounds(plain: Findings) -> None:
    picture = panel_of(render(plain, context()), 0, plain)
    mask = plain.segmentations[0].label_map[0] == LESION.number
    size = (picture.shape[1], picture.shape[0])
    inside = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
    assert not coloured(picture, LESION.colour_rgb)[inside].any()


def test_a_mask_at_the_very_edge_is_still_outlined() -> None:
    label_map = np.zeros((2, 128, 32), np.uint8)
    label_map[0] = LESION.number
    findings = planar_findings(planar_source([whole_body(128, 32)]), label_map, regions=())
    assert coloured(render(findings, context()), LESION.colour_rgb).sum() > 1000


def test_dark_is_hot_where_the_reader_expects_it(plain: Findings) -> None:
    inverted = panel_of(render(plain, context()), 0, plain)
    bright = replace(plain.segmentations[0], display_inverted=False)
    direct = panel_of(render(replace(plain, segmentations=(bright,)), context()), 0, plain)
    hot = (slice(400, 500), slice(direct.shape[1] // 2 - 5, direct.shape[1] // 2 + 5))
    cold = (slice(1150, 1190), slice(20, 40))
    assert inverted[hot].mean() < inverted[cold].mean() and direct[hot].mean() > direct[cold].mean()


def test_swapping_the_views_moves_the_picture_but_keeps_anterior_first(plain: Findings) -> None:
    segmentation = plain.segmentations[0]
    swapped_source = replace(
        segmentation.source,
        frames=segmentation.source.frames[::-1],
        view_names=segmentation.source.view_names[::-1],
    )
    swapped = replace(
        segmentation,
        source=swapped_source,
        label_map=segmentation.label_map[::-1],
        display=segmentation.display[::-1],
    )
    one, other = render(plain, context()), render(replace(plain, segmentations=(swapped,)), context())
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(("views", "expected"), [(("anterior",), ["L", "F"]), (("posterior",), ["R", "F"])])
def test_seen_from_the_front_the_patient_s_left_is_on_the_right(views: tuple[str, ...], expected: list[str]) -> None:
    source = replace(planar_source([whole_body(128, 32)]), view_names=views)
    assert patient_orientation(source) == expected


@pytest.mark.parametrize(
    ("cosines", "letter"),
    [
        ([1, 0, 0], "L"),
        ([-0.9, 0.1, 0], "R"),
        ([0, 1, 0], "P"),
        ([0, -1, 0.2], "A"),
        ([0, 0, 1], "H"),
        ([0, 0, -1], "F"),
    ],
)
def test_direction_cosines_become_the_letter_of_the_nearest_axis(cosines: list[float], letter: str) -> None:
    assert direction_letter(cosines) == letter


def test_side_marks_are_exchanged_between_the_views(plain: Findings) -> None:
    picture = render(plain, context())
    corners = []
    for view in (0, 1):
        panel = panel_of(picture, view, plain)
        corners.append((panel[:30, :30].copy(), panel[:30, -28:-4].copy()))
    ink = [[(corner < 100).all(axis=2) for corner in pair] for pair in corners]
    assert all(mark.any() for pair in ink for mark in pair)
    # "R" has more ink than "L" in any font.
    assert ink[0][0].sum() > ink[0][1].sum(), "anterior: R on the left"
    assert ink[1][0].sum() < ink[1][1].sum(), "posterior: L on the left"


def test_a_view_of_unknown_direction_gets_no_side_mark(plain: Findings) -> None:
    segmentation = plain.segmentations[0]
    nameless = replace(segmentation, source=replace(segmentation.source, view_names=()))
    panel = panel_of(render(replace(plain, segmentations=(nameless,)), context()), 0, plain)
    assert not (panel[:30, :30] < 100).all(axis=2).any()


def test_png_and_secondary_capture_are_the_same_picture(planar: Findings, planar_objects: dict) -> None:
    png = np.asarray(Image.open(BytesIO(render_png(planar, context()))))
    capture = dcmread(BytesIO(planar_objects["sc"].to_bytes()))
    np.testing.assert_array_equal(png, capture.pixel_array)
    assert (capture.PhotometricInterpretation, capture.BitsAllocated) == ("RGB", 8)


def test_the_capture_says_that_it_is_derived_and_shows_no_identity(planar: Findings, planar_objects: dict) -> None:
    capture = planar_objects["sc"].dataset
    assert capture.BurnedInAnnotation == "NO" and list(capture.ImageType[:2]) == ["DERIVED", "SECONDARY"]
    source = planar.segmentations[0].source.frames[0].sop_instance_uid
    assert [i.ReferencedSOPInstanceUID for i in capture.SourceImageSequence] == [source]
    assert planar.research_statement in capture.ImageComments


def test_the_picture_does_not_depend_on_who_the_patient_is(planar: Findings) -> None:
    source = planar.segmentations[0].source
    other = source.headers[0].copy()
    other.PatientName, other.PatientID, other.PatientSex = "Someone^Else", "X", "F"
    changed = replace(planar.segmentations[0], source=replace(source, headers=(other,)))
    np.testing.assert_array_equal(
        render(planar, context()), render(replace(planar, segmentations=(changed,)), context())
    )


def test_pixels_of_unequal_spacing_are_stretched_to_true_proportions() -> None:
    dataset = whole_body(100, 100)
    dataset.PixelSpacing = [1.0, 2.0]
    findings = planar_findings(planar_source([dataset]), regions=())
    picture = render(findings, context())
    mask = findings.segmentations[0].label_map[0] == BLADDER_SEGMENT.number
    panels = coloured(picture, BLADDER_SEGMENT.colour_rgb)[: MARGIN + TITLE_HEIGHT + PANEL_WIDTH // 2]
    rows, columns = np.nonzero(panels)
    mask_rows, mask_columns = np.nonzero(mask)
    proportion = (np.ptp(columns) - 1) / (np.ptp(rows) - 1)
    expected = 2 * (np.ptp(mask_columns) + 1) / (np.ptp(mask_rows) + 1)
    assert proportion == pytest.approx(expected, rel=0.05)


def test_a_volume_shows_its_key_frames(real_sources: dict[str, Findings]) -> None:
    findings = replace(real_sources["spect"], regions=())
    one = render(findings, context())
    segmentation = replace(findings.segmentations[0], key_frames=(1, 2, 30, 31))
    four = render(replace(findings, segmentations=(segmentation,)), context())
    assert four.shape[1] > one.shape[1] and four.shape[0] > one.shape[0], "three in a row, then the next row"


def test_key_frames_may_be_left_out(real_sources: dict[str, Findings]) -> None:
    source = real_sources["spect"].segmentations[0].source
    label_map = np.zeros((50, 70, 70), np.uint8)
    label_map[7, 10:40, 10:40] = 1
    findings = volume_findings(source, label_map)
    without = replace(findings, segmentations=(replace(findings.segmentations[0], key_frames=()),))
    np.testing.assert_array_equal(render(without, context()), render(findings, context()))


@pytest.mark.parametrize(
    ("quantity", "words"),
    [
        (Quantity(BSTBI, 0.10489, NO_UNITS), "Bone scan tumour burden index: 0.1049"),
        (Quantity(AREA, 12.5, SQUARE_MM, MEAN, "both views"), "Area, mean: 12.5 mm2 (both views)"),
        (Quantity(BSTBI, None, NO_UNITS, reason="blank"), "Bone scan tumour burden index: not computable (blank)"),
    ],
)
def test_figures_in_the_caption_read_as_words(quantity: Quantity, words: str) -> None:
    assert headline(quantity) == words


def test_parts_of_a_figure_are_left_out_of_the_caption() -> None:
    whole, part = Quantity(BSTBI, 0.1, NO_UNITS, MEAN), Quantity(BSTBI, 0.2, NO_UNITS, None, "anterior")
    each = [Quantity(AREA, 1.0, SQUARE_MM, None, view) for view in ("anterior", "posterior")]
    assert headline_quantities([whole, part, *each]) == [whole, *each]


def test_segments_of_one_colour_share_a_line_of_the_legend(plain: Findings) -> None:
    segmentation = plain.segmentations[0]
    second = replace(LESION, number=4, label="Another", tracking_id="another")
    label_map = segmentation.label_map.copy()
    label_map[1][label_map[1] == LESION.number] = 4
    split = replace(segmentation, label_map=label_map, segments=(*segmentation.segments, second))
    one, two = render(plain, context()), render(replace(plain, segmentations=(split,)), context())
    assert one.shape == two.shape, "as many lines"
    assert legend_lines(split)[0] == (LESION.colour_rgb, "Suspected: Neoplasm, Secondary (2 segments)")
    assert coloured(one, LESION.colour_rgb).sum() == coloured(two, LESION.colour_rgb).sum()


def test_words_without_a_glyph_do_not_stop_the_picture(planar: Findings) -> None:
    assert render(replace(planar, conclusion="右侧肋骨 – uptake ≥ 2"), context()).shape[2] == 3


def test_building_with_a_picture_needs_no_pixels_of_the_source(planar: Findings) -> None:
    assert all("PixelData" not in header for header in planar.segmentations[0].source.headers)
    assert [o.kind for o in build_results(planar, context())] == ["seg", "sr", "sc"]
