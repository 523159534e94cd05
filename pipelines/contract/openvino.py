"""A network of torch as OpenVINO runs it on a CPU: convolution, activation and gate in one pass over memory.

Optional (`pip install "osteon[openvino]"`, Apache-2.0), and only for networks that were measured to gain by it: those
of many small layers do, those of plain 3 x 3 convolutions do not. A network is taken only after it has given the same
answers as torch's on images of two sizes (`PARITY`).

The graph is read from torch's trace by OpenVINO's own frontend; `openvino.convert_model` does the same and may report
its use to Intel. Nothing is sent from here. torch and openvino are imported inside the functions.
"""

from __future__ import annotations

import importlib.util
import logging
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pipelines.contract.compute import Device

if TYPE_CHECKING:
    import torch

    from pipelines.contract.pipeline import ComputeOptions

PARITY = 1e-3
"""Largest difference of a logit from torch's: 0.00025 of a probability, while fp32 itself comes to about 0.00001."""

LOOKED_AT = ((2, 64, 96), (1, 96, 64))
"""Images, rows and columns of what both networks are asked about; sides are multiples of 32."""

Predict = Callable[["torch.Tensor"], "torch.Tensor"]

_log = logging.getLogger(__name__)


def installed() -> bool:
    """Return whether OpenVINO can be imported."""
    return importlib.util.find_spec("openvino") is not None


def accelerated(
    network: Any, channels: int, device: Device, options: ComputeOptions
) -> tuple[Callable[[torch.Tensor], torch.Tensor], Device]:
    """Return what answers for a network, and the device with a title that says so.

    That is OpenVINO where `options` leave it open, it is installed, and the network runs in fp32 on a CPU; else, and
    where its answers are not the network's (which is logged), the network itself.

    Parameters
    ----------
    network : torch.nn.Module in evaluation mode, float32 (n, channels, rows, columns) -> one tensor.
    """
    if options.engine != "auto" or device.is_cuda or options.precision != "fp32" or not installed():
        return network, device
    import openvino

    try:
        fast = _compiled(network, channels)
        difference = _difference(network, fast, channels)
    except RuntimeError as error:
        _log.warning("OpenVINO %s cannot run this network, torch does: %s", openvino.get_version(), error)
        return network, device
    if not difference <= PARITY:
        _log.warning(
            "OpenVINO %s answers otherwise than torch (by %.2g, at most %g is allowed): torch runs the network",
            openvino.get_version(), difference, PARITY,
        )  # fmt: skip
        return network, device
    return fast, replace(device, title=f"{device.title}, OpenVINO {openvino.get_version().split('-')[0]}")


def _compiled(network: Any, channels: int) -> Predict:
    import torch
    from openvino import Core, PartialShape
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    with torch.inference_mode(), warnings.catch_warnings():
        # torch advises against tracing in general; checks of a shape in Python are left out of the trace on purpose.
        warnings.simplefilter("ignore")
        images, rows, columns = LOOKED_AT[0]
        seen = TorchScriptPythonDecoder(network, example_input=torch.zeros(images, channels, rows, columns))
        frontend = FrontEndManager().load_by_framework("pytorch")
        model = frontend.convert(frontend.load(seen))
    model.reshape(PartialShape([-1, channels, -1, -1]))
    settings = {
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    compiled = Core().compile_model(model, "CPU", settings)

    def predict(images: torch.Tensor) -> torch.Tensor:
        # The answer's memory is OpenVINO's and is used again at the next call.
        return torch.from_numpy(compiled(images.contiguous().numpy())[0].copy())

    return predict


def _difference(network: Predict, fast: Predict, channels: int) -> float:
    import torch

    generator = torch.Generator().manual_seed(0)
    largest = 0.0
    with torch.inference_mode():
        for images, rows, columns in LOOKED_AT:
            shown = torch.randn(images, channels, rows, columns, generator=generator)
            largest = max(largest, float((network(shown) - fast(shown)).abs().max()))
    return largest
