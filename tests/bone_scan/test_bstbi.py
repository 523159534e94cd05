"""BSTBI: formula 1 against numbers worked out by hand, its limits, its bend, its invariances.

Hand computation used below, K = 5, u = 255 - p: a 4 x 4 image with u = 10 everywhere but two lesion pixels of 100 and
one bladder pixel of 250 has S_L = 200, S_B = 250, S_R = 13 * 10 + 200 + 250 = 580. So f = 200 / 330 = 0.606061 and
BSTBI = 5 * 200 / (4 * 200 + 580 - 250) = 1000 / 1130 = 0.884956.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipelines.bone_scan.bstbi import (
    K,
    UptakeSums,
    burden,
    fraction,
    fraction_from_index,
    index,
    index_from_fraction,
    uptake_sums,
)
from pipelines.planar.levels import to_grey, window

positive = st.floats(0.0, 1e6)


def hand_image() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    uptake = np.full((4, 4), 10, dtype=np.uint8)
    uptake[0, 0] = uptake[0, 1] = 100
    uptake[3, 3] = 250
    return uptake, uptake == 100, uptake == 250


def test_the_hand_computed_image():
    sums = uptake_sums(*hand_image())
    assert sums == UptakeSums(200.0, 580.0, 250.0)
    assert fraction(sums) == pytest.approx(200 / 330)
    assert index(sums) == pytest.approx(1000 / 1130)


def test_the_display_of_the_paper_is_inverted_back_once():
    """p is dark for hot: p = 255 - u, so 255 - p must be u and not the complement of counts."""
    counts = np.array([[0.0, 50.0, 100.0, 400.0]])
    grey = to_grey(window(counts, 200.0))
    np.testing.assert_array_equal(grey, [[0, 64, 128, 255]])
    display = 255 - grey
    np.testing.assert_array_equal(255 - display, grey)
    assert display[0, 3] == 0


@pytest.mark.parametrize(
    ("published", "share"), [(0.105, 0.0229), (0.603, 0.233), (0.367, 0.1039), (0.249, 0.0622), (0.0, 0.0), (1.0, 1.0)]
)
def test_published_values_have_the_fractions_worked_out_for_them(published, share):
    assert fraction_from_index(published) == pytest.approx(share, abs=2e-4)


def test_no_lesion_is_zero_and_nothing_but_lesion_is_one():
    assert index(UptakeSums(0.0, 500.0, 100.0)) == 0.0
    assert index(UptakeSums(400.0, 500.0, 100.0)) == 1.0


@pytest.mark.parametrize("sums", [UptakeSums(0.0, 0.0, 0.0), UptakeSums(0.0, 70.0, 70.0)])
def test_blank_and_bladder_only_images_are_not_computable(sums):
    assert index(sums) is None
    assert fraction(sums) is None
    result = burden([sums])
    assert result.index is None
    assert "0/0" in result.reason


def test_the_mean_is_of_the_ratios_and_not_the_ratio_of_sums():
    images = [UptakeSums(10.0, 100.0, 0.0), UptakeSums(500.0, 1000.0, 0.0)]
    each = [5 * 10 / (4 * 10 + 100), 5 * 500 / (4 * 500 + 1000)]
    result = burden(images)
    assert result.per_image == pytest.approx(each)
    assert result.index == pytest.approx(sum(each) / 2)
    assert result.fraction == pytest.approx((0.1 + 0.5) / 2)
    ratio_of_sums = 5 * 510 / (4 * 510 + 1100)
    assert abs(result.index - ratio_of_sums) > 0.1


def test_images_that_have_no_index_are_left_out_of_the_mean_and_said():
    result = burden([UptakeSums(10.0, 100.0, 0.0), UptakeSums(0.0, 0.0, 0.0)])
    assert result.per_image == (pytest.approx(50 / 140), None)
    assert result.index == pytest.approx(50 / 140)
    assert "1 of 2 images" in result.reason


def test_overlapping_masks_and_foreign_shapes_are_errors():
    uptake, lesions, bladder = hand_image()
    with pytest.raises(ValueError, match="both metastasis and bladder"):
        uptake_sums(uptake, lesions, lesions)
    with pytest.raises(ValueError, match="shapes differ"):
        uptake_sums(uptake, lesions[:2], bladder)
    with pytest.raises(ValueError, match="negative"):
        uptake_sums(uptake.astype(float) - 20, lesions, bladder)
    with pytest.raises(ValueError, match="more than the image"):
        UptakeSums(60.0, 100.0, 50.0)
    with pytest.raises(ValueError, match="at least one image"):
        burden([])
    with pytest.raises(ValueError, match="K must be"):
        index(UptakeSums(1.0, 2.0, 0.0), k=0.5)


def test_eight_bit_sums_do_not_wrap():
    uptake = np.full((1024, 256), 255, dtype=np.uint8)
    half = np.zeros(uptake.shape, dtype=bool)
    half[:512] = True
    assert uptake_sums(uptake, half, ~half).lesions == 255 * 512 * 256


@given(lesions=positive, rest=positive, bladder=positive)
def test_index_and_fraction_stay_between_zero_and_one_and_agree(lesions, rest, bladder):
    sums = UptakeSums(lesions, lesions + rest + bladder, bladder)
    share, value = fraction(sums), index(sums)
    if share is None:
        assert value is None
        return
    assert 0.0 <= share <= 1.0
    assert value is not None
    assert 0.0 <= value <= 1.0
    assert value == pytest.approx(index_from_fraction(share), abs=1e-9)
    assert fraction_from_index(value) == pytest.approx(share, abs=1e-9)


@given(a=st.floats(0.0, 1.0), b=st.floats(0.0, 1.0))
def test_the_index_grows_with_the_fraction_and_never_lies_below_it(a, b):
    low, high = sorted((a, b))
    assert index_from_fraction(low) <= index_from_fraction(high) + 1e-12
    assert index_from_fraction(low) >= low - 1e-12
    if high - low > 1e-6:
        assert index_from_fraction(low) < index_from_fraction(high)


def test_the_slope_is_k_at_zero_and_one_over_k_at_one():
    step = 1e-7
    assert (index_from_fraction(step) - index_from_fraction(0.0)) / step == pytest.approx(K, rel=1e-5)
    assert (index_from_fraction(1.0) - index_from_fraction(1.0 - step)) / step == pytest.approx(1 / K, rel=1e-5)


@given(share=st.floats(0.0, 1.0))
def test_with_k_of_one_the_index_is_the_fraction(share):
    assert index(UptakeSums(share, 1.0, 0.0), k=1.0) == pytest.approx(share, abs=1e-12)


images = hnp.arrays(np.float64, (6, 5), elements=st.floats(0.0, 1e4))
classes = hnp.arrays(np.uint8, (6, 5), elements=st.integers(0, 2))


@given(counts=images, labels=classes, dose=st.floats(1e-3, 1e3))
def test_the_index_of_counts_does_not_change_with_the_dose(counts, labels, dose):
    counts = np.where(counts < 1e-6, 0.0, counts)  # what no camera counts would vanish at a lower dose
    before = index(uptake_sums(counts, labels == 1, labels == 2))
    after = index(uptake_sums(counts * dose, labels == 1, labels == 2))
    assert (before is None) == (after is None)
    if before is not None:
        assert after == pytest.approx(before, abs=1e-6)


@given(counts=images, labels=classes, row=st.integers(0, 5), column=st.integers(0, 4))
def test_more_lesion_never_lowers_the_index(counts, labels, row, column):
    """Calling one more background pixel a lesion, or heating a lesion pixel, cannot lower the burden."""
    before = index(uptake_sums(counts, labels == 1, labels == 2))
    grown = labels.copy()
    if grown[row, column] == 0:
        grown[row, column] = 1
    hotter = counts + np.where(grown == 1, 50.0, 0.0)
    after = index(uptake_sums(hotter, grown == 1, grown == 2))
    if before is not None and after is not None:
        assert after >= before - 1e-9


@given(counts=images, labels=classes)
def test_the_bladders_heat_does_not_touch_the_index(counts, labels):
    full = counts + np.where(labels == 2, 1e5, 0.0)
    before = uptake_sums(counts, labels == 1, labels == 2)
    after = uptake_sums(full, labels == 1, labels == 2)
    assert after.image - after.bladder == pytest.approx(before.image - before.bladder, abs=1e-4)
    assert after.lesions == before.lesions


def test_a_window_clips_what_the_counts_keep():
    """The hotter a lesion above the window, the less the grey levels say of it; the count version follows."""
    values = []
    for heat in (100.0, 1000.0):
        counts = np.full((10, 10), 5.0)
        counts[0, 0] = heat
        lesion = counts == heat
        none = np.zeros_like(lesion)
        grey = index(uptake_sums(to_grey(window(counts, 100.0)), lesion, none))
        values.append((grey, index(uptake_sums(counts, lesion, none))))
    assert values[0][0] == values[1][0]
    assert values[0][1] < values[1][1]
