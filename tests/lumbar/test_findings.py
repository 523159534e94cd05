"""Findings of the lumbar pipeline lie where the structures are in the patient: level, slice and side.

The world is a spine of boxes whose label is known at every point of the patient (`drawn_spine`); the network is
replaced by reading the labels off the image. Oracles: the world, asked at the places that other people's readers
(highdicom, dcmqi) give for each segment of the written SEG; lengths of the boxes; SNOMED CT's check digit.
Covered: classic and Enhanced objects in several layouts, codes, colours, regions, sentences, the table.
Not covered: what the networks find (`osteon evaluate lumbar`), odd spines (test_levels, test_measurements).
"""

from __future__ import annotations

import re
from dataclasses import replace
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import highdicom
import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.sr.codedict import codes as standard
from pydicom.sr.coding import Code

from node.results import ResultObject, build_results, write_results
from node.results.seg_volume import volume_seg
from node.results.segments import written_segments
from pipelines.contract import Findings
from pipelines.contract.provenance import Provenance
from pipelines.imaging.volume import Volume, read_stack, read_volume
from pipelines.lumbar import codes
from pipelines.lumbar.classes import BODY, CANAL, CLASSES, CORD, DISC, FORAMEN, SACRUM
from pipelines.lumbar.findings import build_findings
from pipelines.lumbar.levels import name_levels
from pipelines.lumbar.measurements import measure
from tests.fixtures.dicom_tools import run_tool
from tests.imaging.mr_objects import SAGITTAL, classic_slices, enhanced_object, save
from tests.lumbar.drawn_spine import BODY_MM, DISC_MM, LEVELS, SERIES, STEP_MM, image_at, label_at, labels_of
from tests.results.result_sources import context
from tests.results.test_results_conformance import errors_of, places

LEFT_TO_RIGHT = (0.0, -1.0, 0.0, 0.0, 0.0, -1.0)
ALONG_THE_SPINE = (0.0, 0.0, -1.0, 0.0, 1.0, 0.0)
PROVENANCE = Provenance("lumbar", "0.1.0", (), "CPU", "fp32", {"read": 0.1})


def read(folder: Path, orientation: tuple[float, ...] = SAGITTAL, *, enhanced: bool = False) -> Volume:
    shape, spacing = SERIES.shape, SERIES.spacing_mm
    if orientation == ALONG_THE_SPINE:
        shape, spacing = (shape[0], shape[2], shape[1]), (spacing[0], spacing[2], spacing[1])
    series = replace(SERIES, orientation=orientation, shape=shape, spacing_mm=spacing, world=image_at)
    objects = [enhanced_object(series, list(range(12, -1, -1)))] if enhanced else classic_slices(series)
    return read_volume(read_stack(save(objects, folder)))


def find(volume: Volume) -> Findings:
    levels = name_levels(labels_of(volume), volume.spacing_mm)
    return build_findings(volume, levels, measure(levels), PROVENANCE)


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> Findings:
    return find(read(tmp_path_factory.mktemp("classic")))


@pytest.fixture(scope="module")
def objects(findings: Findings) -> dict[str, ResultObject]:
    return {item.kind: item for item in build_results(findings, context())}


def expected_of(label: str) -> tuple[int, str, str]:
    """Class, level and side that a segment's label stands for."""
    level = label.split()[0]
    if label.endswith("vertebral body"):
        return BODY, level, ""
    if label.endswith("disc"):
        return DISC, level, ""
    if "foramen" in label:
        return FORAMEN, level, label.split(", ")[1]
    return {"Sacrum": SACRUM, "Spinal canal (thecal sac)": CANAL}.get(label, CORD), "", ""


def assert_in_place(label: str, points_mm: np.ndarray) -> None:
    """Every point of a segment lies in its structure, at its level, on its side of the patient."""
    structure, level, side = expected_of(label)
    assert len(points_mm) > 0
    assert set(label_at(points_mm).tolist()) == {structure}, label
    if side:
        assert (points_mm[:, 0] > 0).all() == (side == "left"), label
        assert (points_mm[:, 0] < 0).all() == (side == "right"), label
    upper = level.split("/")[0]
    if structure in (BODY, DISC):
        number = LEVELS.index(upper)
        base = number * STEP_MM + (DISC_MM if structure == BODY else 0.0)
        height = BODY_MM if structure == BODY else DISC_MM
        assert points_mm[:, 2].min() >= base and points_mm[:, 2].max() < base + height, label
    if structure == FORAMEN:
        assert abs(points_mm[:, 2].mean() - (LEVELS.index(upper) * STEP_MM + DISC_MM / 2 + 2)) < 2, label


