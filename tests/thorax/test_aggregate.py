"""Both views as one image: registered by whole pixels, added, and masks back on each view where they belong."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.thorax.aggregate import aggregate, best_shift, shifted
from tests.imaging.nm_objects import draw_body

BODY = draw_body(seed=None, hot=[(300, 100, 6, 400.0)])[140:396].astype(float)


@pytest.mark.parametrize("shift", [(0, 0), (3, -5), (-8, 8), (7, 2)])
def test_the_shift_between_two_noisy_views_is_found(shift):
    rng = np.random.default_rng(4)
    moved = shifted(BODY, (-shift[0], -shift[1]))
    assert best_shift(rng.poisson(BODY), rng.poisson(moved)) == shift


def test_a_hot_spot_that_one_view_alone_shows_does_not_decide_the_shift():
    spot = BODY.copy()
    spot[60:64, 200:204] += 3000
    assert best_shift(spot, shifted(BODY, (2, -3))) == (-2, 3)


def test_a_lesion_on_either_view_is_in_the_sum_at_the_anterior_place():
    front, back = BODY.copy(), shifted(BODY, (4, -2))
    back[120:126, 80:86] += 500
    both = aggregate(front, back[:, ::-1])
    assert both.shift == (-4, 2)
    inner = np.s_[8:-8, 8:-8]
    expected = 2 * BODY
    expected[116:122, 82:88] += 500
    np.testing.assert_allclose(both.image[inner], expected[inner])


def test_masks_come_back_on_each_view():
    back = shifted(BODY, (4, -2))[:, ::-1]
    both = aggregate(BODY, back)
    mask = np.zeros((256, 256), bool)
    mask[116:122, 82:88] = True
    on_back = both.to_back(mask)
    expected = np.zeros_like(mask)
    expected[120:126, 80:86] = True
    np.testing.assert_array_equal(on_back, expected[:, ::-1])
    np.testing.assert_array_equal(both.to_front(on_back), mask)


def test_views_of_different_shape_are_refused():
    with pytest.raises(ValueError, match="different shape"):
        aggregate(np.zeros((4, 4)), np.zeros((4, 5)))
