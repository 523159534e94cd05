"""The thorax crop: found on drawn and simulated bodies wherever they lie, refused where there is none, and undone
exactly. The landmark is the simulated patients' own seventh cervical vertebra."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.phantoms.anatomy import draw_patient
from pipelines.phantoms.bone_scan import SimulatedBoneScan, simulate_bone_scan
from pipelines.phantoms.camera import Detector
from pipelines.phantoms.presets import PRESETS
from pipelines.phantoms.skeleton import Posture, build_skeleton
from pipelines.planar.outline import WORKING_SPACING_MM
from pipelines.planar.prepare import PreparedView, prepare_view
from pipelines.thorax.crop import CROP_PIXELS, ThoraxCrop, crop_refusal, find_thorax, shared_crop, waist
from tests.imaging.nm_objects import draw_body

SPACING = (2.26, 2.26)


def prepared(counts: np.ndarray, spacing: tuple[float, float] = SPACING) -> PreparedView:
    return prepare_view(counts.astype(float), spacing)


def c7_row(scan: SimulatedBoneScan) -> float:
    """Working row of the seventh cervical vertebra: the patient is drawn once more from the same stream."""
    stream = np.random.SeedSequence([PRESETS.index(scan.preset), scan.seed]).spawn(5)[0]
    rng = np.random.default_rng(stream)
    patient = draw_patient(rng)
    skeleton = build_skeleton(patient, rng)
    points = Posture.of(patient).apply(skeleton.points[skeleton.select("C7")])
    rows, _ = Detector.of(scan.scanner, 0.0).pixels(points)
    return float(np.median(rows)) * scan.scanner.pixel_mm / WORKING_SPACING_MM


@pytest.mark.slow
@pytest.mark.parametrize("seed", [7, 9, 68])
def test_the_crop_begins_at_the_neck_of_simulated_patients(seed):
    """7: arms folded. 9: lifted over the head. 68: the field cuts the head off."""
    scan = simulate_bone_scan(seed)
    views = [prepared(counts, (scan.scanner.pixel_mm,) * 2) for counts in scan.counts]
    crop = shared_crop(views)
    assert crop_refusal(views, crop) is None
    assert crop.found
    assert c7_row(scan) - 50 <= crop.first_row <= c7_row(scan)


def test_a_body_elsewhere_in_the_field_has_its_crop_moved_with_it():
    body = draw_body(seed=3)
    first = find_thorax(prepared(body).mask, prepared(body).frame)
    moved = np.roll(body, 30, axis=0)
    moved[:30] = 0
    again = find_thorax(prepared(moved).mask, prepared(moved).frame)
    assert again.first_row == first.first_row + 30


def test_another_pixel_size_gives_the_same_place_in_millimetres():
    body = draw_body(seed=3)
    coarse = body.reshape(512, 2, 128, 2).sum(axis=(1, 3))
    fine = find_thorax(prepared(body).mask, prepared(body).frame)
    view = prepared(coarse, (4.52, 4.52))
    assert view.grid.source_shape == (512, 128)
    assert find_thorax(view.mask, view.frame).first_row == pytest.approx(fine.first_row, abs=4)


def test_a_waist_is_where_the_slope_turns_from_narrowing_to_widening():
    rows = np.arange(300)
    widths = 60 - 30 * np.exp(-(((rows - 120) / 25) ** 2)) - 10 * np.exp(-(((rows - 210) / 15) ** 2))
    assert waist(widths, 80, 160) == pytest.approx(120, abs=1)
    assert waist(widths, 170, 250) == pytest.approx(210, abs=1)
    assert waist(np.linspace(20, 90, 300), 80, 160) is None, "a body that only widens has no waist"
    assert waist(np.ones(10), 0, 10) is None


def test_without_a_waist_proportions_place_the_crop_and_say_so():
    counts = np.zeros((1024, 256))
    counts[50:800, 60:200] = 20
    view = prepared(counts)
    crop = find_thorax(view.mask, view.frame)
    assert not crop.found
    assert crop.first_row == pytest.approx(50 + 0.13 * 750, abs=3)


def test_legs_alone_are_refused_with_the_reason():
    """The pelvis and the legs of a body, up to the upper edge of the field."""
    legs = np.zeros((1024, 256))
    body = draw_body(seed=3)
    lower = body[480:]
    legs[: len(lower)] = lower
    view = prepared(legs)
    reason = crop_refusal([view], shared_crop([view]))
    assert reason is not None
    assert "thorax" in reason


@pytest.mark.parametrize("first_row", [-40, 0, 100, 900, 1023, -256])
def test_paste_undoes_cut_and_touches_nothing_else(first_row):
    rng = np.random.default_rng(1)
    image = rng.random((2, 1024, 256)).astype(np.float32)
    crop = ThoraxCrop(first_row, True)
    cut = crop.cut(image)
    assert cut.shape == (2, CROP_PIXELS, 256)
    back = crop.paste(cut, 1024)
    inside = np.zeros(1024, bool)
    inside[max(first_row, 0) : max(first_row + CROP_PIXELS, 0)] = True
    np.testing.assert_array_equal(back[:, inside], image[:, inside])
    assert not back[:, ~inside].any()
