"""Left, right or no side, for bodies drawn by hand: ellipses whose middles are known. x runs to the patient's left."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.spect_ct.sides import UNTOLD, Legs, Sides, Trunk, mirror_column, outline_of_slice

MM = 4.0
X, Y = np.meshgrid((np.arange(130) - 64.5) * MM, (np.arange(80) - 39.5) * MM)
SPACING = (3.0, MM, MM)

Ellipse = tuple[float, float, float, float]
TRUNK: Ellipse = (0, 0, 150, 100)
LEFT_ARM_TOUCHING: Ellipse = (172, 10, 32, 38)
RIGHT_ARM_TOUCHING: Ellipse = (-172, 10, 32, 38)
LEFT_ARM: Ellipse = (215, 10, 32, 38)
LEFT_LEG: Ellipse = (95, 0, 75, 80)
RIGHT_LEG: Ellipse = (-90, 0, 70, 80)


def plane(*ellipses: Ellipse) -> np.ndarray:
    """One slice: middle x, middle y, half width, half depth (mm)."""
    return np.logical_or.reduce([((X - x) / a) ** 2 + ((Y - y) / b) ** 2 <= 1 for x, y, a, b in ellipses])


def side_of(x: float, *ellipses: Ellipse, y: float = 0.0) -> str:
    """The side of a place in a body that is the same in six slices, asked in the fourth."""
    held = Sides(np.stack([plane(*ellipses)] * 6), SPACING).of(np.array([3.0, y / MM + 39.5, x / MM + 64.5]))
    assert held is not None and held.words.startswith(held.side or ("in the midline", UNTOLD))
    return held.side


BODIES = {
    "trunk": (TRUNK,),
    "one arm that touches": (TRUNK, LEFT_ARM_TOUCHING),
    "two arms that touch": (TRUNK, LEFT_ARM_TOUCHING, RIGHT_ARM_TOUCHING),
    "an arm apart": (TRUNK, LEFT_ARM),
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize(
    ("x", "side"),
    [(-8, ""), (0, ""), (8, ""), (25, "left"), (-25, "right"), (120, "left"), (-120, "right")],
)
def test_sides_of_a_trunk_are_those_of_its_own_middle_whatever_the_arms_do(body, x, side):
    assert side_of(x, *body) == side


def test_the_distance_is_told_from_the_middle_of_the_trunk_and_not_of_trunk_and_arm():
    (number, row, column) = (3.0, 39.5, 40 / MM + 64.5)
    held = Sides(np.stack([plane(TRUNK, LEFT_ARM_TOUCHING)] * 6), SPACING).of(np.array([number, row, column]))
    assert held is not None
    assert float(held.words.split()[1]) == pytest.approx(40, abs=4)


def test_an_arm_beside_the_trunk_is_that_sides_and_one_laid_over_it_is_nobodys():
    assert side_of(215, TRUNK, LEFT_ARM, y=10) == "left"
    hand = (60.0, -128.0, 30.0, 18.0)
    assert side_of(60, TRUNK, hand, y=-128) == ""


@pytest.mark.parametrize("x", [25, 95, 165])
def test_a_lesion_anywhere_in_a_leg_is_on_that_legs_side(x):
    assert side_of(x, LEFT_LEG, RIGHT_LEG) == "left"
    assert side_of(-x + 5, LEFT_LEG, RIGHT_LEG) == "right"


def test_legs_far_off_the_middle_of_the_field_keep_their_sides():
    left, right = (200.0, 0.0, 55.0, 60.0), (60.0, 0.0, 55.0, 60.0)
    assert side_of(60, left, right) == "right" and side_of(10, left, right) == "right"
    assert side_of(150, left, right) == "left"


UNTOLD_BODIES = {
    "one leg": ((0, 0, 75, 80),),
    "one thick thigh": ((0, 0, 112, 110),),
    "one foot": ((30, 0, 45, 120),),
    "a neck and an arm of another size": ((0, 0, 60, 65), (140, 0, 40, 38)),
    "a head between two arms": ((0, 0, 75, 95), (150, 0, 45, 50), (-150, 0, 45, 50)),
}


@pytest.mark.parametrize("body", UNTOLD_BODIES.values(), ids=UNTOLD_BODIES)
@pytest.mark.parametrize("x", [-40, 20, 40])
def test_an_outline_that_is_no_trunk_and_no_pair_of_legs_tells_no_side(body, x):
    assert side_of(x, *body) == ""


@pytest.mark.parametrize("far", [150, 170, 195])
@pytest.mark.parametrize(("wide", "deep"), [(40, 50), (60, 70), (75, 85)])
@pytest.mark.parametrize("x", [-40, -5, 5, 40])
def test_an_arm_of_any_thickness_that_touches_never_gives_the_wrong_side(far, wide, deep, x):
    assert side_of(x, TRUNK, (far, 0, wide, deep)) in ("", "left" if x > 15 else "right" if x < -15 else "")


def test_half_a_trunk_at_the_edge_of_the_field_tells_no_side():
    cut = plane(TRUNK) & (X > -60)
    held = Sides(cut[None], SPACING).of(np.array([0.0, 39.5, 74.5]))
    assert held is not None and held.side == ""


@pytest.mark.parametrize(("half_width", "half_depth", "shift"), [(270, 190, 50), (290, 200, 30), (250, 165, 50)])
def test_a_large_trunk_that_a_round_field_cuts_off_tells_no_side(half_width, half_depth, shift):
    cut = plane((shift, 0, half_width, half_depth)) & (X**2 + Y**2 <= 250**2)
    place = np.array([0.0, 39.5, (shift - 8) / MM + 64.5])  # on the right of the body's own middle
    wrong, told = (Sides(cut[None], SPACING, field_mm).of(place) for field_mm in (0.0, 500.0))
    assert wrong is not None and wrong.side != "right", "the outline alone is mistaken"
    assert told is not None and told.side == "" and told.words == UNTOLD


def test_a_neck_beside_a_raised_arm_is_no_pair_of_legs_where_a_trunk_lies_below():
    neck, arm = (-60.0, 0.0, 60.0, 60.0), (70.0, 0.0, 52.0, 55.0)
    assert isinstance(outline_of_slice(plane(neck, arm), (MM, MM)).kind, Legs)
    body = np.stack([plane(TRUNK)] * 3 + [plane(neck, arm)] * 3)
    held = Sides(body, SPACING).of(np.array([4.0, 39.5, 64.5 - 15]))
    assert held is not None and held.side == "" and held.words == UNTOLD


def test_legs_below_a_trunk_have_sides_and_so_has_the_trunk():
    sides = Sides(np.stack([plane(LEFT_LEG, RIGHT_LEG)] * 3 + [plane(TRUNK)] * 3), SPACING)
    for number, x, side in ((1, 30, "left"), (1, -30, "right"), (4, 30, "left"), (4, -30, "right"), (4, 3, "")):
        held = sides.of(np.array([number, 39.5, x / MM + 64.5]))
        assert held is not None and held.side == side


def test_lungs_do_not_move_the_middle():
    body = plane(TRUNK) & ~plane((70, 0, 50, 60))
    kind = outline_of_slice(body, (MM, MM)).kind
    assert isinstance(kind, Trunk) and kind.middle == pytest.approx(64.5, abs=0.5)


def test_a_slice_without_a_body_has_no_side():
    assert Sides(np.zeros((2, 80, 130), bool), SPACING).of(np.array([1.0, 40, 60])) is None


def test_a_profile_mirrors_about_its_middle_as_counted_by_hand():
    assert mirror_column(np.array([1, 3, 3, 1])) == (1.5, 1.0)
    # 1 3 1 about its middle keeps five of six, whatever stands beside it.
    assert mirror_column(np.array([1, 3, 1, 1])) == (1.0, pytest.approx(5 / 6))
