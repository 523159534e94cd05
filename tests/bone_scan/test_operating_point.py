"""The cut that an operating point is moved to, against exhaustive search."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from pipelines.bone_scan.operating_point import best_cut, patient_logit
from pipelines.bone_scan.tiles import split


def test_the_cut_lies_between_the_classes_where_they_part():
    assert best_cut([False, False, True, True], [-3.0, -1.0, 2.0, 5.0]) == pytest.approx(0.5)


def test_no_other_cut_gives_more_sensitivity_and_specificity():
    rng = np.random.default_rng(4)
    truth = rng.random(80) < 0.45
    scores = rng.normal(truth * 1.5, 1.0)

    def youden(cut):
        return (scores[truth] >= cut).mean() + (scores[~truth] < cut).mean()

    found = youden(best_cut(truth.tolist(), scores.tolist()))
    assert found == pytest.approx(max(youden(c) for c in np.linspace(-4, 6, 4001)))


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
