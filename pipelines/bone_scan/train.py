"""The training recipe of the bone-scan networks.

simulated patients (`dataset`, cached on disk) -> tiles (`sampling`) -> segmenter (Dice + cross-entropy) ->
classifier (binary cross-entropy), which starts from the segmenter's encoder -> its operating point -> weights and
model cards.

`paper` keeps the paper's settings (Adam, learning rate 0.01, batch 16; 60 epochs, which the paper does not state);
`default` uses AdamW at 1e-3 with a cosine schedule, because 0.01 with Adam is unstable here. Metrics in the cards
come from `evaluate`, never from training. Results of simulated patients say nothing about real ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from monai.losses import DiceCELoss
from torch import nn
from torch.nn import functional

from pipelines.bone_scan.dataset import DEFAULT_CACHE, build_cache, cache_folder, load_patients
from pipelines.bone_scan.levels import WINDOW_FACTORS
from pipelines.bone_scan.networks import (
    CLASSIFIER_NETWORK,
    CLASSIFIER_OUTPUTS,
    SEGMENTER_CLASSES,
    SEGMENTER_NETWORK,
    ResNetUNet,
    TileClassifier,
    start_from_encoder,
)
from pipelines.bone_scan.operating_point import TUNING_PATIENTS, set_operating_point
from pipelines.bone_scan.sampling import TileSampler
from pipelines.contract import ComputeOptions
from pipelines.contract.compute import prepare_process
from pipelines.contract.weights import ModelCard, save_model
from pipelines.training.loop import LoopSettings, Trainer

PAPER_BATCH = 16
DEFAULT_BATCH = 8
"""On a CPU, twice the steps on half the tiles learn more in the same time than the paper's batch of 16."""

TILES_PER_EPOCH = 4000
"""About 500 patients, two views, four tiles: what the paper calls an epoch."""

POSITIVE_WEIGHT = (1.0, 1.0)
"""Weights of a positive tile in the classifier's loss. The sampler already balances metastases; 1 keeps the
sigmoid's 0.5 at even odds among sampled tiles."""

TrainProgress = Callable[[float, str], None]


@dataclass(frozen=True)
class Preset:
    """Settings of both loops; steps are overridden by `train`'s argument."""

    segmenter: LoopSettings
    classifier: LoopSettings
    batch: int


_PAPER = LoopSettings(
    steps=60 * TILES_PER_EPOCH // PAPER_BATCH,
    optimiser="adam",
    learning_rate=0.01,
    schedule="constant",
    warmup=0,
    average=0.0,
)
_DEFAULT = LoopSettings(steps=4000, optimiser="adamw", learning_rate=1e-3, schedule="cosine", average=0.99)
PRESETS: Mapping[str, Preset] = {
    "paper": Preset(_PAPER, _PAPER, PAPER_BATCH),
    "default": Preset(_DEFAULT, replace(_DEFAULT, steps=1200, learning_rate=3e-4), DEFAULT_BATCH),
}


def segmenter_loss(network: nn.Module, batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """Dice of metastasis and bladder over the batch, plus cross-entropy of all three classes."""
    tiles, labels, _ = batch
    logits = network(tiles).float()
    loss = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True, batch=True)
    return loss(logits, labels[:, None])


