"""Ribs change the names of levels only where they speak clearly, and a result says what its names rest on.

Not covered: how well the shipped weights recognise ribs; `osteon evaluate lumbar` measures that.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.contract.weights import load_model
from pipelines.lumbar import rib_train
from pipelines.lumbar.classes import BODY, DISC
from pipelines.lumbar.codes import BODY as BODY_CODES
from pipelines.lumbar.codes import DISC as DISC_CODES
from pipelines.lumbar.codes import LEVEL as LEVEL_CODES
from pipelines.lumbar.levels import name_levels
from pipelines.lumbar.measurements import measure
from pipelines.lumbar.naming import levels_down, upward
from pipelines.lumbar.rib_count import count_lumbar
from pipelines.lumbar.rib_crops import BACK_MM, OFFSETS_MM, PIXEL_MM, SIZE, cut_sides
from pipelines.lumbar.rib_data import RibSampler, read_rib_volume, rib_folder
from tests.lumbar.drawn_spine import DISC_MM, LEVELS, STEP_MM, label_at
from tests.lumbar.test_levels import SPACING, flags, labels, names, places, vertebra_row  # noqa: F401

NAN = math.nan


def ribs_from(name: str, sure: float = 0.95) -> Callable[[np.ndarray], np.ndarray]:
    """A reader that sees ribs at the drawn vertebra of this name and above."""
    return lambda centres: np.where(centres[:, 1] < vertebra_row(name) + 5, sure, 1 - sure)


def test_ribs_at_the_sixth_body_above_the_sacrum_fit_five_lumbar_vertebrae() -> None:
    counted = count_lumbar([0.02, 0.02, 0.02, 0.03, 0.1, 0.97, 0.99])
    assert counted.lumbar == 5 and counted.probability > 0.99 and counted.seen and not counted.doubtful


def test_the_probability_of_a_count_is_the_product_of_prior_and_bodies() -> None:
    counted = count_lumbar([0.1, 0.1, 0.1, 0.1, 0.2, 0.3])
    # By hand: bodies 5 and 6 decide, the rest is common to all three counts.
    four, five, six = 0.05 * 0.2 * 0.3, 0.90 * 0.8 * 0.3, 0.05 * 0.8 * 0.7
    assert counted.probability == pytest.approx(five / (four + five + six)) and not counted.seen


@pytest.mark.parametrize(
    ("ribs", "lumbar"),
    [
        ([0.02, 0.02, 0.02, 0.02, 0.98, 0.99, 0.99], 4),
        ([0.02, 0.02, 0.02, 0.02, 0.02, 0.02, 0.98], 6),
        ([0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5], 5),
        ([NAN, NAN, NAN, NAN, NAN, NAN], 5),
        ([], 5),
        ([0.02, 0.02, 0.02, 0.02, 0.6, 0.95], 5),
    ],
)
def test_the_usual_number_stands_until_ribs_speak_clearly(ribs: list[float], lumbar: int) -> None:
    assert count_lumbar(ribs).lumbar == lumbar


def test_ribs_at_one_body_alone_leave_the_number_open() -> None:
    # Against a prior of 1 to 18, one body at its surest (19 to 1) leaves the number open.
    one = count_lumbar([0, 0, 0, 0, 1.0])
    assert one.probability == pytest.approx(0.05 * 0.95 / (0.05 * 0.95 + 0.90 * 0.05 + 0.05 * 0.05)) and one.doubtful


def test_six_bodies_without_ribs_below_one_with_ribs_are_six_lumbar_vertebrae() -> None:
    above = places()
    above[..., 2] += STEP_MM
    taller = label_at(above, bodies=7)
    levels = name_levels(taller, SPACING, lambda centres: np.where(centres[:, 1] == centres[:, 1].min(), 0.95, 0.05))
    assert names(levels, BODY) == ["T12", "L1", "L2", "L3", "L4", "L5", "L6"]
    assert names(levels, DISC)[-2:] == ["L5/L6", "L6/S1"]
    assert levels.lumbar == 6 and "six lumbar vertebrae" in levels.numbering and "L6" in levels.numbering
    assert [d.name for d in measure(levels).discs][-2:] == ["L5/L6", "L6/S1"]


def test_where_no_ribs_are_seen_the_usual_number_is_taken_and_the_sentence_says_so(
    labels: np.ndarray,  # noqa: F811
) -> None:
    five = np.where(places()[..., 2] > LEVELS.index("T12") * STEP_MM + DISC_MM, 0, labels)
    levels = name_levels(five, SPACING, lambda centres: np.full(len(centres), 0.05))
    assert len(levels.vertebrae) == 5
    assert levels.lumbar == 5 and "without the ribs in view" in levels.numbering and levels.levels_certain


def test_six_bodies_of_which_none_shows_ribs_have_the_usual_names_and_a_doubt(labels: np.ndarray) -> None:  # noqa: F811
    levels = name_levels(labels, SPACING, lambda centres: np.full(len(centres), 0.05))
    assert names(levels, BODY) == ["T12", "L1", "L2", "L3", "L4", "L5"]
    assert "lumbar_count" in flags(levels) and not levels.levels_certain
    assert any("six lumbar vertebrae" in flag.sentence for flag in levels.flags)
    nobody_knows = name_levels(labels, SPACING, lambda centres: np.full(len(centres), np.nan))
    assert nobody_knows.levels_certain


@pytest.mark.parametrize(("sixth", "certain"), [(0.06, False), (0.2, False), (0.3, False), (0.45, True), (NAN, True)])
def test_a_sixth_body_whose_ribs_leave_it_open_makes_every_name_doubtful(
    labels: np.ndarray,  # noqa: F811
    sixth: float,
    certain: bool,
) -> None:
    # Five against six with the sixth body at p: 18 p to 1 - p, so that five falls under 90 % at a third.
    levels = name_levels(labels, SPACING, lambda centres: np.array([0.02] * 5 + [sixth] * (len(centres) - 5)))
    assert levels.lumbar == 5 and levels.levels_certain is certain
    assert all(("uncertain" in item.flag_codes) is not certain for item in levels.vertebrae)


@pytest.mark.parametrize("above", [[0.45, 0.4], [0.7, 0.95]])
def test_a_doubt_between_four_and_five_says_how_probable_five_is_and_nothing_of_a_sixth_body(
    labels: np.ndarray,  # noqa: F811
    above: list[float],
) -> None:
    ribs = [0.02] * 4 + above
    levels = name_levels(labels, SPACING, lambda centres: np.array(ribs))
    (doubt,) = (flag.sentence for flag in levels.flags if flag.code == "lumbar_count")
    assert not levels.levels_certain and "sixth body" not in doubt
    assert f"{100 * count_lumbar(ribs).probability:.0f} %" in doubt


@pytest.mark.parametrize("ribs", [[], [0.3, 0.2, 0.1], [0.07, 0.11, 0.13, 0.17], [0.4, NAN, 0.3], [NAN] * 6])
def test_bodies_that_cannot_tell_leave_the_prior_which_is_no_doubt(ribs: list[float]) -> None:
    counted = count_lumbar(ribs)
    assert counted.probability == pytest.approx(0.9, abs=1e-12) and not counted.doubtful


def test_ribs_on_the_fifth_body_make_it_the_twelfth_thoracic_vertebra(labels: np.ndarray) -> None:  # noqa: F811
    levels = name_levels(labels, SPACING, ribs_from("L1"))
    assert names(levels, BODY) == ["T11", "T12", "L1", "L2", "L3", "L4"]
    assert names(levels, DISC) == ["T11/T12", "T12/L1", "L1/L2", "L2/L3", "L3/L4", "L4/S1"]
    assert levels.lumbar == 4 and "four lumbar vertebrae" in levels.numbering
    assert "lumbar_count" in flags(levels) and not levels.levels_certain
    assert all("uncertain" in item.flag_codes for item in levels.vertebrae)


def test_ribs_where_they_are_expected_confirm_the_usual_names(labels: np.ndarray) -> None:  # noqa: F811
    levels = name_levels(labels, SPACING, ribs_from("T12"))
    assert names(levels, BODY) == list(reversed(LEVELS[: len(levels.vertebrae)]))
    assert "fit five lumbar vertebrae" in levels.numbering and levels.levels_certain


def test_measurements_of_a_patient_with_four_lumbar_vertebrae_go_down_to_the_sacrum(
    labels: np.ndarray,  # noqa: F811
) -> None:
    usual, fewer = name_levels(labels, SPACING), name_levels(labels, SPACING, ribs_from("L1"))
    before, after = measure(usual), measure(fewer)
    assert [d.name for d in after.discs] == ["T11/T12", "T12/L1", "L1/L2", "L2/L3", "L3/L4", "L4/S1"]
    for one, other in zip(before.discs, after.discs, strict=True):
        assert one.mean_height_mm == other.mean_height_mm and one.height_index == other.height_index


def test_every_name_of_a_spine_with_four_to_six_lumbar_vertebrae_has_its_codes() -> None:
    for lumbar in (4, 5, 6):
        assert set(upward(lumbar)) <= set(BODY_CODES)
        assert set(levels_down(lumbar)) <= set(DISC_CODES) & set(LEVEL_CODES)
        assert levels_down(lumbar)[-1] == f"L{lumbar}/S1" and levels_down(lumbar)[11] == "T12/L1"
    assert len({code.value for code in BODY_CODES.values()}) == len(BODY_CODES)


def test_a_bright_point_beside_a_body_lies_where_its_distance_says_on_both_sides() -> None:
    spacing = (4.0, 1.0, 1.0)
    centre = (40.0, 60.0, 50.0)
    for side, sign in enumerate((-1, 1)):
        volume = np.zeros((21, 120, 100), np.float32)
        volume[10 + sign * 5, 60 - 10, 50 + 20] = 1.0
        crop = cut_sides(volume, spacing, centre)
        assert crop is not None and crop.shape == (2, len(OFFSETS_MM), *SIZE)
        at = np.unravel_index(crop.argmax(), crop.shape)
        assert at[:2] == (side, OFFSETS_MM.index(20.0))
        assert abs((at[2] - (SIZE[0] - 1) / 2) * PIXEL_MM + 10) < PIXEL_MM
        assert abs((at[3] - (SIZE[1] - 1) / 2) * PIXEL_MM + BACK_MM - 20) < PIXEL_MM


def test_what_lies_outside_of_the_field_of_view_is_zero_and_a_narrow_one_is_not_looked_at() -> None:
    volume = np.random.default_rng(0).normal(100, 10, (9, 80, 70)).astype(np.float32)
    crop = cut_sides(volume, (4.0, 1.0, 1.0), (16.0, 10.0, 35.0))
    assert crop is not None
    assert not crop[:, 2:].any() and crop[:, :2].any((2, 3)).all()
    assert not crop[:, :, : round(10 / PIXEL_MM)].any()
    assert cut_sides(volume[3:6], (4.0, 1.0, 1.0), (4.0, 10.0, 35.0)) is None


def test_training_on_two_simulated_patients_writes_weights_that_can_be_read(tmp_path: Path) -> None:
    card = rib_train.train_ribs(tmp_path, 2, tmp_path / "out", 0, "cpu", looks=1, steps=2, workers=1)
    assert (card.name, card.steps, card.simulated_only) == ("lumbar-ribs", 2, True)
    more = rib_train.train_ribs(
        tmp_path, 2, tmp_path / "more", 0, "cpu", looks=1, start=tmp_path / "out", steps=1, learning_rate=1e-12
    )
    assert (more.steps, more.recipe["start"]["sha256"]) == (3, card.sha256)
    first, second = (load_model("lumbar-ribs", [tmp_path / folder])[0] for folder in ("out", "more"))
    assert all(torch.allclose(first[k].float(), second[k].float(), atol=1e-4) for k in first)
    held = [read_rib_volume(path) for path in sorted(rib_folder(tmp_path, "train").glob("*.npz"))]
    assert len(held) == 2
    for volume in held:
        # From the top down: ribs first, then none.
        assert len(volume.ribs) and sorted(volume.ribs.tolist(), reverse=True) == volume.ribs.tolist()
        assert (np.diff(volume.centres_mm[:, 1]) > 0).all()
    crops, ribs = next(RibSampler(rib_folder(tmp_path, "train"), 6, 1))
    assert crops.shape == (6, 2, len(OFFSETS_MM), *SIZE) and set(ribs.tolist()) <= {0.0, 1.0}