def segment_points(seg: highdicom.seg.Segmentation) -> dict[str, np.ndarray]:
    """Patient coordinates of every voxel of each segment by the SEG's own geometry (PS3.3 C.7.6.2.1.1)."""
    shared = seg.SharedFunctionalGroupsSequence[0]
    cosines = [float(v) for v in shared.PlaneOrientationSequence[0].ImageOrientationPatient]
    row_mm, column_mm = (float(v) for v in shared.PixelMeasuresSequence[0].PixelSpacing)
    points: dict[str, list[np.ndarray]] = {}
    labels = {int(item.SegmentNumber): str(item.SegmentLabel) for item in seg.SegmentSequence}
    for group, plane in zip(seg.PerFrameFunctionalGroupsSequence, np.atleast_3d(seg.pixel_array), strict=True):
        number = int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        origin = np.array([float(v) for v in group.PlanePositionSequence[0].ImagePositionPatient])
        rows, columns = np.nonzero(plane)
        place = origin + np.outer(columns * column_mm, cosines[:3]) + np.outer(rows * row_mm, cosines[3:])
        points.setdefault(labels[number], []).append(place)
    return {label: np.concatenate(parts) for label, parts in points.items()}


def seg_of(findings: Findings) -> highdicom.seg.Segmentation:
    """The SEG alone, written and read back."""
    dataset = volume_seg(findings, 0, written_segments(findings.segmentations[0]), context())
    written = BytesIO(ResultObject.of("seg", dataset).to_bytes())
    return highdicom.seg.Segmentation.from_dataset(dcmread(written))


