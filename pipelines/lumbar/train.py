"""The training recipe of both networks of the cascade; the one of the network for ribs is `rib_train`.

simulated patients (`dataset`, cached on disk) -> augmented samples (`sampling`) -> Dice + cross-entropy -> weights and
model cards. The networks do not depend on each other (the fine one learns on boxes about the truth, with margins that
vary), so each can be trained alone, on another day or machine.

`paper` keeps what the paper states (Adam at 1e-4, batch 5, 400 epochs of 57 series, whole canonical volumes, the
original network); `default` is what two CPU cores can afford (narrower networks, parts of volumes, AdamW with a cosine
schedule, moving average). The loss is not stated in the paper. Metrics in the cards come from `evaluate`, never from
training. Results of simulated patients say nothing about real ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from pipelines.contract import ComputeOptions, WeightsError
from pipelines.contract.compute import prepare_process
from pipelines.contract.weights import ModelCard, load_model, save_model
from pipelines.lumbar.classes import CLASSES
from pipelines.lumbar.dataset import DEFAULT_CACHE, PIXEL_MM, build_cache, cache_folder, cached_paths
from pipelines.lumbar.networks import COARSE_NETWORK, FINE_NETWORK, NETWORK, PAPER_NETWORK, NetworkSettings, UNet3d
from pipelines.lumbar.rib_train import train_ribs
from pipelines.lumbar.sampling import COARSE_SAMPLING, FINE_SAMPLING, StageSampling, VolumeSampler, whole
from pipelines.training.cards import went_on_from
from pipelines.training.loop import LoopSettings, Trainer

COARSE, FINE = "lumbar-coarse", "lumbar-fine"
STAGES = {"coarse": COARSE, "fine": FINE}
RIBS = "ribs"
ONLY = ("cache", *STAGES, RIBS)

PAPER_STEPS = 57 * 400 // 5
LOOKS = 3
SHARES = {"coarse": 0.2, "fine": 0.7, RIBS: 0.1}
"""Shares of a wall-clock limit where all networks are trained: the coarse one only has to find the spine."""

TrainProgress = Callable[[float, str], None]


@dataclass(frozen=True)
class Preset:
    """Settings of both loops; steps are overridden by `train`'s argument."""

    coarse_network: NetworkSettings
    fine_network: NetworkSettings
    coarse: LoopSettings
    fine: LoopSettings
    batch: int
    parts: bool


_PAPER = LoopSettings(
    steps=PAPER_STEPS, optimiser="adam", learning_rate=1e-4, schedule="constant", warmup=0, average=0.0
)
_DEFAULT = LoopSettings(steps=6000, optimiser="adamw", learning_rate=1e-3, schedule="cosine", warmup=100, average=0.995)
PRESETS: Mapping[str, Preset] = {
    "paper": Preset(PAPER_NETWORK, PAPER_NETWORK, _PAPER, _PAPER, batch=5, parts=False),
    "default": Preset(COARSE_NETWORK, FINE_NETWORK, replace(_DEFAULT, steps=2000), _DEFAULT, batch=1, parts=True),
}


