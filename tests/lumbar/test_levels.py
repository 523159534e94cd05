"""Names of levels and their measurements on spines of boxes whose every length and place is known.

`drawn_spine` says what lies where in the patient; here it is sampled on a plain grid. Oracles: the boxes' names by
their height above the sacrum, their side, their lengths. What the networks find is not looked at.
"""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.lumbar.canal import section_at, trace_sac
from pipelines.lumbar.chain import find_chain
from pipelines.lumbar.classes import BODY, CANAL, CORD, DISC, FORAMEN, SACRUM
from pipelines.lumbar.instances import LevelMap
from pipelines.lumbar.levels import name_levels
from pipelines.lumbar.measurements import measure, whole_volume
from tests.lumbar.drawn_spine import BODY_MM, DISC_MM, LEVELS, STEP_MM, label_at

SPACING = (4.0, 1.0, 1.0)
TOP_MM, FRONT_MM, RIGHT_MM = 230.0, -45.0, -28.0
SHAPE = (15, 300, 100)


def places() -> np.ndarray:
    """Patient coordinates of every voxel, (slice, row, column, LPS)."""
    slices, rows, columns = np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij")
    x, y, z = RIGHT_MM + slices * SPACING[0], FRONT_MM + columns * SPACING[2] + 0.5, TOP_MM - rows * SPACING[1] - 0.5
    return np.stack([x, y, z], -1)


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    return label_at(places())


@pytest.fixture(scope="module")
def levels(labels: np.ndarray) -> LevelMap:
    return name_levels(labels, SPACING)


def vertebra_row(name: str) -> float:
    """Row of the middle of a vertebral body."""
    z = LEVELS.index(name) * STEP_MM + DISC_MM + BODY_MM / 2
    return TOP_MM - z - 0.5


def names(levels: LevelMap, structure: int) -> list[str]:
    return [item.name for item in levels.of(structure)]


def flags(levels: LevelMap) -> set[str]:
    return {flag.code for flag in levels.flags}


def test_vertebrae_and_discs_are_counted_upward_from_the_sacrum(levels: LevelMap) -> None:
    assert names(levels, BODY) == ["T12", "L1", "L2", "L3", "L4", "L5"]
    assert names(levels, DISC) == ["T12/L1", "L1/L2", "L2/L3", "L3/L4", "L4/L5", "L5/S1"]
    assert names(levels, SACRUM) == ["sacrum"] and levels.flags == ()
    for item in levels.vertebrae:
        assert item.centroid_voxel[1] == pytest.approx(vertebra_row(item.name), abs=0.6)


def test_every_voxel_of_a_clean_map_keeps_its_class_and_belongs_to_one_instance(
    labels: np.ndarray, levels: LevelMap
) -> None:
    assert (levels.structures == labels).mean() > 0.999
    assert ((levels.instances > 0) == (levels.structures > 0)).all()
    for item in levels.items:
        assert set(levels.structures[levels.instances == item.number]) == {item.structure}


def test_foramina_lie_on_their_side_and_a_missing_one_stays_missing(levels: LevelMap) -> None:
    found = {item.name: item for item in levels.of(FORAMEN)}
    assert "L4/L5 left" in found and "L4/L5 right" not in found
    for item in found.values():
        x = RIGHT_MM + item.centroid_voxel[0] * SPACING[0]
        assert (x > 0) == (item.side == "left")
    assert found["L3/L4 left"].volume_mm3 > 1.4 * found["L3/L4 right"].volume_mm3


def test_fused_bodies_are_cut_apart_and_say_so(labels: np.ndarray) -> None:
    fused = labels.copy()
    z = places()[..., 2]
    at = LEVELS.index("L3") * STEP_MM
    # The front half of the disc L3/L4 is called body: one component from L4 to L3.
    fused[(labels == DISC) & (z > at) & (z < at + DISC_MM) & (places()[..., 1] < 0)] = BODY
    levels = name_levels(fused, SPACING)
    assert names(levels, BODY) == ["T12", "L1", "L2", "L3", "L4", "L5"]
    assert {"split"} <= levels.get("L3").flag_codes | levels.get("L4").flag_codes
    for name in ("L3", "L4"):
        assert levels.get(name).centroid_voxel[1] == pytest.approx(vertebra_row(name), abs=5)


