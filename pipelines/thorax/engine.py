"""The network at work: thorax images in, probabilities out, on whichever device was configured.

weights (`pipelines.contract.weights`) -> network (`networks`) -> `judge`. The rest of the pipeline sees numpy arrays
only. torch is imported inside; this module may be imported by anyone.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipelines.contract import ComputeOptions
from pipelines.contract.compute import autocast
from pipelines.contract.loading import NetworkEngine

MODEL = "thorax-network"
SHIPPED_WEIGHTS = Path(__file__).parent / "weights"
OUTPUTS = ("pixel: metastasis",)
AGGREGATED = "aggregated"
"""Entry of a card's recipe: True for weights that were trained on both views added."""


class Engine(NetworkEngine):
    """The network, loaded once per process."""

    @classmethod
    def load(cls, options: ComputeOptions) -> Engine:
        """Load the network.

        Raises
        ------
        WeightsError, DeviceError
            See `NetworkEngine`.
        """
        from pipelines.thorax import networks

        return cls._load(
            options, MODEL, SHIPPED_WEIGHTS, networks.NETWORK, OUTPUTS,
            lambda found: networks.RecurrentThoraxNetwork(**found),
        )  # fmt: skip

    @property
    def aggregated(self) -> bool:
        """True if the weights want both views added."""
        return bool(self.card.recipe.get(AGGREGATED, False))

    def judge(self, images: np.ndarray) -> np.ndarray:
        """Return the probability of metastasis of each pixel.

        Parameters
        ----------
        images
            float32 in [0, 1], (n, 256, 256), see `display`; 1 is hot.

        Returns
        -------
        numpy.ndarray
            float32, same shape.
        """
        import torch

        with torch.inference_mode(), autocast(self.device, self.precision):
            batch = torch.from_numpy(np.ascontiguousarray(images, dtype=np.float32)[:, None])
            batch = batch.to(self.device.name).contiguous(memory_format=torch.channels_last)
            logits = self._network(batch)
            # The sigmoid is taken in fp32: bf16 has three digits, too few for a probability near 0 or 1.
            probabilities: np.ndarray = logits.float().sigmoid()[:, 0].cpu().numpy()
        return probabilities
