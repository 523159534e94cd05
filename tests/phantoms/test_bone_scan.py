"""Simulated bone scans: geometry, physics and truth, each against something computed apart.

Not covered: whether a physician takes the images for real (they are looked at), DICOM (test_nm_dicom).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipelines.phantoms import bone_scan, truth
from pipelines.phantoms.anatomy import draw_patient
from pipelines.phantoms.body import BodyMaps
from pipelines.phantoms.bone_scan import simulate_bone_scan
from pipelines.phantoms.camera import ANTERIOR, POSTERIOR, Detector, add_scatter, blur_sigma_mm, project, to_view
from pipelines.phantoms.confounders import Findings, add_confounders
from pipelines.phantoms.lesions import SITE_COUNTS, draw_lesions
from pipelines.phantoms.presets import draw_scanner
from pipelines.phantoms.skeleton import build_skeleton
from pipelines.phantoms.uptake import normal_uptake

MU_PER_CM = 0.12


@pytest.fixture(scope="module")
def scan():
    return simulate_bone_scan(3, "train", metastases=6)


@pytest.fixture(scope="module")
def detector():
    scanner = draw_scanner(np.random.default_rng(0), "train", 1700.0, 0.0)
    return Detector.of(replace(scanner, rows=256, columns=256, pixel_mm=2.26, mu_soft_per_cm=MU_PER_CM), 0.0)


def slab_of_tissue(detector, half_depth_mm=100.0):
    shape = (detector.scanner.rows, detector.scanner.columns)
    zero = np.zeros(shape, np.float32)
    full = np.full(shape, half_depth_mm, np.float32)
    return BodyMaps(-full, full, 2 * full, zero, zero)


def point(detector, x_mm, y_mm):
    return np.array([[x_mm, y_mm, detector.z_mm[128]]], np.float32)


def test_the_same_seed_gives_the_same_scan(scan):
    again = simulate_bone_scan(3, "train", metastases=6)
    assert np.array_equal(scan.counts, again.counts)
    assert np.array_equal(scan.labels, again.labels)
    assert scan.lesions == again.lesions


def test_another_seed_or_preset_gives_another_patient(scan):
    assert simulate_bone_scan(4, "train", metastases=0).patient != scan.patient
    assert simulate_bone_scan(3, "held_out", metastases=0).patient != scan.patient


def test_an_unknown_preset_is_refused_by_name():
    with pytest.raises(ValueError, match="no acquisition preset 'mars'"):
        simulate_bone_scan(0, "mars")


@pytest.mark.slow
def test_another_dose_is_the_same_patient_with_other_counts(scan):
    double = simulate_bone_scan(3, "train", metastases=6, counts=2 * scan.scanner.counts)
    assert double.patient == scan.patient
    background = scan.scanner.background * (scan.expected > 0)
    ratio = (double.expected - background).sum() / (scan.expected - background).sum()
    assert ratio == pytest.approx(2.0, rel=1e-3)


@pytest.mark.slow
def test_counts_lie_in_the_dose_range_of_the_preset():
    for seed in (11, 12, 13):
        scan = simulate_bone_scan(seed, "held_out", metastases=0)
        total = scan.counts[0].sum() / scan.scanner.count_scale
        room = scan.scanner.background * scan.counts[0].size
        assert 0.55e6 <= total <= 2.9e6 * 1.02 + room
        assert total == pytest.approx(scan.expected[0].sum(), rel=0.02)


def test_a_left_source_lies_right_in_the_anterior_and_left_in_the_posterior_view(detector):
    maps = slab_of_tissue(detector)
    left = point(detector, 100.0, 0.0)
    columns = []
    for view in (ANTERIOR, POSTERIOR):
        image = to_view(project(detector, maps, left, np.ones(1, np.float32), view, detector.whole), view)
        columns.append(float((image.sum(0) * np.arange(256)).sum() / image.sum()))
    assert columns[0] > 128 + 30
    assert columns[1] < 128 - 30
    assert columns[0] + columns[1] == pytest.approx(255, abs=0.1)


@pytest.mark.slow
def test_left_lesions_of_a_whole_scan_follow_the_same_convention():
    checked = 0
    for seed in range(60, 66):
        scan = simulate_bone_scan(seed, "train", metastases=1)
        lesion = scan.lesions[0]
        centre = (scan.scanner.columns - 1) / 2
        for view, sign in ((0, 1), (1, -1)):
            own = scan.expected_lesions[view]
            if abs(lesion.centre_mm[0]) < 45 or own.sum() <= 0:
                continue
            column = float((own.sum(0) * np.arange(own.shape[1])).sum() / own.sum())
            assert np.sign(column - centre) == np.sign(lesion.centre_mm[0]) * sign
            checked += 1
    assert checked >= 2


def test_attenuation_follows_the_depth_on_each_side(detector):
    maps = slab_of_tissue(detector, 100.0)
    source = point(detector, 0.0, -60.0)
    near, far = (
        project(detector, maps, source, np.ones(1, np.float32), view, detector.whole).sum()
        for view in (ANTERIOR, POSTERIOR)
    )
    assert near == pytest.approx(np.exp(-MU_PER_CM * 4.0), rel=1e-3)
    assert far == pytest.approx(np.exp(-MU_PER_CM * 16.0), rel=1e-3)


def test_blur_grows_with_the_distance_from_the_collimator(detector):
    s = detector.scanner
    for distance in (20.0, 200.0):
        fwhm = np.hypot(s.intrinsic_mm, s.collimator_mm + s.collimator_slope * distance)
        assert blur_sigma_mm(s, distance) == pytest.approx(fwhm / (2 * np.sqrt(2 * np.log(2))), rel=1e-4)
    maps = slab_of_tissue(detector)
    source = point(detector, 0.0, -80.0)
    widths = []
    for view in (ANTERIOR, POSTERIOR):
        image = project(detector, maps, source, np.ones(1, np.float32), view, detector.whole)
        rows = np.arange(256) - 128
        widths.append(float((image.sum(1) * rows**2).sum() / image.sum()))
    assert widths[1] > 1.5 * widths[0]


def test_scatter_adds_its_share_and_lies_wide(detector):
    image = np.zeros((256, 256), np.float32)
    image[128, 128] = 1000.0
    total = add_scatter(detector, image)
    fraction = detector.scanner.scatter_fraction
    assert (total.sum() - 1000.0) / total.sum() == pytest.approx(fraction, rel=0.05)
    assert total[128, 128] > 1000.0 > 100 * total[128, 150]


def test_truth_lies_where_the_lesions_own_counts_stand_out(scan):
    for view in (0, 1):
        mask = scan.labels[view] == truth.METASTASIS
        own, rest = scan.expected_lesions[view], scan.expected[view] - scan.expected_lesions[view]
        assert mask.any()
        # The threshold is applied before scatter of the lesions themselves is added, hence the small margin.
        assert np.quantile(own[mask] / np.maximum(rest[mask], 1e-6), 0.02) > 0.6 * truth.LESION_CONTRAST
        assert own[mask].mean() > 20 * own[~mask].mean()


def test_a_lesion_mask_is_cut_at_the_stated_levels():
    y, x = np.mgrid[-20:21, -20:21]
    excess = 100 * np.exp(-(x**2 + y**2) / (2 * 4.0**2))
    mask = truth.lesion_mask(excess, np.full(excess.shape, 10.0))
    radius = 4.0 * np.sqrt(2 * np.log(1 / truth.LESION_LEVEL))
    assert mask.sum() == pytest.approx(np.pi * radius**2, rel=0.06)
    assert not truth.lesion_mask(excess, np.full(excess.shape, 1000.0)).any()
    assert not truth.lesion_mask(excess * 1e-3, np.full(excess.shape, 0.01)).any(), "too few counts to be seen"
    assert not truth.lesion_mask(np.zeros((0, 0)), np.zeros((0, 0))).any()


@pytest.mark.slow
def test_a_patient_without_metastases_has_none_in_the_truth_whatever_else_is_hot():
    for seed in (1, 21):
        scan = simulate_bone_scan(seed, "train", metastases=0)
        assert scan.benign
        assert not scan.has_metastases
        assert scan.expected_lesions.sum() == 0


@pytest.mark.slow
def test_a_patient_with_metastases_shows_at_least_one():
    assert all(simulate_bone_scan(seed, "train", metastases=1).has_metastases for seed in range(70, 75))


@pytest.mark.slow
def test_lesion_sites_follow_the_published_frequencies():
    rng = np.random.default_rng(5)
    patient = draw_patient(rng)
    skeleton = build_skeleton(patient, rng)
    lesions = draw_lesions(skeleton, np.ones(len(skeleton.points), np.float32), 300, rng)
    assert len(lesions) > 240
    total = sum(SITE_COUNTS.values())
    for site, count in SITE_COUNTS.items():
        share = sum(lesion.site == site for lesion in lesions) / len(lesions)
        spread = 3.5 * np.sqrt(count / total * (1 - count / total) / len(lesions)) + 0.03
        assert abs(share - count / total) < spread, site


def test_confounders_change_uptake_only_upwards_but_for_metal():
    rng = np.random.default_rng(8)
    patient = replace(draw_patient(rng), age_years=80)
    skeleton = build_skeleton(patient, rng)
    factor = normal_uptake(skeleton, patient, rng)
    before = factor.copy()
    findings = Findings(skeleton, patient, np.random.default_rng(3), factor)
    add_confounders(findings)
    assert findings.names
    lowered = findings.factor < before * 0.999
    assert lowered.any() == ("prosthesis" in findings.names)
    assert (findings.factor > before * 1.3).any()


def test_views_have_names_in_the_order_of_the_frames(scan):
    assert bone_scan.VIEWS == ("anterior", "posterior")
    assert scan.counts.shape == scan.labels.shape == scan.expected.shape
    assert scan.counts.dtype == np.uint16 and scan.labels.dtype == np.uint8
