"""What a physician sees of a SPECT/CT result: the SEG on the CT and the SEG on the SPECT in OHIF, over Orthanc.

The patient is simulated and small, and the findings are its truth in the network's place, so that the place of every
lesion is known from the simulator's own arrays and not from anything that was written. Covered: on both series the
colours lie where the truth is, on its slice and side, and end where a lesion ends; the SPECT's frames run from the head
to the feet, with a negative spacing. What is on the screen is told by the picture itself: a slice is recognised by its
pixels, whatever order the viewer chose. What a network finds is not looked at here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmwrite
from scipy import ndimage

from deploy.orthanc.run import OrthancProcess
from node.results import build_results
from pipelines.contract import Findings, InputSeries, PipelineInputs
from pipelines.contract.provenance import Provenance
from pipelines.imaging.volume import read_volume
from pipelines.phantoms.spect_ct import SpectCtPatient, simulate_spect_ct
from pipelines.phantoms.spect_ct.dicom_ct import ct_datasets, frame_of_reference
from pipelines.phantoms.spect_ct.dicom_ct import stored as on_stored_grid
from pipelines.phantoms.spect_ct.dicom_nm import spect_dataset
from pipelines.phantoms.spect_ct.presets import Settings, draw_settings
from pipelines.spect_ct.checks import choose_study
from pipelines.spect_ct.findings import SourceLesions, build_findings
from pipelines.spect_ct.grid import AXES, Lattice
from pipelines.spect_ct.lesions import find_lesions, onto_source
from pipelines.spect_ct.measurements import measure
from pipelines.spect_ct.truth import on_grid
from pipelines.spect_ct.uses import CT, FUSED, SPECT
from tests.results.result_sources import context
from tests.viewer.ohif_page import (
    SQUARE_HALF_WIDTH,
    OhifPage,
    any_colour,
    overlap,
    placed,
    screen_transform,
)

pytestmark = [pytest.mark.peer, pytest.mark.slow, pytest.mark.timeout(900)]

SEED, METASTASES = 10, 6
"""A pelvis with a large lesion on the left and another on the right, on different slices; the body hardly moved."""

LEFT, RIGHT = 3, 5
"""Labels of those two in the simulator's truth."""

SAME_PICTURE = 0.9
"""Least correlation of what is seen with the slice that it is taken for."""

SAME_PLACE = {"CT": 0.7, "NM": 0.6}
"""Least overlap of colour with truth; the rest goes to outlines, on the SPECT also to its 4.8 mm pixels."""

MIRRORED = 0.1
"""Most overlap of the truth with its own mirror image, so that a SEG on the wrong side cannot pass."""

SAME_HUE = 0.9
SPECK = 30
"""Pixels of the screen that are no overlay: what compression and smoothing leave at its edge."""


def small_settings(rng: np.random.Generator, preset: str) -> Settings:
    """Settings as drawn, for a short bed and a quick reconstruction."""
    drawn = draw_settings(rng, preset)
    ct = replace(drawn.ct, slices=32, pixel_mm=1.0)
    return replace(drawn, ct=ct, spect=replace(drawn.spect, matrix=96, views=24, iterations=2, subsets=4))


@dataclass(frozen=True)
class Shown:
    """One series as the viewer should show it, frames in the source's order.

    grey : float (frame, row, column), 0 to 255, by the window that the objects carry. truth : labels, same shape.
    finer : screen positions are looked for in so many parts of a pixel. limit : grey that the body stays above.
    """

    modality: str
    grey: np.ndarray
    truth: np.ndarray
    finer: int
    limit: int

    @cached_property
    def pictures(self) -> list[np.ndarray]:
        """The frames, smoothed as a screen shows them."""
        return [ndimage.zoom(one, self.finer, order=1, grid_mode=True, mode="nearest") for one in self.grey]

    @cached_property
    def bodies(self) -> list[np.ndarray]:
        """Where the bright body is on each of the pictures."""
        return [largest(picture > self.limit) for picture in self.pictures]

    def labels(self, frame: int) -> np.ndarray:
        """The truth on the same pixels."""
        return np.kron(self.truth[frame], np.ones((self.finer, self.finer), self.truth.dtype))


@dataclass(frozen=True)
class Scan:
    """A stored study with its results. colours : of the truth's labels."""

    study: str
    series: dict[str, Shown]
    findings: Findings
    colours: dict[int, tuple[int, int, int]]


@pytest.fixture(scope="module")
def patient() -> Iterator[SpectCtPatient]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("pipelines.phantoms.spect_ct.simulate.draw_settings", small_settings)
        yield simulate_spect_ct(SEED, "held_out", METASTASES)