def test_a_body_in_the_pelvis_is_none_of_the_spine(labels: np.ndarray) -> None:
    cluttered = labels.copy()
    cluttered[5:10, 270:295, 2:25] = BODY
    levels = name_levels(cluttered, SPACING)
    assert names(levels, BODY) == ["T12", "L1", "L2", "L3", "L4", "L5"]
    assert "bodies_rejected" in flags(levels)
    assert not (levels.structures[:, 270:295, 2:25] == BODY).any()


def test_a_part_of_a_thoracic_body_called_sacrum_disowns_no_body_below(labels: np.ndarray) -> None:
    mistaken = labels.copy()
    x, _, z = np.moveaxis(places(), -1, 0)
    base = LEVELS.index("T12") * STEP_MM + DISC_MM
    # More than a twentieth of the sacrum, in the back of T12.
    mistaken[(labels == BODY) & (z > base + 4) & (z < base + 20) & (places()[..., 1] > 2) & (np.abs(x) < 14)] = SACRUM
    assert (mistaken[:, :80] == SACRUM).sum() > 0.05 * (mistaken == SACRUM).sum()
    # The lower bodies are found by their middle only: smaller than most, they need their good place to be kept.
    mistaken[(labels == BODY) & (z < LEVELS.index("L3") * STEP_MM) & (np.abs(x) > 10)] = 0
    lowest_mm = find_chain(mistaken, SPACING)[:, 1].max()
    assert lowest_mm == pytest.approx(vertebra_row("L5") + BODY_MM / 2, abs=1.5)
    assert names(name_levels(mistaken, SPACING), BODY) == ["T12", "L1", "L2", "L3", "L4", "L5"]


def test_specks_are_removed_and_enclosed_holes_filled(labels: np.ndarray) -> None:
    dirty = labels.copy()
    dirty[2, 20:23, 5:9] = CANAL
    row = round(vertebra_row("L2"))
    dirty[7, row - 3 : row + 3, 40:48] = 0
    levels = name_levels(dirty, SPACING)
    assert not (levels.structures[2, 20:23, 5:9] > 0).any()
    assert (levels.structures[7, row - 3 : row + 3, 40:48] == BODY).all()


def test_without_a_sacrum_every_name_is_called_uncertain(labels: np.ndarray) -> None:
    levels = name_levels(np.where(labels == SACRUM, 0, labels), SPACING)
    assert "sacrum_not_visible" in flags(levels) and "uncertain" in levels.numbering
    assert all("uncertain" in item.flag_codes for item in levels.vertebrae)


def test_scraps_of_disc_below_the_last_one_have_no_level_where_there_is_no_sacrum(labels: np.ndarray) -> None:
    bare = np.where(labels == SACRUM, 0, labels)
    x, y, z = np.moveaxis(places(), -1, 0)
    for low in (-26, -44):
        bare[(z > low) & (z < low + 3) & (np.abs(x) < 5) & (np.abs(y) < 4) & (bare == 0)] = DISC
    levels = name_levels(bare, SPACING)
    assert names(levels, BODY) == ["T12", "L1", "L2", "L3", "L4", "L5"]
    assert names(levels, DISC) == ["T12/L1", "L1/L2", "L2/L3", "L3/L4", "L4/L5", "L5/S1"]


def test_a_scrap_of_foramen_below_the_last_level_has_no_name_where_there_is_no_sacrum(labels: np.ndarray) -> None:
    bare = np.where(labels == SACRUM, 0, labels)
    x, y, z = np.moveaxis(places(), -1, 0)
    for low in (-26, -44):
        bare[(z > low) & (z < low + 3) & (np.abs(x) < 5) & (np.abs(y) < 4) & (bare == 0)] = DISC
    before = names(name_levels(bare, SPACING), FORAMEN)
    scrap = (z > -40) & (z < -30) & (np.abs(x - 16) < 5) & (np.abs(y - 20) < 6) & (bare == 0)
    assert scrap.sum() * np.prod(SPACING) > 400
    bare[scrap] = FORAMEN
    assert "L5/S1 left" in before and names(name_levels(bare, SPACING), FORAMEN) == before


