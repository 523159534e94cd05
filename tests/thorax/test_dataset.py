"""From cached patients to what the network sees: crops, which labels may be used, mini-batches that mix."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from pipelines.thorax.dataset import cut_all, labelled_patients, thorax_images  # noqa: E402
from pipelines.thorax.display import shown  # noqa: E402
from pipelines.thorax.sampling import PATCH_PIXELS, PatchSampler  # noqa: E402
from tests.thorax.drawn_patients import patient  # noqa: E402


def test_both_views_are_cut_at_the_same_rows_with_their_lesions():
    front, back = thorax_images(patient(1))
    assert front.level.shape == back.level.shape == (256, 256)
    np.testing.assert_array_equal(front.lesions, back.lesions[:, ::-1])
    assert front.level[front.lesions].min() > 2 > front.level[~front.lesions].mean()


def test_a_patient_without_a_label_gives_images_without_one():
    for image in thorax_images(patient(1), labelled=False):
        assert not image.labelled
        assert not image.lesions.any()


def test_views_added_have_the_union_of_the_lesions():
    (image,) = thorax_images(patient(1), aggregated=True)
    front, _ = thorax_images(patient(1))
    np.testing.assert_array_equal(image.lesions, front.lesions)
    assert image.counts_per_level == 2 * front.counts_per_level
    assert np.median(image.level[image.body]) == pytest.approx(float(np.median(front.level[front.body])), rel=0.1)


def test_labels_of_a_smaller_fraction_are_among_those_of_a_larger_one():
    tenth, third, everyone = (labelled_patients(range(100), fraction) for fraction in (0.1, 0.37, 1.0))
    assert (len(tenth), len(third), len(everyone)) == (10, 37, 100)
    assert tenth < third < everyone
    assert labelled_patients(range(100), 0.0) == set()
    with pytest.raises(ValueError, match="between 0 and 1"):
        labelled_patients(range(10), 1.1)


def test_the_display_is_the_root_of_the_level_up_to_four_times_the_reference():
    np.testing.assert_allclose(shown(np.array([-1.0, 0.0, 1.0, 4.0, 60.0])), [0, 0, 0.5, 1, 1])


def test_mini_batches_mix_patches_with_and_without_labels_at_the_share_asked_for():
    images = cut_all([patient(1), patient(2), patient(3, ill=False)], labelled={1})
    sampler = PatchSampler(images, 16, seed=0, labelled_share=0.75)
    batches = [next(sampler) for _ in range(8)]
    pixels, labels, labelled = (torch.cat(parts) for parts in zip(*batches, strict=True))
    assert pixels.shape == labels.shape == (128, 1, PATCH_PIXELS, PATCH_PIXELS)
    assert float(pixels.min()) >= 0 and float(pixels.max()) <= 1
    assert 0.6 < float(labelled.float().mean()) < 0.9
    with_lesion = labels.flatten(1).sum(1) > 0
    assert not with_lesion[~labelled].any(), "a label that may not be used got out"
    assert float(with_lesion[labelled].float().mean()) > 0.5
    hot = pixels[labels > 0.5]
    assert float(hot.median()) > float(pixels.median()), "labels lie on what is hot"


def test_without_augmentation_a_patch_is_a_piece_of_the_image():
    images = cut_all([patient(1)])
    pixels, _, _ = next(PatchSampler(images, 2, seed=0, settings=None))
    wholes = [shown(image.level) for image in images]
    for patch in pixels[:, 0].numpy():
        places = [(whole, r, c) for whole in wholes for r, c in np.argwhere(whole[:129, :129] == patch[0, 0])]
        assert any(np.array_equal(patch, whole[r : r + 128, c : c + 128]) for whole, r, c in places)
