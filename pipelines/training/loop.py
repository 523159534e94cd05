"""The training loop: steps, learning-rate schedule, moving average, checkpoints, resume.

Batches come from an iterator, the loss from a function; nothing here knows bones. Checkpoints are safetensors
(weights, moving average, optimiser moments) with a JSON file of scalars beside them: no pickle. A run that is
started again with the same folder goes on from its checkpoint.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from pipelines.contract.compute import fast_precision

SKIPPED_AT_MOST = 20

CHECKPOINT, STATE = "checkpoint.safetensors", "checkpoint.json"

Loss = Callable[[nn.Module, tuple[torch.Tensor, ...]], torch.Tensor]
Report = Callable[[int, float], None]
"""Called after every step with the step number and the smoothed loss."""


@dataclass(frozen=True)
class LoopSettings:
    """How a network is trained.

    schedule : "constant", or "cosine" (linear warm-up over `warmup` steps, then to 1 % of the rate).
    precision : "bf16" (autocast), "fp32", or "auto" for the faster of both on the device (`on`).
    average : decay of the moving average of weights, 0 for none.
    seconds : wall-clock limit after which training ends early (the schedule follows the clock), 0 for none.
    """

    steps: int
    optimiser: str = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    schedule: str = "cosine"
    warmup: int = 50
    clip_norm: float = 5.0
    precision: str = "auto"
    average: float = 0.99
    checkpoint_s: float = 180.0
    seconds: float = 0.0

    def on(self, device: str) -> LoopSettings:
        """Return the settings with a precision chosen for a device of torch ("cpu", "cuda:0"), if it was open."""
        return replace(self, precision=fast_precision(device)) if self.precision == "auto" else self


@dataclass
class Progress:
    """Where a run stands; `losses` holds the mean loss of every ten steps."""

    step: int
    elapsed_s: float
    losses: list[float]


def channels_last(network: nn.Module) -> torch.memory_format:
    """Return the memory layout of a network of 2-D or of 3-D convolutions that is fast on a CPU."""
    volumes = any(p.ndim == 5 for p in network.parameters())
    return torch.channels_last_3d if volumes else torch.channels_last


def learning_rate(settings: LoopSettings, step: int, share: float) -> float:
    """Return the rate at a step; `share` (0 to 1) is how much of the run is over."""
    if step < settings.warmup:
        return settings.learning_rate * (step + 1) / settings.warmup
    if settings.schedule == "constant":
        return settings.learning_rate
    return settings.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(share, 1.0))))


class Trainer:
    """Trains one network; `fit` returns its progress, `averaged_state` the weights to keep.

    The network is moved to channels-last memory, the faster layout for convolutions on a CPU.
    """

    def __init__(self, network: nn.Module, settings: LoopSettings, folder: Path, device: str = "cpu") -> None:
        self.device = torch.device(device)
        self.network = network.to(self.device).to(memory_format=channels_last(network))  # type: ignore[call-overload]
        self.settings = settings = settings.on(device)
        self.folder = folder
        kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[settings.optimiser]
        decay = {"weight_decay": settings.weight_decay} if settings.optimiser == "adamw" else {}
        self.optimiser = kind(self.network.parameters(), lr=settings.learning_rate, **decay)
        self.average = {k: v.detach().clone() for k, v in self.network.state_dict().items()}
        self.progress = Progress(0, 0.0, [])
        self.skipped = 0
        folder.mkdir(parents=True, exist_ok=True)

    def fit(self, batches: Iterator[tuple[torch.Tensor, ...]], loss: Loss, report: Report | None = None) -> Progress:
        """Train until the steps (or the seconds) are spent.

        Raises
        ------
        FloatingPointError
            If the loss is not finite, or the gradient `SKIPPED_AT_MOST` times in a row: the learning rate is too
            high or the data broken.
        """
        started = saved = time.monotonic()
        before, recent, smooth = self.progress.elapsed_s, [], None
        self.network.train()
        while not self._finished():
            value = self._step(batches, loss)
            self.progress.step += 1
            self.progress.elapsed_s = before + time.monotonic() - started
            smooth = value if smooth is None else 0.95 * smooth + 0.05 * value
            recent.append(value)
            if len(recent) == 10:
                self.progress.losses.append(sum(recent) / 10)
                recent.clear()
            if report is not None:
                report(self.progress.step, smooth)
            if time.monotonic() - saved > self.settings.checkpoint_s:
                self.save()
                saved = time.monotonic()
        self.save()
        return self.progress

    def averaged_state(self) -> dict[str, torch.Tensor]:
        """Return the moving average of weights and normalisation statistics: what is worth keeping."""
        state = self.network.state_dict()
        return {k: (self.average[k] if v.is_floating_point() else v).detach().clone() for k, v in state.items()}

    def save(self) -> None:
        """Write a checkpoint: tensors with their step, then the JSON state, each whole or not at all."""
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.items()}
        for index, moments in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{index}.{k}": torch.as_tensor(v) for k, v in moments.items()}
        partial = self.folder / f"{CHECKPOINT}.partial"
        save_file({k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}, partial,
                  metadata={"step": str(self.progress.step)})  # fmt: skip
        partial.replace(self.folder / CHECKPOINT)
        partial = self.folder / f"{STATE}.partial"
        partial.write_text(json.dumps({"settings": asdict(self.settings), **asdict(self.progress)}))
        partial.replace(self.folder / STATE)

    def resume(self) -> bool:
        """Take up the folder's checkpoint; return False if there is none."""
        if not (self.folder / CHECKPOINT).exists() or not (self.folder / STATE).exists():
            return False
        tensors = load_file(self.folder / CHECKPOINT)
        held = json.loads((self.folder / STATE).read_text())
        self.network.load_state_dict(_part(tensors, "network."))
        self.average = {k: v.to(self.device) for k, v in _part(tensors, "average.").items()}
        state: dict[int, dict[str, torch.Tensor]] = {}
        for key, value in _part(tensors, "optimiser.").items():
            index, name = key.split(".", 1)
            state.setdefault(int(index), {})[name] = value
        full = self.optimiser.state_dict()
        self.optimiser.load_state_dict({"state": state, "param_groups": full["param_groups"]})
        with safe_open(self.folder / CHECKPOINT, "pt") as file:
            # The tensors' own step: a run that was killed between the two files has an older state beside newer ones.
            step = int(file.metadata()["step"])
        self.progress = Progress(step, held["elapsed_s"], held["losses"])
        return True

    def _share(self) -> float:
        by_step = self.progress.step / max(self.settings.steps, 1)
        by_clock = self.progress.elapsed_s / self.settings.seconds if self.settings.seconds else 0.0
        return max(by_step, by_clock)

    def _finished(self) -> bool:
        return self._share() >= 1.0

    def _step(self, batches: Iterator[tuple[torch.Tensor, ...]], loss: Loss) -> float:
        rate = learning_rate(self.settings, self.progress.step, self._share())
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        batch = tuple(t.to(self.device) for t in next(batches))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.precision == "bf16"):
            value = loss(self.network, batch)
        if not bool(torch.isfinite(value)):
            raise FloatingPointError(
                f"the loss became {float(value.detach())} at step {self.progress.step}; lower the rate"
            )
        self.optimiser.zero_grad(set_to_none=True)
        value.backward()
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.clip_norm)
        if bool(torch.isfinite(norm)):
            self.optimiser.step()
            self._update_average()
            self.skipped = 0
        else:
            self._skip()
        return float(value.detach())

    def _skip(self) -> None:
        """Leave the weights as they are: in bf16 a gradient may overflow although the loss is sound."""
        self.skipped += 1
        if self.skipped >= SKIPPED_AT_MOST:
            raise FloatingPointError(
                f"the gradient was not finite {self.skipped} times in a row, the last at step {self.progress.step}; "
                "lower the rate or train in fp32"
            )

    @torch.no_grad()
    def _update_average(self) -> None:
        # Early on the average follows closely, or the random start would linger in it.
        decay = min(self.settings.average, (1 + self.progress.step) / (10 + self.progress.step))
        for key, value in self.network.state_dict().items():
            if value.is_floating_point():
                self.average[key].lerp_(value, 1 - decay)


def _part(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
