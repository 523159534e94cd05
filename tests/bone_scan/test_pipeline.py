"""The pipeline as it is loaded and run, with the real architectures and random weights; errors from the right step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipelines.bone_scan.engine import CLASSIFIER, SEGMENTER, Engine
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
from pipelines.contract.weights import save_model
from tests.bone_scan.drawn_scans import CARD, FRONT, PAIR
from tests.imaging.nm_objects import draw_body, nm_object, save

pytestmark = pytest.mark.slow


def inputs(*paths: Path) -> PipelineInputs:
    return PipelineInputs((InputSeries("1.2.3", paths),))


@pytest.fixture(scope="module")
def random_weights(tmp_path_factory) -> Path:
    """Both architectures with random weights, as cards and safetensors."""
    import torch

    from pipelines.bone_scan import networks

    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(1)
    for name, network, kind, outputs in (
        (CLASSIFIER, networks.TileClassifier(), networks.CLASSIFIER_NETWORK, networks.CLASSIFIER_OUTPUTS),
        (SEGMENTER, networks.ResNetUNet(), networks.SEGMENTER_NETWORK, networks.SEGMENTER_CLASSES),
    ):
        card = CARD.model_copy(update={"name": name, "network": kind, "outputs": tuple(outputs), "sha256": ""})
        save_model(network.state_dict(), card, folder)
    return folder


@pytest.fixture(scope="module")
def random_engine(random_weights) -> Engine:
    return Engine.load(ComputeOptions(device="cpu", weights_dir=random_weights))


def test_the_engine_returns_probabilities_of_the_promised_shape(random_engine):
    tiles = np.random.default_rng(0).random((5, 256, 256)).astype(np.float32)
    labels, classes = random_engine.classify(tiles), random_engine.segment(tiles[:1])
    assert labels.shape == (5, 2)
    assert ((labels >= 0) & (labels <= 1)).all()
    assert classes.shape == (1, 3, 256, 256)
    np.testing.assert_allclose(classes.sum(axis=1), 1.0, atol=1e-5)


def test_a_tiles_answer_does_not_depend_on_its_batch(random_engine):
    tiles = np.random.default_rng(1).random((5, 256, 256)).astype(np.float32)
    together = random_engine.classify(tiles)
    alone = [random_engine.classify(tiles[number][None])[0] for number in (0, 4)]
    np.testing.assert_allclose(together[[0, 4]], alone, atol=1e-5)


def test_the_engine_computes_what_the_network_computes(random_engine, random_weights):
    """Against the plain network in eager fp32: channels-last and batching change nothing."""
    import torch

    from pipelines.bone_scan.networks import ResNetUNet
    from pipelines.contract.weights import load_model

    network = ResNetUNet().eval()
    network.load_state_dict(load_model(SEGMENTER, [random_weights])[0])
    tiles = np.random.default_rng(2).random((1, 256, 256)).astype(np.float32)
    with torch.inference_mode():
        expected = network(torch.from_numpy(tiles)[:, None]).softmax(dim=1).numpy()
    np.testing.assert_allclose(random_engine.segment(tiles), expected, atol=1e-4)


def test_bf16_is_an_option_and_close(random_weights, random_engine):
    engine = Engine.load(ComputeOptions(device="cpu", precision="bf16", weights_dir=random_weights))
    tiles = np.random.default_rng(3).random((1, 256, 256)).astype(np.float32)
    classes = engine.segment(tiles)
    assert classes.dtype == np.float32
    assert np.abs(classes - random_engine.segment(tiles)).mean() < 0.05


def test_the_whole_pipeline_runs_and_reports_progress(tmp_path, random_weights):
    pipeline = load_pipeline_class("bone-scan")()
    study = inputs(save(nm_object(FRONT, PAIR[:1]), tmp_path))
    pipeline.check(study)
    pipeline.load(ComputeOptions(device="cpu", weights_dir=random_weights))
    told: list[tuple[float, str]] = []
    findings = pipeline.run(study, lambda done, what: told.append((done, what)))
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[0][0] == 0.0
    assert told[-1][0] == 1.0
    assert findings.pipeline == "bone-scan"
    assert [m.name for m in findings.models] == [CLASSIFIER, SEGMENTER]
    assert all(len(m.sha256) == 64 for m in findings.models)
    assert findings.details["device"] == "CPU"
    assert set(findings.details["seconds"]) == {"read", "prepare", "classify", "segment", "measure"}
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


def test_weights_of_another_network_are_refused_by_name(tmp_path, random_weights):
    import torch

    wrong = CARD.model_copy(update={"name": CLASSIFIER, "network": "other-net", "sha256": ""})
    save_model({"w": torch.zeros(2, 2)}, wrong, tmp_path)
    with pytest.raises(WeightsError, match=r"bone-scan-classifier.*other-net"):
        Engine.load(ComputeOptions(device="cpu", weights_dir=tmp_path))
    from pipelines.bone_scan import networks

    fits_not = wrong.model_copy(
        update={"network": networks.CLASSIFIER_NETWORK, "outputs": tuple(networks.CLASSIFIER_OUTPUTS)}
    )
    save_model({"w": torch.zeros(2, 2)}, fits_not, tmp_path)
    with pytest.raises(WeightsError, match="do not fit the network"):
        Engine.load(ComputeOptions(device="cpu", weights_dir=tmp_path))
