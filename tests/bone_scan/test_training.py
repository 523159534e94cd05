"""The training recipe end to end on two patients and a few steps, and the sampler's promises."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from pipelines.bone_scan.hard_places import CLASS_WEIGHT, row_errors  # noqa: E402
from pipelines.bone_scan.networks import NETWORK, BoneScanNetwork  # noqa: E402
from pipelines.bone_scan.sampling import AUGMENT, HARD_SHARE, TileSampler, lesion_snr, tile_targets  # noqa: E402
from pipelines.bone_scan.tiles import TILE_PIXELS  # noqa: E402
from pipelines.bone_scan.train import PRESETS, joint_loss, train  # noqa: E402
from pipelines.contract.weights import load_model  # noqa: E402
from pipelines.phantoms.bone_scan import simulate_bone_scan  # noqa: E402
from pipelines.phantoms.truth import ROSE_MIN  # noqa: E402
from pipelines.planar.dataset import TrainingView, build_cache, cache_folder, load_patients, prepare_patient  # noqa: E402
from pipelines.planar.levels import WINDOW_FACTORS, compressed, window  # noqa: E402
from pipelines.training.errors import drawing_chances  # noqa: E402
from pipelines.training.loop import LoopSettings, Trainer  # noqa: E402

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    root = tmp_path_factory.mktemp("cache")
    build_cache(root, range(2, 4), "train")
    return root


@pytest.fixture(scope="module")
def patients(cache):
    return load_patients(cache_folder(cache, "train"), range(2, 4))


def test_a_cached_patient_is_the_simulated_one_as_inference_sees_it(patients):
    fresh = prepare_patient(simulate_bone_scan(2, "train"))
    for view, same in zip(patients[0].views, fresh.views, strict=True):
        assert np.array_equal(view.level, same.level)
        assert np.array_equal(view.labels, same.labels)
        assert view.level.shape[1] == 256 and view.level.shape[0] % 32 == 0
    assert patients[0].facing == fresh.facing is not None


def test_a_missing_cache_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="build the cache"):
        load_patients(tmp_path, range(3))


def test_batches_are_tiles_in_range_with_their_targets(patients):
    tiles, labels, targets = next(TileSampler(patients, 6, 0))
    assert tiles.shape == (6, 6, 256, 256) and labels.shape == (6, 256, 256) and targets.shape == (6, 2)
    assert float(tiles.min()) >= 0 and float(tiles.max()) <= 1
    for wide, narrow in ((0, 1), (3, 4)):
        assert (tiles[:, narrow] >= tiles[:, wide]).all() and (tiles[:, narrow] > tiles[:, wide]).any()
    assert set(labels.unique().tolist()) <= {0, 1, 2}
    assert torch.equal(targets, tile_targets(labels))


def test_an_unvaried_tile_is_what_inference_sees(patients):
    one = replace(patients[0], views=patients[0].views[:1], facing=None)
    still = replace(
        AUGMENT,
        rotate_deg=0,
        scale=(1, 1),
        shift=0,
        window=(1, 1),
        gamma=(1, 1),
        dose_share=0,
        blur_share=0,
        filter_share=0,
        whole_share=0,
    )
    tile, _, _ = next(TileSampler([one], 1, 0, still))
    levels = one.views[0].level.astype(np.float32)
    shown = np.stack([window(levels, factor) for factor in WINDOW_FACTORS] + [compressed(levels)])
    starts = range(shown.shape[1] - TILE_PIXELS + 1)
    tiles = [shown[:, start : start + TILE_PIXELS] for start in starts]
    assert not tile[:, 3:].any(), "one view alone has none that faces it"
    distances = [np.abs(near - tile[0, :3].numpy()).max() for plain in tiles for near in (plain, plain[..., ::-1])]
    assert min(distances) < 1e-3


def test_a_tile_stands_before_what_the_other_detector_saw_of_it(patients):
    sampler = TileSampler(patients, 1, 0)
    both = [(index, sampler._both(index, 300)) for index in range(4) for _ in range(20)]
    alone = [index for index, ((_, other), _) in both if not other.any()]
    assert 2 <= len(alone) <= 30, "some tiles are shown without"
    for index, ((own, other), units) in both:
        patient = patients[index // 2]
        view, opposite = patient.views[index % 2], patient.views[1 - index % 2]
        assert np.array_equal(own, view.level[300:556].astype(np.float32))
        if other.any():
            by_hand = opposite.level[300:556].astype(np.float32)[:, patient.facing - 100]
            assert np.array_equal(other[:, 100], by_hand)
            assert units == (view.counts_per_level, opposite.counts_per_level)


def test_the_sampler_shows_lesions_about_half_of_the_time(patients):
    sampler = TileSampler(patients, 16, 1)
    share = torch.cat([next(sampler)[2][:, 0] for _ in range(8)]).mean()
    assert 0.3 < float(share) < 0.9


def test_going_on_from_weights_looks_half_of_the_time_where_they_err(patients):
    class Blind:
        """Calls everything background, so that it errs where the truth is, and nowhere else."""

        def judge(self, view, starts):
            background = np.zeros((3, *view.shape[1:]), np.float32)
            background[0] = 1.0
            return np.zeros((len(starts), 2), np.float32), background

    views = [view for patient in patients for view in patient.views]
    errors = row_errors(Blind(), patients)
    for view, error in zip(views, errors, strict=True):
        expected = [(row == 1).sum() + CLASS_WEIGHT[2] * (row == 2).sum() for row in view.labels]
        assert error == pytest.approx(np.array(expected), abs=1e-4)
    only = [np.zeros_like(error) for error in errors]
    only[1][400] = 5.0
    sampler = TileSampler(patients, 1, 0, errors=only)
    drawn = [sampler._pick() for _ in range(400)]
    there = sum(index == 1 and start <= 400 < start + TILE_PIXELS for index, start in drawn) / 400
    assert HARD_SHARE - 0.08 < there < HARD_SHARE + 0.2, "the other half finds that place by chance at times"


def test_a_lesion_stands_out_by_its_counts_over_those_of_the_ring_about_it():
    level, labels = np.full((300, 256), 0.2, np.float16), np.zeros((300, 256), np.uint8)
    level[100:110, 50:60], labels[100:110, 50:60] = 0.6, 1
    level[200:204, 90:94], labels[200:204, 90:94] = 0.201, 1
    level[5:9, 0:4], labels[5:9, 0:4] = 0.9, 2
    snr = lesion_snr(TrainingView(level, 50.0, labels))
    # 100 pixels of 30 counts where 10 are expected: 2000 over the square root of 3000.
    assert np.unique(snr[labels == 1]).tolist() == pytest.approx([1.2 * ROSE_MIN, 2000 / 3000**0.5], rel=1e-3)
    assert np.isinf(snr[labels != 1]).all()


def test_weights_without_errors_have_every_view_drawn_alike():
    assert drawing_chances([np.zeros(300), np.zeros(300)]) == pytest.approx([0.5, 0.5])
    assert drawing_chances([np.full(10, 0.1), np.full(10, 0.4)]) == pytest.approx([1 / 3, 2 / 3])


def test_the_loss_falls_in_a_tiny_run(patients, tmp_path):
    torch.manual_seed(0)
    settings = LoopSettings(steps=40, learning_rate=1e-3, warmup=3, schedule="constant", precision="fp32", average=0.0)
    tiles, labels, targets = next(TileSampler(patients, 4, 3))
    held = tiles[..., ::2, ::2].contiguous(), labels[:, ::2, ::2].contiguous(), targets
    assert (labels > 0).any()
    progress = Trainer(BoneScanNetwork(), settings, tmp_path).fit(iter(lambda: held, None), joint_loss)
    assert progress.losses[-1] < 0.85 * progress.losses[0]


def test_train_writes_weights_that_load(cache, tmp_path):
    build_cache(cache, range(2), "train")
    seen = []
    quick = {"operating_patients": 0, "cache": cache, "workers": 1}
    card = train("default", 2, 2, tmp_path / "first", 1, lambda share, _: seen.append(share), **quick)
    assert (card.name, card.network, card.steps, card.simulated_only) == ("bone-scan-network", NETWORK, 2, True)
    assert seen == sorted(seen) and seen[-1] == pytest.approx(0.9)
    state, _ = load_model("bone-scan-network", [tmp_path / "first"])
    BoneScanNetwork().load_state_dict(state)
    further = train("default", 2, 1, tmp_path, 2, start=tmp_path / "first", first=1, **quick)
    assert further.steps == 3
    assert further.recipe["start"]["sha256"] == card.sha256
    assert "seeds 1 to 2; before: " in further.training_data
    for path in tmp_path.glob("*.safetensors"):
        assert path.stat().st_size < 50e6


def test_the_paper_preset_keeps_the_papers_settings():
    paper = PRESETS["paper"]
    assert (paper.loop.optimiser, paper.loop.learning_rate, paper.batch) == ("adam", 0.01, 16)
    with pytest.raises(ValueError, match="no training preset 'fast'"):
        train("fast")