@pytest.fixture(scope="module")
def scan(archive: OrthancProcess, patient: SpectCtPatient, tmp_path_factory: pytest.TempPathFactory) -> Scan:
    folder = tmp_path_factory.mktemp("spect-ct")
    frame = frame_of_reference(patient, True, "")
    objects = {"CT": list(ct_datasets(patient, frame)), "NM": [spect_dataset(patient, frame, head_first=True)]}
    findings = findings_of_the_truth(patient, {name: saved(made, folder / name) for name, made in objects.items()})
    for one in (*objects["CT"], *objects["NM"]):
        archive.post("/instances", written(one))
    for item in build_results(findings, context(job_key="spect-ct")):
        if item.kind == "seg":
            archive.post("/instances", item.to_bytes())
    series = {
        "CT": Shown(
            "CT", windowed(on_stored_grid(patient.ct, -1000), 50, 1500), on_stored_grid(patient.fused_labels), 1, 90
        ),
        # The frames of the object run from the head to the feet, the simulator's slices the other way.
        "NM": Shown("NM", windowed(stored(objects["NM"][0]), 7500, 15000), truth_on_spect(patient)[::-1], 8, 12),
    }
    return Scan(str(objects["NM"][0].StudyInstanceUID), series, findings, colours_of(findings, series["CT"].truth))


def findings_of_the_truth(patient: SpectCtPatient, paths: dict[str, list[Path]]) -> Findings:
    """What the pipeline makes of a network that outlines exactly what is there."""
    study = choose_study(
        PipelineInputs((InputSeries("nm", tuple(paths["NM"])), InputSeries("ct", tuple(paths["CT"]), "ct")))
    )
    assert study.spect is not None and study.ct is not None
    volumes = {use: read_volume(stack, AXES) for use, stack in ((CT, study.ct), (SPECT, study.spect))}
    on = on_grid(patient)
    certain = (on.labels[FUSED] > 0).astype(np.float32)
    found = find_lesions(certain, on.prepared.lattice)
    sources = {
        use: SourceLesions(volume, onto_source(found, certain, Lattice.of(volume))) for use, volume in volumes.items()
    }
    figures = measure(found, on.prepared, volumes[SPECT].values, sources[SPECT].labels)
    provenance = Provenance("spect-ct", "0.1.0", (), "CPU", "fp32", {"read": 0.1})
    return build_findings(FUSED, on.prepared, found, figures, sources, (), "", provenance)


def written(dataset: Dataset) -> bytes:
    buffer = BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def saved(datasets: list[Dataset], folder: Path) -> list[Path]:
    folder.mkdir()
    paths = [folder / f"{number}.dcm" for number in range(len(datasets))]
    for path, dataset in zip(paths, datasets, strict=True):
        path.write_bytes(written(dataset))
    return paths


def stored(spect: Dataset) -> np.ndarray:
    """Counts as stored, (frame, row, column)."""
    values: np.ndarray = spect.pixel_array
    return values


def windowed(values: np.ndarray, centre: float, width: float) -> np.ndarray:
    """Grey from 0 to 255 (PS3.3 C.11.2.1.2)."""
    return np.clip((values.astype(np.float32) - (centre - 0.5)) / (width - 1) + 0.5, 0, 1) * 255


