"""The comparison of networks: its folds, its slices and what it says of transfer, on drawn patients."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipelines.spect_ct import dataset
from pipelines.spect_ct.compare import OTHER_SLICES, TRAININGS, Budget, compare, judged_slices
from pipelines.spect_ct.comparison_report import ComparisonReport, FoldScores, SliceScore
from pipelines.spect_ct.scores import LesionScore
from pipelines.spect_ct.truth import GridPatient
from pipelines.spect_ct.uses import CT, FUSED, SPECT


def lesion(dice: float) -> LesionScore:
    return LesionScore(1, 9, 1.0, dice, 1.0, 1.0, dice / (2 - dice), dice, 0.0, 1.0)


def fold(transfer: bool, owners: tuple[int, ...], dices: tuple[float, ...]) -> FoldScores:
    lesions = tuple(lesion(dice) for dice in dices)
    return FoldScores("MT-UNet", 0, FUSED, transfer, lesions, owners, (SliceScore(owners[0], True, 0.9),))


@pytest.mark.slow
def test_a_comparison_trains_each_fold_four_times_and_judges_its_other_patients(
    patient: GridPatient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(dataset, "on_grid", lambda _patient: patient)
    folder = dataset.cache_folder(tmp_path, "train")
    folder.mkdir()
    for seed in (0, 5, 6, 7, 8):
        dataset.write_patient(folder, seed, None)  # type: ignore[arg-type]
    told: list[str] = []
    budget = Budget(patients=4, folds=2, steps=2, batch=2, side=64)
    report = compare(tmp_path, budget, ["MT-UNet"], progress=lambda _share, text: told.append(text), first=5)
    assert [(f.fold, f.use, f.transfer) for f in report.folds] == [
        (number, use, transfer)
        for number in (0, 1)
        for use, transfer in ((SPECT, False), (CT, False), (FUSED, False), (FUSED, True))
    ]
    assert len(told) == len(report.folds) == 2 * TRAININGS
    assert told[3] == "MT-UNet, fold 1 of 2, SPECT/CT with transfer"
    held = [{score.patient for score in one.slices} for one in report.folds[::TRAININGS]]
    assert held[0] | held[1] == {5, 6, 7, 8} and not held[0] & held[1]
    # The drawn study has two lesions, of which the CT shows one.
    assert [len(one.lesions) for one in report.folds[:TRAININGS]] == [4, 2, 4, 4]
    assert all(set(one.owners) == {score.patient for score in one.slices} for one in report.folds)
    assert report.to_json()["first_patient"] == 5
    assert "what transfer adds" in report.table()


def test_the_lesions_slices_are_judged_and_some_others_evenly_spread():
    judged = judged_slices(44, {3, 40})
    assert len(judged) == OTHER_SLICES + 2 and {3, 40} <= set(judged) and {0, 43} <= set(judged)
    assert max(np.diff(judged)) <= 7
    assert judged_slices(3, {1}) == [0, 1, 2]
    assert judged_slices(1, {0}) == [0]


def test_what_transfer_adds_is_the_mean_over_the_same_lesions_with_an_interval_over_patients():
    with_and_without = (fold(False, (1, 1, 2), (0.5, 0.1, 0.3)), fold(True, (1, 1, 2), (0.6, 0.4, 0.1)))
    gain = ComparisonReport({}, ("MT-UNet",), {}, with_and_without, 0).gain("MT-UNet")
    assert gain is not None and gain[0] == pytest.approx((0.1 + 0.3 - 0.2) / 3)
    # Of two patients one may be drawn twice: its own mean is the end of the interval.
    assert gain[1] == pytest.approx((-0.2, 0.2))


def test_without_lesions_transfer_adds_nothing_that_could_be_told():
    nothing = tuple(FoldScores("MT-UNet", 0, FUSED, transfer, (), (), ()) for transfer in (False, True))
    assert ComparisonReport({}, ("MT-UNet",), {}, nothing, 0).gain("MT-UNet") is None
