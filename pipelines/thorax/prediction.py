"""A network over many thorax images: probabilities, without DICOM and without an engine."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from pipelines.contract.compute import fast_precision
from pipelines.thorax.dataset import ThoraxImage
from pipelines.thorax.display import shown

BATCH = 4


def predict(network: nn.Module, images: Sequence[ThoraxImage], precision: str = "") -> np.ndarray:
    """Return the probability of metastasis, float16 (image, 256, 256), of a network on the CPU.

    `precision` : "fp32" or "bf16", empty for the faster one.
    """
    precision = precision or fast_precision("cpu")
    network.eval()
    parts = [np.zeros((0, 256, 256), np.float16)]
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        for first in range(0, len(images), BATCH):
            stack = np.stack([shown(image.level)[None] for image in images[first : first + BATCH]])
            batch = torch.from_numpy(stack).contiguous(memory_format=torch.channels_last)
            parts.append(network(batch).float().sigmoid()[:, 0].numpy().astype(np.float16))
    return np.concatenate(parts)
