"""Cached slices, crops, the recipe's loss and the scores: on drawn patients, against numbers worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.contract.weights import load_model
from pipelines.spect_ct import dataset, train
from pipelines.spect_ct.evaluate import evaluate
from pipelines.spect_ct.evaluation_report import PatientResult, use_figures
from pipelines.spect_ct.hard_places import (
    ERROR_BLOCK,
    LOOKED_AT,
    Errors,
    missed_lesions,
    slice_errors,
    warm_or_dense,
)
from pipelines.spect_ct.lesions import find_lesions
from pipelines.spect_ct.mbconv import DepthwiseConv2d
from pipelines.spect_ct.neighbours import with_neighbours
from pipelines.spect_ct.sampling import FUSED_MIX, CropSampler, SampleSettings, draw_crop
from pipelines.spect_ct.scores import LesionScore, UseScore, largest_slices, rank_auc, score_slice, score_volume
from pipelines.spect_ct.truth import GridPatient
from pipelines.spect_ct.uses import CT, FUSED, SPECT, USES
from pipelines.training.loop import LoopSettings

STILL = SampleSettings(
    side=64, rotate_deg=0, scale=(1.0, 1.0), mirror=0, gain=(1.0, 1.0), offset=0, noise_share=0, blur_share=0
)


@pytest.fixture
def cache(patient: GridPatient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(dataset, "on_grid", lambda _patient: patient)
    folder = dataset.cache_folder(tmp_path, "train")
    folder.mkdir()
    for seed in (0, 1, 7):
        dataset.write_patient(folder, seed, None)  # type: ignore[arg-type]
    return folder


def test_a_cache_holds_every_slice_with_a_lesion_and_some_without(patient: GridPatient, cache: Path):
    held = dataset.read_patient(cache, 7)
    marked = {int(n) for n in np.flatnonzero(patient.labels[FUSED].any((1, 2)))}
    kept = np.flatnonzero(held.layers[:, dataset.TRUTH_LAYER[FUSED]].any((1, 2)))
    assert len(kept) == len(marked)
    assert len(held.layers) == len(marked) + max(dataset.FEWEST_NEGATIVES, round(len(marked) * 3 / 7))
    assert dataset.cached_seeds(cache) == [0, 1, 7]


def test_cached_inputs_are_those_of_inference_to_a_thousandth(patient: GridPatient, cache: Path):
    held = dataset.read_patient(cache, 0)
    number = next(spot.slice for spot in held.spots if spot.use == FUSED)
    same = [n for n, plane in enumerate(patient.labels[FUSED]) if np.array_equal(plane, held.layers[number, 4])]
    kept = held.layers[number, :2].astype(float) / dataset.SCALE
    assert min(np.abs(kept - patient.prepared.inputs[n]).max() for n in same) < 1e-3


def test_a_cached_slice_lies_between_its_neighbours(patient: GridPatient, cache: Path):
    held, volume = dataset.read_patient(cache, 0), patient.prepared.inputs
    for seen in dataset.inputs_of(held.layers):
        own, below, above = seen[:2], seen[2:4], seen[4:]
        like = [n for n, plane in enumerate(volume) if np.abs(plane - own).max() < 1e-3]
        ends = [(volume[max(n - 1, 0)], volume[min(n + 1, len(volume) - 1)]) for n in like]
        assert any(np.abs(a - below).max() < 1e-3 and np.abs(b - above).max() < 1e-3 for a, b in ends)


def test_at_an_end_of_the_volume_the_last_slice_is_its_own_neighbour():
    volume = np.arange(4 * 2).reshape(4, 2, 1, 1)
    assert with_neighbours(volume, [0, 2])[..., 0, 0].tolist() == [[0, 1, 0, 1, 2, 3], [4, 5, 2, 3, 6, 7]]
    assert with_neighbours(volume, [3])[..., 0, 0].tolist() == [[6, 7, 4, 5, 6, 7]]


def test_a_crop_shows_the_lesion_and_blanks_what_the_use_does_not_have(cache: Path):
    held, rng = dataset.read_patient(cache, 0), np.random.default_rng(0)
    for use, blank in ((SPECT, 1), (CT, 0)):
        spot = max((s for s in held.spots if s.use == use), key=lambda s: s.pixels)
        image, truth = draw_crop(held, spot.slice, use, (spot.row, spot.column), STILL, rng)
        assert image.shape == (6, 64, 64) and truth.shape == (1, 64, 64)
        assert not image[blank::2].any() and image[1 - blank].any()
        assert float(truth.sum()) == pytest.approx(spot.pixels, rel=0.05)
        inside = image[1 - blank][truth[0] > 0].mean()
        assert float(inside) > float(image[1 - blank][truth[0] == 0].mean()) + 1


def test_the_truth_of_a_crop_is_that_of_its_use(cache: Path):
    held, rng = dataset.read_patient(cache, 0), np.random.default_rng(0)
    spot = max((s for s in held.spots if s.label == 2), key=lambda s: s.pixels)
    assert spot.use in (SPECT, FUSED)
    for use, there in ((SPECT, True), (CT, False), (FUSED, True)):
        _, truth = draw_crop(held, spot.slice, use, (spot.row, spot.column), STILL, rng)
        assert bool(truth.any()) is there


def test_the_sampler_gives_batches_with_and_without_lesions(cache: Path):
    sampler = CropSampler(cache, [0, 1], FUSED_MIX, replace(STILL, negatives=0.5), 16, 3)
    images, truth = next(sampler)
    assert images.shape == (16, 6, 64, 64) and truth.shape == (16, 1, 64, 64)
    share = truth.flatten(1).any(1).float().mean()
    assert 0.2 < float(share) < 0.9
    with pytest.raises(FileNotFoundError):
        CropSampler(cache, [], FUSED_MIX, STILL, 2, 0)


def test_errors_of_a_network_are_its_wrong_pixels_by_block(cache: Path):
    held = dataset.read_patient(cache, 0)

    class Blind:
        def probabilities(self, inputs: np.ndarray, *, where: np.ndarray | None = None) -> np.ndarray:
            assert where is not None and where.shape[1] * 4 == inputs.shape[2]
            assert inputs.shape[1] == 6
            return np.zeros((len(inputs), *inputs.shape[2:]), np.float16)

    (all_uses,) = slice_errors(Blind(), [held])
    looked_at: set[int] = set()
    for use, errors in zip(USES, all_uses, strict=True):
        truth = held.layers[:, dataset.TRUTH_LAYER[use]] > 0
        seen = np.flatnonzero(errors.any((1, 2)))
        assert 0 < len(seen) <= LOOKED_AT and not looked_at & set(seen)
        looked_at |= set(seen)
        assert errors[seen].sum() == truth[seen].sum()
        row, column = np.argwhere(truth[seen[0]])[0] // ERROR_BLOCK
        part = truth[seen[0], row * ERROR_BLOCK :, column * ERROR_BLOCK :][:ERROR_BLOCK, :ERROR_BLOCK]
        assert errors[seen[0], row, column] == part.sum()


def test_where_errors_are_known_half_of_the_crops_show_them(cache: Path):
    held = dataset.read_patient(cache, 0)
    empty = int(np.flatnonzero(~held.layers[:, dataset.TRUTH_LAYER[FUSED]].any((1, 2)))[0])
    rows, columns = (side // ERROR_BLOCK for side in held.layers.shape[2:])
    places = [np.zeros((len(USES), len(held.layers), rows, columns), np.float32) for _ in range(2)]
    places[1][:, empty, 3, 4] = 7.0
    missed = [np.zeros((len(USES), 3), np.float32) for _ in range(2)]
    settings = replace(STILL, negatives=0.0)
    _, truth = next(CropSampler(cache, [0, 1], FUSED_MIX, settings, 200, 3, Errors(places, missed)))
    assert 0.4 < float((~truth.flatten(1).any(1)).float().mean()) < 0.6
    _, truth = next(CropSampler(cache, [0, 1], FUSED_MIX, settings, 50, 3))
    assert bool(truth.flatten(1).any(1).all())


def test_a_lesion_is_missed_by_as_much_as_it_is_not_probable_where_it_is_largest(cache: Path):
    held = dataset.read_patient(cache, 0)

    class SeesTheLeft:
        def probabilities(self, inputs: np.ndarray, *, where: np.ndarray | None = None) -> np.ndarray:
            found = np.zeros((len(inputs), *inputs.shape[2:]), np.float16)
            found[:, :, found.shape[2] // 2 :] = 0.75
            return found

    (missed,) = missed_lesions(SeesTheLeft(), [held])
    shown = {(USES.index(spot.use), spot.label) for spot in held.spots}
    assert missed.shape == (len(USES), 3)
    for use in (SPECT, FUSED):
        assert missed[USES.index(use)].tolist() == [0.0, 0.25, 1.0]
    assert (USES.index(CT), 2) not in shown and missed[USES.index(CT), 2] == 0.0


def test_a_missed_lesion_is_drawn_eleven_times_as_often_as_one_that_is_found(cache: Path):
    held = dataset.read_patient(cache, 0)
    rows, columns = (side // ERROR_BLOCK for side in held.layers.shape[2:])
    places = [np.zeros((len(USES), len(held.layers), rows, columns), np.float32)]
    shares = []
    for missed_label in (1, 2):
        missed = np.zeros((len(USES), 3), np.float32)
        missed[:, missed_label] = 1.0
        sampler = CropSampler(cache, [0], {FUSED: 1.0}, replace(STILL, negatives=0.0), 1, 3, Errors(places, [missed]))
        candidates, odds = sampler.missed[FUSED]
        shares.append(sum(p for (_, spots), p in zip(candidates, odds, strict=True) if spots[0].label == missed_label))
    assert shares == pytest.approx([11 / 12, 11 / 12])


def test_places_without_lesions_are_warm_on_spect_and_dense_on_ct(cache: Path):
    layers = dataset.read_patient(cache, 0).layers
    warm, dense, either = (warm_or_dense(layers, use) for use in (SPECT, CT, FUSED))
    assert np.array_equal(warm | dense, either) and not np.array_equal(warm, dense)
    for channel, places in ((0, warm), (1, dense)):
        values = layers[:, channel, ::4, ::4] / dataset.SCALE
        assert values[places].min() > np.median(values)


def test_a_depthwise_convolution_is_trained_in_fp32_amid_bf16_on_a_cpu():
    convolution, x = DepthwiseConv2d(6, 5, 2), torch.randn(2, 6, 12, 12)
    with torch.autocast("cpu", torch.bfloat16):
        trained = convolution(x.to(torch.bfloat16))
        with torch.inference_mode():
            assert convolution(x).dtype == torch.bfloat16
    plain = torch.nn.functional.conv2d(x.to(torch.bfloat16).float(), convolution.weight, None, 2, 2, groups=6)
    assert trained.dtype == torch.float32 and torch.equal(trained, plain)


def test_dice_of_a_right_guess_is_small_and_an_empty_sample_asks_for_nothing():
    truth = torch.zeros(2, 1, 8, 8)
    truth[0, 0, 2:6, 2:6] = 1
    loss = train.lesion_loss(0.0)
    sure = (truth * 2 - 1) * 50
    assert float(loss(lambda _x: sure, (truth, truth))) == pytest.approx(0.0, abs=1e-5)
    # One wrong sample of two: 1 - (0 + 5) / (16 + 0 + 5) for the lesion, 1 - 5 / (16 + 5) for the empty one.
    wrong = -sure
    wrong[1] = (torch.nn.functional.pad(torch.ones(1, 4, 4), (2, 2, 2, 2)) * 2 - 1) * 50
    nothing = torch.full_like(sure, -50.0)
    assert float(loss(lambda _x: nothing, (truth, truth))) == pytest.approx((1 - 5 / 21) / 2, abs=1e-5)


def test_both_stages_train_and_leave_weights_that_load(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    tiny = train.Preset(
        LoopSettings(steps=4, warmup=0, average=0.5, precision="fp32"), SampleSettings(side=32), 2, 1e-3, 1.0
    )
    monkeypatch.setitem(train.PRESETS, "default", tiny)
    told: list[str] = []
    (card,) = train.train(
        out=tmp_path / "w", cache=cache.parent, only="network", threads=1, progress=lambda _s, text: told.append(text)
    )
    assert card.steps == 4 and card.simulated_only and "3 patients" in card.training_data
    assert any(text.startswith("single") for text in told) and any(text.startswith("fused") for text in told)
    state, _ = load_model(card.name, [tmp_path / "w"])
    assert sum(v.numel() for k, v in state.items() if "running" not in k and "num_batches" not in k) > 4.8e6
    told.clear()
    (further,) = train.train(
        out=tmp_path / "further", cache=cache.parent, only="network", threads=1, steps=2, start=tmp_path / "w",
        progress=lambda _s, text: told.append(text),
    )  # fmt: skip
    assert further.steps == 6 and further.recipe["start"]["sha256"] == card.sha256
    assert further.training_data.count("3 patients") == 2
    assert told[2] == "looked for errors in 3 of 3 patients" and told[5] == "looked for lesions in 3 of 3 patients"
    assert len(told) > 6 and all(text.startswith("fused") for text in told[6:]), "single modalities were learned before"


def test_a_slice_is_scored_as_counted_by_hand():
    labels = np.zeros((10, 10), np.uint16)
    labels[2:6, 2:6] = 3
    probabilities = np.zeros((10, 10))
    probabilities[2:6, 4:8] = 0.9
    score = score_slice(3, labels, probabilities, labels > 0, True)
    assert score.dice == pytest.approx(2 * 8 / 32)
    assert score.iou == pytest.approx(8 / 24)
    assert score.sensitivity == pytest.approx(0.5)
    assert score.specificity == pytest.approx(1 - 8 / 84)
    assert score.accuracy == pytest.approx(1 - 16 / 100)
    assert score.baseline_dice == 1.0
    # Half of the positives beat all zeros and tie with the eight false ones, the other half ties with the zeros.
    assert score.auc == pytest.approx((8 * (76 + 0.5 * 8) + 8 * 0.5 * 76) / (16 * 84))


def test_a_volume_counts_found_lesions_and_false_pieces(patient: GridPatient):
    probabilities = np.zeros(patient.prepared.lattice.shape)
    probabilities[patient.labels[FUSED] == 1] = 0.99
    probabilities[5:7, 20:40, 20:40] = 0.98
    overlap, found, false = score_volume(patient, FUSED, probabilities)
    assert found == {1: True, 2: False}
    assert false == [pytest.approx(0.98)]
    assert overlap.both == (patient.labels[FUSED] == 1).sum()
    places = largest_slices(patient.labels[FUSED])
    # The lesions' middles in z are -20 and 25 mm; the grid starts at -55.5.
    origin = patient.prepared.lattice.origin_mm[2]
    assert [places[1], places[2]] == pytest.approx([(-20 - origin) / 3, (25 - origin) / 3], abs=0.6)


def test_rank_auc_of_four_cases_by_hand():
    assert rank_auc(np.array([True, True, False, False]), np.array([0.9, 0.4, 0.4, 0.1])) == pytest.approx(3.5 / 4)


def test_lesions_are_told_apart_by_kind_with_those_that_a_result_would_leave_out():
    def lesion(label: int, dice: float, peak: float) -> LesionScore:
        return LesionScore(label, 9, 1.0, 1.0, 1.0, 1.0, dice, dice, 0.0, peak)

    one = UseScore((lesion(1, 0.8, 0.97), lesion(2, 0.0, 0.3)))
    other = UseScore((lesion(1, 0.2, 0.96),))
    patients = [
        PatientResult(1, {CT: one}, {1: "lytic", 2: "marrow"}, {}, {}, 9, 1.0),
        PatientResult(2, {CT: other}, {1: "lytic"}, {}, {}, 9, 1.0),
    ]
    assert use_figures(patients, CT)["by_kind"] == {
        "lytic": {"lesions": 2, "dice": pytest.approx(0.5), "missed": 1},
        "marrow": {"lesions": 1, "dice": 0.0, "missed": 1},
    }


@pytest.mark.parametrize("peak", [0.5, 0.9, 0.965, 0.975, 1.0])
def test_a_lesion_counts_as_missed_exactly_where_a_result_leaves_its_piece_out(patient: GridPatient, peak: float):
    labels = patient.labels[CT]
    probabilities = np.where(labels > 0, peak, 0).astype(np.float16)
    number = largest_slices(labels)[1]
    score = score_slice(1, labels[number], probabilities[number], labels[number] > 0, None)
    held = PatientResult(1, {CT: UseScore((score,))}, {1: "lytic"}, {}, {}, 9, 1.0)
    marked = find_lesions(probabilities, patient.prepared.lattice).lesions
    assert use_figures([held], CT)["by_kind"]["lytic"]["missed"] == 1 - len(marked)


@pytest.mark.slow
def test_an_evaluation_scores_slices_of_all_and_volumes_of_as_many_patients_as_asked():
    told = []
    report = evaluate(2, 500_003, progress=lambda *news: told.append(news), volumes=1, tuning_patients=1)
    summary = report.summary()
    assert summary["seeds"] == [500_003, 500_004]
    assert summary["uses"][FUSED]["volume"]["seeds"] == [500_004]
    assert summary["uses"][CT]["lesions"] > 0 and "volume" not in summary["uses"][CT]
    assert 0 <= summary["uses"][FUSED]["dice"] <= 1
    assert told[-1] == (1.0, "evaluated 2 of 2")
    assert "0.938" in report.table()