def classifier_loss(network: nn.Module, batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """Binary cross-entropy of both labels."""
    tiles, _, targets = batch
    weight = torch.tensor(POSITIVE_WEIGHT, device=tiles.device)
    return functional.binary_cross_entropy_with_logits(network(tiles).float(), targets, pos_weight=weight)


def train(
    preset: str = "default",
    patients: int = 400,
    steps: int | None = None,
    out: Path = Path("weights"),
    seed: int = 0,
    progress: TrainProgress | None = None,
    *,
    classifier_steps: int | None = None,
    seconds: float = 0.0,
    classifier_seconds: float = 0.0,
    operating_patients: int = TUNING_PATIENTS,
    cache: Path = DEFAULT_CACHE,
    workers: int = 2,
    threads: int = 0,
    device: str = "auto",
) -> tuple[ModelCard, ModelCard]:
    """Train segmenter and classifier and write both with their cards.

    Parameters
    ----------
    preset : "default" or "paper". patients : simulated patients (seeds 0 to patients - 1) to learn from.
    steps : segmenter's steps, None for the preset's; classifier_steps likewise.
    out : folder of the weights; checkpoints go to `out`/runs, and a run found there is resumed.
    seconds, classifier_seconds : wall-clock limit per network, 0 for none; the schedule then follows the clock.
    operating_patients : patients on which the classifier's operating point is set, 0 to leave it as trained.
    cache : folder of simulated patients, filled if needed.

    Returns
    -------
    tuple
        Cards of the segmenter and the classifier, metrics still empty (see `evaluate.measure_into_cards`).

    Raises
    ------
    ValueError
        If the preset does not exist.
    """
    if preset not in PRESETS:
        raise ValueError(f"there is no training preset '{preset}'; known: {', '.join(PRESETS)}")
    chosen = PRESETS[preset]
    where = prepare_process(ComputeOptions(device=device, threads=threads)).name
    build_cache(cache, range(patients), "train", workers, _part(progress, 0.0, 0.1))
    held = load_patients(cache_folder(cache, "train"), range(patients))
    torch.manual_seed(seed)
    segmenter = ResNetUNet()
    settings = _limited(chosen.segmenter, steps, seconds)
    sampler = TileSampler(held, chosen.batch, seed)
    trained = _run(
        segmenter, settings, out / "runs" / "segmenter", sampler, segmenter_loss, progress, (0.1, 0.8), where
    )
    segmenter_card = save_model(
        segmenter.state_dict(), _segmenter_card(preset, settings, len(held), seed, trained), out
    )
    classifier = TileClassifier()
    start_from_encoder(classifier, segmenter)
    settings = _limited(chosen.classifier, classifier_steps, classifier_seconds)
    sampler = TileSampler(held, chosen.batch, seed + 1)
    trained = _run(
        classifier, settings, out / "runs" / "classifier", sampler, classifier_loss, progress, (0.8, 0.95), where
    )
    card = _classifier_card(preset, settings, len(held), seed, trained)
    card = save_model(classifier.state_dict(), card, out)
    if operating_patients:
        card = set_operating_point(out, operating_patients, _part(progress, 0.95, 1.0))
    return segmenter_card, card


def _run(
    network: nn.Module, settings: LoopSettings, folder: Path, sampler: TileSampler, loss: Any,
    progress: TrainProgress | None, span: tuple[float, float], device: str,
) -> int:  # fmt: skip
    """Train one network, leave the averaged weights in it (on the CPU), return the steps taken."""
    trainer = Trainer(network, settings, folder, device)
    trainer.resume()
    report = _part(progress, *span)

    def tell(step: int, value: float) -> None:
        if report is not None:
            report(min(step / settings.steps, 1.0), f"{folder.name}: step {step} of {settings.steps}, loss {value:.4f}")

    done = trainer.fit(iter(sampler), loss, tell)
    if settings.average:
        network.load_state_dict(trainer.averaged_state())
    network.to("cpu").eval()
    return done.step


def _limited(settings: LoopSettings, steps: int | None, seconds: float) -> LoopSettings:
    return replace(settings, steps=steps or settings.steps, seconds=seconds)


def _part(progress: TrainProgress | None, low: float, high: float) -> TrainProgress | None:
    if progress is None:
        return None
    return lambda share, message: progress(low + (high - low) * share, message)


_COMMON: dict[str, Any] = {
    "pipeline": "bone-scan",
    "simulated_only": True,
    "licence": "Apache-2.0",
    "intended_use": "Research only. Trained and measured on simulated patients; not for diagnosis.",
    "input": (
        "float32 (tile, 1, 256, 256): one view of a whole-body bone scan on the working grid (2.26 mm, 256 columns), "
        f"counts divided by {WINDOW_FACTORS[0]} or {WINDOW_FACTORS[1]} of the reference level, clipped to [0, 1], "
        "1 = hottest"
    ),
}


def _recipe(preset: str, settings: LoopSettings, loss: str) -> dict[str, Any]:
    return {"preset": preset, "batch": PRESETS[preset].batch, "loss": loss, **asdict(settings)}


def _segmenter_card(preset: str, settings: LoopSettings, patients: int, seed: int, steps: int) -> ModelCard:
    return ModelCard(
        name="bone-scan-segmenter",
        version=f"0.1.{steps}",
        network=SEGMENTER_NETWORK,
        outputs=SEGMENTER_CLASSES,
        training_data=_training_data(patients),
        recipe=_recipe(preset, settings, "Dice (metastasis, bladder) + cross-entropy"),
        seed=seed,
        steps=steps,
        **_COMMON,
    )


def _classifier_card(preset: str, settings: LoopSettings, patients: int, seed: int, steps: int) -> ModelCard:
    recipe = _recipe(preset, settings, "binary cross-entropy")
    return ModelCard(
        name="bone-scan-classifier",
        version=f"0.1.{steps}",
        network=CLASSIFIER_NETWORK,
        outputs=CLASSIFIER_OUTPUTS,
        training_data=_training_data(patients),
        recipe={**recipe, "start": "encoder of the segmenter"},
        seed=seed,
        steps=steps,
        **_COMMON,
    )


def _training_data(patients: int) -> str:
    return (
        f"simulated patients only: {patients} patients of pipelines.phantoms, preset train, seeds 0 to {patients - 1}"
    )
