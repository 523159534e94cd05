"""The paper's comparison on our data: nine networks, five folds, three uses, with and without transfer learning.

cached patients -> folds by patient -> each network trained from the same start on the same samples for the same steps,
without transfer (single use after single use, as the paper's table 2) and with it (table 3) -> slices of the fold's
other patients (`judged_slices`) -> figures of table 2 on the slices of the lesions' largest sections, and per slice the
highest probability, with which the networks are compared by DeLong's test (slice with a lesion or without).

Nine networks, five folds and four trainings each are long on a CPU. The budget is stated in the result and equal for
all: patients, steps, side of the crops. `FULL` is the paper's; the default is small, and what it prints says how little
the networks were trained. Splitting by lesion, as the paper's 37 per fold suggest, would put lesions of one patient on
both sides.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from pipelines.contract.compute import fast_precision, tune_allocator
from pipelines.spect_ct.comparison_report import ComparisonReport, FoldScores, SliceScore
from pipelines.spect_ct.dataset import SCALE, TRUTH_LAYER, CachedPatient, build_cache, cached_seeds, read_patient
from pipelines.spect_ct.encoders.unet import NETWORKS, SIDE_MULTIPLE
from pipelines.spect_ct.hard_places import largest_sections
from pipelines.spect_ct.networks import count_parameters
from pipelines.spect_ct.sampling import PAPER_SAMPLES, CropSampler
from pipelines.spect_ct.scores import LesionScore, score_slice
from pipelines.spect_ct.train import PRESETS, Preset, fit_stages, lesion_loss
from pipelines.spect_ct.uses import FUSED, USES, shown
from pipelines.training.folds import group_folds
from pipelines.training.loop import Trainer

CompareProgress = Callable[[float, str], None]

OTHER_SLICES = 8
"""Slices of a patient that are judged beside those of the lesions' largest sections, evenly spread over the rest."""

TRAININGS = 4
"""Of a network on a fold: one for each use, and one with transfer."""

CACHING = 0.1
"""Share of the progress that simulating the patients is given."""


@dataclass(frozen=True)
class Budget:
    """What every network gets: patients in all, folds, steps of each training, batch and side of the crops."""

    patients: int = 10
    folds: int = 2
    steps: int = 60
    batch: int = 8
    side: int = 96


FULL = Budget(patients=93, folds=5, steps=1150, batch=16, side=256)
"""The paper's: 93 patients, five folds, about 100 epochs of 184 lesions in batches of 16."""


def compare(
    cache: Path,
    budget: Budget | None = None,
    networks: Sequence[str] = tuple(NETWORKS),
    seed: int = 0,
    workers: int = 2,
    progress: CompareProgress | None = None,
    first: int = 0,
) -> ComparisonReport:
    """Train and score the networks.

    Parameters
    ----------
    cache : folder of simulated patients; those that are missing are simulated first. first : seed of the first one.

    Raises
    ------
    ValueError
        If a network is unknown, or there are fewer patients than folds.
    """
    budget = budget or Budget()
    unknown = set(networks) - set(NETWORKS)
    if unknown:
        raise ValueError(f"no network '{', '.join(sorted(unknown))}'; known: {', '.join(NETWORKS)}")
    tune_allocator()
    tell = progress or (lambda share, message: None)
    wanted = range(first, first + budget.patients)
    folder = build_cache(cache, wanted, "train", workers, lambda share, message: tell(CACHING * share, message))
    seeds = [one for one in cached_seeds(folder) if one in wanted]
    plans = [
        (name, number, split)
        for name in networks
        for number, split in enumerate(group_folds(seeds, budget.folds, seed))
    ]
    found: list[FoldScores] = []
    for name, number, (training, held) in plans:
        fold = _Fold(name, number, [seeds[i] for i in training], [seeds[i] for i in held], folder, budget, seed)
        for scores in fold.run():
            found.append(scores)
            done = len(found) / (TRAININGS * len(plans))
            message = f"{name}, fold {number + 1} of {budget.folds}, {scores.title}"
            tell(CACHING + (1 - CACHING) * done, message)
    sizes = {name: count_parameters(NETWORKS[name]()) for name in networks}
    return ComparisonReport(asdict(budget), tuple(networks), sizes, tuple(found), seed, first)


