"""The pictures of an evaluation: written as PNG, and the ROC curve against the area computed without it."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from pipelines.bone_scan.evaluation_failures import draw_failures, worst
from pipelines.bone_scan.evaluation_pictures import BURDEN, CALIBRATION, FROC, ROC, draw, roc_points
from pipelines.training.metrics import Overlap, area_under_roc
from tests.bone_scan.test_evaluate import Fixed, patient, report


def test_the_area_under_the_drawn_curve_is_the_mann_whitney_area():
    rng = np.random.default_rng(2)
    truth = rng.random(60) < 0.4
    scores = np.round(rng.normal(truth * 1.0, 1.0), 1)
    hits, alarms = roc_points(truth, scores)
    assert (hits[0], alarms[0], hits[-1], alarms[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(hits, alarms) == pytest.approx(area_under_roc(truth.tolist(), scores.tolist()))


def test_the_worst_are_wrong_decisions_by_clearness_then_poor_outlines():
    rows = [
        patient(0, True, True, met=Overlap(10, 10, 9)),
        patient(1, True, False, score=0.4),
        patient(2, False, True, score=0.95),
        patient(3, True, True, met=Overlap(10, 10, 2)),
        patient(4, False, False, bladder=Overlap(10, 10, 5)),
    ]
    assert [p.seed for p in worst(rows, 4)] == [2, 1, 3, 4]


@pytest.mark.slow
def test_failures_are_drawn_over_their_own_scan(tmp_path):
    pytest.importorskip("matplotlib")
    path = draw_failures([patient(600_000, True, False)], "held_out", Fixed(0.9, 0.05), tmp_path)
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    red = (pixels[..., 0] > 180) & (pixels[..., 1] < 80)
    assert red.any(), "the outline of what a network calls metastasis everywhere"


def test_every_picture_is_a_png_with_something_on_it(tmp_path):
    pytest.importorskip("matplotlib")
    paths = draw(report([patient(i, i % 2 == 0, i % 3 == 0) for i in range(9)]), tmp_path / "pictures")
    assert [p.name for p in paths] == [BURDEN, CALIBRATION, ROC, FROC]
    for path in paths:
        with Image.open(path) as picture:
            assert picture.format == "PNG" and np.asarray(picture.convert("L")).std() > 5
