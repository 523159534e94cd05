"""The engine and the pipeline around the real architecture, with random weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipelines.bone_scan.engine import MODEL, OUTPUTS, Engine
from pipelines.bone_scan.pipeline import BoneScanPipeline
from pipelines.contract import (
    ComputeOptions,
    ContentRefused,
    DeviceError,
    InputSeries,
    PipelineInputs,
    WeightsError,
    load_pipeline_class,
)
from pipelines.contract.weights import ModelCard, load_model, save_model
from tests.imaging.nm_objects import detector, draw_body, nm_object, save

torch = pytest.importorskip("torch")

from pipelines.bone_scan.networks import CHANNELS, NETWORK, SMOOTHING, BoneScanNetwork  # noqa: E402

pytestmark = pytest.mark.slow

CARD = ModelCard(
    name=MODEL, version="0", pipeline="bone-scan", network=NETWORK,
    network_parameters={"channels": CHANNELS, "smoothing": SMOOTHING}, input="tiles", outputs=OUTPUTS,
    training_data="none", simulated_only=True, seed=0, steps=0, licence="Apache-2.0", intended_use="tests",
)  # fmt: skip


def inputs(*paths: Path) -> PipelineInputs:
    return PipelineInputs((InputSeries("1.2.3", paths),))


STARTS = (0, 192, 256)


def random_view(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((CHANNELS, 512, 256)).astype(np.float32)


@pytest.fixture(scope="module")
def random_weights(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(1)
    save_model(BoneScanNetwork().state_dict(), CARD, folder)
    return folder


@pytest.fixture(scope="module")
def random_engine(random_weights) -> Engine:
    return Engine.load(ComputeOptions(device="cpu", weights_dir=random_weights))


def test_the_engine_returns_probabilities_of_the_promised_shape(random_engine):
    labels, classes = random_engine.judge(random_view(0), STARTS)
    assert labels.shape == (3, 2)
    assert ((labels >= 0) & (labels <= 1)).all()
    assert classes.shape == (3, 512, 256)
    np.testing.assert_allclose(classes.sum(axis=0), 1.0, atol=1e-5)


def test_weights_whose_card_names_no_channels_see_the_windows_alone(tmp_path):
    torch.manual_seed(1)
    save_model(BoneScanNetwork(2, 0.0).state_dict(), CARD.model_copy(update={"network_parameters": {}}), tmp_path)
    engine = Engine.load(ComputeOptions(device="cpu", weights_dir=tmp_path))
    view = random_view(3)
    other = np.concatenate([view[:2], random_view(4)[2:]])
    for ours, theirs in zip(engine.judge(view, STARTS), engine.judge(other, STARTS), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_engine_computes_what_the_network_computes(random_engine, random_weights):
    """Against the plain network in eager fp32: channels-last changes nothing."""
    network = BoneScanNetwork().eval()
    network.load_state_dict(load_model(MODEL, [random_weights])[0])
    view = random_view(2)
    with torch.inference_mode():
        pixels, names = network(torch.from_numpy(view)[None], STARTS)
    labels, classes = random_engine.judge(view, STARTS)
    np.testing.assert_allclose(classes, pixels[0].softmax(dim=0).numpy(), atol=1e-4)
    np.testing.assert_allclose(labels, names.sigmoid().numpy(), atol=1e-4)


def test_bf16_is_an_option_and_close(random_weights, random_engine):
    engine = Engine.load(ComputeOptions(device="cpu", precision="bf16", weights_dir=random_weights))
    view = random_view(3)
    _, classes = engine.judge(view, STARTS)
    assert classes.dtype == np.float32
    assert np.abs(classes - random_engine.judge(view, STARTS)[1]).mean() < 0.05


def test_the_whole_pipeline_runs_and_reports_progress(tmp_path, random_weights):
    pipeline = load_pipeline_class("bone-scan")()
    study = inputs(save(nm_object(draw_body(seed=11, bladder=600.0), [detector(180)]), tmp_path))
    pipeline.check(study)
    pipeline.load(ComputeOptions(device="cpu", weights_dir=random_weights))
    told: list[tuple[float, str]] = []
    findings = pipeline.run(study, lambda done, what: told.append((done, what)))
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[0][0] == 0.0
    assert told[-1][0] == 1.0
    assert findings.pipeline == "bone-scan"
    assert [m.name for m in findings.models] == [MODEL]
    assert all(len(m.sha256) == 64 for m in findings.models)
    assert findings.details["device"] == "CPU"
    assert set(findings.details["seconds"]) == {"read", "prepare", "infer", "measure"}
    assert findings.segmentations[0].label_map.shape == (1, 1024, 256)


def test_refusals_device_and_weights_errors_come_from_the_right_step(tmp_path, random_weights):
    pipeline = BoneScanPipeline()
    static = inputs(save(nm_object(draw_body(256, 256), ImageType=["ORIGINAL", "PRIMARY", "STATIC"]), tmp_path))
    with pytest.raises(ContentRefused, match="static view"):
        pipeline.check(static)
    with pytest.raises(RuntimeError, match="load"):
        pipeline.run(static, lambda done, what: None)
    with pytest.raises(DeviceError, match="cuda:99"):
        pipeline.load(ComputeOptions(device="cuda:99", weights_dir=random_weights))


def test_weights_of_another_network_are_refused_by_name(tmp_path):
    save_model({"w": torch.zeros(2, 2)}, CARD.model_copy(update={"network": "other-net"}), tmp_path)
    with pytest.raises(WeightsError, match=rf"{MODEL}.*other-net"):
        Engine.load(ComputeOptions(device="cpu", weights_dir=tmp_path))
    save_model({"w": torch.zeros(2, 2)}, CARD, tmp_path)
    with pytest.raises(WeightsError, match="do not fit the network"):
        Engine.load(ComputeOptions(device="cpu", weights_dir=tmp_path))
