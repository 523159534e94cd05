"""Lesions and foci counted on masks whose parts can be counted by eye."""

from __future__ import annotations

import numpy as np

from pipelines.planar.detections import SMALLEST_PIXELS, Detections, free_response


def squares(*corners: tuple[int, int], side: int = 4) -> np.ndarray:
    mask = np.zeros((64, 64), bool)
    for row, column in corners:
        mask[row : row + side, column : column + side] = True
    return mask


def test_one_pixel_finds_a_lesion_and_a_focus_beside_it_is_false():
    truth = squares((10, 10), (40, 40))
    result = squares((13, 13)) | squares((50, 5))
    assert Detections.of(truth, result) == Detections(lesions=2, found=1, false=1)


def test_one_focus_over_two_lesions_finds_both_and_is_not_false():
    assert Detections.of(squares((10, 10), (10, 16)), squares((8, 8), side=14)) == Detections(2, 2, 0)


def test_without_lesions_there_is_no_sensitivity():
    assert Detections.of(squares(), squares((3, 3))) == Detections(0, 0, 1)
    assert Detections().sensitivity is None
    assert (Detections(4, 3, 1) + Detections(4, 1, 2)) == Detections(8, 4, 3)
    assert Detections(8, 4, 3).sensitivity == 0.5


def test_a_higher_cut_finds_less_and_errs_less():
    truth = squares((10, 10), (40, 40))
    probability = 0.9 * squares((10, 10)) + 0.3 * squares((40, 40)) + 0.5 * squares((25, 50))
    assert free_response(truth, probability, (0.2, 0.4, 0.8)) == (
        Detections(2, 2, 1), Detections(2, 1, 1), Detections(2, 1, 0),
    )  # fmt: skip


def test_specks_that_no_result_would_show_are_no_false_foci():
    assert SMALLEST_PIXELS == 6
    speck = np.zeros((64, 64))
    speck[5, 5:10] = 1.0
    assert free_response(squares(), speck, (0.5,)) == (Detections(0, 0, 0),)
