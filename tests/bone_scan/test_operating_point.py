"""The cut that an operating point is moved to, against exhaustive search."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from pipelines.bone_scan.operating_point import SLACK, best_cut, patient_logit
from pipelines.bone_scan.tiles import split


def test_the_cut_lies_between_the_classes_where_they_part():
    assert best_cut([False, False, True, True], [-3.0, -1.0, 2.0, 5.0]) == pytest.approx(0.5)


def test_it_is_the_most_sensitive_of_the_cuts_that_are_nearly_the_best():
    rng = np.random.default_rng(4)
    truth = rng.random(80) < 0.45
    scores = rng.normal(truth * 1.5, 1.0)

    def youden(cut):
        return (scores[truth] >= cut).mean() + (scores[~truth] < cut).mean()

    found = best_cut(truth.tolist(), scores.tolist())
    every = np.linspace(-4, 6, 4001)
    best = max(youden(cut) for cut in every)
    assert youden(found) >= best - SLACK - 1e-9
    nearly = [cut for cut in every if youden(cut) >= best - SLACK]
    assert (scores[truth] >= found).mean() == max((scores[truth] >= cut).mean() for cut in nearly)


def test_a_cut_that_gives_up_more_than_the_slack_is_not_taken_however_sensitive():
    # 50 of each; the lowest positive lies under three negatives: finding it would cost 0.06 and gain 0.02.
    truth = [False] * 50 + [True] * 50
    scores = [*np.linspace(-9, -5, 47), -2.0, -1.9, -1.8, -3.0, *np.linspace(1, 5, 49)]
    assert best_cut(truth, scores) == pytest.approx(-0.4)


def test_one_class_alone_has_no_operating_point():
    with pytest.raises(ValueError, match="with and without"):
        best_cut([True, True], [0.1, 0.2])


def test_a_patient_counts_by_the_hottest_tile():
    class ByHeat:
        def judge(self, view, starts):
            top = split(view, starts).reshape(len(starts), -1).max(1)
            return np.stack([0.9 * top, top], 1), np.zeros((3, *view.shape[1:]), np.float32)

    counts = np.zeros((2, 1024, 256), np.uint16)
    counts[:, 100:800, 60:190] = 5
    counts[1, 400:420, 100:120] = 400
    assert patient_logit(counts, 2.26, ByHeat()) == pytest.approx(np.log(9.0), abs=1e-3)
