"""Augmentation keeps image and labels together and its output what a network expects."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from pipelines.training.augment import AugmentSettings, augment  # noqa: E402

STILL = AugmentSettings(
    rotate_deg=0, scale=(1, 1), shift=0, window=(1, 1), gamma=(1, 1), dose_share=0, blur_share=0
)  # fmt: skip


def block(count=8):
    levels = torch.zeros(count, 1, 64, 64)
    levels[:, :, 20:40, 10:22] = 0.7
    return levels, (levels[:, 0] > 0).long(), torch.full((count,), 50.0)


def run(settings, seed=0):
    return augment(*block(), settings, torch.Generator().manual_seed(seed))


def test_without_variation_tiles_are_only_mirrored():
    levels, labels, _ = block()
    tiles, names = run(STILL)
    for tile, name in zip(tiles, names, strict=True):
        same = torch.allclose(tile, levels[0], atol=1e-5) and torch.equal(name, labels[0])
        mirrored = torch.allclose(tile, levels[0].flip(-1), atol=1e-5) and torch.equal(name, labels[0].flip(-1))
        assert same != mirrored


def test_planes_are_moved_alike_and_each_has_noise_of_its_own():
    levels, labels, _ = block(16)
    levels, units = torch.cat([levels, 2 * levels], 1), torch.tensor([[50.0, 5000.0]]).repeat(16, 1)
    settings = AugmentSettings(window=(1, 1), windows=(4.0, 2.0), gamma=(1, 1), dose=0.2, dose_share=0.0)
    tiles, names = augment(levels, labels, units, settings, torch.Generator().manual_seed(3))
    assert tiles.shape == (16, 4, 64, 64), "the windows of the first plane, then those of the second"
    torch.testing.assert_close(tiles[:, 2], 2 * tiles[:, 0])
    torch.testing.assert_close(tiles[:, 1], tiles[:, 2])
    assert ((names > 0) ^ (tiles[:, 0] > 0.35 / 4)).sum() < 40 * 16, "but for pixels at the border"
    noisy, _ = augment(
        levels, labels, units, replace(settings, dose_share=1.0, blur_share=0.0), torch.Generator().manual_seed(3)
    )
    inside = names > 0
    spread = [float((noisy[:, n][inside] - tiles[:, n][inside]).std()) for n in (1, 2)]
    assert spread[1] < 0.5 * spread[0], "the second plane has a hundred times the counts"


def test_labels_stay_on_their_image():
    tiles, names = run(AugmentSettings(window=(1, 1), gamma=(1, 1), dose_share=0, blur_share=0))
    for tile, name in zip(tiles[:, 0], names, strict=True):
        hot = tile > 0.35
        both = (hot & (name == 1)).sum()
        assert 2 * both / (hot.sum() + (name == 1).sum()) > 0.97


def test_output_is_in_zero_to_one_and_follows_the_seed():
    tiles, _ = run(AugmentSettings())
    assert float(tiles.min()) >= 0 and float(tiles.max()) <= 1
    assert torch.equal(tiles, run(AugmentSettings())[0])
    assert not torch.equal(tiles, run(AugmentSettings(), seed=1)[0])


def test_fewer_counts_add_the_noise_of_their_dose():
    levels = torch.full((64, 1, 64, 64), 0.5)
    labels, units = torch.zeros(64, 64, 64).long(), torch.full((64,), 400.0)
    settings = AugmentSettings(
        rotate_deg=0, scale=(1, 1), shift=0, window=(1, 1), gamma=(1, 1), dose=0.25, dose_share=1.0, blur_share=0
    )
    tiles, _ = augment(levels, labels, units, settings, torch.Generator().manual_seed(0))
    variance = tiles.var(dim=(1, 2, 3))
    # Keeping a share k of c counts adds c (1 - k) / k; here c = 200, k from 0.25 to 1, in levels of 400 counts.
    assert float(variance.max()) < 200 * 3 / 400**2 * 1.1
    assert float(variance.max()) > 200 * 2 / 400**2
    assert tiles.mean() == pytest.approx(0.5, abs=0.002)


def test_smoothing_after_the_noise_makes_blobs_of_it():
    def neighbours_agree(**smoothing: float) -> float:
        levels = torch.full((32, 1, 64, 64), 0.5)
        labels, units = torch.zeros(32, 64, 64).long(), torch.full((32,), 100.0)
        settings = replace(STILL, dose=0.25, dose_share=1.0, **smoothing)
        noise = augment(levels, labels, units, settings, torch.Generator().manual_seed(0))[0][..., 8:-8, 8:-8] - 0.5
        return float((noise[..., 1:] * noise[..., :-1]).mean() / noise.var())

    assert abs(neighbours_agree()) < 0.05
    assert abs(neighbours_agree(blur_share=1.0)) < 0.05, "blurred before the noise, which stays a pixel's own"
    assert neighbours_agree(filter_share=1.0) > 0.4


def test_each_tile_is_smoothed_by_a_width_of_its_own():
    levels = torch.zeros(24, 1, 33, 33)
    levels[:, :, 16, 16] = 1.0
    settings = replace(STILL, blur_share=1.0, blur_pixels=2.0)
    tiles, _ = augment(
        levels, torch.zeros(24, 33, 33).long(), torch.ones(24), settings, torch.Generator().manual_seed(0)
    )
    peaks = tiles.amax(dim=(1, 2, 3))
    # A Gaussian's peak is 1 / (2 pi sigma^2), for sigma from 0.5 (less, as pixels are wide) to 2.
    assert float(peaks.min()) >= 1 / (2 * torch.pi * 2.0**2) * 0.95
    assert len(peaks.unique()) == 24 and float(peaks.max()) > 3 * float(peaks.min())
    assert tiles.sum(dim=(1, 2, 3)) == pytest.approx(np.ones(24), abs=1e-3), "no counts are lost"


def test_a_lesion_drowned_by_fewer_counts_is_no_lesion_any_more():
    levels, labels, units = block(400)
    labels[:, 50:60, 30:50] = 1
    snr = torch.full(labels.shape, torch.inf)
    snr[:, 20:40, 10:22], snr[:, 50:60, 30:50] = 100.0, 12.0
    settings = replace(STILL, dose=0.1, dose_share=1.0, least_snr=8.0)
    _, names = augment(levels, labels, units, settings, torch.Generator().manual_seed(0), snr)
    kept = names.flatten(1).sum(1)
    assert set(kept.tolist()) == {240, 440}, "the clear one stays, the faint one is there or not"
    # Below (8 / 12)^2 of the counts; the share is drawn log-uniformly from a tenth to all.
    assert float((kept == 240).float().mean()) == pytest.approx(np.log(10 * 4 / 9) / np.log(10), abs=0.08)
    whole = augment(levels, labels, units, replace(settings, dose_share=0.0), torch.Generator().manual_seed(0), snr)[1]
    assert int(whole.flatten(1).sum(1).min()) == 440


def test_whole_counts_are_steps_of_about_a_count():
    levels = torch.linspace(0, 1, 64).expand(40, 1, 64, 64).clone()
    labels, units = torch.zeros(40, 64, 64).long(), torch.full((40,), 10.0)
    tiles, _ = augment(
        levels, labels, units, replace(STILL, whole_share=1.0), torch.Generator().manual_seed(0)
    )  # fmt: skip
    steps = torch.tensor([float(tile.unique().diff().max()) for tile in tiles])
    assert 0.04 <= float(steps.min()) < 0.06 and 0.09 < float(steps.max()) <= 0.1201
    turned = torch.minimum((tiles - levels).abs().amax((1, 2, 3)), (tiles - levels.flip(-1)).abs().amax((1, 2, 3)))
    assert bool((turned <= steps / 2 + 0.01).all()), "rounded, not moved"
