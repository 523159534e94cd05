"""The two networks at work: tiles in, probabilities out, on whichever device was configured.

weights (`pipelines.contract.weights`) -> networks (`networks`) -> `classify` and `segment` on batches of tiles. The
rest of the pipeline sees numpy arrays only. torch is imported inside; this module may be imported by anyone.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.bone_scan.tiles import TILE_PIXELS
from pipelines.contract import ComputeOptions, WeightsError
from pipelines.contract.compute import Device, prepare_process
from pipelines.contract.weights import ModelCard, load_model, weights_folders

CLASSIFIER = "bone-scan-classifier"
SEGMENTER = "bone-scan-segmenter"
SHIPPED_WEIGHTS = Path(__file__).parent / "weights"

BATCH_CPU = 4
"""Tiles at once on a CPU: enough for all cores, few enough that activations stay in the cache's reach."""

BATCH_CUDA = 32

LABELS = ("metastasis", "bladder")
CLASSES = ("background", "metastasis", "bladder")


class Engine:
    """Classifier and segmenter, loaded once per process."""

    def __init__(self, classifier: Any, segmenter: Any, cards: tuple[ModelCard, ...], device: Device, precision: str):
        self._classifier = classifier
        self._segmenter = segmenter
        self.cards = cards
        self.device = device
        self.precision = precision

    @classmethod
    def load(cls, options: ComputeOptions) -> Engine:
        """Load both networks.

        Raises
        ------
        WeightsError
            If weights are missing, damaged or of another network.
        DeviceError
            If the configured device cannot be used.
        """
        device = prepare_process(options)
        from pipelines.bone_scan import networks

        folders = weights_folders(options.weights_dir, SHIPPED_WEIGHTS)
        classifier, classifier_card = _build(
            CLASSIFIER, folders, {networks.CLASSIFIER_NETWORK: networks.TileClassifier}, LABELS, device
        )
        segmenter, segmenter_card = _build(
            SEGMENTER, folders, {networks.SEGMENTER_NETWORK: networks.ResNetUNet}, CLASSES, device
        )
        return cls(classifier, segmenter, (classifier_card, segmenter_card), device, options.precision)

    def classify(self, tiles: np.ndarray) -> np.ndarray:
        """Return the probabilities of `LABELS`.

        Parameters
        ----------
        tiles
            float32 in [0, 1], (tile, 256, 256), 1 is hot.

        Returns
        -------
        numpy.ndarray
            float32, (tile, 2).
        """
        return self._apply(self._classifier, tiles, (len(LABELS),), lambda logits: logits.sigmoid())

    def segment(self, tiles: np.ndarray) -> np.ndarray:
        """Return the probabilities of the exclusive `CLASSES`, float32, (tile, 3, 256, 256)."""
        shape = (len(CLASSES), TILE_PIXELS, TILE_PIXELS)
        return self._apply(self._segmenter, tiles, shape, lambda logits: logits.softmax(dim=1))

    def _apply(self, network: Any, tiles: np.ndarray, shape: tuple[int, ...], activation: Any) -> np.ndarray:
        import torch

        out = np.empty((len(tiles), *shape), dtype=np.float32)
        size = BATCH_CUDA if self.device.is_cuda else BATCH_CPU
        with torch.inference_mode(), self._autocast():
            for first in range(0, len(tiles), size):
                batch = torch.from_numpy(np.ascontiguousarray(tiles[first : first + size], dtype=np.float32))[:, None]
                batch = batch.to(self.device.name).contiguous(memory_format=torch.channels_last)
                # The activation is taken in fp32: bf16 has three digits, too few for a probability near 0 or 1.
                out[first : first + size] = activation(network(batch).float()).cpu().numpy()
        return out

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.precision != "bf16":
            return nullcontext()
        import torch

        return torch.autocast("cuda" if self.device.is_cuda else "cpu", dtype=torch.bfloat16)


def _build(
    name: str, folders: list[Path], builders: dict[str, Any], outputs: tuple[str, ...], device: Device
) -> tuple[Any, ModelCard]:
    """Load one model's weights into the network that its card names."""
    import torch

    state, card = load_model(name, folders)
    if card.network not in builders or card.outputs != outputs:
        raise WeightsError(
            f"{name} {card.version}: made for network '{card.network}' with outputs {', '.join(card.outputs)}; this "
            f"version needs {' or '.join(builders)} with {', '.join(outputs)}. Install matching weights."
        )
    try:
        network = builders[card.network](**card.network_parameters)
        network.load_state_dict(state, strict=True)
    except (RuntimeError, TypeError) as error:
        raise WeightsError(f"{name} {card.version}: the weights do not fit the network ({error}).") from error
    return network.eval().to(device.name, memory_format=torch.channels_last), card
