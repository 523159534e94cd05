"""Measures the installed weights on held-out simulated patients, in the form of the paper's table 6.

simulate (other anatomy seeds and other physics than in training; kept on disk with the other planar pipeline's) ->
crop and the node's own analysis (`analysis.analyse` on the `engine`) -> masks in the thorax against the truth ->
`EvaluationReport`. The tuned threshold runs on the same images. What the network learns with fewer labels, or without
parts of itself, is `experiments`'.

What is measured here is how well the network does on simulated patients: it is no clinical accuracy.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from pipelines.contract import ComputeOptions
from pipelines.contract.provenance import Stopwatch
from pipelines.phantoms.bone_scan import VIEWS
from pipelines.planar.dataset import DEFAULT_CACHE, TrainingPatient, build_cache, load_patients
from pipelines.planar.lesions import METASTASIS
from pipelines.planar.outline import WORKING_SPACING_MM
from pipelines.planar.prepare import prepare_view
from pipelines.thorax import baseline
from pipelines.thorax.analysis import Network, View, analyse
from pipelines.thorax.dataset import cut_all
from pipelines.thorax.evaluation_report import EvaluationReport
from pipelines.thorax.scores import ImageScore
from pipelines.training.cards import write_figures

EVALUATION_SEED = 500_000
"""First seed of the usual held-out set; training uses seeds from 0 on."""

PATIENTS = 200
TUNING_SEEDS = range(900_000, 900_024)
"""Patients of the training preset, never trained on, on which the threshold is tuned."""

EvaluateProgress = Callable[[float, str], None]


def evaluate(
    count: int = PATIENTS,
    seed: int = EVALUATION_SEED,
    preset: str = "held_out",
    progress: EvaluateProgress | None = None,
    options: ComputeOptions | None = None,
    *,
    cache: Path = DEFAULT_CACHE,
    workers: int = 2,
) -> EvaluationReport:
    """Evaluate the installed weights on simulated patients with seeds seed, seed + 1, ...

    Parameters
    ----------
    count : number of patients. preset : their acquisition settings ("held_out", "domain_shift").
    options : device, precision and weights; None for the defaults of the node.
    cache : folder of simulated patients, filled if needed.

    Raises
    ------
    ValueError
        If count is not positive or the preset does not exist.
    WeightsError, DeviceError
        If the network cannot be loaded.
    """
    from pipelines.thorax.engine import Engine

    if count < 1:
        raise ValueError(f"an evaluation needs at least 1 patient, got {count}")
    engine = Engine.load(options or ComputeOptions())
    threshold = tuned_baseline(cache, workers, progress)
    patients = held_out(count, seed, preset, cache, workers, progress)
    watch = Stopwatch()
    results, simple = [], []
    for number, patient in enumerate(patients):
        results += score_patient(patient, engine, watch)
        simple += score_baseline(patient, threshold)
        if progress is not None:
            progress((number + 1) / count, f"evaluated {number + 1} of {count} patients")
    return EvaluationReport(
        preset=preset,
        first_seed=seed,
        patients=len(patients),
        scores=tuple(results),
        baseline=tuple(simple),
        threshold=threshold,
        model={"name": engine.card.name, "version": engine.card.version, "sha256": engine.card.sha256},
        aggregated=engine.aggregated,
        labelled_fraction=engine.card.recipe.get("labelled_fraction"),
        seconds_per_patient=sum(watch.seconds.values()) / count,
    )


def held_out(
    count: int, seed: int, preset: str, cache: Path, workers: int, progress: EvaluateProgress | None
) -> list[TrainingPatient]:
    """Return the evaluation's patients, simulating those that the cache lacks."""
    seeds = range(seed, seed + count)
    return load_patients(build_cache(cache, seeds, preset, workers, progress), seeds)


def tuned_baseline(cache: Path, workers: int, progress: EvaluateProgress | None) -> float:
    """Return the threshold tuned on `TUNING_SEEDS`."""
    folder = build_cache(cache, TUNING_SEEDS, "train", workers, progress)
    return baseline.tune(cut_all(load_patients(folder, TUNING_SEEDS)))


def score_patient(patient: TrainingPatient, network: Network, watch: Stopwatch) -> list[ImageScore]:
    """Analyse a patient as the node does, from the counts on the working grid, and score each view's thorax."""
    views = []
    for view, name in zip(patient.views, VIEWS, strict=True):
        counts = np.asarray(view.level, np.float32) * np.float32(view.counts_per_level)
        views.append(View(name, counts, prepare_view(counts, (WORKING_SPACING_MM, WORKING_SPACING_MM))))
    scores = []
    for view, analysis in zip(patient.views, analyse(views, network, watch), strict=True):
        truth = analysis.crop.cut(view.labels == METASTASIS)
        result = analysis.crop.cut(analysis.found.classes == METASTASIS)
        scores.append(ImageScore.of(patient.seed, analysis.name, truth, result))
    return scores


def score_baseline(patient: TrainingPatient, threshold: float) -> list[ImageScore]:
    """Score the threshold on the same images."""
    images = cut_all([patient])
    return [
        ImageScore.of(patient.seed, name, image.lesions, baseline.segment(image.level, image.body, threshold))
        for name, image in zip(VIEWS, images, strict=True)
    ]


def measure_into_cards(report: EvaluationReport, folder: Path) -> None:
    """Write the report's figures into the model card of a folder of weights."""
    write_figures(folder, "thorax", {report.preset: report.summary()})
