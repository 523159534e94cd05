"""The training recipe of the bone-scan network.

simulated patients (`planar.dataset`, cached on disk) -> tiles (`sampling`) -> both heads at once: Dice + cross-entropy
of the worst pixels, binary cross-entropy of the tiles' labels -> operating point -> weights and model card.

`paper` keeps the paper's settings (Adam, learning rate 0.01, batch 16; 60 epochs, which the paper does not state);
`default` uses AdamW with a cosine schedule, because 0.01 with Adam is unstable here. Metrics in the card come from
`evaluate`, never from training. Results of simulated patients say nothing about real ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.losses import DiceLoss
from torch import nn
from torch.nn import functional

from pipelines.bone_scan.engine import MODEL, OUTPUTS, Engine
from pipelines.bone_scan.hard_places import row_errors
from pipelines.bone_scan.networks import CHANNELS, NETWORK, SMOOTHING, BoneScanNetwork
from pipelines.bone_scan.operating_point import TUNING_PATIENTS, set_operating_point
from pipelines.bone_scan.sampling import HARD_SHARE, TileSampler
from pipelines.contract import ComputeOptions
from pipelines.contract.compute import prepare_process
from pipelines.contract.weights import ModelCard, load_model, save_model
from pipelines.planar.dataset import DEFAULT_CACHE, TrainingPatient, build_cache, cache_folder, load_patients
from pipelines.planar.levels import LOG_TOP, WINDOW_FACTORS
from pipelines.training.cards import went_on_from
from pipelines.training.errors import remembered
from pipelines.training.loop import LoopSettings, Trainer
from pipelines.training.losses import mean_of_worst
from pipelines.training.widening import widened

PAPER_BATCH = 16
DEFAULT_BATCH = 8
"""On a CPU, twice the steps on half the tiles learn more in the same time than the paper's batch of 16."""

OPERATING_POINT = "operating-point"
FIRST_LAYER = "encoder.conv1.weight"

TILES_PER_EPOCH = 4000
"""About 500 patients, two views, four tiles: what the paper calls an epoch."""

TILE_WEIGHT = 0.5
"""Share of the tiles' labels in the loss: the pixels teach both heads, the labels only the head of their own."""

WORST_PIXELS = 0.02
"""Share of the batch's pixels whose cross-entropy counts: some times what metastases and bladder have of them."""

TrainProgress = Callable[[float, str], None]


@dataclass(frozen=True)
class Preset:
    """Settings of the loop; its steps are overridden by `train`'s argument."""

    loop: LoopSettings
    batch: int


PRESETS: Mapping[str, Preset] = {
    "paper": Preset(
        LoopSettings(
            steps=60 * TILES_PER_EPOCH // PAPER_BATCH,
            optimiser="adam",
            learning_rate=0.01,
            schedule="constant",
            warmup=0,
            average=0.0,
        ),
        PAPER_BATCH,
    ),
    "default": Preset(
        LoopSettings(steps=6000, optimiser="adamw", learning_rate=1e-3, schedule="cosine", average=0.995),
        DEFAULT_BATCH,
    ),
}


