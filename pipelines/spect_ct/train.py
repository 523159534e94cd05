"""The training recipe: one network of two channels, each modality alone first, then fine-tuned on pairs.

simulated patients (`dataset`, cached on disk) -> crops (`sampling`) -> Dice -> weights and model card.

Transfer learning as the paper has it (pretrained on CT and on SPECT, fine-tuned on fused images), in one network: the
"single" stage shows samples (SPECT, 0) and (0, CT), the "fused" stage pairs, and each alone nearly as often, so
that one set of weights serves all three uses. `transfer=False` trains on the fused stage's samples from the start, for
as many steps in all: what the comparison needs. Training that goes on from weights has the fused stage alone, and half
of its crops lie where they err (`hard_places`).

`paper` keeps what the paper states (Dice, Adam at 1e-4, 256 x 256) and what it leaves open as models of its kind have
it (batch 16, 100 epochs). `default` is for two CPU cores: crops of 128 x 128, which cost a quarter, AdamW at 1.5e-3
with a cosine schedule (1e-4 from random weights learns too little in so few steps), a moving average of the weights,
and the cross-entropy of the worst pixels beside Dice, which alone says nothing about slices without a lesion. Metrics
in the card come from `evaluate`, never from training. Results of simulated patients say nothing about real ones.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.losses import DiceLoss
from torch import nn
from torch.nn import functional

from pipelines.contract import ComputeOptions
from pipelines.contract.compute import prepare_process
from pipelines.contract.weights import ModelCard, load_model, save_model
from pipelines.spect_ct.dataset import (
    DEFAULT_CACHE,
    CachedPatient,
    build_cache,
    cache_folder,
    cached_seeds,
    read_patient,
)
from pipelines.spect_ct.engine import MODEL, LesionEngine
from pipelines.spect_ct.hard_places import Errors, missed_lesions, slice_errors
from pipelines.spect_ct.networks import NETWORK, OUTPUTS, MTUNet, NetworkSettings
from pipelines.spect_ct.sampling import (
    FOUND_WEIGHT,
    FUSED_MIX,
    HARD_SHARE,
    PAPER_SAMPLES,
    SINGLE_MIX,
    CropSampler,
    SampleSettings,
)
from pipelines.training.cards import went_on_from
from pipelines.training.errors import remembered
from pipelines.training.loop import LoopSettings, Trainer
from pipelines.training.losses import mean_of_worst
from pipelines.training.widening import widened

ONLY = ("cache", "network")
PAPER_PATIENTS, PAPER_BATCH, PAPER_EPOCHS, SLICES_PER_EPOCH = 93, 16, 100, 184
FIRST_LAYER = "stem.0.weight"
SINGLE_SHARE = 0.45
"""Share of the steps (or of the clock) that single modalities get."""

SMOOTH_PIXELS = 5.0
"""Added above and below in Dice: a sample without a lesion then asks for nothing marked, not for the impossible."""

WORST_PIXELS = 0.05
"""Share of a batch's pixels whose cross-entropy counts: a few times what lesions have of the crops."""

TrainProgress = Callable[[float, str], None]
Look = Callable[[LesionEngine, Sequence[CachedPatient], TrainProgress | None], list[np.ndarray]]


@dataclass(frozen=True)
class Preset:
    """Settings of a recipe; `loop.steps` are those of both stages together."""

    loop: LoopSettings
    samples: SampleSettings
    batch: int
    fine_tune_rate: float
    cross_entropy: float


PRESETS: Mapping[str, Preset] = {
    "paper": Preset(
        LoopSettings(
            steps=2 * PAPER_EPOCHS * SLICES_PER_EPOCH // PAPER_BATCH,
            optimiser="adam",
            learning_rate=1e-4,
            schedule="constant",
            warmup=0,
            average=0.0,
        ),
        PAPER_SAMPLES,
        PAPER_BATCH,
        1e-4,
        0.0,
    ),
    "default": Preset(
        LoopSettings(steps=3000, optimiser="adamw", learning_rate=1.5e-3, schedule="cosine", warmup=20, average=0.98),
        SampleSettings(),
        8,
        7e-4,
        1.0,
    ),
}