def test_where_the_field_ends_above_the_last_lumbar_body_the_count_goes_on_below_what_is_seen(
    labels: np.ndarray,
) -> None:
    end = round(TOP_MM - (LEVELS.index("L4") * STEP_MM - 12))  # 12 mm below the disc under L4, within L5
    seen = np.where(np.arange(SHAPE[1])[:, None] < end - 12, labels, 0)[:, :end]
    levels = name_levels(seen[:, 90:], SPACING)  # the middle of the field lies at L3
    assert "nearest to the middle" in levels.numbering
    assert names(levels, BODY)[-1] == "L4" and names(levels, DISC)[-1] == "L4/L5"


def test_a_foramen_that_the_field_cuts_has_neither_area_nor_volume(labels: np.ndarray) -> None:
    top = LEVELS.index("L1") * STEP_MM + DISC_MM / 2 + 2
    levels = name_levels(labels[:, round(TOP_MM - top - 3) :], SPACING)
    figures = {one.name: one for one in measure(levels).foramina}
    items = {item.name: item for item in levels.of(FORAMEN)}
    assert items["L1/L2 left"].cut_edges == ("superior",)
    assert figures["L1/L2 left"].area_mm2.value is None and "cut by the edge" in figures["L1/L2 left"].area_mm2.reason
    assert whole_volume(items["L1/L2 left"]).value is None
    assert figures["L2/L3 left"].area_mm2.value == pytest.approx(160, rel=0.02)
    assert whole_volume(items["L2/L3 left"]).value is not None


@pytest.mark.parametrize("beyond_mm", [-3.0, -1.0, 0.0, 1.0, 1.9])
def test_a_section_at_the_end_of_the_sac_is_as_deep_as_the_sac(labels: np.ndarray, beyond_mm: float) -> None:
    first = 40
    sac = trace_sac(np.argwhere(np.isin(labels[:, first:], (CANAL, CORD))), SPACING, SHAPE[0])
    assert sac is not None
    end = sac.line_mm[0]
    section = section_at(sac, end - np.array([0.0, beyond_mm, 0.0]), np.array([0.0, 1.0, 0.0]))
    assert section is not None
    assert section.ap_mm == pytest.approx(14.0, abs=0.6)


@pytest.mark.parametrize("lean", [-20, 5, 10, 20, 30])
@pytest.mark.parametrize("towards", ["back", "left"])
def test_a_section_that_leans_over_the_end_of_the_sac_is_measured_whole_or_called_a_part(
    lean: int, towards: str
) -> None:
    sagittal, row, column = (grid.astype(float) for grid in np.indices((120, 120, 160)))
    rise = np.radians(lean)
    deep, wide, drift = (6.9, 10.0, (row - 60) * np.tan(rise))
    at = {"back": (column - 80 - drift, sagittal - 60), "left": (column - 80, sagittal - 60 - drift)}[towards]
    half = {"back": (deep / np.cos(rise), wide), "left": (deep, wide / np.cos(rise))}[towards]
    sac = trace_sac(np.argwhere((np.abs(at[0]) <= half[0]) & (np.abs(at[1]) <= half[1])), (1.0, 1.0, 1.0), 120)
    assert sac is not None
    every = [section_at(sac, *place) for place in zip(sac.line_mm, sac.direction, strict=True)]
    sections = [section for section in every if section is not None]
    middle = sections[60]
    assert all(section.whole for section in sections[10:-10])
    assert abs(lean) < 20 or not (sections[0].whole or sections[-1].whole)
    whole = [section for section in sections if section.whole]
    assert [section.ap_mm for section in whole] == pytest.approx([middle.ap_mm] * len(whole), abs=1.0)
    assert [section.area_mm2 for section in whole] == pytest.approx([middle.area_mm2] * len(whole), rel=0.07)