@dataclass(frozen=True)
class _Fold:
    """One network on one fold."""

    name: str
    number: int
    training: list[int]
    held: list[int]
    folder: Path
    budget: Budget
    seed: int

    def run(self) -> Iterator[FoldScores]:
        """Train for each use by itself, then with transfer; score the fold's other patients after each."""
        for use in USES:
            network = self._network()
            self._fit_one(network, use)
            yield self._scored(network, use, False)
        network = self._network()
        with tempfile.TemporaryDirectory() as runs:
            fit_stages(network, self.folder, self.training, self._preset(), Path(runs), self.seed)
        yield self._scored(network, FUSED, True)

    def _scored(self, network: nn.Module, use: str, transfer: bool) -> FoldScores:
        patients = [read_patient(self.folder, one) for one in self.held]
        lesions, owners, slices = score_patients(network, patients, use)
        return FoldScores(self.name, self.number, use, transfer, lesions, owners, slices)

    def _network(self) -> nn.Module:
        torch.manual_seed(self.seed)
        return NETWORKS[self.name]()

    def _preset(self) -> Preset:
        base = PRESETS["default"]
        samples = replace(
            base.samples if self.budget.side < PAPER_SAMPLES.side else PAPER_SAMPLES,
            side=self.budget.side,
            slices=PAPER_SAMPLES.slices,
        )
        loop = replace(base.loop, steps=self.budget.steps, warmup=min(base.loop.warmup, self.budget.steps // 5))
        return replace(base, samples=samples, loop=loop, batch=self.budget.batch)

    def _fit_one(self, network: nn.Module, use: str) -> None:
        preset = self._preset()
        sampler = CropSampler(self.folder, self.training, {use: 1.0}, preset.samples, preset.batch, self.seed)
        with tempfile.TemporaryDirectory() as runs:
            trainer = Trainer(network, preset.loop, Path(runs))
            trainer.fit(iter(sampler), lesion_loss(preset.cross_entropy))
            if preset.loop.average:
                network.load_state_dict(trainer.averaged_state())


def score_patients(
    network: nn.Module, patients: Sequence[CachedPatient], use: str
) -> tuple[tuple[LesionScore, ...], tuple[int, ...], tuple[SliceScore, ...]]:
    """Score every lesion on its largest kept section, and the judged slices by their highest probability.

    Returns
    -------
    lesions, owners, slices
        `owners` holds the seed of each lesion's patient.
    """
    network.eval()
    lesions, owners, slices = [], [], []
    for patient in patients:
        largest = largest_sections(patient, use)
        marked = {spot.slice for spot in patient.spots if spot.use == use}
        for number in judged_slices(len(patient.layers), {spot.slice for spot in largest.values()}):
            probabilities = _probabilities(network, patient, number, use)
            slices.append(SliceScore(patient.seed, number in marked, float(probabilities.max())))
            labels = np.asarray(patient.layers[number, TRUTH_LAYER[use]])
            here = [label for label, spot in largest.items() if spot.slice == number]
            nothing = np.zeros(labels.shape, bool)  # the baseline's: it is no part of the comparison
            lesions += [score_slice(label, labels, probabilities, nothing, None) for label in here]
            owners += [patient.seed] * len(here)
    return tuple(lesions), tuple(owners), tuple(slices)


def judged_slices(count: int, of_lesions: Collection[int]) -> list[int]:
    """Return those of a patient's kept slices that are judged, sorted: the lesions' and `OTHER_SLICES` of the rest."""
    rest = np.setdiff1d(np.arange(count), list(of_lesions))
    places = np.linspace(0, max(len(rest) - 1, 0), min(OTHER_SLICES, len(rest))).round().astype(int)
    return sorted({*of_lesions, *(int(number) for number in rest[places])})


def _probabilities(network: nn.Module, patient: CachedPatient, number: int, use: str) -> np.ndarray:
    """Return a whole slice's probabilities, padded to what every network takes."""
    image = np.asarray(patient.layers[number, :2], np.float32) / SCALE
    image *= np.array(shown(use), np.float32)[:, None, None]
    rows, columns = image.shape[1:]
    pads = [(0, -n % SIDE_MULTIPLE) for n in (rows, columns)]
    shown_image = torch.from_numpy(np.pad(image, ((0, 0), *pads), mode="edge"))[None]
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=fast_precision("cpu") == "bf16"):
        logits = network(shown_image.contiguous(memory_format=torch.channels_last))
    found: np.ndarray = logits[0, 0, :rows, :columns].float().sigmoid().numpy()
    return found
