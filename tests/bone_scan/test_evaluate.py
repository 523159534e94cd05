"""The evaluation's bookkeeping against hand-made patients, and one real run on the shipped weights.

How good the shipped weights are is not tested here: the model cards say what was measured.
"""

from __future__ import annotations

import json

import numpy as np
import pytest

from pipelines.bone_scan.baseline import ThresholdBaseline, tune
from pipelines.bone_scan.evaluate import evaluate, evaluate_patient, prepared_truth
from pipelines.bone_scan.evaluation_report import PAPER, EvaluationReport, PatientResult, TileResult
from pipelines.contract.provenance import Stopwatch
from pipelines.phantoms.bone_scan import simulate_bone_scan
from pipelines.planar.detections import Detections
from pipelines.training.metrics import Overlap


class Fixed:
    """Answers every tile and pixel with the same probabilities."""

    def __init__(self, metastasis: float, bladder: float) -> None:
        self.answer = (metastasis, bladder)

    def judge(self, view, starts):
        metastasis, bladder = self.answer
        share = np.array([1 - metastasis - bladder, metastasis, bladder], np.float32)
        classes = np.broadcast_to(share[:, None, None], (3, *view.shape[1:])).copy()
        return np.tile(np.array(self.answer, np.float32), (len(starts), 1)), classes


NOTHING, ALL_OF_TEN = Overlap(), Overlap(10, 10, 10)


def patient(seed, has, positive, age=60, met=NOTHING, bladder=ALL_OF_TEN, score=None):
    return PatientResult(
        seed=seed,
        age_years=age,
        has_metastases=has,
        score=score if score is not None else (0.9 if positive else 0.1),
        positive=positive,
        metastasis=met,
        bladder=bladder,
        tiles=(TileResult(has, True, 0.9 if positive else 0.1, 0.8), TileResult(False, False, 0.2, 0.1)),
        baseline_score=1.0,
        baseline_positive=True,
        baseline_metastasis=Overlap(10, 40, 10) if has else Overlap(0, 20, 0),
        baseline_bladder=Overlap(10, 0, 0),
        detections=Detections(2, 1, 3) if has else Detections(0, 0, 1),
        free_response=(Detections(2, 2, 9), Detections(2, 1, 3)) if has else (Detections(0, 0, 4), Detections(0, 0, 1)),
        bstbi=0.1 if positive else 0.0,
        bstbi_truth=0.12 if has else 0.0,
        benign=(),
    )


def report(patients):
    model = {"name": "bone-scan-network", "version": "0", "sha256": "0" * 64}
    return EvaluationReport("held_out", 0, tuple(patients), (model,), {"metastasis_level": 1.0}, 0.5)


@pytest.fixture(scope="module")
def papers_decisions():
    rows = [(True, True)] * 50 + [(True, False)] * 4 + [(False, True)] * 10 + [(False, False)] * 59
    return report([patient(i, has, found) for i, (has, found) in enumerate(rows)])


def test_the_papers_decisions_give_the_papers_figures(papers_decisions):
    figures = papers_decisions.summary()["networks"]
    for key in ("sensitivity", "specificity", "accuracy", "ppv", "npv"):
        assert figures[key] == pytest.approx(PAPER[key], abs=6e-5), key
    assert figures["accuracy_counts"] == [109, 123]


def test_dice_is_pooled_and_averaged_as_said():
    rows = [patient(0, True, True, met=Overlap(10, 10, 10)), patient(1, True, True, met=Overlap(90, 10, 0))]
    figures = report([*rows, patient(2, False, True, met=Overlap(0, 20, 0))]).summary()
    assert figures["networks"]["dice_metastasis"] == pytest.approx(2 * 10 / (100 + 40))
    assert figures["networks"]["dice_metastasis_mean"] == pytest.approx(0.5), "patients without the structure stay out"
    assert figures["baseline"]["dice_metastasis"] == pytest.approx(2 * 20 / (20 + 100))
    assert figures["baseline"]["dice_bladder"] == 0.0


def test_age_groups_part_the_patients_at_50_and_70():
    rows = [patient(i, True, True, age=age) for i, age in enumerate((12, 49, 50, 69, 70, 93))]
    by_age = report(rows).summary()["by_age"]
    assert [by_age[name]["patients"] for name in by_age] == [2, 2, 2]


