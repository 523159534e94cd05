"""Labelled volumes as thick slices, and the scores taken from them; the arrays are small and worked out by hand.

Covered: averaging into slabs, who owns a thick voxel, where Dice is taken, which structures count as found, files that
are none. The figures of the shipped weights on real volumes stand in their cards, not here.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipelines.lumbar import real
from pipelines.lumbar.classes import BODY, DISC
from pipelines.lumbar.instances import Instance, LevelMap
from pipelines.lumbar.level_scores import label_score
from pipelines.training.labelled import LabelledDataError


def write(path: Path, image: np.ndarray, mask: np.ndarray) -> Path:
    np.savez(path, image=image, mask=mask)
    return path


def level_map(structures: np.ndarray, instances: np.ndarray, names: dict[int, str]) -> LevelMap:
    items = tuple(
        Instance(number, BODY, name, name, "", (0.0, 0.0, 0.0), (0.0, 0.0, 0.0), float((instances == number).sum()))
        for number, name in names.items()
    )
    return LevelMap(structures, instances, items, (4.0, 1.0, 1.0), "counted", ())


@pytest.mark.parametrize("thickness", real.SLICE_MM)
def test_slabs_lie_side_by_side_about_the_middle_and_weigh_fractions(thickness: float) -> None:
    weights = real.slab_weights(23, thickness)
    assert weights.shape == (int(23 // thickness), 23)
    np.testing.assert_allclose(weights.sum(1), 1)
    centres = weights @ (np.arange(23) + 0.5)
    # Centres of whole slices stand for their parts, which costs less than a tenth of a millimetre.
    np.testing.assert_allclose(np.diff(centres), thickness, atol=0.1)
    assert centres.mean() == pytest.approx(11.5, abs=0.05)
    # A thin slice in the middle is used once in all, whoever shares it.
    np.testing.assert_allclose(weights[:, 5:18].sum(0), 1 / thickness)


def test_a_thick_voxel_belongs_to_what_fills_more_than_half_of_it(tmp_path: Path) -> None:
    image = np.zeros((6, 5, 8))
    image[..., :4], image[..., 4:] = 10, 20
    mask = np.zeros((6, 5, 8), np.uint8)
    mask[2, 2, :3] = 7  # 3 of 4 mm
    mask[3, 3, 2:5] = 4  # 2 of 4 mm on the first slab, 1 on the second
    (volume,) = real.wrap(write(tmp_path / "vertebrae_1.npz", image, mask), (4.0,))
    assert volume.structure == BODY and volume.spacing_mm == (4.0, 1.0, 1.0)
    assert volume.image.shape == volume.mask.shape == (2, 6, 5)
    assert volume.image[0].max() == 10 and volume.image[1].min() == 20
    assert set(np.unique(volume.mask)) == {0, 7} and volume.mask[0, 2, 2] == 7 and not volume.mask[1].any()


def test_the_last_mask_slice_may_have_no_image(tmp_path: Path) -> None:
    mask = np.zeros((6, 5, 9), np.uint8)
    mask[2] = 1
    (volume,) = real.wrap(write(tmp_path / "discs_1.npz", np.zeros((6, 5, 8)), mask), (4.0,))
    assert volume.structure == DISC and volume.mask.shape == (2, 6, 5)


def test_dice_is_taken_on_labelled_rows_and_slices_and_one_slice_beyond() -> None:
    mask = np.zeros((9, 20, 6), np.uint8)
    mask[3:5, 5:9, 2] = 1
    region = real.scored_region(mask)
    assert region[2:6, 5:9].all() and region.sum() == 4 * 4 * 6


def test_what_lies_beyond_the_labelled_rows_costs_only_the_unrestricted_figure() -> None:
    mask = np.zeros((4, 30, 6), np.uint8)
    mask[1:3, 8:12] = 3
    mask[1:3, 18:22] = 1
    found = np.where(mask > 0, BODY, 0).astype(np.uint8)
    instances = np.choose(mask, [0, 2, 0, 1]).astype(np.uint8)
    found[1:3, 0:4] = BODY  # a vertebra that the reader left out
    found[1:3, 18:20] = 0  # and half of one that was missed
    instances[1:3, 18:20] = 0
    volume = real.RealVolume("vertebrae_1", np.zeros(mask.shape, np.float32), mask, BODY, (4.0, 1.0, 1.0))
    result = real.compare(volume, level_map(found, instances, {1: "L1", 2: "L2"}), (), 0.1)
    # 48 + 48 voxels of truth, 48 + 24 of them found; the one beyond the labelled rows has 48.
    assert result.scored.dice == pytest.approx(2 * 72 / (96 + 72))
    assert result.unrestricted.dice == pytest.approx(2 * 72 / (96 + 120))
    assert (result.found, result.labelled, result.missed) == (2, 2, ())


def test_a_structure_is_missed_if_no_instance_matches_it_by_half() -> None:
    mask = np.zeros((4, 30, 6), np.uint8)
    mask[1:3, 8:12], mask[1:3, 18:22] = 3, 1
    instances = np.where(mask > 0, 1, 0).astype(np.uint8)  # both are one instance: it can match only ...
    instances[1:3, 18:21] = 0
    volume = real.RealVolume("vertebrae_1", np.zeros(mask.shape, np.float32), mask, BODY, (4.0, 1.0, 1.0))
    result = real.compare(volume, level_map(np.where(instances, BODY, 0).astype(np.uint8), instances, {1: "L1"}), (), 0)
    assert result.missed == (1,) and result.found == 1


def test_a_name_is_right_only_where_structure_and_name_agree() -> None:
    truth = np.zeros((2, 20, 4), np.uint8)
    truth[:, 2:6], truth[:, 10:14] = 1, 2
    found = truth.copy()
    score = label_score(
        truth, truth > 0, ("L4", "L5"), level_map((truth > 0) * np.uint8(BODY), found, {1: "L4", 2: "L5"}), BODY
    )
    assert score == {"L4": True, "L5": True}
    shifted = level_map((truth > 0) * np.uint8(BODY), found, {1: "L3", 2: "L4"})
    assert label_score(truth, truth > 0, ("L4", "L5"), shifted, BODY) == {"L4": False, "L5": False}


def test_folders_and_files_that_hold_no_labelled_volume_are_refused_with_what_is_wanted(tmp_path: Path) -> None:
    with pytest.raises(LabelledDataError, match="vertebrae_"):
        real.list_volumes(tmp_path)
    (tmp_path / "discs_2.npz").write_bytes(b"nothing")
    with pytest.raises(LabelledDataError, match="cannot be read"):
        next(real.wrap(tmp_path / "discs_2.npz"))
    with pytest.raises(LabelledDataError, match="no voxel is labelled"):
        next(real.wrap(write(tmp_path / "discs_3.npz", np.zeros((4, 4, 4)), np.zeros((4, 4, 4), np.uint8))))
