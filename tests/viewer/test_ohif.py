"""What a physician sees: the overlay and the report in OHIF, over Orthanc, in Chromium.

Covered: a planar SEG covers exactly the hot pixels of both views, each segment in its colour, before and after it
is opened for good; the report's outlines lie on the lesions of both views; a SPECT SEG whose slices run backwards
lies on the right slice. The masks are asymmetric, so that a mirrored, swapped or shifted overlay fails.
Not covered: volume rendering, measurement tracking, other viewers.
"""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmwrite

from deploy.orthanc.run import OrthancProcess
from node.results import build_results
from pipelines.contract import Findings
from tests.results.result_sources import (
    context,
    planar_findings,
    planar_source,
    square_contour,
    volume_findings,
    volume_source,
    whole_body,
    whole_body_counts,
)
from tests.viewer.ohif_page import (
    SQUARE_HALF_WIDTH,
    OhifPage,
    any_colour,
    bright,
    channel_mask,
    overlap,
    screen_transform,
    to_screen,
)

pytestmark = [pytest.mark.peer, pytest.mark.slow, pytest.mark.timeout(240)]

RED, GREEN = 0, 1
HOT_COUNTS = 250

SAME_PLACE = 0.7
"""Least overlap of what is seen with what is expected; outlines two pixels wide cost the rest."""


def view_label_map(rows: int = 1024, columns: int = 256) -> np.ndarray:
    """Segment 1 an L on each view, segment 2 a bar on the anterior one; no two alike under any flip."""
    label_map = np.zeros((2, rows, columns), np.uint8)
    label_map[0, 260:440, 40:80] = 1
    label_map[0, 400:440, 40:130] = 1
    label_map[0, 640:700, 150:220] = 2
    label_map[1, 300:350, 120:230] = 1
    label_map[1, 300:560, 190:230] = 1
    return label_map


@pytest.fixture(scope="module")
def scan() -> Dataset:
    """A whole-body scan that is hot exactly where the segments are."""
    dataset = whole_body()
    counts = np.minimum(whole_body_counts(1024, 256), 40)
    counts[view_label_map() > 0] = HOT_COUNTS
    dataset.PixelData = counts.astype(np.uint16).tobytes()
    return dataset


@pytest.fixture(scope="module")
def findings(scan: Dataset) -> Findings:
    found = planar_findings(planar_source([scan]), view_label_map())
    segmentation = found.segmentations[0]
    lesion, bladder, unused = segmentation.segments
    colours = (replace(lesion, colour_rgb=(255, 0, 0)), replace(bladder, colour_rgb=(0, 220, 0)), unused)
    return replace(found, segmentations=(replace(segmentation, segments=colours),))


@pytest.fixture(scope="module")
def stored(archive: OrthancProcess, scan: Dataset, findings: Findings) -> str:
    """Scan and results in the archive; the study's UID."""
    store(archive, scan)
    for item in build_results(findings, context()):
        archive.post("/instances", item.to_bytes())
    return str(scan.StudyInstanceUID)


def store(archive: OrthancProcess, dataset: Dataset) -> None:
    buffer = BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    archive.post("/instances", buffer.getvalue())


def show_frame(ohif: OhifPage, label_map: np.ndarray, frame: int) -> None:
    """Scroll until the image itself shows the frame: its hot pixels have the shape of that frame's mask."""

    def shown() -> bool:
        hot = bright(ohif.picture())
        expected = to_screen(label_map[frame], hot)
        return expected is not None and overlap(expected > 0, hot) > SAME_PLACE

    def shown_after_a_step() -> bool:
        if shown():
            return True
        ohif.scroll(1 if frame else -1)
        return False

    ohif.wait_until(shown_after_a_step, f"frame {frame + 1} in the viewport")


def assert_overlay(ohif: OhifPage, label_map: np.ndarray, frame: int) -> None:
    """Each segment's colour covers its hot pixels on this frame and nothing else."""
    seen: dict[int, float] = {}

    def covered() -> bool:
        picture = ohif.picture()
        expected = to_screen(label_map[frame], bright(picture))
        if expected is None:
            return False
        for number, channel in ((1, RED), (2, GREEN)):
            wanted, found = expected == number, channel_mask(picture, channel)
            seen[number] = overlap(wanted, found) if wanted.any() else float(not found.any())
        return min(seen.values()) > SAME_PLACE

    ohif.wait_until(covered, lambda: f"overlay in place on frame {frame + 1} (overlaps seen: {seen})")


