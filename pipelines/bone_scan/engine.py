"""The network at work: tiles in, probabilities out, on whichever device was configured.

weights (`pipelines.contract.weights`) -> network (`networks`) -> `judge` on batches of tiles. The rest of the
pipeline sees numpy arrays only. torch is imported inside; this module may be imported by anyone.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.contract import ComputeOptions, WeightsError
from pipelines.contract.compute import Device, prepare_process
from pipelines.contract.weights import ModelCard, load_model, weights_folders

MODEL = "bone-scan-network"
SHIPPED_WEIGHTS = Path(__file__).parent / "weights"

BATCH_CPU = 4
"""Tiles at once on a CPU: enough for all cores, few enough that activations stay in the cache's reach."""

BATCH_CUDA = 32

TILE_LABELS = ("metastasis", "bladder")
CLASSES = ("background", "metastasis", "bladder")
OUTPUTS = (*(f"pixel: {name}" for name in CLASSES), *(f"tile: {name}" for name in TILE_LABELS))


class Engine:
    """The network, loaded once per process."""

    def __init__(self, network: Any, card: ModelCard, device: Device, precision: str):
        self._network = network
        self.card = card
        self.device = device
        self.precision = precision

    @classmethod
    def load(cls, options: ComputeOptions) -> Engine:
        """Load the network.

        Raises
        ------
        WeightsError
            If weights are missing, damaged or of another network.
        DeviceError
            If the configured device cannot be used.
        """
        device = prepare_process(options)
        network, card = _build(weights_folders(options.weights_dir, SHIPPED_WEIGHTS), device)
        return cls(network, card, device, options.precision)

    def judge(self, tiles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return what the network says of each tile.

        Parameters
        ----------
        tiles
            float32 in [0, 1], (tile, 2, 256, 256): both windows of a tile; 1 is hot.

        Returns
        -------
        tuple
            Probabilities of `TILE_LABELS`, float32 (tile, 2), and of the exclusive `CLASSES` per pixel, float32
            (tile, 3, 256, 256).
        """
        import torch

        labels = np.empty((len(tiles), len(TILE_LABELS)), np.float32)
        classes = np.empty((len(tiles), len(CLASSES), *tiles.shape[2:]), np.float32)
        size = BATCH_CUDA if self.device.is_cuda else BATCH_CPU
        with torch.inference_mode(), self._autocast():
            for first in range(0, len(tiles), size):
                part = slice(first, first + size)
                batch = torch.from_numpy(np.ascontiguousarray(tiles[part], dtype=np.float32))
                batch = batch.to(self.device.name).contiguous(memory_format=torch.channels_last)
                pixels, names = self._network(batch)
                # The activations are taken in fp32: bf16 has three digits, too few for a probability near 0 or 1.
                classes[part] = pixels.float().softmax(dim=1).cpu().numpy()
                labels[part] = names.float().sigmoid().cpu().numpy()
        return labels, classes

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.precision != "bf16":
            return nullcontext()
        import torch

        return torch.autocast("cuda" if self.device.is_cuda else "cpu", dtype=torch.bfloat16)


def _build(folders: list[Path], device: Device) -> tuple[Any, ModelCard]:
    """Load the weights into the network that their card names."""
    import torch

    from pipelines.bone_scan import networks

    state, card = load_model(MODEL, folders)
    if card.network != networks.NETWORK or card.outputs != OUTPUTS:
        raise WeightsError(
            f"{MODEL} {card.version}: made for network '{card.network}' with outputs {', '.join(card.outputs)}; this "
            f"version needs {networks.NETWORK} with {', '.join(OUTPUTS)}. Install matching weights."
        )
    try:
        network: Any = networks.BoneScanNetwork(**card.network_parameters)
        network.load_state_dict(state, strict=True)
    except (RuntimeError, TypeError) as error:
        raise WeightsError(f"{MODEL} {card.version}: the weights do not fit the network ({error}).") from error
    return network.eval().to(device.name, memory_format=torch.channels_last), card