def lesion_loss(cross_entropy: float) -> Callable[[nn.Module, tuple[torch.Tensor, ...]], torch.Tensor]:
    """Return Dice, mean over the samples, plus so much of the worst pixels' cross-entropy."""
    dice = DiceLoss(sigmoid=True, smooth_nr=SMOOTH_PIXELS, smooth_dr=SMOOTH_PIXELS)

    def loss(network: nn.Module, batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
        images, truth = batch
        logits = network(images).float()
        value: torch.Tensor = dice(logits, truth)
        if cross_entropy:
            pixels = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
            value = value + cross_entropy * mean_of_worst(pixels, WORST_PIXELS)
        return value

    return loss


def train(
    preset: str = "default",
    patients: int = 100,
    steps: int | None = None,
    out: Path = Path("weights"),
    seed: int = 0,
    progress: TrainProgress | None = None,
    *,
    only: str = "",
    seconds: float = 0.0,
    start: Path | None = None,
    first: int = 0,
    learning_rate: float | None = None,
    transfer: bool = True,
    cache: Path = DEFAULT_CACHE,
    workers: int = 2,
    threads: int = 0,
    device: str = "auto",
) -> tuple[ModelCard, ...]:
    """Train the network and write it with its card.

    Parameters
    ----------
    preset : "default" or "paper". patients : simulated patients to learn from, seeds from `first` on.
    steps : of both stages together, None for the preset's. seconds : wall-clock limit in all, 0 for none; the schedule
        then follows the clock.
    out : folder of the weights; checkpoints go to `out`/runs, and a run found there is resumed.
    only : "cache" to simulate the patients and stop, "network" to train on what the cache holds of them, "" for both.
    start : folder of weights to go on from (of weights that see one slice the network learns to see more), None for
        random ones; half of the crops then lie where they err, for which `first` should be a patient that they have
        not seen.
    learning_rate : None for the preset's. transfer : False to begin with pairs at once.

    Returns
    -------
    tuple
        The card, metrics still empty (see `evaluate.measure_into_cards`); empty after `only="cache"`.

    Raises
    ------
    ValueError
        If the preset or `only` is unknown.
    FileNotFoundError
        If `only` is "network" and the cache holds none of the patients.
    WeightsError
        If `start` holds no usable weights.
    """
    if preset not in PRESETS:
        raise ValueError(f"there is no training preset '{preset}'; known: {', '.join(PRESETS)}")
    if only and only not in ONLY:
        raise ValueError(f"only '{only}' is unknown; use {', '.join(ONLY)}")
    where = prepare_process(ComputeOptions(device=device, threads=threads)).name
    folder = cache_folder(cache, "train")
    if only != "network":
        build_cache(cache, range(first, first + patients), "train", workers, _part(progress, 0.0, 0.1))
    if only == "cache":
        return ()
    seeds = [one for one in cached_seeds(folder) if first <= one < first + patients]
    settings = PRESETS[preset]
    loop = replace(settings.loop, steps=steps or settings.loop.steps, seconds=seconds).on(where)
    torch.manual_seed(seed)
    network = MTUNet(NetworkSettings(slices=settings.samples.slices))
    before, errors, begun = None, None, 0.1
    if start is not None:
        state, before = load_model(MODEL, [start])
        network.load_state_dict(widened(state, FIRST_LAYER, network.channels))
        transfer = False
        loop = replace(loop, learning_rate=settings.fine_tune_rate)
        begun = 0.15
        errors = _errors(start, folder, seeds, out / "runs", where, _part(progress, 0.1, begun))
    if learning_rate is not None:
        loop = replace(loop, learning_rate=learning_rate)
    settings = replace(settings, loop=loop)
    taken = fit_stages(network, folder, seeds, settings, out / "runs", seed, transfer, where,
                       _part(progress, begun, 1.0), errors)  # fmt: skip
    card = _card(preset, settings.loop, network, seeds, seed, taken, transfer, before)
    return (save_model(network.state_dict(), card, out),)


def fit_stages(
    network: nn.Module,
    folder: Path,
    seeds: Sequence[int],
    settings: Preset,
    runs: Path,
    seed: int,
    transfer: bool = True,
    device: str = "cpu",
    progress: TrainProgress | None = None,
    errors: Errors | None = None,
) -> int:
    """Train any network of the samples' channels and one logit by the recipe; return the steps taken.

    `errors`: as `CropSampler` has them.

    The network holds the weights to keep afterwards (the moving average where there is one).
    """
    share = SINGLE_SHARE if transfer else 0.0
    plans = [("single", SINGLE_MIX, share, settings.loop.learning_rate)] if transfer else []
    rate = settings.fine_tune_rate if transfer else settings.loop.learning_rate
    plans.append(("fused", FUSED_MIX, 1 - share, rate))
    loss, steps, begun = lesion_loss(settings.cross_entropy), 0, 0.0
    for number, (stage, mix, part, rate) in enumerate(plans):
        loop = replace(
            settings.loop,
            steps=max(1, round(settings.loop.steps * part)),
            seconds=settings.loop.seconds * part,
            learning_rate=rate,
        )
        trainer = Trainer(network, loop, runs / stage, device)
        drawn = trainer.progress.step if trainer.resume() else 0
        # A run that is taken up again goes on with other samples than it began with.
        sampler = CropSampler(folder, seeds, mix, settings.samples, settings.batch, seed + 1000 * number + drawn,
                              errors)  # fmt: skip
        done = trainer.fit(iter(sampler), loss, _teller(progress, stage, loop, trainer, begun, part))
        if loop.average:
            network.load_state_dict(trainer.averaged_state())
        steps, begun = steps + done.step, begun + part
    return steps


def _errors(
    start: Path, folder: Path, seeds: Sequence[int], runs: Path, device: str, progress: TrainProgress | None
) -> Errors:
    """What the weights to go on from get wrong; kept beside the checkpoint: a resumed run need not look again."""

    @functools.cache
    def engine() -> LesionEngine:
        return LesionEngine.load(ComputeOptions(device=device, weights_dir=start))

    def look(at: Look, low: float, high: float) -> Callable[[], list[np.ndarray]]:
        return lambda: at(engine(), [read_patient(folder, one) for one in seeds], _part(progress, low, high))

    name = f"{min(seeds, default=0)}-{len(seeds)}.safetensors"
    return Errors(
        places=remembered(runs / f"errors-{name}", look(slice_errors, 0.0, 0.7)),
        missed=remembered(runs / f"missed-{name}", look(missed_lesions, 0.7, 1.0)),
    )


def _teller(
    progress: TrainProgress | None, stage: str, loop: LoopSettings, trainer: Trainer, begun: float, part: float
) -> Callable[[int, float], None]:
    def tell(step: int, value: float) -> None:
        if progress is not None:
            done = step / loop.steps
            if loop.seconds:
                done = max(done, trainer.progress.elapsed_s / loop.seconds)
            progress(begun + part * min(done, 1.0), f"{stage}: step {step} of {loop.steps}, loss {value:.4f}")

    return tell


def _card(
    preset: str, loop: LoopSettings, network: MTUNet, seeds: Sequence[int], seed: int, taken: int, transfer: bool,
    before: ModelCard | None,
) -> ModelCard:  # fmt: skip
    settings, steps = PRESETS[preset], taken + (before.steps if before is not None else 0)
    recipe: dict[str, Any] = {
        "preset": preset,
        "batch": settings.batch,
        "loss": f"Dice + {settings.cross_entropy:g} x cross-entropy of the worst {WORST_PIXELS:.0%} of the pixels",
        "transfer": transfer,
        "stages": {"single": dict(SINGLE_MIX), "fused": dict(FUSED_MIX)} if transfer else {"fused": dict(FUSED_MIX)},
        "fine_tune_rate": settings.fine_tune_rate,
        "samples": asdict(settings.samples),
        **asdict(loop),
        **({"hard_share": HARD_SHARE, "found_weight": FOUND_WEIGHT} if before is not None else {}),
        **went_on_from(before),
    }
    return ModelCard(
        name=MODEL,
        version=f"0.1.{steps}",
        pipeline="spect-ct",
        network=NETWORK,
        network_parameters=network.settings.to_card(),
        input=(
            f"float32 (n, {network.channels}, rows, columns), sides multiples of 16: axial slices of about 3 mm at "
            "1 x 1 mm, channels SPECT (z-scored, asinh) and CT (-700 to 800 HU, z-scored), a missing one 0"
            + ("; then those of the slice below and of the one above" if network.settings.slices > 1 else "")
        ),
        outputs=OUTPUTS,
        training_data=(
            f"simulated patients only: {len(seeds)} patients of pipelines.phantoms.spect_ct, preset train, seeds "
            f"{min(seeds)} to {max(seeds)}" + (f"; before: {before.training_data}" if before else "")
        ),
        simulated_only=True,
        recipe=recipe,
        seed=seed,
        steps=steps,
        licence="Apache-2.0",
        intended_use="Research only. Trained and measured on simulated patients; not for diagnosis.",
    )


def _part(progress: TrainProgress | None, low: float, high: float) -> TrainProgress | None:
    if progress is None:
        return None
    return lambda share, message: progress(low + (high - low) * share, message)
