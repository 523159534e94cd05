"""Metrics against numbers computed by hand, by brute force, and by MONAI."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from pipelines.training.metrics import (
    Decisions,
    Overlap,
    Proportion,
    area_under_roc,
    calibration,
    calibration_error,
)


def test_the_papers_own_table_comes_out_of_its_counts():
    # Liu et al., table 2: 50/54, 59/69, 109/123, 50/60, 59/63.
    decisions = Decisions(true_positive=50, false_positive=10, true_negative=59, false_negative=4)
    assert decisions.sensitivity.value == pytest.approx(0.9259, abs=5e-5)
    assert decisions.specificity.value == pytest.approx(0.8551, abs=5e-5)
    assert decisions.accuracy.value == pytest.approx(0.8862, abs=5e-5)
    assert decisions.positive_predictive_value.value == pytest.approx(0.8333, abs=5e-5)
    assert decisions.negative_predictive_value.value == pytest.approx(0.9365, abs=5e-5)


def test_decisions_are_counted_pair_by_pair():
    truth = [True, True, False, False, False]
    assert Decisions.of(truth, [True, False, True, False, False]) == Decisions(1, 1, 2, 1)
    with pytest.raises(ValueError, match="5 truths but 1"):
        Decisions.of(truth, [True])


def test_a_proportion_of_nothing_has_no_value():
    assert Proportion(0, 0).value is None
    assert Proportion(0, 0).interval is None


def test_wilsons_interval_matches_a_published_example():
    # Newcombe, Stat Med 17 (1998) 857: 81 of 263 gives 0.2553 to 0.3662.
    low, high = Proportion(81, 263).interval
    assert (low, high) == (pytest.approx(0.2553, abs=5e-5), pytest.approx(0.3662, abs=5e-5))


def test_roc_area_equals_the_count_over_all_pairs():
    rng = np.random.default_rng(1)
    truth = rng.random(40) < 0.4
    scores = np.round(rng.random(40) + 0.3 * truth, 1)
    pairs = list(itertools.product(scores[truth], scores[~truth]))
    brute = sum(1.0 if p > n else 0.5 if p == n else 0.0 for p, n in pairs) / len(pairs)
    assert area_under_roc(truth, scores) == pytest.approx(brute)


def test_roc_area_needs_both_classes():
    assert area_under_roc([True, True], [0.1, 0.9]) is None
    assert area_under_roc([False, True], [0.1, 0.9]) == 1.0
    assert area_under_roc([False, True], [0.5, 0.5]) == 0.5


def test_dice_of_two_squares_is_what_a_ruler_gives():
    a, b = np.zeros((8, 8), bool), np.zeros((8, 8), bool)
    a[0:4, 0:4] = True
    b[0:4, 2:6] = True
    assert Overlap.of(a, b).dice == pytest.approx(0.5)
    assert Overlap.of(~a & a, ~b & b).dice is None
    assert (Overlap(10, 10, 10) + Overlap(10, 10, 0)).dice == pytest.approx(0.5)


@pytest.mark.slow
def test_roc_area_and_dice_agree_with_monai():
    import torch
    from monai.metrics import ROCAUCMetric, compute_dice

    rng = np.random.default_rng(2)
    truth = rng.random(60) < 0.5
    scores = rng.random(60)
    metric = ROCAUCMetric()
    metric(torch.from_numpy(scores), torch.from_numpy(truth.astype(float)))
    assert area_under_roc(truth, scores) == pytest.approx(float(metric.aggregate()), abs=1e-6)
    a, b = rng.random((32, 32)) < 0.3, rng.random((32, 32)) < 0.3
    theirs = compute_dice(torch.from_numpy(b[None, None]).float(), torch.from_numpy(a[None, None]).float())
    assert Overlap.of(a, b).dice == pytest.approx(float(theirs), abs=1e-6)


def test_calibration_by_hand():
    bins = calibration([False, True, True, True], [0.05, 0.05, 0.95, 1.0])
    assert [(b.cases, b.probability, b.frequency) for b in bins] == [
        (2, pytest.approx(0.05), 0.5),
        (2, pytest.approx(0.975), 1.0),
    ]
    assert calibration_error(bins) == pytest.approx((2 * 0.45 + 2 * 0.025) / 4)
    assert calibration_error(()) is None


def test_honest_probabilities_have_little_error_and_boasting_ones_much():
    rng = np.random.default_rng(0)
    chance = rng.random(20_000)
    truth = (rng.random(20_000) < chance).tolist()
    assert calibration_error(calibration(truth, chance.tolist())) < 0.02
    assert calibration_error(calibration(truth, (chance > 0.5).astype(float).tolist())) == pytest.approx(0.25, abs=0.02)
