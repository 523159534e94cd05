"""What OpenVINO answers for a network is what torch answers, or it is not asked."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch

from pipelines.contract import ComputeOptions
from pipelines.contract import openvino as module
from pipelines.contract.compute import Device
from pipelines.contract.openvino import PARITY, accelerated, installed
from pipelines.spect_ct.engine import LesionEngine
from pipelines.spect_ct.networks import MTUNet, NetworkSettings, folded

CPU, AUTO = Device("cpu", "CPU"), ComputeOptions(device="cpu")
needed = pytest.mark.skipif(not installed(), reason="OpenVINO is not installed (pip install 'osteon[openvino]')")


@pytest.fixture(scope="module")
def network() -> MTUNet:
    torch.manual_seed(1)
    return folded(MTUNet(NetworkSettings(slices=3)))


@needed
def test_it_answers_as_torch_does_at_any_size(network: MTUNet):
    fast, device = accelerated(network, 6, CPU, AUTO)
    assert fast is not network and device.title.startswith("CPU, OpenVINO 20") and device.name == "cpu"
    with torch.inference_mode():
        for shape in ((1, 6, 32, 160), (3, 6, 208, 96)):
            images = torch.randn(shape).contiguous(memory_format=torch.channels_last)
            first = fast(images)
            kept = first.clone()
            fast(torch.zeros_like(images))
            assert torch.equal(first, kept), "an answer must outlive the next question"
            assert float((first - network(images)).abs().max()) < 1e-4 < PARITY


@needed
def test_a_network_that_it_answers_otherwise_stays_with_torch(
    network: MTUNet, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(module, "_compiled", lambda *_given: lambda x: network(x) + 2 * PARITY)
    with caplog.at_level(logging.WARNING):
        chosen, device = accelerated(network, 6, CPU, AUTO)
    assert chosen is network and device == CPU
    assert "answers otherwise than torch" in caplog.text

    def broken(*_given):
        raise RuntimeError("no such operation")

    monkeypatch.setattr(module, "_compiled", broken)
    with caplog.at_level(logging.WARNING):
        assert accelerated(network, 6, CPU, AUTO) == (network, CPU)
    assert "no such operation" in caplog.text


@pytest.mark.parametrize(
    ("device", "options"),
    [
        (CPU, replace(AUTO, engine="torch")),
        (CPU, replace(AUTO, precision="bf16")),
        (Device("cuda:0", "cuda:0"), AUTO),
    ],
)
def test_it_is_not_asked_elsewhere(network: MTUNet, device: Device, options: ComputeOptions):
    assert accelerated(network, 6, device, options) == (network, device)


def test_without_it_torch_runs_the_network(network: MTUNet, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "installed", lambda: False)
    assert accelerated(network, 6, CPU, AUTO) == (network, CPU)


@needed
def test_nothing_is_reported_to_its_makers(network: MTUNet, monkeypatch: pytest.MonkeyPatch):
    telemetry = pytest.importorskip("openvino_telemetry")

    def reports(*_given, **_named):
        raise AssertionError("telemetry was started")

    monkeypatch.setattr(telemetry.Telemetry, "__init__", reports)
    monkeypatch.setattr(telemetry.Telemetry, "send_event", reports)
    assert accelerated(network, 6, CPU, AUTO)[0] is not network


@needed
def test_shipped_lesion_weights_give_the_same_probabilities_either_way():
    inputs = np.random.default_rng(0).normal(size=(3, 2, 64, 96)).astype(np.float32)
    fast, plain = (LesionEngine.load(replace(AUTO, engine=engine)) for engine in ("auto", "torch"))
    assert "OpenVINO" in fast.device.title and plain.device.title == "CPU"
    assert np.allclose(fast.probabilities(inputs), plain.probabilities(inputs), atol=1e-3)