LAYOUTS = {
    "classic": (SAGITTAL, False),
    "left to right": (LEFT_TO_RIGHT, False),
    "rows along the spine": (ALONG_THE_SPINE, False),
    "oblique": (tuple(np.round([-np.sin(0.3), np.cos(0.3), 0, 0, 0, -1], 6)), False),
    "enhanced": (SAGITTAL, True),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_voxel_of_the_seg_lies_in_its_structure_at_its_level_and_side(layout: str, tmp_path: Path) -> None:
    orientation, enhanced = LAYOUTS[layout]
    points = segment_points(seg_of(find(read(tmp_path, orientation, enhanced=enhanced))))
    for label, places_mm in points.items():
        if layout == "oblique":
            # Measured from its own slices; the boxes' edges lie askew to them.
            structure, _, side = expected_of(label)
            assert (label_at(places_mm) == structure).mean() > 0.99
            assert not side or (np.sign(places_mm[:, 0].mean()) == (1 if side == "left" else -1))
        else:
            assert_in_place(label, places_mm)
    assert {"L3/L4 neural foramen, left", "L4 vertebral body", "L5/S1 disc", "Sacrum"} <= set(points)
    assert "L4/L5 neural foramen, right" not in points


def test_classic_and_enhanced_objects_give_the_same_masks_in_the_patient(tmp_path: Path, findings: Findings) -> None:
    enhanced = find(read(tmp_path, enhanced=True))
    placed = []
    for found in (findings, enhanced):
        placed.append({label: rounded(points) for label, points in segment_points(seg_of(found)).items()})
    assert placed[0] == placed[1]


def rounded(points_mm: np.ndarray) -> set[tuple[float, ...]]:
    return {tuple(float(v) + 0.0 for v in point) for point in np.round(points_mm, 2)}


def test_each_frame_of_the_seg_names_the_image_it_lies_on(objects: dict[str, ResultObject], findings: Findings) -> None:
    headers = {str(h.SOPInstanceUID): h for h in findings.segmentations[0].source.headers}
    for group in objects["seg"].dataset.PerFrameFunctionalGroupsSequence:
        (image,) = group.DerivationImageSequence[0].SourceImageSequence
        header = headers[image.ReferencedSOPInstanceUID]
        place = [float(v) for v in group.PlanePositionSequence[0].ImagePositionPatient]
        np.testing.assert_allclose(place, [float(v) for v in header.ImagePositionPatient], atol=1e-3)


@pytest.mark.peer
@pytest.mark.slow
def test_dcmqi_finds_every_segment_in_its_structure_at_its_level_and_side(
    objects: dict[str, ResultObject], tmp_path: Path
) -> None:
    simple_itk = pytest.importorskip("SimpleITK")
    (path,) = write_results([objects["seg"]], tmp_path, "lumbar")
    done = run_tool("segimage2itkimage", "--inputDICOM", path, "--outputDirectory", tmp_path, "--outputType", "nrrd")
    assert done.returncode == 0, done.stderr
    for item in objects["seg"].dataset.SegmentSequence:
        image = simple_itk.ReadImage(str(tmp_path / f"{item.SegmentNumber}.nrrd"))
        found = [places(image, index) for index in np.argwhere(simple_itk.GetArrayFromImage(image) > 0)]
        assert_in_place(str(item.SegmentLabel), np.array(found))


@pytest.mark.peer
@pytest.mark.parametrize("kind", ["classic", "enhanced"])
def test_dciodvfy_finds_no_error_in_the_results(objects: dict[str, ResultObject], kind: str, tmp_path: Path) -> None:
    written = list(objects.values())
    if kind == "enhanced":
        written = build_results(find(read(tmp_path / "source", enhanced=True)), context())
    for path in write_results(written, tmp_path, "lumbar"):
        assert errors_of(run_tool, path) == [], path.name


def test_every_structure_has_its_own_code_and_tracking_identifiers(findings: Findings) -> None:
    segments = {segment.label: segment for segment in findings.segmentations[0].segments}
    assert segments["L4 vertebral body"].type == Code("71996003", "SCT", "Body of L4 vertebra")
    assert segments["L4 vertebral body"].anatomic_region == standard.SCT.L4Vertebra
    assert segments["L4/L5 disc"].type == standard.SCT.L4L5Disc
    assert segments["L5/S1 disc"].type == standard.SCT.L5S1Disc
    assert segments["Sacrum"].type == standard.SCT.Sacrum
    left = segments["L3/L4 neural foramen, left"]
    assert (left.type, left.anatomic_region, left.laterality) == (
        codes.FORAMEN,
        standard.SCT.LevelOfL3L4IntervertebralDisc,
        standard.SCT.Left,
    )
    # Structure, place and side together tell every segment from every other.
    told = [(s.type.value, s.anatomic_region, s.laterality) for s in segments.values()]
    assert len(set(told)) == len(told)
    identifiers = [segment.tracking_id for segment in segments.values()]
    assert len(set(identifiers)) == len(identifiers)
    assert "vertebra-L4" in identifiers and "foramen-L3-L4-left" in identifiers


def test_neighbours_are_told_apart_by_colour(findings: Findings) -> None:
    segments = {segment.label: segment.colour_rgb for segment in findings.segmentations[0].segments}
    for structure in ("vertebral body", "disc"):
        column = [colour for label, colour in segments.items() if label.endswith(structure)]
        assert len(column) >= 6 and all(distance(a, b) > 100 for a, b in pairwise(column))
    bodies = {colour for label, colour in segments.items() if label.endswith("vertebral body")}
    others = {colour for label, colour in segments.items() if not label.endswith("vertebral body")}
    assert all(distance(body, other) > 60 for body in bodies for other in others)


def distance(one: tuple[int, int, int], other: tuple[int, int, int]) -> float:
    return float(np.linalg.norm(np.subtract(one, other)))


def quantities(findings: Findings, label: str) -> dict[str, float | None]:
    (region,) = [region for region in findings.regions if region.label == label]
    return {quantity.name.meaning: quantity.value for quantity in region.quantities}


def test_a_foramen_that_the_field_cuts_reaches_a_reader_without_volume(tmp_path: Path, findings: Findings) -> None:
    # The field of the other tests, 92 mm shorter above: its first row lies within the foramina at L1/L2.
    series = replace(SERIES, centre_mm=(0.0, 12.0, 39.0), shape=(13, 114, 80), world=image_at)
    found = find(read_volume(read_stack(save(classic_slices(series), tmp_path))))
    for side in ("left", "right"):
        (region,) = [region for region in found.regions if region.label == f"L1/L2 neural foramen, {side}"]
        (volume,) = [quantity for quantity in region.quantities if quantity.name.meaning == "Volume"]
        assert volume.value is None and "superior edge" in volume.reason
        in_both = [quantities(one, f"L2/L3 neural foramen, {side}")["Volume"] for one in (found, findings)]
        assert in_both[0] == in_both[1] is not None


def test_figures_stand_with_the_structure_they_belong_to(findings: Findings) -> None:
    body = quantities(findings, "L4 vertebral body")
    assert body["Anterior height"] == pytest.approx(BODY_MM, abs=0.1)
    assert body["Volume"] == pytest.approx(44 * 34 * 26 / 1000, rel=0.2)
    disc = quantities(findings, "L4/L5 disc")
    assert disc["Mean height"] == pytest.approx(DISC_MM, abs=0.1)
    left, right = (quantities(findings, f"L3/L4 neural foramen, {side}")["Area"] for side in ("left", "right"))
    assert left is not None and right is not None and left > 1.4 * right
    sac = quantities(findings, "Thecal sac at L4/L5")
    assert sac["Anteroposterior diameter of the thecal sac"] == pytest.approx(14.0, abs=1.0)
    assert sac["Cross-sectional area of the thecal sac"] == pytest.approx(20 * 14, rel=0.15)


def test_outlines_lie_on_the_structures_they_name(findings: Findings) -> None:
    segmentation = findings.segmentations[0]
    for region in findings.regions:
        for contour in region.contours:
            number = region.segment_number
            inside = segmentation.label_map[contour.frame] == number
            rows, columns = np.nonzero(inside)
            assert len(rows), region.label
            assert columns.min() - 1 <= contour.points[:, 0].min() and contour.points[:, 0].max() <= columns.max() + 2
            assert rows.min() - 1 <= contour.points[:, 1].min() and contour.points[:, 1].max() <= rows.max() + 2
    middle = segmentation.key_frames[0]
    bodies = [r for r in findings.regions if r.label.endswith("vertebral body")]
    assert {contour.frame for region in bodies for contour in region.contours} == {middle}
    # The middle of the patient: x = 0 in this world.
    assert abs(float(segmentation.source.headers[middle].ImagePositionPatient[0])) < 2.3


def test_the_sac_is_one_segment_with_a_group_of_its_own_per_level(objects: dict[str, ResultObject]) -> None:
    groups = report_groups(objects["sr"].dataset)
    whole = [g for g in groups if "canal" in g and "segment" in g]
    assert len(whole) == 1
    levels = [g for g in groups if "sac-L4-L5" in g]
    assert len(levels) == 1 and "outline" in levels[0] and "segment" not in levels[0]


def report_groups(sr: Dataset) -> list[set[str]]:
    """Of each measurement group its tracking identifier and whether it names a segment or an outline."""
    found = []
    for item in sr.iterall():
        if item.keyword != "ContentSequence":
            continue
        for group in item.value:
            if group.get("ConceptNameCodeSequence") and group.ConceptNameCodeSequence[0].CodeValue == "125007":
                content = group.ContentSequence
                told = {str(c.TextValue) for c in content if c.ValueType == "TEXT" and "Tracking" in name_of(c)}
                told |= {"segment"} if any(name_of(c) == "Referenced Segment" for c in content) else set()
                told |= {"outline"} if any(c.ValueType == "SCOORD" for c in content) else set()
                found.append(told)
    return found


def name_of(item: Dataset) -> str:
    return str(item.ConceptNameCodeSequence[0].CodeMeaning)


def test_the_sentences_say_what_was_found_and_what_to_doubt(findings: Findings) -> None:
    assert findings.conclusion.startswith("The network marked 6 vertebral bodies (T12 to L5), 6 discs and the sacrum.")
    assert "14.0 mm at" in findings.conclusion
    text = " ".join(findings.limitations)
    assert findings.limitations[0] == "For research use only: not for diagnosis or treatment decisions."
    assert "counted upward from the sacrum" in text
    assert (
        "Not found, which does not mean absent: T12/L1 right foramen, T12/L1 left foramen, L4/L5 right foramen." in text
    )
    assert not re.search(r"stenosis|fracture|herniat|normal|patholog", text + findings.conclusion)


def test_uncertain_levels_are_said_wherever_a_name_is_shown(tmp_path: Path) -> None:
    volume = read(tmp_path)
    labels = labels_of(volume)
    labels[labels == SACRUM] = 0
    levels = name_levels(labels, volume.spacing_mm)
    found = build_findings(volume, levels, measure(levels), PROVENANCE, ("coarse_empty",))
    bodies = [s.label for s in found.segmentations[0].segments if s.label.endswith("vertebral body")]
    assert bodies and all(re.match(r"[LT]\d+\? vertebral body", label) for label in bodies)
    assert "the names of the levels are uncertain" in found.conclusion
    assert any("coarse network found no spine" in sentence for sentence in found.limitations)
    assert {region.mark[-1:] for region in found.regions if region.mark} == {"?"}


def test_the_table_has_a_row_per_level_with_the_figures_of_the_report(findings: Findings) -> None:
    table = findings.table
    assert table is not None
    rows = {row[0]: dict(zip(table.columns, row, strict=True)) for row in table.rows}
    assert list(rows) == ["T12", "L1", "L2", "L3", "L4", "L5"]
    assert rows["L4"]["Height ant / mid / post, mm"] == "26.0 / 26.0 / 26.0"
    assert (rows["L4"]["Disc"], rows["L4"]["Height, mm"]) == ("L4/L5", "10.0")
    assert rows["L4"]["Foramen R, mm2"] == "-" and rows["L4"]["Foramen L, mm2"] == "160"


def test_a_stack_that_is_not_sagittal_is_no_source_for_findings(tmp_path: Path) -> None:
    volume = read(tmp_path)
    levels = name_levels(labels_of(volume), volume.spacing_mm)
    turned = replace(volume, grid=replace(volume.grid, axes=(2, 0, 1)))
    with pytest.raises(ValueError, match="sagittal"):
        build_findings(turned, levels, measure(levels), PROVENANCE)


ALL_CODES = [
    *(value for value in vars(codes).values() if isinstance(value, Code)),
    *(code for table in (codes.VERTEBRA, codes.BODY, codes.DISC, codes.LEVEL, codes.SIDES) for code in table.values()),
]
STANDARD = {
    "L1": ("L1Vertebra", "L1L2Disc", "LevelOfL1L2IntervertebralDisc"),
    "L4": ("L4Vertebra", "L4L5Disc", "LevelOfL4L5IntervertebralDisc"),
    "L5": ("L5Vertebra", "L5S1Disc", "LevelOfL5S1IntervertebralDisc"),
    "T9": ("T9Vertebra", "T9T10Disc", "LevelOfT9T10IntervertebralDisc"),
    "T12": ("T12Vertebra", "T12L1Disc", "LevelOfT12L1IntervertebralDisc"),
}


@pytest.mark.parametrize("level", STANDARD)
def test_codes_of_levels_are_those_of_the_standard(level: str) -> None:
    vertebra, disc, plane = (getattr(standard.SCT, name) for name in STANDARD[level])
    pair = next(pair for pair in codes.DISC if pair.startswith(f"{level}/"))
    assert (codes.VERTEBRA[level], codes.DISC[pair], codes.LEVEL[pair]) == (vertebra, disc, plane)
    assert (codes.VERTEBRA[level].meaning, codes.DISC[pair].meaning) == (vertebra.meaning, disc.meaning)


@pytest.mark.parametrize("code", [c for c in ALL_CODES if c.scheme_designator == "SCT"], ids=lambda c: c.meaning)
def test_snomed_identifiers_have_a_valid_check_digit(code: Code) -> None:
    assert verhoeff(code.value) == 0


def verhoeff(digits: str) -> int:
    """The check sum of SNOMED CT identifiers: Verhoeff's dihedral scheme; 0 for a valid one."""
    sums = 0
    for place, digit in enumerate(reversed(digits)):
        sums = dihedral(sums, permuted(place, int(digit)))
    return sums


def dihedral(a: int, b: int) -> int:
    """Multiply in the dihedral group of the pentagon, elements 0 to 4 turns, 5 to 9 reflections."""
    if a < 5:
        return (a + b) % 5 if b < 5 else 5 + (a + b) % 5
    return 5 + (a - b) % 5 if b < 5 else (a - b) % 5


def permuted(place: int, digit: int) -> int:
    for _ in range(place % 8):
        digit = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)[digit]
    return digit


def test_private_codes_fit_their_attributes() -> None:
    private = [code for code in ALL_CODES if code.scheme_designator == codes.SCHEME]
    assert private and all(len(code.value) <= 16 and len(code.meaning) <= 64 for code in private)
    assert len({code.value for code in private}) == len(private)
    assert len(CLASSES) == 7
