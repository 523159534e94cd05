"""What a physician sees of a lumbar result: the SEG over the sagittal series in OHIF, over Orthanc, in Chromium.

Covered: on the middle slice and on one of each side every segment's colour lies on its own structure and on no other
slice's; the names of the levels can be read in the viewer's list.
The series is that of `tests.lumbar.drawn_spine` with a mark whose height tells the slice, so that the picture itself
says which slice is shown, whatever order the viewer chose. What the networks find is not looked at here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmwrite

from deploy.orthanc.run import OrthancProcess
from node.results import build_results
from pipelines.contract import Findings
from pipelines.contract.provenance import Provenance
from pipelines.imaging.volume import read_stack, read_volume
from pipelines.lumbar.findings import build_findings
from pipelines.lumbar.levels import name_levels
from pipelines.lumbar.measurements import measure
from tests.imaging.mr_objects import classic_slices, save
from tests.lumbar.drawn_spine import SERIES, image_at, label_at, labels_of
from tests.results.result_sources import context
from tests.viewer.ohif_page import OhifPage, any_colour, bright, overlap, placed, screen_transform, to_screen

pytestmark = [pytest.mark.peer, pytest.mark.slow, pytest.mark.timeout(300)]

FIELD = replace(SERIES, shape=(13, 200, 80))
"""Taller than the spine, whose ends would lie under the viewer's texts."""

HOT, COLD = 1000.0, 50.0
SAME_PLACE = 0.7
FEWEST_PIXELS = 150
"""Segments that cover fewer pixels of the screen are all outline, which hides their colour."""

SAME_HUE = 0.9


def shown_at(points_mm: np.ndarray) -> np.ndarray:
    """The world that is scanned: every structure is bright, and so is a mark in front that rises to the left."""
    x, y, z = np.moveaxis(points_mm, -1, 0)
    mark = (np.abs(y + 40) < 7) & (np.abs(z - 60 - 4 * x) < 9)
    return np.where((label_at(points_mm) > 0) | mark, HOT, COLD)


@dataclass(frozen=True)
class Scan:
    """A stored study: what is bright on each of the source's frames, the label map and where each frame lies."""

    study: str
    hot: np.ndarray
    findings: Findings
    left_mm: list[float]

    @property
    def label_map(self) -> np.ndarray:
        return self.findings.segmentations[0].label_map


@pytest.fixture(scope="module")
def scan(archive: OrthancProcess, tmp_path_factory: pytest.TempPathFactory) -> Scan:
    folder = tmp_path_factory.mktemp("lumbar")
    volume = read_volume(read_stack(save(classic_slices(replace(FIELD, world=image_at)), folder)))
    levels = name_levels(labels_of(volume), volume.spacing_mm)
    provenance = Provenance("lumbar", "0.1.0", (), "CPU", "fp32", {"read": 0.1})
    findings = build_findings(volume, levels, measure(levels), provenance)
    slices = {str(s.SOPInstanceUID): s for s in classic_slices(replace(FIELD, world=shown_at))}
    for one in slices.values():
        buffer = BytesIO()
        dcmwrite(buffer, one, enforce_file_format=True)
        archive.post("/instances", buffer.getvalue())
    for item in build_results(findings, context(job_key="lumbar")):
        if item.kind == "seg":
            archive.post("/instances", item.to_bytes())
    frames = [slices[str(h.SOPInstanceUID)] for h in findings.segmentations[0].source.headers]
    hot = np.stack([frame.pixel_array > (HOT + COLD) / 2 for frame in frames])
    return Scan(SERIES.study, hot, findings, [float(frame.ImagePositionPatient[0]) for frame in frames])


def frame_shown(scan: Scan, picture: np.ndarray) -> int | None:
    """The source frame whose bright pixels the picture shows, or None while it shows none of them."""
    seen = bright(picture)
    fits = []
    for hot in scan.hot:
        expected = to_screen(hot, seen)
        fits.append(0.0 if expected is None else overlap(expected > 0, seen))
    best = int(np.argmax(fits))
    return best if fits[best] > SAME_PLACE else None


def go_to(ohif: OhifPage, scan: Scan, frame: int) -> None:
    """Turn the wheel until the picture is that of a frame."""
    direction = [1]
    before: list[int] = []

    def there() -> bool:
        now = frame_shown(scan, ohif.picture())
        if now == frame:
            return True
        if now is not None:
            if before and abs(now - frame) > abs(before[-1] - frame):
                direction[0] = -direction[0]
            before.append(now)
            ohif.scroll(direction[0])
        return False

    ohif.wait_until(there, lambda: f"frame {frame} in the viewport (frames seen: {before})")


def hue(colour: np.ndarray) -> np.ndarray:
    """What tells a colour from grey, as a unit vector; nothing for grey."""
    told = np.asarray(colour, dtype=float) - np.mean(colour)
    return told / max(float(np.linalg.norm(told)), 1.0)


def assert_overlay(ohif: OhifPage, scan: Scan, frame: int) -> set[str]:
    """Colour covers the frame's label map and nothing else, each segment in its own; returns the labels judged."""
    labels = dict(enumerate(scan.findings.segmentations[0].segments, start=1))
    seen: dict[str, float] = {}

    def covered() -> bool:
        seen.clear()
        picture = ohif.picture()
        transform = screen_transform(scan.hot[frame], bright(picture))
        if transform is None:
            return False
        expected = placed(scan.label_map[frame], transform, picture.shape[:2])
        seen["all"] = overlap(expected > 0, any_colour(picture))
        for number in np.unique(expected)[1:]:
            inside = expected == number
            if inside.sum() >= FEWEST_PIXELS:
                segment = labels[int(number)]
                seen[segment.label] = float(hue(np.median(picture[inside], 0)) @ hue(segment.colour_rgb))
        hues = [value for name, value in seen.items() if name != "all"]
        return seen["all"] > SAME_PLACE and min(hues, default=0.0) > SAME_HUE

    ohif.wait_until(covered, lambda: f"overlay in place on frame {frame} (seen: {seen})")
    return set(seen) - {"all"}


def test_the_segments_lie_on_their_slices_and_sides_and_their_names_can_be_read(
    ohif: OhifPage, scan: Scan, tmp_path: Path
) -> None:
    ohif.open_study(scan.study)
    ohif.load_series("SEG")
    middle = int(np.argmin(np.abs(scan.left_mm)))
    left = int(np.argmin(np.abs(np.array(scan.left_mm) - 17.0)))
    right = int(np.argmin(np.abs(np.array(scan.left_mm) + 17.0)))
    ohif.wait_until(lambda: bool(any_colour(ohif.picture()).any()), "the overlay on the screen")
    ohif.answer("Yes")
    judged = {}
    for name, frame in (("middle", middle), ("left", left), ("right", right)):
        go_to(ohif, scan, frame)
        judged[name] = assert_overlay(ohif, scan, frame)
        ohif.save(tmp_path / f"lumbar-{name}.png")
    assert {"L4 vertebral body", "L4/L5 disc", "Sacrum", "Spinal canal (thecal sac)"} <= judged["middle"]
    assert "L3/L4 neural foramen, left" in judged["left"] and "L3/L4 neural foramen, right" in judged["right"]
    assert not {name for name in judged["left"] if name.endswith("right")}
    ohif.open_segment_list()
    for label in ("L5 vertebral body", "L1/L2 disc", "L3/L4 neural foramen, left"):
        ohif.wait_for_text(label)
    ohif.save(tmp_path / "lumbar-names.png")
