"""The index under dose, number and therapy: the bookkeeping by hand, the truth of the scans, one run on the weights."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pipelines.bone_scan import burden_study
from pipelines.bone_scan.burden_study import BurdenStudy, Scanned, run, scanned
from pipelines.phantoms.bone_scan import simulate_bone_scan

MODEL = {"name": "bone-scan-network", "version": "0", "sha256": "0" * 64}


def study(dose=(), number=(), therapy=()):
    def rows(values):
        return tuple(Scanned(7, value, found, found) for value, found in values)

    return BurdenStudy(rows(dose), rows(number), rows(therapy), MODEL)


def test_changes_of_dose_are_relative_to_the_usual_one():
    found = study(dose=((0.5, 0.09), (1.0, 0.1), (2.0, 0.104)))
    assert found.dose_changes[7] == pytest.approx((-0.1, 0.0, 0.04))
    assert "-10.0 % and +4.0 %" in found.table()
    assert study(dose=((0.5, 0.1), (1.0, 0.0), (2.0, 0.1))).dose_changes[7] == (None, None, None)


def test_a_step_that_adds_nothing_is_no_rise():
    assert study(number=((0, 0.0), (1, 0.01), (2, 0.02))).rises == {7: True}
    assert study(number=((0, 0.0), (1, 0.0), (2, 0.02))).rises == {7: False}
    assert json.loads(json.dumps(study(number=((0, 0.0), (1, 0.01))).to_json()))["rises"] == {"7": True}


def test_a_study_of_nobody_is_refused():
    with pytest.raises(ValueError, match="at least 1 patient"):
        run(0)


@pytest.mark.slow
def test_therapy_takes_uptake_from_the_metastases_and_from_nothing_else():
    before, after = (simulate_bone_scan(3, "held_out", 5, 1.5e6, uptake) for uptake in (1.0, 0.0))
    assert before.has_metastases and not after.has_metastases
    assert after.expected_lesions.sum() == 0
    far = before.expected_lesions.sum(0) == 0
    # The total is held at the same counts, so what is not a metastasis gains by one factor.
    ratio = after.expected[0][far][before.expected[0][far] > 1] / before.expected[0][far][before.expected[0][far] > 1]
    assert np.std(ratio) < 0.02 * np.mean(ratio) + 0.02
    with pytest.raises(ValueError, match="negative"):
        simulate_bone_scan(3, "held_out", 5, uptake=-1.0)


@pytest.mark.slow
def test_the_true_index_rises_with_metastases_and_falls_with_therapy():
    class Blind:
        def judge(self, view, starts):
            classes = np.zeros((3, *view.shape[1:]), np.float32)
            classes[0] = 1
            return np.zeros((len(starts), 2), np.float32), classes

    many = [scanned(3, n, Blind(), metastases=n, counts=1.5e6).truth for n in (0, 2, 8)]
    less = [scanned(3, u, Blind(), metastases=8, counts=1.5e6, uptake=u).truth for u in (1.0, 0.4, 0.0)]
    assert many == sorted(many) and many[0] == 0 < many[1] < many[2]
    assert less == sorted(less, reverse=True) and less[0] == many[2] and less[-1] == 0


@pytest.mark.slow
def test_a_study_with_the_shipped_weights_draws_its_picture(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(burden_study, "NUMBERS", (0, 4))
    monkeypatch.setattr(burden_study, "UPTAKES", (1.0, 0.0))
    found = run(1, seed=600_000, out=tmp_path)
    assert [len(rows) for rows in (found.dose, found.number, found.therapy)] == [3, 2, 2]
    assert (tmp_path / burden_study.PICTURE).stat().st_size > 10_000
    assert found.therapy[-1].truth == 0
