"""The cut and the outlines that an operating point is moved to, against exhaustive search and by hand."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from pipelines.bone_scan.engine import MODEL
from pipelines.bone_scan.networks import CHANNELS, BoneScanNetwork
from pipelines.bone_scan.operating_point import (
    SHIFTS,
    SPECIFICITY,
    Examined,
    best_cut,
    best_shift,
    examine,
    overlaps_at,
    set_operating_point,
)
from pipelines.bone_scan.tiles import split
from pipelines.contract.weights import load_model, save_model
from pipelines.phantoms.bone_scan import simulate_bone_scan
from pipelines.training.metrics import Overlap
from tests.bone_scan.test_pipeline import CARD


def test_the_cut_lies_between_the_classes_where_they_part():
    assert best_cut([False, False, True, True], [-3.0, -1.0, 2.0, 5.0]) == pytest.approx(0.5)


def test_it_is_the_most_sensitive_of_the_cuts_that_leave_the_healthy_alone():
    rng = np.random.default_rng(4)
    truth = rng.random(80) < 0.45
    scores = rng.normal(truth * 1.5, 1.0)
    found = best_cut(truth.tolist(), scores.tolist())
    assert (scores[~truth] < found).mean() >= SPECIFICITY
    enough = [cut for cut in np.linspace(-4, 6, 4001) if (scores[~truth] < cut).mean() >= SPECIFICITY]
    assert (scores[truth] >= found).mean() == max((scores[truth] >= cut).mean() for cut in enough)


def test_specificity_is_given_up_for_sensitivity_alone():
    # The lowest positive lies under three of 50 negatives, all others above: finding it costs 0.06 and is worth it.
    healthy, ill = [*np.linspace(-9, -5, 47), -2.0, -1.9, -1.8], [-3.0, *np.linspace(1, 5, 49)]
    truth = [False] * 50 + [True] * 50
    assert best_cut(truth, [*healthy, *ill]) == pytest.approx(-4.0)
    # Under ten of them it is not.
    healthy[-10:] = np.linspace(-2, -1, 10)
    assert best_cut(truth, [*healthy, *ill]) == pytest.approx(0.0)


def test_scores_that_tell_nobody_apart_call_nobody_positive():
    assert best_cut([False, True, False, True], [2.0, 2.0, 2.0, 2.0]) > 2.0


def test_one_class_alone_has_no_operating_point():
    with pytest.raises(ValueError, match="with and without"):
        best_cut([True, True], [0.1, 0.2])


class ByHeat:
    """Says what it says by the brightest pixel of a tile; outlines nothing."""

    def judge(self, view, starts):
        top = split(view, starts).reshape(len(starts), -1).max(1)
        classes = np.zeros((3, *view.shape[1:]), np.float32)
        classes[0] = 1.0
        return np.stack([0.9 * top, top], 1), classes


def test_a_patient_counts_by_the_hottest_tile():
    scan = simulate_bone_scan(3, "train")
    found = examine(scan, ByHeat())
    assert found.logit == pytest.approx(np.log(9.0), abs=1e-3)
    assert found.has_metastases == scan.has_metastases
    assert {o.result for o in found.overlaps} == {0}


def test_the_shift_is_that_of_the_best_overlap():
    truth = np.zeros((4, 100), bool)
    truth[1, :50] = True
    metastasis = np.full((4, 100), 0.01)
    metastasis[1, :30], metastasis[1, 30:50], metastasis[2, :20] = 0.9, 0.2, 0.05
    classes = np.stack([1 - metastasis, metastasis, np.zeros_like(metastasis)])
    at = dict(zip(SHIFTS, overlaps_at(truth, classes), strict=True))
    # Log-odds by hand: log 9 = 2.2, log(0.2 / 0.8) = -1.39, log(0.05 / 0.95) = -2.94.
    assert (at[0.0], at[1.25], at[1.5]) == (Overlap(50, 30, 30), Overlap(50, 30, 30), Overlap(50, 50, 50))
    assert at[3.0] == Overlap(50, 70, 50)
    found = tuple(at.values())
    assert best_shift([Examined(True, 1.0, found)], 0.0) == 1.5
    missed = Examined(True, -1.0, tuple(Overlap(o.truth, 9 * o.result, 0) for o in found))
    assert best_shift([Examined(True, 1.0, found), missed], 0.0) == 1.5, "nobody sees outlines of who is negative"


@pytest.mark.slow
def test_both_shifts_reach_what_the_network_says(tmp_path):
    """Against the network's answers before: margins of pixels rise by one shift, logits of tiles by the other."""
    torch.manual_seed(2)
    save_model(BoneScanNetwork().state_dict(), CARD, tmp_path)
    asked = [_answers(tmp_path)]
    card = set_operating_point(tmp_path, 6)
    asked.append(_answers(tmp_path))
    (pixels, tiles), (pixels_after, tiles_after) = asked
    expected = torch.tensor([0.0, card.recipe["outline_shift"], 0.0])[:, None, None]
    torch.testing.assert_close(pixels_after - pixels, expected.expand(pixels.shape), atol=1e-3, rtol=1e-4)
    moved = (tiles_after - tiles).flatten()
    assert moved[0] == pytest.approx(card.recipe["operating_point_shift"], abs=0.05)
    assert abs(moved[1]) < 0.3 * abs(card.recipe["outline_shift"]) + 1e-3, "the bladder's label stays about what it was"


def _answers(folder):
    network = BoneScanNetwork().eval()
    network.load_state_dict(load_model(MODEL, [folder])[0])
    with torch.inference_mode():
        return network(torch.rand(1, CHANNELS, 256, 256, generator=torch.Generator().manual_seed(0)))
