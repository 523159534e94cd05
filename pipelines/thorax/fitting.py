"""Fitting one network to thorax images: a warm-up on labelled patches, then the semi-supervised loss on all.

    warm-up (T = 1, Dice + cross-entropy, labelled patches) -> all T steps, equation 6, mini-batches that mix both

Without any label there is no warm-up, and the unsupervised term is alone from the start. Used by `train` for the
weights and by `experiments` for the curve and the ablations, so both follow one recipe.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import nn

from pipelines.thorax.dataset import ThoraxImage
from pipelines.thorax.losses import LossSettings, semi_supervised, warm_up
from pipelines.thorax.networks import RecurrentThoraxNetwork
from pipelines.thorax.sampling import AUGMENT, PatchSampler
from pipelines.training.augment import AugmentSettings
from pipelines.training.loop import LoopSettings, Trainer

EPOCHS = 400
"""The paper's."""

FitProgress = Callable[[float, str], None]


@dataclass(frozen=True)
class Recipe:
    """How a network is fitted.

    loop : of both parts together; its steps and seconds are shared out. warm_up : share of them for the warm-up.
    labelled_share : see `PatchSampler`. loss : of the second part. augment : None for no augmentation.
    """

    loop: LoopSettings
    batch: int
    warm_up: float
    labelled_share: float | None = None
    loss: LossSettings = field(default_factory=LossSettings)
    augment: AugmentSettings | None = AUGMENT


RECIPES: Mapping[str, Recipe] = {
    "paper": Recipe(
        # 400 epochs of the paper's 1596 training images (70 % of 2280) in batches of 8, which it does not state.
        LoopSettings(steps=EPOCHS * 1596 // 8, learning_rate=5e-4, schedule="constant", warmup=0, average=0.0),
        batch=8,
        warm_up=0.0,
    ),
    "default": Recipe(
        LoopSettings(steps=6000, learning_rate=5e-4, schedule="cosine", average=0.99),
        batch=8,
        warm_up=0.65,
        labelled_share=0.7,
        loss=LossSettings(unsupervised=0.5, length=0.1, guide=1.0),
    ),
}


def fit(
    network: nn.Module,
    images: Sequence[ThoraxImage],
    recipe: Recipe,
    folder: Path,
    seed: int = 0,
    device: str = "cpu",
    progress: FitProgress | None = None,
) -> int:
    """Fit a network and leave the averaged weights in it (on the CPU, in evaluation mode); return the steps taken.

    A run found in `folder` is resumed. Networks other than `RecurrentThoraxNetwork` are fitted alike, without steps of
    a recurrence.
    """
    labelled = [image for image in images if image.labelled]
    first = recipe.warm_up if labelled else 0.0
    steps = 0
    if first:
        _run_steps(network, 1)
        sampler = PatchSampler(labelled, recipe.batch, seed, settings=recipe.augment)
        # The rate falls only once, at the end of everything; the average smooths the end of this part.
        loop = replace(_part(recipe.loop, first), schedule="constant")
        steps += _stage(network, loop, folder / "warm-up", sampler, _warm, device, _within(progress, 0, first))
    if first < 1.0:
        _run_steps(network, None)
        sampler = PatchSampler(images, recipe.batch, seed + 1, recipe.labelled_share, recipe.augment)

        def loss(net: nn.Module, batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
            shown, labels, known = batch
            return semi_supervised(net(shown), shown, labels, known, recipe.loss)

        loop = _part(recipe.loop, 1.0 - first)
        steps += _stage(network, loop, folder / "semi", sampler, loss, device, _within(progress, first, 1))
    return steps


def _warm(network: nn.Module, batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
    shown, labels, _ = batch
    return warm_up(network(shown), labels)


def _stage(
    network: nn.Module, loop: LoopSettings, folder: Path, sampler: PatchSampler, loss: Callable[..., torch.Tensor],
    device: str, progress: FitProgress | None,
) -> int:  # fmt: skip
    trainer = Trainer(network, loop, folder, device)
    trainer.resume()

    def tell(step: int, value: float) -> None:
        if progress is not None:
            progress(min(step / loop.steps, 1.0), f"step {step} of at most {loop.steps}, loss {value:.4f}")

    done = trainer.fit(iter(sampler), loss, tell)
    if loop.average:
        network.load_state_dict(trainer.averaged_state())
    network.to("cpu").eval()
    return done.step


def _run_steps(network: nn.Module, steps: int | None) -> None:
    if isinstance(network, RecurrentThoraxNetwork):
        network.run_steps(network.settings.steps if steps is None else steps)


def _part(loop: LoopSettings, share: float) -> LoopSettings:
    return replace(loop, steps=max(1, round(loop.steps * share)), seconds=loop.seconds * share)


def _within(progress: FitProgress | None, low: float, high: float) -> FitProgress | None:
    if progress is None:
        return None
    return lambda share, message: progress(low + (high - low) * share, message)