def segmentation_loss(network: nn.Module, batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """Dice over the batch, mean over the structures that it holds, plus cross-entropy of all seven classes.

    Structures that a batch lacks are left to the cross-entropy. A part of a volume often lacks some, and the usual
    smoothed Dice then rewards nothing but driving a class to 1e-7 and below everywhere: it never comes back (measured:
    after 2,000 steps no voxel was called sacrum).
    """
    volumes, labels = batch
    logits = network(volumes).float()
    truth = functional.one_hot(labels, len(CLASSES)).movedim(-1, 1)[:, 1:].float()
    shares = logits.softmax(1)[:, 1:]
    space = (0, 2, 3, 4)
    held = truth.sum(space)
    dice = 2 * (shares * truth).sum(space) / (shares.sum(space) + held).clamp(min=1.0)
    present = (held > 0).float()
    missing = ((1 - dice) * present).sum() / present.sum().clamp(min=1.0)
    return missing + functional.cross_entropy(logits, labels)


def train(
    preset: str = "default",
    patients: int = 300,
    steps: int | None = None,
    out: Path = Path("weights"),
    seed: int = 0,
    progress: TrainProgress | None = None,
    *,
    start: Path | None = None,
    only: str = "",
    seconds: float = 0.0,
    learning_rate: float | None = None,
    looks: int = LOOKS,
    cache: Path = DEFAULT_CACHE,
    workers: int = 2,
    threads: int = 0,
    device: str = "auto",
) -> tuple[ModelCard, ...]:
    """Train the networks and write each with its card.

    Parameters
    ----------
    preset : "default" or "paper". patients : simulated patients (seeds 0 to patients - 1) to learn from.
    steps : of each network, None for the preset's.
    out : folder of the weights; checkpoints go to `out`/runs, and a run found there is resumed.
    start : folder of weights to go on from, None for random ones.
    only : "coarse", "fine" or "ribs" for one network, "cache" to simulate the patients and stop, "" for all. Coarse or
        fine network alone take what the cache holds of the patients, and what another process adds while they learn;
        the cache is filled first only if it holds none.
    seconds : wall-clock limit in all, 0 for none; the schedule then follows the clock.
    learning_rate : None for the preset's.
    looks : scans of each simulated patient. cache : folder of simulated patients.

    Returns
    -------
    tuple
        Cards of the trained networks, metrics still empty (see `evaluate.measure_into_cards`).

    Raises
    ------
    ValueError
        If the preset does not exist, or `only` is unknown.
    WeightsError
        If `start` holds no usable weights.
    """
    if preset not in PRESETS:
        raise ValueError(f"there is no training preset '{preset}'; known: {', '.join(PRESETS)}")
    if only and only not in ONLY:
        raise ValueError(f"only '{only}' is unknown; use {', '.join(ONLY)}")
    where = prepare_process(ComputeOptions(device=device, threads=threads)).name
    folder = _simulated(cache, patients, looks, workers, only, _part(progress, 0.0, 0.1))
    stages = [name for name in SHARES if only in ("", name)]
    cards = []
    for number, stage in enumerate(stages):
        limit = seconds * (SHARES[stage] if len(stages) > 1 else 1.0)
        tell = _part(progress, 0.1 + 0.9 * number / len(stages), 0.1 + 0.9 * (number + 1) / len(stages))
        if stage == RIBS:
            card = train_ribs(
                cache, patients, out, seed + number, where,
                start=start, steps=steps, seconds=limit, learning_rate=learning_rate, workers=workers, progress=tell,
            )  # fmt: skip
            cards.append(card)
        else:
            run = _Run(preset, stage, steps, limit, range(patients), seed + number, where, start, learning_rate)
            cards.append(run.train(folder, out, tell))
    return tuple(cards)


@dataclass(frozen=True)
class _Run:
    """One network's training."""

    preset: str
    stage: str
    steps: int | None
    seconds: float
    seeds: range
    seed: int
    device: str
    start: Path | None
    learning_rate: float | None

    @property
    def settings(self) -> LoopSettings:
        held: LoopSettings = getattr(PRESETS[self.preset], self.stage)
        rate = held.learning_rate if self.learning_rate is None else self.learning_rate
        chosen = replace(held, steps=self.steps or held.steps, seconds=self.seconds, learning_rate=rate)
        return chosen.on(self.device)

    @property
    def network(self) -> NetworkSettings:
        held: NetworkSettings = getattr(PRESETS[self.preset], f"{self.stage}_network")
        return held

    @property
    def sampling(self) -> StageSampling:
        stage = {"coarse": COARSE_SAMPLING, "fine": FINE_SAMPLING}[self.stage]
        return stage if PRESETS[self.preset].parts else whole(stage)

    def train(self, folder: Path, out: Path, report: TrainProgress | None) -> ModelCard:
        """Train, leave a checkpoint in `out`/runs, write weights (the moving average) and card to `out`."""
        torch.manual_seed(self.seed)
        settings = self.settings
        network = UNet3d(self.network)
        before = self._begin(network)
        trainer = Trainer(network, settings, out / "runs" / STAGES[self.stage], self.device)
        # A run that is taken up again goes on with other samples than it began with.
        drawn = trainer.progress.step if trainer.resume() else 0
        sampler = VolumeSampler(folder, self.seeds, self.sampling, PRESETS[self.preset].batch, self.seed + drawn)

        def tell(step: int, value: float) -> None:
            if report is not None:
                done = step / settings.steps
                if settings.seconds:
                    done = max(done, trainer.progress.elapsed_s / settings.seconds)
                report(min(done, 1.0), f"{self.stage}: step {step} of {settings.steps}, loss {value:.4f}")

        done = trainer.fit(iter(sampler), segmentation_loss, tell)
        state = trainer.averaged_state() if settings.average else network.state_dict()
        return save_model(state, self._card(done.step, sampler.patients, before), out)

    def _begin(self, network: UNet3d) -> ModelCard | None:
        """Load the weights to go on from; return their card."""
        if self.start is None:
            return None
        state, card = load_model(STAGES[self.stage], [self.start])
        try:
            network.load_state_dict(state)
        except RuntimeError as error:
            raise WeightsError(f"{self.start}: {card.name} is another network than the preset's ({error}).") from error
        return card

    def _card(self, steps: int, patients: int, before: ModelCard | None) -> ModelCard:
        preset, sampling = PRESETS[self.preset], self.sampling
        rows, columns = sampling.size
        recipe: dict[str, Any] = {
            "preset": self.preset,
            "batch": preset.batch,
            "loss": "Dice (structures present) + cross-entropy",
            "part": [*sampling.part, columns],
            "augmentation": asdict(sampling.augment),
            **asdict(self.settings),
        }
        recipe |= went_on_from(before)
        total = steps + (before.steps if before is not None else 0)
        return ModelCard(
            name=STAGES[self.stage],
            version=f"0.2.{total}",
            pipeline="lumbar",
            network=NETWORK,
            network_parameters=self.network.to_card(),
            input=(
                f"float32 (n, 1, 16, {rows}, {columns}): sagittal T2 slices from right to left, rows from superior to "
                f"inferior, columns from anterior to posterior; {_SHOWN[self.stage]}, clipped at the 0.5 and 99.5 "
                "percentiles, mean 0, standard deviation 1"
            ),
            outputs=CLASSES,
            training_data=(
                f"simulated patients only: {patients} patients of pipelines.phantoms.lumbar, preset train, seeds "
                f"{self.seeds.start} to {self.seeds.stop - 1}, at {PIXEL_MM} mm"
            ),
            simulated_only=True,
            recipe=recipe,
            seed=self.seed,
            steps=total,
            licence="Apache-2.0",
            intended_use="Research only. Trained and measured on simulated patients; not for diagnosis.",
        )


_SHOWN = {
    "coarse": "the image without the air in front and behind",
    "fine": "the box about the five structures of the paper that the coarse network found, with margins",
}


def _simulated(cache: Path, patients: int, looks: int, workers: int, only: str, progress: TrainProgress | None) -> Path:
    folder = cache_folder(cache, "train")
    if only == RIBS or (only in STAGES and cached_paths(folder)):
        return folder
    return build_cache(cache, range(patients), looks, "train", workers, progress)


def _part(progress: TrainProgress | None, low: float, high: float) -> TrainProgress | None:
    if progress is None:
        return None
    return lambda share, message: progress(low + (high - low) * share, message)
