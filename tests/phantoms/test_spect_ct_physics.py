"""The SPECT/CT simulator's camera and reconstruction, each against something computed apart.

Not covered here: anatomy, lesions and truth (test_spect_ct), DICOM (test_spect_ct_dicom).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from skimage.transform import iradon, radon

from pipelines.phantoms.spect_ct.presets import PRESETS, draw_settings
from pipelines.phantoms.spect_ct.projector import FWHM_PER_SIGMA, Projector, Response
from pipelines.phantoms.spect_ct.spect import acquire, attenuation_map, osem, scattered

N, PIXEL_MM, VIEWS = 65, 4.8, 60  # odd: skimage turns about the middle pixel


def coordinates(n=N):
    axis = (np.arange(n) - (n - 1) / 2) * PIXEL_MM
    return np.meshgrid(axis, axis, indexing="ij")  # y, x


def disc(radius_mm, y_mm=0.0, x_mm=0.0, slices=1):
    y, x = coordinates()
    # Soft over one pixel, so that its area does not depend on where pixels fall.
    depth = radius_mm - np.hypot(y - y_mm, x - x_mm)
    return np.repeat(np.clip(depth / PIXEL_MM + 0.5, 0, 1).astype(np.float32)[..., None], slices, 2)


def plain(views=VIEWS, slices=1):
    return Projector((N, N, slices), PIXEL_MM, views)


def test_a_disc_is_seen_as_its_chords_from_every_side():
    radius = 90.0
    seen = plain().forward(disc(radius))[:, :, 0]
    u = (np.arange(N) - (N - 1) / 2) * PIXEL_MM
    chords = 2 * np.sqrt(np.maximum(radius**2 - u**2, 0)) / PIXEL_MM
    inside = np.abs(u) < 0.85 * radius
    assert np.abs(seen[:, inside] - chords[inside]).max() < 0.02 * chords.max()


def test_views_are_those_of_skimages_radon_transform():
    image = disc(30, y_mm=-50, x_mm=20) + 0.5 * disc(45, y_mm=40, x_mm=-30)
    ours = plain().forward(image)[:, :, 0]
    # skimage turns the other way round.
    theirs = radon(image[..., 0], theta=-np.arange(VIEWS) * 360.0 / VIEWS, circle=True).T
    assert np.abs(ours - theirs).max() < 0.06 * theirs.max()


def test_filtered_back_projection_by_skimage_returns_the_image():
    image = disc(30, y_mm=-50, x_mm=20) + 0.5 * disc(45, y_mm=40, x_mm=-30)
    seen = plain(180).forward(image)[:, :, 0]
    found = iradon(seen.T, theta=-np.arange(180) * 2.0, circle=True)
    y, x = coordinates()
    inside = np.hypot(y, x) < 140
    assert np.abs(found - image[..., 0])[inside].mean() < 0.02


def test_view_zero_looks_from_the_front_and_a_quarter_turn_from_the_left():
    front, left = disc(12, y_mm=-80), disc(12, x_mm=80)
    mu = np.full((N, N, 1), 0.015, np.float32)
    projector = Projector((N, N, 1), PIXEL_MM, 4, mu)
    near_front, _, far_front, _ = projector.forward(front).sum((1, 2))
    _, near_left, _, far_left = projector.forward(left).sum((1, 2))
    assert near_front > 5 * far_front
    assert near_left > 5 * far_left


def test_every_view_sees_all_counts_where_nothing_absorbs():
    image = disc(40, y_mm=30, x_mm=-40, slices=3)
    assert plain(slices=3).forward(image).sum((1, 2)) == pytest.approx(float(image.sum()), rel=0.005)


def test_back_projection_is_the_transpose_of_projection():
    rng = np.random.default_rng(0)
    mu = disc(120, slices=5) * np.float32(0.015)
    projector = Projector((N, N, 5), PIXEL_MM, 12, mu, Response(3.8, 1.6, 0.045), 20.0)
    x = rng.random((N, N, 5)).astype(np.float32)
    y = rng.random((12, N, 5)).astype(np.float32)
    assert float((projector.forward(x) * y).sum()) == pytest.approx(float((projector.back(y) * x).sum()), rel=1e-4)


@pytest.mark.parametrize("depth_mm", [40.0, 100.0, 160.0])
def test_attenuation_follows_the_tissue_between_source_and_camera(depth_mm):
    mu = disc(130, slices=1) * np.float32(0.015)
    y, x = coordinates()
    row = int(np.argmin(np.abs(y[:, 0] - (depth_mm - 130))))
    source = np.zeros((N, N, 1), np.float32)
    source[row, N // 2] = 1.0
    seen = Projector((N, N, 1), PIXEL_MM, 4, mu).forward(source)[0].sum()
    path = np.sqrt(130**2 - x[row, N // 2] ** 2) + y[row, N // 2]
    assert seen == pytest.approx(np.exp(-0.015 * path), rel=0.04)


def test_resolution_is_the_formulas_at_the_sources_distance():
    response = Response(3.8, 1.6, 0.045)
    mu = disc(130, slices=31) * np.float32(1e-5) + np.float32(2e-3) * (disc(130, slices=31) > 0.5)
    projector = Projector((N, N, 31), PIXEL_MM, 4, mu, response, gap_mm=30.0)
    source = np.zeros((N, N, 31), np.float32)
    source[N // 2, N // 2, 15] = 1.0
    seen = projector.forward(source)[0]
    u = np.arange(N) * PIXEL_MM
    profile = seen.sum(1) / seen.sum()
    sigma = np.sqrt((profile * u**2).sum() - (profile * u).sum() ** 2)
    # Pixels add their own variance, a slab of depth blurs as its middle does.
    expected = np.sqrt(response.sigma_mm(130 + 30.0) ** 2 + PIXEL_MM**2 / 12)
    assert sigma == pytest.approx(float(expected), rel=0.06)
    assert float(response.sigma_mm(160.0)) * FWHM_PER_SIGMA == pytest.approx(np.hypot(3.8, 1.6 + 0.045 * 160))


def test_osem_returns_the_activity_behind_attenuated_counts():
    truth = disc(110, slices=3) + 3 * disc(25, y_mm=-40, x_mm=30, slices=3)
    mu = disc(120, slices=3) * np.float32(0.015)
    projector = Projector((N, N, 3), PIXEL_MM, VIEWS, mu)
    found = osem(projector.forward(truth), projector, 6, 10)
    assert found[N // 2, N // 2 - 15 : N // 2 - 5, 1].mean() == pytest.approx(1.0, rel=0.04)
    y, x = coordinates()
    hot = np.hypot(y + 40, x - 30) < 14
    assert found[hot, 1].mean() == pytest.approx(4.0, rel=0.06)
    blind = osem(projector.forward(truth), plain(slices=3), 6, 10)
    assert blind[N // 2, N // 2, 1] < 0.5 * found[N // 2, N // 2, 1], "without correction the depth is darker"


def test_views_that_cannot_be_shared_out_are_refused():
    with pytest.raises(ValueError, match="60 views cannot be divided into 7"):
        osem(np.ones((VIEWS, N, 1), np.float32), plain(), 1, 7)


def test_scatter_is_its_share_of_all_counts_and_lies_wide():
    settings = replace(draw_settings(np.random.default_rng(0), "train").spect, scatter_fraction=0.3, scatter_mm=30.0)
    primary = np.zeros((1, N, N), np.float32)
    primary[0, N // 2, N // 2] = 100.0
    wide = scattered(primary, settings)
    assert wide.sum() / (wide.sum() + 100.0) == pytest.approx(0.3, rel=0.03)
    assert wide.max() < 5.0


def test_attenuation_of_known_materials():
    air, water, bone = attenuation_map(np.array([-1000.0, 0.0, 1000.0]))
    assert air == 0
    # NIST XCOM: water 0.151 /cm, cortical bone (1.92 g/cm3) 0.28 /cm at 140 keV.
    assert water * 10 == pytest.approx(0.151, rel=0.02)
    assert 0.23 < bone * 10 < 0.29


def test_a_study_has_its_counts_and_its_lesions_where_they_are():
    rng = np.random.default_rng(3)
    settings = draw_settings(rng, "train").spect
    settings = replace(settings, matrix=N, pixel_mm=PIXEL_MM, counts=4e5, models_resolution=True, iterations=2)
    body = np.moveaxis(disc(100, slices=12), 2, 0)
    lesion = np.zeros_like(body)
    lesion[6, 24, 40] = 60.0
    hu = np.where(body > 0.5, 40.0, -1000.0).astype(np.float32)
    found = acquire(body, lesion, hu, settings, np.random.default_rng(1))
    assert found.total_counts == pytest.approx(4e5, rel=0.01)
    assert np.unravel_index(found.expected_lesions.argmax(), found.image.shape) == (6, 24, 40)
    assert found.image[6, 23:26, 39:42].mean() > 2 * np.median(found.image[6][body[6] > 0.5])
    assert found.expected_lesions[0].max() == 0, "far from the lesion nothing is computed"


def test_presets_draw_from_other_ranges():
    drawn = {p: [draw_settings(np.random.default_rng(s), p) for s in range(40)] for p in PRESETS}
    shift = [s.spect.counts for s in drawn["domain_shift"]]
    assert max(shift) < min(s.spect.counts for s in drawn["train"])
    assert {s.ct.pixel_mm for s in drawn["held_out"]}.isdisjoint({s.ct.pixel_mm for s in drawn["train"]})
    assert all(s.spect.views % s.spect.subsets == 0 for settings in drawn.values() for s in settings)
    with pytest.raises(ValueError, match="no acquisition preset 'mars'"):
        draw_settings(np.random.default_rng(0), "mars")
