"""Weights as data: a safetensors file and a model card beside it.

A model is two files of one stem in one folder: `NAME.safetensors` (matrices and kernels in fp16, vectors in fp32)
and `NAME.json`, its card. The card carries the SHA-256 of the weights; whoever loads a model checks it. Folders are
searched in order, so a site's own weights (`ComputeOptions.weights_dir`) hide the shipped ones of the same name.

Nothing here knows a network's architecture, downloads anything or reads a pickle. torch is imported only where
tensors are read or written.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipelines.contract.errors import WeightsError
from pipelines.contract.findings import ModelIdentity

if TYPE_CHECKING:
    import torch

WEIGHTS_SUFFIX = ".safetensors"
CARD_SUFFIX = ".json"
_CHUNK_BYTES = 1 << 20
READABLE = 0o644
"""safetensors writes files for their owner alone; who trains a model is rarely the user that serves it."""

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class ModelCard(BaseModel):
    """What a person has to know before trusting a set of weights, and what a program needs to load them.

    Attributes
    ----------
    name
        Stem of both files, for example "bone-scan-network"; also the key under which a pipeline asks for it.
    version
        Free text that changes with every training run.
    pipeline
        Name of the pipeline that uses the model.
    network, network_parameters
        Which architecture and with which arguments; the pipeline refuses a network that it cannot build.
    input, outputs
        The tensor expected (shape, units, preparation) in words, and the label of each output channel.
    training_data, simulated_only
        Where the patients came from. `simulated_only` puts the matching warning on every result.
    recipe, seed, steps
        Enough to train the same weights again.
    metrics
        As measured by the evaluation command, never written by hand.
    calibrated
        True only if the output probabilities were shown to match frequencies.
    sha256
        Of the weights file; empty in a card that was not saved yet.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    name: Name
    version: str = Field(min_length=1, max_length=64)
    pipeline: Name
    network: str = Field(min_length=1)
    network_parameters: dict[str, Any] = Field(default_factory=dict)
    input: str = Field(min_length=1)
    outputs: tuple[str, ...] = Field(min_length=1)
    training_data: str = Field(min_length=1)
    simulated_only: bool
    recipe: dict[str, Any] = Field(default_factory=dict)
    seed: int
    steps: int = Field(ge=0)
    metrics: dict[str, Any] = Field(default_factory=dict)
    calibrated: bool = False
    licence: str = Field(min_length=1)
    intended_use: str = Field(min_length=1)
    sha256: Sha256 | Literal[""] = ""

    @property
    def identity(self) -> ModelIdentity:
        """What travels with every result that the model took part in."""
        return ModelIdentity(self.name, self.version, self.sha256, self.training_data, self.simulated_only)


@dataclass(frozen=True)
class InstalledModel:
    """A model found in a folder. `card` is None where the card cannot be used, and `problem` says why.

    `hidden` is True where an earlier folder holds a model of the same name.
    """

    name: str
    card_path: Path
    weights_path: Path
    card: ModelCard | None
    hidden: bool = False
    problem: str = ""


def shipped_folders() -> list[Path]:
    """Return the `weights` folders of the pipelines installed beside this module, sorted."""
    root = Path(str(resources.files("pipelines")))
    return sorted(path for path in root.glob("*/weights") if path.is_dir())


def weights_folders(weights_dir: Path | None, shipped: Path | Iterable[Path]) -> list[Path]:
    """Return the folders to search, in order: the site's own first, then the shipped ones."""
    tail = [shipped] if isinstance(shipped, Path) else list(shipped)
    return ([weights_dir] if weights_dir is not None else []) + tail


def read_card(path: Path) -> ModelCard:
    """Read a model card.

    Raises
    ------
    WeightsError
        If the file cannot be read, is no card, or is named unlike the model.
    """
    try:
        card = ModelCard.model_validate_json(path.read_bytes())
    except OSError as error:
        raise WeightsError(f"{path}: the model card cannot be read ({error.strerror}).") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise WeightsError(f"{path}: not a usable model card; {where}: {first['msg']}.") from error
    if card.name != path.stem:
        raise WeightsError(f"{path}: the card is of model '{card.name}'; rename the two files or correct the card.")
    return card


def find_models(folders: Iterable[Path]) -> list[InstalledModel]:
    """List every model card in the folders, in search order, broken ones included. Reads no weights."""
    models: list[InstalledModel] = []
    seen: set[str] = set()
    for folder in folders:
        for path in sorted(folder.glob(f"*{CARD_SUFFIX}")):
            card, problem = None, ""
            try:
                card = read_card(path)
            except WeightsError as error:
                problem = str(error)
            models.append(
                InstalledModel(path.stem, path, path.with_suffix(WEIGHTS_SUFFIX), card, path.stem in seen, problem)
            )
            seen.add(path.stem)
    return models


def verify(model: InstalledModel) -> None:
    """Check that the weights file is there and is the one its card was written for.

    Raises
    ------
    WeightsError
        If the card is unusable, the weights are missing, or the SHA-256 differs.
    """
    if model.card is None:
        raise WeightsError(model.problem)
    _check_digest(model.weights_path, model.card, file_sha256(model.weights_path))