def test_lesions_and_false_foci_are_counted_over_all_patients():
    figures = report([patient(0, True, True), patient(1, True, True), patient(2, False, False)]).summary()["lesions"]
    assert (figures["lesions"], figures["sensitivity"]) == (4, 0.5)
    assert figures["false_foci_per_patient"] == pytest.approx(7 / 3)
    first, second = figures["free_response"]
    assert (first["sensitivity"], first["false_foci_per_patient"]) == (1.0, pytest.approx(22 / 3))
    assert second["sensitivity"] == 0.5


def test_a_figure_that_cannot_be_computed_is_none_and_prints_as_a_dash():
    only_negative = report([patient(0, False, False), patient(1, False, False)])
    assert only_negative.summary()["networks"]["sensitivity"] is None
    assert only_negative.summary()["networks"]["auc_metastasis"] is None
    line = next(row for row in only_negative.table().splitlines() if row.startswith("patient sensitivity"))
    assert line.split()[2] == "-"


def test_the_report_is_json_and_names_the_paper(papers_decisions):
    held = json.loads(json.dumps(papers_decisions.to_json()))
    assert held["schema"] == 1 and held["simulated"] is True
    assert len(held["per_patient"]) == 123
    assert "real patients" in papers_decisions.table()


@pytest.mark.slow
def test_a_network_that_sees_nothing_scores_nothing():
    scan = simulate_bone_scan(2, "train", metastases=4)
    found = evaluate_patient(scan, Fixed(0.0, 0.0), ThresholdBaseline(1.0, 1.0, 50), Stopwatch())
    assert found.has_metastases and not found.positive
    assert found.metastasis.dice == 0.0 and found.bladder.dice == 0.0
    assert found.metastasis.truth == int((scan.labels == 1).sum())
    assert found.bstbi == 0.0 and found.bstbi_truth > 0
    assert found.detections.lesions > 0 and (found.detections.found, found.detections.false) == (0, 0)
    assert all(point.found == 0 for point in found.free_response)


@pytest.mark.slow
def test_a_network_that_sees_metastases_everywhere_finds_all_of_them():
    scan = simulate_bone_scan(2, "train", metastases=4)
    found = evaluate_patient(scan, Fixed(1.0, 0.0), ThresholdBaseline(1.0, 1.0, 50), Stopwatch())
    assert found.positive and found.score == 1.0
    assert found.metastasis.both == found.metastasis.truth
    assert found.detections.found == found.detections.lesions
    assert found.metastasis.result > 100 * found.metastasis.truth


@pytest.mark.slow
def test_the_baseline_is_tuned_to_the_better_threshold():
    scans = [simulate_bone_scan(seed, "train", metastases=5) for seed in (2, 9)]
    patients = [prepared_truth(scan) for scan in scans]
    best = tune(patients)

    def dice(baseline):
        pairs = [(labels == 1, baseline.segment(view) == 1) for views in patients for view, labels in views]
        return sum((Overlap.of(t, f) for t, f in pairs), Overlap()).dice

    for level in (0.3, 1.0, 2.0):
        other = ThresholdBaseline(level, best.bladder_level, best.patient_pixels)
        assert dice(best) >= dice(other) - 0.02
    with pytest.raises(ValueError, match="needs patients"):
        tune([])


def test_an_evaluation_of_nobody_is_refused():
    with pytest.raises(ValueError, match="at least 1 patient"):
        evaluate(0)


@pytest.mark.slow
def test_the_shipped_weights_run_through_the_nodes_own_analysis():
    seen = []
    result = evaluate(2, seed=600_000, progress=lambda share, message: seen.append(share), tuning_patients=2)
    assert [p.seed for p in result.patients] == [600_000, 600_001]
    assert {m["name"] for m in result.models} == {"bone-scan-network"}
    assert all(len(m["sha256"]) == 64 for m in result.models)
    assert seen[-1] == 1.0 and seen == sorted(seen)
    again = evaluate(1, seed=600_000, tuning_patients=1)
    assert again.patients[0].score == pytest.approx(result.patients[0].score, abs=1e-5)
