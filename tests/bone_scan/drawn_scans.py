"""Two drawn views with a lesion of known place, and the card of no network: what tests of the pipeline share."""

from __future__ import annotations

from pipelines.contract.weights import ModelCard
from tests.imaging.nm_objects import detector, draw_body

LESION = (300, 100, 6, 400.0)
FRONT = draw_body(seed=11, bladder=600.0, hot=[LESION])
BACK = draw_body(seed=12, bladder=600.0, hot=[(300, 156, 6, 400.0), (250, 160, 5, 400.0)])
PAIR = [detector(180), detector(0)]

CARD = ModelCard(
    name="bone-scan-network", version="0", pipeline="bone-scan", network="rule", input="tiles", outputs=("a",),
    training_data="none", simulated_only=True, seed=0, steps=0, licence="Apache-2.0", intended_use="tests",
    sha256="0" * 64,
)  # fmt: skip
