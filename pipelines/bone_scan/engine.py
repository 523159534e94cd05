"""The network at work: a view in, probabilities out, on whichever device was configured.

weights (`pipelines.contract.weights`) -> network (`networks`) -> `judge` a view. The rest of the
pipeline sees numpy arrays only. torch is imported inside; this module may be imported by anyone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipelines.contract import ComputeOptions
from pipelines.contract.compute import autocast
from pipelines.contract.loading import NetworkEngine

MODEL = "bone-scan-network"
SHIPPED_WEIGHTS = Path(__file__).parent / "weights"

TILE_LABELS = ("metastasis", "bladder")
CLASSES = ("background", "metastasis", "bladder")
OUTPUTS = (*(f"pixel: {name}" for name in CLASSES), *(f"tile: {name}" for name in TILE_LABELS))


class Engine(NetworkEngine):
    """The network, loaded once per process."""

    @classmethod
    def load(cls, options: ComputeOptions) -> Engine:
        """Load the network and fold it (`folding`).

        Raises
        ------
        WeightsError, DeviceError
            See `NetworkEngine`.
        """
        from pipelines.bone_scan import folding, networks

        engine = cls._load(options, MODEL, SHIPPED_WEIGHTS, networks.NETWORK, OUTPUTS, networks.build_network)
        engine._network = folding.folded(engine._network)
        return engine

    def judge(self, view: np.ndarray, starts: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Return what the network says of a view and of each of its tiles.

        Parameters
        ----------
        view
            float32 in [0, 1], (6, rows, 256): `PreparedView.channels` of a view, then those that face them on the
            opposite view, 0 where there is none; 1 is hot. Rows are a multiple of 32.
        starts
            First row of each tile, multiples of 32.

        Returns
        -------
        tuple
            Probabilities of `TILE_LABELS`, float32 (tile, 2), and of the exclusive `CLASSES` per pixel, float32
            (3, rows, 256).
        """
        import torch

        with torch.inference_mode(), autocast(self.device, self.precision):
            image = torch.from_numpy(np.ascontiguousarray(view[None, : self._network.channels], dtype=np.float32))
            image = image.to(self.device.name).contiguous(memory_format=torch.channels_last)
            pixels, names = self._network(image, starts)
            # The activations are taken in fp32: bf16 has three digits, too few for a probability near 0 or 1.
            classes = pixels[0].float().softmax(dim=0).cpu().numpy()
            labels = names.float().sigmoid().cpu().numpy()
        return labels, np.ascontiguousarray(classes)