def truth_on_spect(patient: SpectCtPatient) -> np.ndarray:
    """The truth at the middle of each voxel of the SPECT, asked in patient coordinates."""
    grid, labels = patient.spect_grid, patient.fused_labels
    voxels = np.stack(np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij"), -1).reshape(-1, 3)
    index = np.rint(patient.ct_grid.index(grid.points(voxels))).astype(int)
    inside = ((index >= 0) & (index < labels.shape)).all(1)
    found = np.zeros(len(voxels), labels.dtype)
    found[inside] = labels[tuple(index[inside].T)]
    return found.reshape(grid.shape)


def colours_of(findings: Findings, truth: np.ndarray) -> dict[int, tuple[int, int, int]]:
    """The colour of the segment that holds most of each lesion."""
    on_ct = findings.segmentations[0]
    colours = {segment.number: segment.colour_rgb for segment in on_ct.segments}
    numbers = {label: np.bincount(on_ct.label_map[truth == label])[1:] for label in (LEFT, RIGHT)}
    return {label: colours[int(counts.argmax()) + 1] for label, counts in numbers.items()}


def largest(mask: np.ndarray) -> np.ndarray:
    """The largest piece of a mask: the body without the table, which is just as bright as the limit here and there."""
    pieces, count = ndimage.label(mask)
    if not count:
        return mask
    held: np.ndarray = pieces == np.bincount(pieces.ravel())[1:].argmax() + 1
    return held


def likeness(expected: np.ndarray, seen: np.ndarray) -> float:
    """The correlation of two pictures; 0 where one is all of one grey, as the page is before its first frame."""
    if expected.size < 2 or not expected.std() or not seen.std():
        return 0.0
    return float(np.corrcoef(expected, seen)[0, 1])


def frame_shown(series: Shown, picture: np.ndarray) -> tuple[int, tuple[float, float, float]] | None:
    """The frame that the picture shows and its place on the screen; None while it shows none."""
    seen, coloured, hot = picture.mean(axis=2), any_colour(picture), largest(picture.min(axis=2) > series.limit)
    best: tuple[float, int, tuple[float, float, float]] | None = None
    for frame, (expected, light) in enumerate(zip(series.pictures, series.bodies, strict=True)):
        transform = screen_transform(light, hot) if light.any() else None
        if transform is None:
            continue
        there = placed(expected, transform, seen.shape)
        fit = likeness(there[~coloured][::7], seen[~coloured][::7])
        if best is None or fit > best[0]:
            best = (fit, frame, transform)
    return best[1:] if best is not None and best[0] > SAME_PICTURE else None


def go_to(ohif: OhifPage, series: Shown, frame: int) -> None:
    """Turn the wheel until the picture is that of a frame."""
    direction = [1]
    before: list[int] = []

    def there() -> bool:
        shown = frame_shown(series, ohif.picture())
        if shown is None:
            return False
        if shown[0] == frame:
            return True
        if before and abs(shown[0] - frame) > abs(before[-1] - frame):
            direction[0] = -direction[0]
        before.append(shown[0])
        ohif.scroll(direction[0])
        return False

    ohif.wait_until(there, lambda: f"frame {frame} of the {series.modality} (frames seen: {before})")


def hue(colour: np.ndarray) -> np.ndarray:
    """What tells a colour from grey, as a unit vector; nothing for grey."""
    told = np.asarray(colour, dtype=float) - np.mean(colour)
    return told / max(float(np.linalg.norm(told)), 1.0)


def assert_overlay(ohif: OhifPage, scan: Scan, series: Shown, frame: int) -> None:
    """Colour covers the truth on this frame and nothing else, and each of the two lesions has its own."""
    seen: dict[str, float] = {}

    def covered() -> bool:
        picture = ohif.picture()
        shown = frame_shown(series, picture)
        if shown is None or shown[0] != frame:
            return False
        expected = placed(series.labels(frame), shown[1], picture.shape[:2])
        coloured = any_colour(picture)
        seen.clear()
        seen["too much"] = float(coloured.sum())
        if not expected.any():
            return seen["too much"] <= SPECK
        seen["place"] = overlap(expected > 0, coloured)
        for label in set(scan.colours) & set(np.unique(expected).tolist()):
            seen[f"hue {label}"] = float(
                hue(np.median(picture[coloured & (expected == label)], 0)) @ hue(np.array(scan.colours[label]))
            )
        hues = [value for name, value in seen.items() if name.startswith("hue")]
        return seen["place"] > SAME_PLACE[series.modality] and min(hues, default=1.0) > SAME_HUE

    ohif.wait_until(covered, lambda: f"overlay in place on frame {frame} of the {series.modality} (seen: {seen})")


def frames_to_look_at(series: Shown) -> dict[str, int]:
    """Where each of the two lesions is largest, and the nearest frame with none beyond the end of the left one."""
    sizes = {label: (series.truth == label).sum((1, 2)) for label in (LEFT, RIGHT)}
    empty = np.flatnonzero(~series.truth.any((1, 2)))
    left = int(sizes[LEFT].argmax())
    return {"left": left, "right": int(sizes[RIGHT].argmax()), "none": int(empty[np.abs(empty - left).argmin()])}


@pytest.mark.parametrize("modality", ["CT", "NM"])
def test_each_seg_lies_on_the_lesions_of_its_own_series(
    ohif: OhifPage, scan: Scan, tmp_path: Path, modality: str
) -> None:
    series = scan.series[modality]
    frames = frames_to_look_at(series)
    for side in ("left", "right"):
        truth = series.truth[frames[side]] > 0
        assert max(overlap(truth, truth[:, ::-1]), overlap(truth, truth[::-1])) < MIRRORED, "the test would not tell"
    ohif.half_width = SQUARE_HALF_WIDTH
    ohif.open_study(scan.study)
    ohif.load_series(f"segmentation {modality}")
    for name, frame in frames.items():
        go_to(ohif, series, frame)
        assert_overlay(ohif, scan, series, frame)
        ohif.save(tmp_path / f"spect-ct-{modality}-{name}.png")
