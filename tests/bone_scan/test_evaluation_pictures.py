"""The pictures of an evaluation: written as PNG, and the ROC curve against the area computed without it."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from pipelines.bone_scan.evaluation_pictures import BURDEN, CALIBRATION, FROC, ROC, draw, roc_points
from pipelines.training.metrics import area_under_roc
from tests.bone_scan.test_evaluate import patient, report


def test_the_area_under_the_drawn_curve_is_the_mann_whitney_area():
    rng = np.random.default_rng(2)
    truth = rng.random(60) < 0.4
    scores = np.round(rng.normal(truth * 1.0, 1.0), 1)
    hits, alarms = roc_points(truth, scores)
    assert (hits[0], alarms[0], hits[-1], alarms[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(hits, alarms) == pytest.approx(area_under_roc(truth.tolist(), scores.tolist()))


def test_every_picture_is_a_png_with_something_on_it(tmp_path):
    pytest.importorskip("matplotlib")
    paths = draw(report([patient(i, i % 2 == 0, i % 3 == 0) for i in range(9)]), tmp_path / "pictures")
    assert [p.name for p in paths] == [BURDEN, CALIBRATION, ROC, FROC]
    for path in paths:
        with Image.open(path) as picture:
            assert picture.format == "PNG" and np.asarray(picture.convert("L")).std() > 5