def test_the_planar_overlay_covers_the_right_pixels_of_both_views(ohif: OhifPage, stored: str, tmp_path: Path) -> None:
    ohif.open_study(stored)
    ohif.load_series("SEG")
    label_map = view_label_map()
    for frame in (0, 1):
        show_frame(ohif, label_map, frame)
        assert_overlay(ohif, label_map, frame)
        ohif.save(tmp_path / f"seg-preview-{frame + 1}.png")
    ohif.answer("Yes")
    for frame in (1, 0):
        show_frame(ohif, label_map, frame)
        assert_overlay(ohif, label_map, frame)
        ohif.save(tmp_path / f"seg-opened-{frame + 1}.png")


def test_the_report_s_outlines_lie_on_the_lesions_of_both_views(
    ohif: OhifPage, stored: str, findings: Findings, tmp_path: Path
) -> None:
    ohif.open_study(stored)
    ohif.load_series("SR")
    ohif.wait_until(lambda: bool(any_colour(ohif.picture()).any()), "outline on the screen")
    label_map = view_label_map()
    for frame in (0, 1):
        show_frame(ohif, label_map, frame)
        ohif.save(tmp_path / f"report-{frame + 1}.png")
        picture = ohif.picture()
        transform = screen_transform(label_map[frame] > 0, bright(picture))
        assert transform is not None
        coloured = any_colour(picture)
        for number in np.unique(label_map[frame])[1:]:
            outline = square_contour(frame, label_map[frame] == number).points
            mirrored = np.column_stack([label_map.shape[2] - outline[:, 0], outline[:, 1]])
            # The viewer draws outlines dashed, so about half of the points are coloured where an outline is.
            assert drawn(outline, transform, coloured) > 0.4
            assert drawn(mirrored, transform, coloured) < 0.2


def drawn(points: np.ndarray, transform: tuple[float, float, float], coloured: np.ndarray) -> float:
    """Share of a polyline's points that have a coloured pixel within one pixel."""
    scale, top, left = transform
    steps = np.linspace(0, 1, 60, endpoint=False)[:, None]
    along = np.concatenate([a + (b - a) * steps for a, b in pairwise(points)])
    rows = np.round(along[:, 1] * scale + top).astype(int)
    columns = np.round(along[:, 0] * scale + left).astype(int)
    near = np.pad(coloured, 1)
    near = np.max([np.roll(near, (y, x), (0, 1)) for y in (-1, 0, 1) for x in (-1, 0, 1)], axis=0)[1:-1, 1:-1]
    inside = (rows >= 0) & (rows < near.shape[0]) & (columns >= 0) & (columns < near.shape[1])
    return float(near[rows[inside], columns[inside]].sum() / len(rows))


def test_a_spect_overlay_lies_on_its_slice_although_slices_run_backwards(
    ohif: OhifPage, archive: OrthancProcess, tmp_path: Path
) -> None:
    scan = backward_spect()
    label_map = np.zeros((6, 64, 64), np.uint8)
    label_map[1, 22:42, 14:22] = label_map[1, 36:42, 14:40] = 1
    label_map[4, 24:30, 20:50] = label_map[4, 24:44, 42:50] = 1
    counts = np.full(label_map.shape, 20, np.uint16)
    counts[label_map > 0] = HOT_COUNTS
    scan.PixelData = counts.tobytes()
    store(archive, scan)
    found = volume_findings(volume_source([scan]), label_map)
    segmentation = found.segmentations[0]
    lesion = replace(segmentation.segments[0], colour_rgb=(255, 0, 0))
    found = replace(found, segmentations=(replace(segmentation, segments=(lesion,)),), regions=())
    seg = build_results(found, context(job_key="spect"))[0]
    archive.post("/instances", seg.to_bytes())
    ohif.half_width = SQUARE_HALF_WIDTH
    ohif.open_study(str(scan.StudyInstanceUID))
    ohif.load_series("SEG")
    for frame in (1, 4):
        show_frame(ohif, label_map, frame)
        assert_overlay(ohif, label_map, frame)
        ohif.save(tmp_path / f"spect-{frame + 1}.png")


def backward_spect() -> Dataset:
    """A reconstructed SPECT of six slices with negative SpacingBetweenSlices, as GE and Mediso write them."""
    scan = whole_body(64, 64)
    scan.ImageType = ["ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION"]
    scan.NumberOfFrames = 6
    scan.FrameIncrementPointer = [0x00540080]
    scan.SliceVector = [1, 2, 3, 4, 5, 6]
    scan.SpacingBetweenSlices, scan.SliceThickness, scan.PixelSpacing = -4.0, 4.0, [4.0, 4.0]
    scan.FrameOfReferenceUID = "2.25.77"
    for keyword in ("EnergyWindowVector", "DetectorVector", "WholeBodyTechnique"):
        del scan[keyword]
    del scan.DetectorInformationSequence[1]
    detector = scan.DetectorInformationSequence[0]
    detector.ImagePositionPatient, detector.ImageOrientationPatient = [-126, -126, 500], [1, 0, 0, 0, 1, 0]
    return scan
