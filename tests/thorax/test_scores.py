"""Scores of images against numbers counted by hand, and the rule for empty masks."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.thorax.scores import ImageScore, figures, intervals


def mask(*boxes: tuple[int, int, int, int]) -> np.ndarray:
    image = np.zeros((20, 20), bool)
    for top, bottom, left, right in boxes:
        image[top:bottom, left:right] = True
    return image


TWO = mask((2, 6, 2, 6), (10, 12, 10, 12))
"""Lesions of 16 and of 4 pixels."""


def test_dsc_cpa_and_recall_are_those_of_equations_10_to_12():
    """8 of 20 true pixels marked, 8 wrong ones beside: TP 8, FP 8, FN 12."""
    score = ImageScore.of(1, "anterior", TWO, mask((2, 6, 4, 6), (16, 20, 0, 2)))
    assert score.dsc == pytest.approx(16 / 36)
    assert score.cpa == pytest.approx(8 / 16)
    assert score.recall == pytest.approx(8 / 20)
    assert (score.lesions, score.lesions_found, score.false_foci) == (2, 1, 1)


def test_an_image_with_lesions_and_no_mark_counts_as_nought_and_one_without_lesions_is_counted_apart():
    nothing = mask()
    scores = [
        ImageScore.of(1, "anterior", TWO, TWO),
        ImageScore.of(1, "posterior", TWO, nothing),
        ImageScore.of(2, "anterior", nothing, nothing),
        ImageScore.of(2, "posterior", nothing, mask((0, 2, 0, 2))),
    ]
    facts = figures(scores)
    assert (facts["dsc"], facts["cpa"], facts["recall"]) == (0.5, 0.5, 0.5)
    assert facts["pooled_dsc"] == pytest.approx(2 * 20 / 60)
    assert (facts["patients"], facts["images_with_lesions"], facts["images_without_lesions"]) == (2, 2, 2)
    assert facts["clean_images_without_lesions"] == 0.5
    assert facts["lesions_found"] == 0.5
    assert facts["false_foci_per_image"] == 0.25


def test_figures_of_no_lesion_at_all_are_none_and_not_one():
    facts = figures([ImageScore.of(1, "anterior", mask(), mask())])
    assert facts["dsc"] is None
    assert facts["pooled_dsc"] is None


def test_intervals_hold_the_figure_and_are_drawn_by_patient():
    scores = [ImageScore.of(p, v, TWO, TWO if p % 2 else mask()) for p in range(20) for v in ("a", "p")]
    low, high = intervals(scores)["dsc"]
    assert low < 0.5 < high
    # Two images of one patient are no two witnesses: 20 coins, not 40. Their standard error is 0.112.
    assert 0.15 < (high - low) / 2 < 0.27