def test_a_level_at_which_the_sac_is_seen_in_part_has_no_figures_of_the_sac_and_says_why() -> None:
    points = places()
    angle = np.radians(20.0)
    y, z = points[..., 1], points[..., 2] - 85
    labels = label_at(np.stack([points[..., 0], np.cos(angle) * y - np.sin(angle) * z,
                                np.sin(angle) * y + np.cos(angle) * z + 85], -1))  # fmt: skip
    whole = {section.level: section for section in measure(name_levels(labels, SPACING)).canal}
    end = round(whole["L1/L2"].position_voxel[1])
    labels[:, :end][np.isin(labels[:, :end], (CANAL, CORD))] = 0
    cut = {section.level: section for section in measure(name_levels(labels, SPACING)).canal}
    for figure in (cut["L1/L2"].ap_diameter_mm, cut["L1/L2"].area_mm2):
        assert figure.value is None and "only in part at L1/L2" in figure.reason
    assert cut["L2/L3"].ap_diameter_mm.value == pytest.approx(whole["L2/L3"].ap_diameter_mm.value, abs=0.2)


def test_a_missing_body_leaves_its_gap_in_the_count_and_a_flag(labels: np.ndarray) -> None:
    z = places()[..., 2]
    at = LEVELS.index("L3") * STEP_MM + DISC_MM
    gone = np.where((labels == BODY) & (z > at) & (z < at + BODY_MM), 0, labels)
    levels = name_levels(gone, SPACING)
    assert names(levels, BODY) == ["T12", "L1", "L2", "L4", "L5"]
    assert any("L3" in flag.sentence for flag in levels.flags if flag.code == "levels_uncertain")


def test_a_body_at_the_field_s_edge_is_named_but_not_measured(labels: np.ndarray) -> None:
    cut = labels[:, 25:]
    levels = name_levels(cut, SPACING)
    top = levels.vertebrae[0]
    assert (top.name, top.cut_edges) == ("T12", ("superior",))
    figures = {v.name: v for v in measure(levels).vertebrae}
    assert figures["T12"].anterior_height_mm.value is None
    assert "superior edge" in figures["T12"].anterior_height_mm.reason
    assert figures["L1"].anterior_height_mm.value is not None


def test_an_empty_map_names_nothing_and_says_so() -> None:
    levels = name_levels(np.zeros((5, 40, 40), np.uint8), SPACING)
    assert levels.items == () and flags(levels) == {"no_vertebra"}


def test_maps_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="axes"):
        name_levels(np.zeros((4, 4), np.uint8), SPACING)
    with pytest.raises(ValueError, match="between 0 and 6"):
        name_levels(np.full((2, 4, 4), 9, np.uint8), SPACING)
    with pytest.raises(ValueError, match="positive"):
        name_levels(np.zeros((2, 4, 4), np.uint8), (4.0, 0.0, 1.0))


def test_lengths_areas_and_volumes_are_those_of_the_boxes(levels: LevelMap) -> None:
    figures = measure(levels)
    body = {v.name: v for v in figures.vertebrae}["L3"]
    assert body.anterior_height_mm.value == pytest.approx(BODY_MM, abs=0.1)
    assert body.middle_height_mm.value == pytest.approx(BODY_MM, abs=0.1)
    assert body.posterior_height_mm.value == pytest.approx(BODY_MM, abs=0.1)
    assert body.wedge_ratio.value == pytest.approx(1.0, abs=0.01)
    assert body.depth_mm.value == pytest.approx(34, abs=0.3)
    disc = {d.name: d for d in figures.discs}["L3/L4"]
    assert disc.mean_height_mm.value == pytest.approx(DISC_MM, abs=0.1)
    assert disc.height_index.value == pytest.approx(DISC_MM / 34, rel=0.03)
    section = {c.level: c for c in figures.canal}["L3/L4"]
    assert section.ap_diameter_mm.value == pytest.approx(14.0, abs=0.3)
    # 20 mm wide in slices of 4 mm: x = -8 to 8, five slices.
    assert section.area_mm2.value == pytest.approx(14 * 20, rel=0.03)
    foramina = {(f.level, f.side): f for f in figures.foramina}
    assert foramina["L3/L4", "right"].area_mm2.value == pytest.approx(10 * 16, rel=0.07)
    assert foramina["L4/L5", "right"].area_mm2.value is None
    assert foramina["L4/L5", "right"].area_mm2.reason


