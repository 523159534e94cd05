"""The network at work: slices of the common grid in, the probability of a lesion in every pixel out.

weights and card -> the network, its normalisations folded -> `windows` of the slices -> float16 (slice, row, column).

torch is imported here, so only workers may import this module: a pipeline does so in `load`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from pipelines.contract import ComputeOptions, Progress
from pipelines.contract.compute import autocast
from pipelines.contract.loading import NetworkEngine
from pipelines.spect_ct.folding import folded
from pipelines.spect_ct.networks import NETWORK, OUTPUTS, build_network
from pipelines.spect_ct.windows import probabilities_of

MODEL = "spect-ct-mt-unet"
SHIPPED_WEIGHTS = Path(__file__).parent / "weights"


class LesionEngine(NetworkEngine):
    """The network, loaded once per process: float32 (n, 6, rows, columns) -> logits (n, 1, rows, columns).

    Weights that see one slice get the first two of the channels.
    """

    @classmethod
    def load(cls, options: ComputeOptions) -> LesionEngine:
        """Load the network and fold its normalisations.

        Raises
        ------
        WeightsError, DeviceError
            See `NetworkEngine`.
        """
        engine = cls._load(options, MODEL, SHIPPED_WEIGHTS, NETWORK, OUTPUTS, build_network)
        engine._network = folded(engine._network)
        return engine

    def probabilities(
        self, inputs: np.ndarray, progress: Progress | None = None, *, where: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the probability of a lesion.

        Parameters
        ----------
        inputs : float32 (slice, 2, row, column), consecutive slices as `grid.prepare` makes them, or (slice, 6, row,
            column), any slices with their neighbours.
        where : blocks in which a lesion can be, as `search.worth_a_look` has them; None for everywhere. What lies far
            from them has the probability 0.

        Returns
        -------
        numpy.ndarray
            float16 (slice, row, column).
        """
        return probabilities_of(self._predict, inputs, where, progress)

    def _predict(self, images: torch.Tensor) -> torch.Tensor:
        shown = images[:, : self._network.channels].to(self.device.name, memory_format=torch.channels_last)
        with autocast(self.device, self.precision):
            logits: torch.Tensor = self._network(shown)
        return logits.float().cpu()
