"""The evaluation on drawn patients, an exact rule in the network's place: what must come out is known."""

from __future__ import annotations

import json

import pytest

from pipelines.contract.provenance import Stopwatch
from pipelines.thorax import baseline
from pipelines.thorax.dataset import cut_all
from pipelines.thorax.evaluate import score_baseline, score_patient
from pipelines.thorax.evaluation_report import PAPER, EvaluationReport
from pipelines.thorax.scores import figures
from tests.thorax.drawn_patients import patient
from tests.thorax.drawn_thorax import HotPixels


@pytest.fixture(scope="module")
def report() -> EvaluationReport:
    watch, network = Stopwatch(), HotPixels(at=0.59)
    ill, well = patient(1), patient(2, ill=False)
    scores = [score for p in (ill, well) for score in score_patient(p, network, watch)]
    threshold = baseline.tune(cut_all([patient(3)]))
    simple = [score for p in (ill, well) for score in score_baseline(p, threshold)]
    model = {"name": "thorax-network", "version": "0", "sha256": "0" * 64}
    return EvaluationReport(
        "held_out", 500_000, 2, tuple(scores), tuple(simple), threshold, model, False, 0.37, 0.1
    )  # fmt: skip


def test_a_rule_that_marks_the_drawn_lesions_scores_near_one_and_leaves_the_well_alone(report):
    facts = figures(report.scores)
    assert (facts["images_with_lesions"], facts["images_without_lesions"]) == (2, 2)
    assert facts["dsc"] > 0.8
    assert facts["lesions_found"] == 1.0
    assert facts["clean_images_without_lesions"] == 1.0


def test_drawn_lesions_are_easy_for_a_threshold_too(report):
    assert figures(report.baseline)["dsc"] > 0.8


def test_table_and_json_say_the_same_and_name_the_papers_figures(report):
    facts = json.loads(json.dumps(report.to_json()))
    table = report.table()
    assert f"{facts['network']['dsc']:.3f}" in table
    assert "labels of 37 %" in table
    for row in PAPER.values():
        assert f"{row['dsc']:.3f}" in table
    assert len(facts["images"]) == 4
    assert "nothing marked counts as 0" in table