@pytest.mark.parametrize("degrees", [-20.0, 12.0, 25.0])
def test_heights_are_taken_along_the_spine_not_along_the_rows(degrees: float) -> None:
    # The patient lies turned in the sagittal plane: the boxes stay what they are.
    points = places()
    angle = np.radians(degrees)
    y, z = points[..., 1], points[..., 2] - 85
    turned = np.stack(
        [points[..., 0], np.cos(angle) * y - np.sin(angle) * z, np.sin(angle) * y + np.cos(angle) * z + 85], -1
    )
    labels = label_at(turned)
    levels = name_levels(labels, SPACING)
    figures = {v.name: v for v in measure(levels).vertebrae}
    assert figures["L3"].anterior_height_mm.value == pytest.approx(BODY_MM, abs=0.7)
    assert figures["L3"].posterior_height_mm.value == pytest.approx(BODY_MM, abs=0.7)
    discs = {d.name: d for d in measure(levels).discs}
    assert discs["L3/L4"].mean_height_mm.value == pytest.approx(DISC_MM, abs=0.7)


def test_a_wedged_body_has_the_ratio_it_was_drawn_with(labels: np.ndarray) -> None:
    points = places()
    base = LEVELS.index("L2") * STEP_MM + DISC_MM
    # The upper end plate falls from 26 mm behind to 18 mm in front.
    height = 22 + 4 * points[..., 1] / 17
    above = (labels == BODY) & (points[..., 2] > base + height) & (points[..., 2] < base + BODY_MM)
    levels = name_levels(np.where(above, 0, labels), SPACING)
    body = {v.name: v for v in measure(levels).vertebrae}["L2"]
    assert body.wedge_ratio.value == pytest.approx(18 / 26, abs=0.06)


def test_cord_and_canal_make_one_sac(levels: LevelMap, labels: np.ndarray) -> None:
    voxel_ml = np.prod(SPACING) / 1000
    figures = measure(levels)
    assert figures.sac_volume_ml.value == pytest.approx(np.isin(labels, (CANAL, CORD)).sum() * voxel_ml, rel=0.01)
    assert figures.cord_volume_ml.value == pytest.approx((labels == CORD).sum() * voxel_ml, rel=0.01)


def test_what_networks_strew_below_the_first_sacral_segment_makes_no_level_doubtful(labels: np.ndarray) -> None:
    strewn = labels.copy()
    points = places()
    x, y, z = np.moveaxis(points, -1, 0)
    strewn[(np.abs(x) < 10) & (np.abs(y - 2) < 12) & (z < -44) & (z > -64) & (labels != SACRUM)] = BODY
    strewn[(np.abs(x) < 6) & (np.abs(z + 34) < 2) & (labels == SACRUM) & (y > 2) & (y < 20)] = DISC
    assert (strewn == BODY).sum() > (labels == BODY).sum()
    levels = name_levels(strewn, SPACING)
    assert names(levels, BODY) == ["T12", "L1", "L2", "L3", "L4", "L5"]
    assert not flags(levels) & {"levels_uncertain", "transitional", "body_reassigned"}


def test_a_part_of_the_first_sacral_segment_called_body_is_taken_back_and_said(labels: np.ndarray) -> None:
    mistaken = labels.copy()
    z = places()[..., 2]
    mistaken[(labels == SACRUM) & (z > -12)] = BODY
    levels = name_levels(mistaken, SPACING)
    assert names(levels, BODY) == ["T12", "L1", "L2", "L3", "L4", "L5"]
    assert {"body_reassigned", "levels_uncertain"} <= flags(levels)
    assert (levels.structures[(labels == SACRUM) & (z > -12)] == SACRUM).mean() > 0.95