def joint_loss(network: nn.Module, batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """Dice of metastasis and bladder over the batch + cross-entropy of the worst pixels + that of tile labels."""
    tiles, labels, targets = batch
    pixels, names = network(tiles)
    pixels = pixels.float()
    outlines = DiceLoss(include_background=False, to_onehot_y=True, softmax=True, batch=True)
    loss: torch.Tensor = outlines(pixels, labels[:, None])
    loss = loss + mean_of_worst(functional.cross_entropy(pixels, labels, reduction="none"), WORST_PIXELS)
    return loss + TILE_WEIGHT * functional.binary_cross_entropy_with_logits(names.float(), targets)


def train(
    preset: str = "default",
    patients: int = 400,
    steps: int | None = None,
    out: Path = Path("weights"),
    seed: int = 0,
    progress: TrainProgress | None = None,
    *,
    start: Path | None = None,
    first: int = 0,
    only: str = "",
    seconds: float = 0.0,
    learning_rate: float | None = None,
    operating_patients: int = TUNING_PATIENTS,
    cache: Path = DEFAULT_CACHE,
    workers: int = 2,
    threads: int = 0,
    device: str = "auto",
) -> ModelCard:
    """Train the network and write it with its card.

    Parameters
    ----------
    preset : "default" or "paper". patients : simulated patients to learn from, seeds from `first` on.
    steps : None for the preset's. seconds : wall-clock limit, 0 for none; the schedule then follows the clock.
    out : folder of the weights; checkpoints go to `out`/run, and a run found there is resumed.
    start : folder of weights to go on from, None for random ones; half of the tiles then lie where they err
    (`hard_places`), for which `first` should be a patient that they have not seen.
    learning_rate : None for the preset's.
    only : "operating-point" to set that of the weights in `start` anew and train nothing, "" for both.
    operating_patients : patients on which the operating point is set, 0 to leave it as trained.
    cache : folder of simulated patients, filled if needed.

    Returns
    -------
    ModelCard
        Its metrics are still empty (see `evaluate.measure_into_cards`).

    Raises
    ------
    ValueError
        If the preset does not exist, `only` is unknown, or there are no weights to set the operating point of.
    WeightsError
        If `start` holds no usable weights.
    """
    if only not in ("", OPERATING_POINT):
        raise ValueError(f"only '{only}' is unknown; use {OPERATING_POINT}")
    if only:
        if start is None:
            raise ValueError(f"only {OPERATING_POINT} needs the folder of the weights to set it of")
        state, card = load_model(MODEL, [start])
        save_model(state, card, out)
        return set_operating_point(out, operating_patients, progress)
    if preset not in PRESETS:
        raise ValueError(f"there is no training preset '{preset}'; known: {', '.join(PRESETS)}")
    chosen = PRESETS[preset]
    where = prepare_process(ComputeOptions(device=device, threads=threads)).name
    torch.manual_seed(seed)
    network = BoneScanNetwork()
    before = None
    if start is not None:
        state, before = load_model(MODEL, [start])
        network.load_state_dict(widened(state, FIRST_LAYER, CHANNELS))
    seeds = range(first, first + patients)
    build_cache(cache, seeds, "train", workers, _part(progress, 0.0, 0.05))
    held = load_patients(cache_folder(cache, "train"), seeds)
    errors = None if start is None else _errors(start, held, out / "run", seeds, device, _part(progress, 0.05, 0.1))
    settings = replace(chosen.loop, steps=steps or chosen.loop.steps, seconds=seconds).on(where)
    if learning_rate is not None:
        settings = replace(settings, learning_rate=learning_rate)
    sampler = TileSampler(held, chosen.batch, seed, errors=errors)
    done = _run(network, settings, out / "run", sampler, _part(progress, 0.1, 0.9), where)
    card = _card(preset, settings, seeds, seed, done, before)
    card = save_model(network.state_dict(), card, out)
    if operating_patients:
        card = set_operating_point(out, operating_patients, _part(progress, 0.9, 1.0))
    return card


def _run(
    network: nn.Module, settings: LoopSettings, folder: Path, sampler: TileSampler, progress: TrainProgress | None,
    device: str,
) -> int:  # fmt: skip
    """Train, leave the averaged weights in the network (on the CPU), return the steps taken."""
    trainer = Trainer(network, settings, folder, device)
    trainer.resume()

    def tell(step: int, value: float) -> None:
        if progress is not None:
            progress(min(step / settings.steps, 1.0), f"step {step} of at most {settings.steps}, loss {value:.4f}")

    done = trainer.fit(iter(sampler), joint_loss, tell)
    if settings.average:
        network.load_state_dict(trainer.averaged_state())
    network.to("cpu").eval()
    return done.step


def _errors(
    start: Path, held: Sequence[TrainingPatient], folder: Path, seeds: range, device: str,
    progress: TrainProgress | None,
) -> list[np.ndarray]:  # fmt: skip
    """Where the weights to go on from err; kept beside the checkpoint, so that a resumed run need not look again."""

    def look() -> list[np.ndarray]:
        engine = Engine.load(ComputeOptions(device=device, weights_dir=start))
        return row_errors(engine, held, progress)

    return remembered(folder / f"errors-{seeds.start}-{seeds.stop}.safetensors", look)


def _part(progress: TrainProgress | None, low: float, high: float) -> TrainProgress | None:
    if progress is None:
        return None
    return lambda share, message: progress(low + (high - low) * share, message)


def _card(
    preset: str, settings: LoopSettings, patients: range, seed: int, steps: int, before: ModelCard | None
) -> ModelCard:
    recipe: dict[str, Any] = {
        "preset": preset,
        "batch": PRESETS[preset].batch,
        "loss": (
            f"Dice (metastasis, bladder) + cross-entropy of the worst {WORST_PIXELS:.0%} of the pixels + "
            f"{TILE_WEIGHT} x binary cross-entropy of the tiles"
        ),
        **asdict(settings),
    }
    if before is not None:
        recipe |= {"hard_share": HARD_SHARE, **went_on_from(before)}
    total = steps + (before.steps if before is not None else 0)
    return ModelCard(
        name=MODEL,
        version=f"0.2.{total}",
        pipeline="bone-scan",
        network=NETWORK,
        network_parameters={"channels": CHANNELS, "smoothing": SMOOTHING},
        input=(
            "float32 (tile, 6, 256, 256): one view of a whole-body bone scan on the working grid (2.26 mm, 256 "
            f"columns), counts divided by {WINDOW_FACTORS[0]} (channel 0) and {WINDOW_FACTORS[1]} (channel 1) of the "
            f"reference level, clipped to [0, 1], 1 = hottest; channel 2: log(1 + counts / reference) of up to "
            f"{LOG_TOP:g} times the reference, divided by its largest value; channels 3 to 5: the same of the opposite "
            "view, mirrored, 0 where there is none"
        ),
        outputs=OUTPUTS,
        training_data=(
            f"simulated patients only: {len(patients)} patients of pipelines.phantoms, preset train, seeds "
            f"{patients.start} to {patients.stop - 1}" + (f"; before: {before.training_data}" if before else "")
        ),
        simulated_only=True,
        recipe=recipe,
        seed=seed,
        steps=total,
        licence="Apache-2.0",
        intended_use="Research only. Trained and measured on simulated patients; not for diagnosis.",
    )