def install(source: Path, folder: Path) -> InstalledModel:
    """Copy a model into a folder of weights, after verifying it.

    Parameters
    ----------
    source
        The card, the weights file, or a folder that holds exactly one model.
    folder
        Created where missing. A model of the same name is replaced; the card is moved into place last, so a
        reader in between sees either a matching pair or a mismatch that `verify` names.

    Raises
    ------
    WeightsError
        If the source holds no model or more than one, or does not verify.
    """
    card_path = _card_of(source)
    card = read_card(card_path)
    verify(InstalledModel(card.name, card_path, card_path.with_suffix(WEIGHTS_SUFFIX), card))
    folder.mkdir(parents=True, exist_ok=True)
    for suffix in (WEIGHTS_SUFFIX, CARD_SUFFIX):
        target = folder / f"{card.name}{suffix}"
        partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
        shutil.copyfile(card_path.with_suffix(suffix), partial)
        partial.replace(target)
    return InstalledModel(
        card.name, folder / f"{card.name}{CARD_SUFFIX}", folder / f"{card.name}{WEIGHTS_SUFFIX}", card
    )


def save_model(state_dict: Mapping[str, torch.Tensor], card: ModelCard, folder: Path) -> ModelCard:
    """Write weights and card; return the card as written, with its SHA-256.

    Tensors of two or more dimensions are stored as fp16; vectors (biases, normalisation statistics, whose range
    fp16 does not always hold and whose size is negligible) keep fp32; integers stay as they are.

    Raises
    ------
    WeightsError
        If a tensor is not finite, or becomes so in fp16.
    """
    import torch
    from safetensors.torch import save_file

    stored = {}
    for key, tensor in state_dict.items():
        value = tensor.detach().cpu().contiguous()
        if value.is_floating_point():
            value = value.to(torch.float16 if value.ndim >= 2 else torch.float32)
            if not bool(torch.isfinite(value).all()):
                raise WeightsError(f"{card.name}: tensor '{key}' is not finite in the precision stored.")
        stored[key] = value.clone()
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{card.name}{WEIGHTS_SUFFIX}"
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    save_file(stored, partial, metadata={"format": "pt"})
    partial.chmod(READABLE)
    written = card.model_copy(update={"sha256": file_sha256(partial)})
    partial.replace(target)
    card_path = folder / f"{card.name}{CARD_SUFFIX}"
    partial_card = card_path.with_name(f".{card_path.name}.{os.getpid()}.partial")
    partial_card.write_text(written.model_dump_json(indent=2) + "\n", encoding="utf-8")
    partial_card.replace(card_path)
    return written


def load_model(name: str, folders: Iterable[Path]) -> tuple[dict[str, torch.Tensor], ModelCard]:
    """Load the first model of that name: its tensors on the CPU, floats as fp32, and its card.

    The bytes that were hashed are the bytes that are parsed.

    Raises
    ------
    WeightsError
        If no folder holds the model, the card is unusable, the SHA-256 differs or the file is damaged.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load

    searched = list(folders)
    model = next((m for m in find_models(searched) if m.name == name and not m.hidden), None)
    if model is None:
        places = ", ".join(str(folder) for folder in searched) or "no folder"
        raise WeightsError(
            f"no weights named '{name}' in {places}; install them with `osteon models install` or train them."
        )
    if model.card is None:
        raise WeightsError(model.problem)
    try:
        raw = model.weights_path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{model.weights_path}: the weights cannot be read ({error.strerror}).") from error
    _check_digest(model.weights_path, model.card, hashlib.sha256(raw).hexdigest())
    try:
        stored = load(raw)
    except SafetensorError as error:
        raise WeightsError(f"{model.weights_path}: not a safetensors file ({error}).") from error
    state = {key: value.to(torch.float32) if value.is_floating_point() else value for key, value in stored.items()}
    return state, model.card


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal.

    Raises
    ------
    WeightsError
        If the file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                digest.update(chunk)
    except OSError as error:
        raise WeightsError(f"{path}: the weights cannot be read ({error.strerror}).") from error
    return digest.hexdigest()


def _check_digest(path: Path, card: ModelCard, found: str) -> None:
    if found != card.sha256:
        raise WeightsError(
            f"{path}: the SHA-256 is {found[:12]}..., but the card says {card.sha256[:12] or 'nothing'}...; "
            "the file is damaged or belongs to another card: install the model again."
        )


def _card_of(source: Path) -> Path:
    if source.is_dir():
        cards = sorted(source.glob(f"*{CARD_SUFFIX}"))
        if len(cards) != 1:
            raise WeightsError(f"{source}: holds {len(cards)} model cards; name the one to install.")
        return cards[0]
    if source.suffix not in (WEIGHTS_SUFFIX, CARD_SUFFIX):
        raise WeightsError(f"{source}: neither a model card ({CARD_SUFFIX}) nor weights ({WEIGHTS_SUFFIX}).")
    return source.with_suffix(CARD_SUFFIX)
