"""Weights into the network their card names, checked and ready to run: the same for every pipeline.

`NetworkEngine` is what pipelines with one network derive theirs from. torch is imported inside the functions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pipelines.contract.compute import Device, prepare_process
from pipelines.contract.errors import WeightsError
from pipelines.contract.weights import ModelCard, load_model, weights_folders

if TYPE_CHECKING:
    from pipelines.contract.pipeline import ComputeOptions


class NetworkEngine:
    """A network with its card, loaded once per process; subclasses name it and ask it.

    Attributes
    ----------
    card, device, precision : what runs, where and how.
    """

    def __init__(self, network: Any, card: ModelCard, device: Device, precision: str) -> None:
        self._network = network
        self.card = card
        self.device = device
        self.precision = precision

    @classmethod
    def _load(
        cls,
        options: ComputeOptions,
        model: str,
        shipped: Path,
        network: str,
        outputs: Sequence[str],
        build: Callable[[dict[str, Any]], Any],
    ) -> Self:
        """Load a model, from the configured folder or the shipped one; `load_network` has the rest.

        Raises
        ------
        WeightsError
            If weights are missing, damaged or of another network.
        DeviceError
            If the configured device cannot be used.
        """
        device = prepare_process(options)
        built, card = load_network(
            model, weights_folders(options.weights_dir, shipped), network, outputs, build, device
        )
        return cls(built, card, device, options.precision)


def load_network(
    model: str,
    folders: Iterable[Path],
    network: str,
    outputs: Sequence[str],
    build: Callable[[dict[str, Any]], Any],
    device: Device,
) -> tuple[Any, ModelCard]:
    """Load a model into its network.

    Parameters
    ----------
    model : name of the model. folders : where it is looked for, in order.
    network, outputs : what this version can run; the card must name the same.
    build : makes the network (torch.nn.Module) of a card's `network_parameters`.

    Returns
    -------
    The network in evaluation mode on the device, channels last, and its card.

    Raises
    ------
    WeightsError
        If weights are missing, damaged or of another network.
    """
    import torch

    state, card = load_model(model, folders)
    if card.network != network or tuple(card.outputs) != tuple(outputs):
        raise WeightsError(
            f"{model} {card.version}: made for network '{card.network}' with outputs {', '.join(card.outputs)}; this "
            f"version runs '{network}' with {', '.join(outputs)}. Install weights made for it."
        )
    try:
        built = build(card.network_parameters)
        built.load_state_dict(state, strict=True)
    except (RuntimeError, TypeError, ValueError) as error:
        told = str(error).splitlines()
        # torch tells of every tensor that does not fit, which is all of them; the first says enough.
        why = " ".join(line.strip() for line in told[:2])
        raise WeightsError(f"{model} {card.version}: the weights do not fit the network ({why}).") from error
    volumes = any(tensor.ndim == 5 for tensor in state.values())
    form = torch.channels_last_3d if volumes else torch.channels_last
    return built.eval().to(device.name, memory_format=form), card
