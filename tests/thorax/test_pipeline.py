"""The engine and the pipeline around the real architecture, with random weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipelines.contract import (
    ComputeOptions,
    ContentRefused,
    InputSeries,
    PipelineInputs,
    WeightsError,
    load_pipeline_class,
)
from pipelines.contract.weights import load_model, save_model
from pipelines.thorax.engine import AGGREGATED, MODEL, OUTPUTS, Engine
from pipelines.thorax.pipeline import ThoraxPipeline
from tests.imaging.nm_objects import detector, draw_body, nm_object, save
from tests.thorax.drawn_thorax import BACK, CARD, FRONT, PAIR

torch = pytest.importorskip("torch")

from pipelines.thorax.networks import NETWORK, NetworkSettings, RecurrentThoraxNetwork  # noqa: E402

PARTS = NetworkSettings(steps=2)
RANDOM = CARD.model_copy(
    update={"network": NETWORK, "outputs": OUTPUTS, "network_parameters": PARTS.as_parameters(), "sha256": ""}
)


def inputs(*paths: Path) -> PipelineInputs:
    return PipelineInputs((InputSeries("1.2.3", paths),))


@pytest.fixture(scope="module")
def random_weights(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(1)
    save_model(RecurrentThoraxNetwork(**PARTS.as_parameters()).state_dict(), RANDOM, folder)
    return folder


def test_the_engine_computes_what_the_network_computes(random_weights):
    engine = Engine.load(ComputeOptions(device="cpu", weights_dir=random_weights))
    images = np.random.default_rng(2).random((2, 256, 256)).astype(np.float32)
    network = RecurrentThoraxNetwork(**engine.card.network_parameters).eval()
    network.load_state_dict(load_model(MODEL, [random_weights])[0])
    with torch.inference_mode():
        expected = network(torch.from_numpy(images)[:, None]).sigmoid()[:, 0].numpy()
    np.testing.assert_allclose(engine.judge(images), expected, atol=1e-4)
    np.testing.assert_allclose(engine.judge(images[1:])[0], expected[1], atol=1e-4)
    assert not engine.aggregated


def test_weights_say_whether_they_want_both_views_added(random_weights, tmp_path):
    state, card = load_model(MODEL, [random_weights])
    save_model(state, card.model_copy(update={"recipe": {AGGREGATED: True}}), tmp_path)
    assert Engine.load(ComputeOptions(device="cpu", weights_dir=tmp_path)).aggregated


def test_the_whole_pipeline_runs_and_reports_progress(tmp_path, random_weights):
    pipeline = load_pipeline_class("thorax")()
    study = inputs(save(nm_object(np.stack([FRONT, BACK]), PAIR), tmp_path))
    pipeline.check(study)
    pipeline.load(ComputeOptions(device="cpu", weights_dir=random_weights))
    told: list[tuple[float, str]] = []
    findings = pipeline.run(study, lambda done, what: told.append((done, what)))
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert (told[0][0], told[-1][0]) == (0.0, 1.0)
    assert findings.pipeline == "thorax"
    assert [m.name for m in findings.models] == [MODEL]
    assert findings.segmentations[0].label_map.shape == (2, 1024, 256)


def test_the_shipped_weights_load_and_find_the_lesions_of_drawn_scans(tmp_path):
    pipeline = ThoraxPipeline()
    pipeline.load(ComputeOptions(device="cpu"))
    study = inputs(save(nm_object(np.stack([FRONT, BACK]), PAIR), tmp_path))
    findings = pipeline.run(study, lambda done, what: None)
    marked = findings.segmentations[0].label_map > 0
    assert marked[0, 300, 100] and marked[1, 300, 156], "both lesions are ten times as hot as what is around them"


def test_refusals_come_from_check_with_a_reason(tmp_path):
    pipeline = ThoraxPipeline()
    static = inputs(save(nm_object(draw_body(256, 256), ImageType=["ORIGINAL", "PRIMARY", "STATIC"]), tmp_path))
    with pytest.raises(ContentRefused, match="static view"):
        pipeline.check(static)
    legs = np.zeros((1024, 256), FRONT.dtype)
    legs[:544] = draw_body(seed=3)[480:]
    with pytest.raises(ContentRefused, match="thorax"):
        pipeline.check(inputs(save(nm_object(legs, [detector(180)]), tmp_path, "legs.dcm")))
    with pytest.raises(RuntimeError, match="load"):
        pipeline.run(static, lambda done, what: None)


def test_weights_of_another_network_are_refused_by_name(tmp_path):
    save_model({"w": torch.zeros(2, 2)}, RANDOM.model_copy(update={"network": "other-net"}), tmp_path)
    with pytest.raises(WeightsError, match=rf"{MODEL}.*other-net"):
        Engine.load(ComputeOptions(device="cpu", weights_dir=tmp_path))
    save_model({"w": torch.zeros(2, 2)}, RANDOM, tmp_path)
    with pytest.raises(WeightsError, match="do not fit the network"):
        Engine.load(ComputeOptions(device="cpu", weights_dir=tmp_path))
