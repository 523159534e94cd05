"""The threshold from which a pixel counts as lesion, set on labelled training images and carried by the head's bias.

The label term is least where a pixel is called lesion at a probability of a half; the overlap that is reported is
greatest somewhat lower. A network always answers at 0.5 after this: the bias moves, no consumer has to know.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from pipelines.thorax.dataset import ThoraxImage
from pipelines.thorax.prediction import predict
from pipelines.training.metrics import Overlap

CANDIDATES = (0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6)
IMAGES = 120
"""Labelled images with lesions that the threshold is chosen on."""


def set_operating_point(network: nn.Module, labelled: Sequence[ThoraxImage]) -> float | None:
    """Move the last convolution's bias so that the threshold with the best mean Dice is 0.5; return that threshold.

    Without a labelled image that shows a lesion the network stays as it is, and None is returned.
    """
    images = [image for image in labelled if image.lesions.any()][:IMAGES]
    if not images:
        return None
    best = best_threshold(predict(network, images), [image.lesions for image in images])
    bias = [module for module in network.modules() if isinstance(module, nn.Conv2d)][-1].bias
    assert bias is not None
    with torch.no_grad():
        bias -= math.log(best / (1 - best))
    return best


def best_threshold(probabilities: np.ndarray, truths: Sequence[np.ndarray]) -> float:
    """Return the candidate with the highest mean Dice over images, all of which hold a lesion."""

    def mean_dice(threshold: float) -> float:
        pairs = zip(truths, probabilities, strict=True)
        return float(np.mean([Overlap.of(truth, p >= threshold).dice or 0.0 for truth, p in pairs]))

    return max(CANDIDATES, key=mean_dice)
