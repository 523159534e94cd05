"""Drawn views with lesions of known place in the thorax, and an exact rule in the network's place."""

from __future__ import annotations

import numpy as np

from pipelines.contract.weights import ModelCard
from tests.imaging.nm_objects import detector, draw_body

LESION = (300, 100, 6, 400.0)
FRONT = draw_body(seed=11, bladder=600.0, hot=[LESION])
BACK = draw_body(seed=12, bladder=600.0, hot=[(300, 156, 6, 400.0), (250, 160, 5, 400.0)])
BELOW = (620, 120, 6, 400.0)
"""A hot spot in the leg, outside every thorax."""

PAIR = [detector(180), detector(0)]

CARD = ModelCard(
    name="thorax-network", version="0", pipeline="thorax", network="rule", input="image", outputs=("a",),
    training_data="none", simulated_only=True, seed=0, steps=0, licence="Apache-2.0", intended_use="tests",
    sha256="0" * 64,
)  # fmt: skip


class HotPixels:
    """An exact rule: a pixel is metastasis where the image reaches a level; the image's level is kept for a look."""

    def __init__(self, at: float = 0.59, aggregated: bool = False) -> None:
        self.at = at
        self.aggregated = aggregated
        self.seen: list[np.ndarray] = []

    def judge(self, images: np.ndarray) -> np.ndarray:
        self.seen.append(images)
        return (images >= self.at).astype(np.float32)


def disc(row: float, column: float, radius: float) -> np.ndarray:
    y, x = np.mgrid[0:1024, 0:256] + 0.5
    return np.hypot(y - row, x - column) <= radius


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * np.logical_and(a, b).sum() / (a.sum() + b.sum()))
