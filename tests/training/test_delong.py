"""DeLong's test and folds by patient, against loops written out and a bootstrap."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.training.delong import compare
from pipelines.training.folds import group_folds


def by_loops(truth, first, second):
    """Areas and the variance of their difference from the structural components, pair by pair (DeLong 1988)."""

    def components(scores):
        x, y = scores[truth], scores[~truth]
        wins = np.array([[1.0 if a > b else 0.5 if a == b else 0.0 for b in y] for a in x])
        return wins.mean(), wins.mean(1), wins.mean(0)

    a, b = components(first), components(second)
    over_x, over_y = a[1] - b[1], a[2] - b[2]
    return a[0], b[0], over_x.var(ddof=1) / len(over_x) + over_y.var(ddof=1) / len(over_y)


def cases(seed: int = 0):
    rng = np.random.default_rng(seed)
    truth = np.arange(60) < 25
    first = truth * 1.2 + rng.normal(size=60)
    second = truth * 0.4 + rng.normal(size=60).round(1)
    return truth, first, second


def test_areas_and_z_are_those_of_the_written_out_components():
    truth, first, second = cases()
    found = compare(truth, first, second)
    one, other, variance = by_loops(truth, first, second)
    assert (found.first, found.second) == (pytest.approx(one), pytest.approx(other))
    assert found.z == pytest.approx((one - other) / np.sqrt(variance))


def test_the_test_is_antisymmetric_and_silent_on_equal_scores():
    truth, first, second = cases(3)
    there, back = compare(truth, first, second), compare(truth, second, first)
    assert there.z == pytest.approx(-back.z) and there.p == pytest.approx(back.p)
    assert compare(truth, first, first * 3 + 1).p is None


def test_the_false_alarm_rate_without_a_difference_is_about_five_percent():
    alarms = []
    for seed in range(400):
        rng = np.random.default_rng([5, seed])
        truth = np.arange(80) < 40
        scores = truth[:, None] * 0.8 + rng.normal(size=(80, 2))
        p = compare(truth, scores[:, 0], scores[:, 1]).p
        alarms.append(p is not None and p < 0.05)
    assert np.mean(alarms) == pytest.approx(0.05, abs=0.03)


def test_one_kind_of_case_has_no_curve():
    with pytest.raises(ValueError, match="both kinds"):
        compare(np.ones(4, bool), np.arange(4.0), np.arange(4.0))


def test_no_patient_is_on_both_sides_and_each_is_held_once():
    patients = [n // 3 for n in range(33)]
    held = []
    for training, validation in group_folds(patients, 5, seed=1):
        assert not {patients[i] for i in training} & {patients[i] for i in validation}
        assert len(training) + len(validation) == 33
        held += validation.tolist()
    assert sorted(held) == list(range(33))
    with pytest.raises(ValueError, match="cannot be split"):
        list(group_folds([1, 1, 2], 3))
