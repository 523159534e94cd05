"""The recipe end to end on drawn patients: the loss falls, masks appear, parts follow each other, files load."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from pipelines.contract.weights import load_model  # noqa: E402
from pipelines.planar import dataset as planar_dataset  # noqa: E402
from pipelines.thorax import experiments  # noqa: E402
from pipelines.thorax.dataset import cut_all  # noqa: E402
from pipelines.thorax.experiment_report import ExperimentReport, draw_curve  # noqa: E402
from pipelines.thorax.fitting import RECIPES, fit  # noqa: E402
from pipelines.thorax.networks import NETWORK, NetworkSettings, RecurrentThoraxNetwork  # noqa: E402
from pipelines.thorax.operating_point import best_threshold, set_operating_point  # noqa: E402
from pipelines.thorax.prediction import predict  # noqa: E402
from pipelines.thorax.train import train  # noqa: E402
from tests.thorax.drawn_patients import patient  # noqa: E402

QUICK = replace(
    RECIPES["default"],
    loop=replace(RECIPES["default"].loop, steps=24, learning_rate=2e-3, warmup=3, precision="fp32", average=0.0),
    batch=2,
)


def test_the_papers_recipe_is_the_papers():
    paper = RECIPES["paper"]
    assert (paper.loop.learning_rate, paper.loop.weight_decay, paper.warm_up) == (5e-4, 1e-4, 0.0)
    assert (paper.loss.alpha, paper.loss.nu, paper.loss.unsupervised, paper.loss.guide) == (0.4, 0.004, 1.0, 0.0)
    assert paper.loop.steps == 400 * 1596 // paper.batch
    assert RECIPES["default"].loop.learning_rate == 5e-4


@pytest.mark.slow
def test_a_few_steps_tell_drawn_lesions_from_the_body_with_half_of_the_labels(tmp_path):
    torch.manual_seed(0)
    images = cut_all([patient(1), patient(2), patient(3, ill=False)], labelled={1, 3})
    network = RecurrentThoraxNetwork(steps=2)
    assert fit(network, images, QUICK, tmp_path) == 24
    assert network.running == 2
    unseen = cut_all([patient(7)])
    for image, answer in zip(unseen, predict(network, unseen, "fp32").astype(np.float32), strict=True):
        assert answer[image.lesions].mean() > 4 * answer[image.body & ~image.lesions].mean()
    # Both parts were trained, and both are found again: nothing is left to do.
    assert {path.name for path in tmp_path.iterdir()} == {"warm-up", "semi"}
    assert fit(RecurrentThoraxNetwork(steps=2), images, QUICK, tmp_path) == 24


@pytest.mark.slow
def test_without_labels_the_unsupervised_term_alone_is_trained(tmp_path):
    images = cut_all([patient(1)], labelled=set())
    recipe = replace(QUICK, loop=replace(QUICK.loop, steps=2))
    fit(RecurrentThoraxNetwork(steps=1), images, recipe, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"semi"}


def test_the_operating_point_moves_the_best_threshold_to_a_half():
    truth = np.zeros((2, 8, 8), bool)
    truth[:, 2:5, 2:5] = True
    probabilities = np.where(truth, 0.33, 0.27).astype(np.float16)
    assert best_threshold(probabilities, list(truth)) == 0.3
    torch.manual_seed(3)
    network = RecurrentThoraxNetwork(steps=1)
    images = cut_all([patient(1)])
    before = predict(network, images, "fp32").astype(np.float64)
    threshold = set_operating_point(network, images)
    after = predict(network, images, "fp32")
    clear = np.abs(before - threshold) > 2e-3
    np.testing.assert_array_equal((after >= 0.5)[clear], (before >= threshold)[clear])
    assert set_operating_point(network, cut_all([patient(3, ill=False)])) is None


@pytest.mark.slow
def test_train_writes_weights_that_load_and_say_what_they_learned_from(tmp_path):
    folder = planar_dataset.cache_folder(tmp_path, "train")
    folder.mkdir()
    for seed in range(4):
        planar_dataset.save_patient(patient(seed, ill=seed < 2), folder)
    card = train("default", 4, 4, tmp_path / "out", 1, labelled_fraction=0.5, cache=tmp_path, workers=1)
    assert (card.name, card.network, card.steps, card.simulated_only) == ("thorax-network", NETWORK, 4, True)
    assert card.recipe["labelled_fraction"] == 0.5
    assert "labels of 50 %" in card.training_data
    state, _ = load_model("thorax-network", [tmp_path / "out"])
    RecurrentThoraxNetwork(**card.network_parameters).load_state_dict(state)
    with pytest.raises(ValueError, match="no training preset"):
        train("other", 4, cache=tmp_path)


@pytest.mark.slow
def test_comparisons_train_and_measure_each_row_and_draw_the_curve(tmp_path):
    for preset, first in (("train", 0), ("held_out", 500_000)):
        folder = planar_dataset.cache_folder(tmp_path, preset)
        folder.mkdir()
        for seed in range(first, first + 3):
            planar_dataset.save_patient(patient(seed, ill=seed != first), folder)
    chosen = (
        *(experiments.Experiment(f"{share}", "figure 7", share, {}, NetworkSettings(steps=1)) for share in (0.0, 1.0)),
        experiments.Experiment("U-Net", "table 6", 1.0, {"dsc": 0.695}, aggregated=True, unet=True),
    )
    rows = experiments.run(
        chosen, 1 / 60, tmp_path / "runs", patients=3, held_out=(500_000, 3), cache=tmp_path, workers=1
    )
    assert [row.facts()["images_with_lesions"] for row in rows] == [4, 4, 2]
    assert all(row.steps >= 1 for row in rows)
    picture = draw_curve(rows[:2], 1 / 60, tmp_path / "curve.png")
    assert picture.read_bytes().startswith(b"\x89PNG")
    table = ExperimentReport(tuple(rows), 1 / 60, 3, picture).table()
    assert "(0.695)" in table and "figure 7" in table
