"""The paper's comparisons on our data: fewer labels, parts of the network left out, augmentation, U-Net.

Each row is a network trained from random weights on the same simulated patients, for the same stated minutes, by the
recipe of `train`, and measured on the same held-out thorax images. The paper's figures stand beside: trained for hours
on GPUs and measured on real patients, they are no goal of a run of minutes; what can be compared is the order of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from monai.networks.nets import BasicUNet
from torch import nn

from pipelines.contract import ComputeOptions
from pipelines.contract.compute import prepare_process
from pipelines.planar.dataset import DEFAULT_CACHE, TrainingPatient, build_cache, load_patients
from pipelines.thorax.dataset import ThoraxImage, cut_all, labelled_patients
from pipelines.thorax.fitting import RECIPES, fit
from pipelines.thorax.networks import NetworkSettings, RecurrentThoraxNetwork, count_parameters
from pipelines.thorax.operating_point import set_operating_point
from pipelines.thorax.prediction import predict
from pipelines.thorax.scores import ImageScore, figures, intervals

UNET_FEATURES = (24, 32, 64, 128, 256, 24)
"""A U-Net of about the size of the complete network."""

LEARNED_FROM = 400
"""Simulated patients, labelled or not."""

ExperimentProgress = Callable[[float, str], None]


@dataclass(frozen=True)
class Experiment:
    """One row: what is trained, and the paper's figures for it (DSC, CPA, recall, as far as printed).

    steps : T. unet : the supervised U-Net in the network's place.
    """

    name: str
    table: str
    labelled_fraction: float
    paper: Mapping[str, float] = field(default_factory=dict)
    network: NetworkSettings = field(default_factory=NetworkSettings)
    aggregated: bool = False
    augmented: bool = True
    unet: bool = False


CURVE = tuple(
    Experiment(f"{100 * fraction:g} % of the labels", "figure 7", fraction, paper, NetworkSettings(steps=1))
    for fraction, paper in (
        (0.0, {}),
        (0.1, {"dsc": 0.586, "cpa": 0.621, "recall": 0.539}),
        (0.37, {"dsc": 0.683, "cpa": 0.715, "recall": 0.601}),
        (1.0, {}),
    )
)
"""The paper's figure 7 is not in its text; its 10 % is the row of 210 of 2280 labels in table 3. T is 1 here: the curve
is about labels, and in the minutes of a row three times the steps teach more than the recurrence does."""

ABLATIONS = (
    Experiment("no augmentation, 10 % (D1)", "table 3", 0.1, {"dsc": 0.582, "cpa": 0.618, "recall": 0.547},
               augmented=False),
    Experiment("geometric augmentation, 10 % (D2)", "table 3", 0.1, {"dsc": 0.586, "cpa": 0.621, "recall": 0.539}),
    Experiment("plain", "table 5", 0.37, {"dsc": 0.632},
               NetworkSettings(dilated=False, inception=False, residual=False)),
    Experiment("+ dilated", "table 5", 0.37, {"dsc": 0.656}, NetworkSettings(inception=False, residual=False)),
    Experiment("+ inception", "table 5", 0.37, {"dsc": 0.667}, NetworkSettings(residual=False)),
    Experiment("+ residual: complete", "table 5", 0.37, {"dsc": 0.683, "cpa": 0.715, "recall": 0.601}),
    Experiment("T = 1", "figure 8", 0.37, {}, NetworkSettings(steps=1)),
    Experiment("T = 2", "figure 8", 0.37, {}, NetworkSettings(steps=2)),
    Experiment("T = 4", "figure 8", 0.37, {}, NetworkSettings(steps=4)),
    Experiment("both views added, 37 %", "table 6", 0.37, {"dsc": 0.692, "cpa": 0.721, "recall": 0.624},
               aggregated=True),
    Experiment("U-Net, both views added, all labels", "table 6", 1.0, {"dsc": 0.695, "cpa": 0.722, "recall": 0.608},
               aggregated=True, unet=True),
)  # fmt: skip
"""Rows of the paper's tables; those trained on its DCGAN's images (0.481, 0.483 in table 3) are left out: that network
made segmentation worse, and is no part of this pipeline."""


@dataclass(frozen=True)
class Row:
    """A measured row, and what it took."""

    experiment: Experiment
    steps: int
    parameters: int
    scores: tuple[ImageScore, ...]

    def facts(self) -> dict[str, Any]:
        """Return the row, JSON-ready."""
        return {
            "name": self.experiment.name,
            "table": self.experiment.table,
            "labelled_fraction": self.experiment.labelled_fraction,
            "network": "U-Net" if self.experiment.unet else asdict(self.experiment.network),
            "aggregated": self.experiment.aggregated,
            "steps": self.steps,
            "parameters": self.parameters,
            **figures(self.scores),
            "intervals": intervals(self.scores),
            "paper": dict(self.experiment.paper),
        }


def run(
    experiments: Sequence[Experiment],
    minutes: float,
    out: Path,
    *,
    patients: int = LEARNED_FROM,
    held_out: tuple[int, int] = (500_000, 100),
    seed: int = 0,
    cache: Path = DEFAULT_CACHE,
    workers: int = 2,
    threads: int = 0,
    device: str = "auto",
    progress: ExperimentProgress | None = None,
) -> list[Row]:
    """Train and measure each experiment in turn.

    Parameters
    ----------
    minutes : of training for each. out : folder of the checkpoints; a row that was trained there is not trained again.
    patients : simulated patients to learn from. held_out : first seed and number of those measured on.
    """
    where = prepare_process(ComputeOptions(device=device, threads=threads)).name
    folder = build_cache(cache, range(patients), "train", workers, progress)
    learn = load_patients(folder, range(patients))
    seeds = range(held_out[0], held_out[0] + held_out[1])
    test = load_patients(build_cache(cache, seeds, "held_out", workers, progress), seeds)
    rows = []
    for number, experiment in enumerate(experiments):

        def tell(share: float, message: str, number: int = number, name: str = experiment.name) -> None:
            if progress is not None:
                progress((number + share) / len(experiments), f"{name}: {message}")

        rows.append(_row(experiment, minutes, out, learn, test, seed, where, tell))
    return rows


def _row(
    experiment: Experiment, minutes: float, out: Path, learn: Sequence[TrainingPatient],
    test: Sequence[TrainingPatient], seed: int, device: str, progress: ExperimentProgress,
) -> Row:  # fmt: skip
    """Train one network and measure it."""
    labelled = labelled_patients([p.seed for p in learn], experiment.labelled_fraction)
    images = cut_all(learn, labelled, experiment.aggregated)
    recipe = RECIPES["default"]
    # The clock ends each run; the steps are out of reach.
    recipe = replace(recipe, loop=replace(recipe.loop, steps=10**6, seconds=60 * minutes))
    if not experiment.augmented:
        recipe = replace(recipe, augment=None)
    torch.manual_seed(seed)
    network: nn.Module
    if experiment.unet:
        network, recipe = BasicUNet(2, 1, 1, UNET_FEATURES), replace(recipe, warm_up=1.0)
    else:
        network = RecurrentThoraxNetwork(**experiment.network.as_parameters())
    run_folder = out / "runs" / "".join(c if c.isalnum() else "-" for c in f"{experiment.table} {experiment.name}")
    steps = fit(network, images, recipe, run_folder, seed, device, progress)
    set_operating_point(network, [image for image in images if image.labelled])
    scores = _scores(network, cut_all(test, aggregated=experiment.aggregated))
    return Row(experiment, steps, count_parameters(network), tuple(scores))


def _scores(network: nn.Module, images: Sequence[ThoraxImage]) -> list[ImageScore]:
    probabilities = predict(network, images)
    return [
        ImageScore.of(image.seed, str(number), image.lesions, answer >= 0.5)
        for number, (image, answer) in enumerate(zip(images, probabilities, strict=True))
    ]
