"""Which patients an evaluation analyses whole, and what it says of their lesions; numbers worked out by hand."""

from __future__ import annotations

import numpy as np

from pipelines.spect_ct.evaluate import spread
from pipelines.spect_ct.evaluation_report import EvaluationReport, PatientResult
from pipelines.spect_ct.scores import LesionScore, UseScore
from pipelines.spect_ct.uses import CT, FUSED, SPECT
from pipelines.training.metrics import Overlap


def lesion(label: int, found: bool | None) -> LesionScore:
    return LesionScore(label, 9, 1.0, 1.0, 1.0, 1.0, 0.8, 0.8, 0.1, 1.0, found)


def patient(seed: int, kinds: dict[int, str], malignant: dict[int, bool], hits: list[bool] | None) -> PatientResult:
    """A patient whose whole volume was analysed where there are hits; every lesion is 12 mm wide."""
    marks = [None] * len(kinds) if hits is None else hits
    lesions = tuple(lesion(label, hit) for label, hit in zip(kinds, marks, strict=True))
    mask = np.ones((2, 2), bool)
    whole = UseScore(lesions) if hits is None else UseScore(lesions, Overlap.of(mask, mask), ())
    alone = UseScore(tuple(lesion(label, None) for label in kinds))
    return PatientResult(
        seed, {SPECT: alone, CT: alone, FUSED: whole}, kinds, malignant, dict.fromkeys(kinds, 12.0), 9, 1.0
    )


def test_whole_volumes_are_the_middles_of_equal_parts_of_all_patients():
    assert sorted(spread(100, 12)) == [4, 12, 20, 29, 37, 45, 54, 62, 70, 79, 87, 95]
    assert sorted(spread(10, 3)) == [1, 5, 8]
    assert sorted(spread(5, 1)) == [2]


def test_as_many_whole_volumes_as_asked_for_and_never_more_than_patients():
    assert all(len(spread(count, volumes)) == volumes for count in range(1, 40) for volumes in range(count + 1))
    assert spread(4, None) == spread(4, 4) == spread(4, 9) == {0, 1, 2, 3}


def test_lesions_of_the_whole_volumes_are_counted_by_nature_and_kind():
    report = EvaluationReport(
        "held_out", 7,
        (
            patient(7, {1: "lytic", 2: "osteophyte"}, {1: True, 2: False}, None),
            patient(8, {1: "lytic", 2: "rib_fracture"}, {1: True, 2: False}, [False, True]),
            patient(9, {1: "lytic", 4: "rib_fracture"}, {1: True, 4: False}, [True, True]),
        ),
        ({"name": "network", "version": "1", "sha256": "0" * 64},), {},
    )  # fmt: skip
    held = report.summary()["uses"][FUSED]["volume"]
    assert held["seeds"] == [8, 9]
    assert held["sensitivity"]["counts"] == [3, 4]
    assert held["sensitivity_malignant"]["counts"] == [1, 2] and held["sensitivity_benign"]["counts"] == [2, 2]
    assert held["found_by_kind"] == {
        "lytic": {"lesions": 2, "found": 1},
        "rib_fracture": {"lesions": 2, "found": 2},
    }
    text = report.table()
    assert "lesions found: 0.750 (3/4" in text
    assert "of these malignant 1/2, benign 2/2" in text and "by kind: lytic 1/2, rib fracture 2/2" in text
    assert "missed: no pixel of the lesion reaches 0.9" in text
