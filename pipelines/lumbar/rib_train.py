"""The training recipe of the network that recognises ribs: simulated patients -> crops -> cross-entropy -> weights."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from pipelines.contract.weights import ModelCard, load_model, save_model
from pipelines.lumbar.dataset import Progress
from pipelines.lumbar.rib_crops import OFFSETS_MM, PIXEL_MM, SIZE
from pipelines.lumbar.rib_data import COUNTS, RibSampler, build_rib_cache
from pipelines.lumbar.rib_network import MODEL, NETWORK, OUTPUTS, WIDTHS, RibNetwork
from pipelines.training.loop import LoopSettings, Trainer

BATCH = 32
LOOP = LoopSettings(steps=3000, optimiser="adamw", learning_rate=1e-3, schedule="cosine", warmup=100, average=0.99)


def train_ribs(
    cache: Path,
    patients: int,
    out: Path,
    seed: int,
    device: str,
    *,
    looks: int = 2,
    start: Path | None = None,
    steps: int | None = None,
    seconds: float = 0.0,
    learning_rate: float | None = None,
    workers: int = 2,
    progress: Progress | None = None,
) -> ModelCard:
    """Train the network on `patients` simulated patients (seeds 0 to patients - 1) and write it with its card.

    A run found in `out`/runs is resumed. `start` : folder of weights to go on from, None for random ones.
    `seconds` : wall-clock limit, 0 for none.

    Raises
    ------
    WeightsError
        If `start` holds no usable weights.
    """
    folder = build_rib_cache(cache, range(patients), looks, "train", workers, progress)
    settings = replace(LOOP, steps=steps or LOOP.steps, seconds=seconds).on(device)
    if learning_rate is not None:
        settings = replace(settings, learning_rate=learning_rate)
    torch.manual_seed(seed)
    network = RibNetwork()
    recipe: dict[str, Any] = {"batch": BATCH, "looks": looks, "loss": "binary cross-entropy", **asdict(settings)}
    before = 0
    if start is not None:
        state, earlier = load_model(MODEL, [start])
        network.load_state_dict(state)
        before = earlier.steps
        recipe["start"] = {"version": earlier.version, "sha256": earlier.sha256, "recipe": earlier.recipe}
    trainer = Trainer(network, settings, out / "runs" / MODEL, device)
    drawn = trainer.progress.step if trainer.resume() else 0

    def tell(step: int, value: float) -> None:
        if progress is not None:
            share = step / settings.steps
            if settings.seconds:
                share = max(share, trainer.progress.elapsed_s / settings.seconds)
            progress(min(share, 1.0), f"ribs: step {step} of {settings.steps}, loss {value:.4f}")

    done = trainer.fit(iter(RibSampler(folder, BATCH, seed + drawn)), _loss, tell)
    card = ModelCard(
        name=MODEL,
        version=f"0.1.{before + done.step}",
        pipeline="lumbar",
        network=NETWORK,
        network_parameters={"widths": list(WIDTHS)},
        input=(
            f"float32 (n, 2, {len(OFFSETS_MM)}, {SIZE[0]}, {SIZE[1]}): sagittal planes of {PIXEL_MM} mm beside a "
            f"vertebral body, {OFFSETS_MM[0]:g} to {OFFSETS_MM[-1]:g} mm from its middle to the right and to the left, "
            "mean 0, standard deviation 1, 0 outside of the field of view"
        ),
        outputs=OUTPUTS,
        training_data=(
            f"simulated patients only: {patients} patients of pipelines.phantoms.lumbar, preset train, seeds 0 to "
            f"{patients - 1}, as many with {', '.join(map(str, COUNTS[:-1]))} and {COUNTS[-1]} lumbar vertebrae"
        ),
        simulated_only=True,
        recipe=recipe,
        seed=seed,
        steps=before + done.step,
        licence="Apache-2.0",
        intended_use="Research only. Trained and measured on simulated patients; not for diagnosis.",
    )
    return save_model(trainer.averaged_state(), card, out)


def _loss(network: nn.Module, batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
    planes, ribs = batch
    return functional.binary_cross_entropy_with_logits(network(planes).float(), ribs)
