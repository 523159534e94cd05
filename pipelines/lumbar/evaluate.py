"""Measures the installed cascade on held-out simulated patients and on labelled real volumes.

simulate (other seeds and scanner settings than in training) -> cascade -> `levels.name_levels`, which also cleans ->
Dice of each structure and names of levels against the truth -> `EvaluationReport`. The threshold baseline runs on the
same patients. Real volumes (`real`) are wrapped as thick slices and go the same way.

What is measured on simulated patients proves that the method works as built; it is no clinical accuracy.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pipelines.contract import ComputeOptions
from pipelines.contract.weights import ModelCard
from pipelines.lumbar import real as real_data
from pipelines.lumbar.baseline import ThresholdBaseline, tune
from pipelines.lumbar.cascade import CascadeResult, LumbarCascade
from pipelines.lumbar.classes import BODY, CLASSES, DISC, THECAL_SAC
from pipelines.lumbar.evaluation_report import EvaluationReport, PatientResult, real_summary
from pipelines.lumbar.instances import LevelMap
from pipelines.lumbar.level_scores import label_score
from pipelines.lumbar.pictures import picture, write_picture
from pipelines.phantoms.lumbar import LumbarPatient, simulate_lumbar
from pipelines.training.cards import write_figures
from pipelines.training.metrics import Overlap

EVALUATION_SEED = 500_000
"""First seed of the usual held-out set; training uses seeds from 0 on."""

TUNING_SEEDS = range(900_000, 900_012)
"""Patients of the training preset, never trained on, on which the threshold baseline is tuned."""

EvaluateProgress = Callable[[float, str], None]


def evaluate(
    count: int = 60,
    seed: int = EVALUATION_SEED,
    preset: str = "held_out",
    progress: EvaluateProgress | None = None,
    options: ComputeOptions | None = None,
    *,
    real: Path | None = None,
    out: Path | None = None,
    tuning_patients: int = len(TUNING_SEEDS),
) -> EvaluationReport:
    """Evaluate the installed weights on simulated patients with seeds seed, seed + 1, ..., and on real volumes.

    Parameters
    ----------
    count : number of simulated patients. preset : their scanner settings ("held_out", "domain_shift").
    options : device, precision and weights; None for the defaults of the node.
    real : folder of labelled real volumes, see `real`. out : folder for pictures of every patient and volume, their
        Dice in the file's name, so that the worst are sorted first.
    tuning_patients : how many of `TUNING_SEEDS` the threshold baseline is tuned on.

    Raises
    ------
    ValueError
        If count is not positive, the preset does not exist, or the folder of real volumes cannot be used.
    WeightsError, DeviceError
        If the networks cannot be loaded.
    """
    if count < 1:
        raise ValueError(f"an evaluation needs at least 1 patient, got {count}")
    paths = real_data.list_volumes(real) if real is not None else []
    cascade = LumbarCascade.load(options or ComputeOptions())
    steps, done = count + len(paths) * len(real_data.SLICE_MM), 0
    _tell(progress, 0.0, "tuning the threshold baseline")
    baseline = tune(_truth(simulate_lumbar(s, "train")) for s in TUNING_SEEDS[:tuning_patients])
    results = []
    for number in range(count):
        patient = simulate_lumbar(seed + number, preset)
        results.append(evaluate_patient(patient, cascade, baseline, out))
        done += 1
        _tell(progress, done / steps, f"evaluated {done} of {steps}")
    volumes = []
    for path in paths:
        for volume in real_data.wrap(path):
            volumes.append(evaluate_volume(volume, cascade, out))
            done += 1
            _tell(progress, done / steps, f"evaluated {done} of {steps}")
    return EvaluationReport(
        preset=preset,
        first_seed=seed,
        patients=tuple(results),
        real=tuple(volumes),
        models=tuple(_identity(card) for card in cascade.cards),
        baseline=baseline.to_json(),
    )


def evaluate_patient(
    patient: LumbarPatient, cascade: LumbarCascade, baseline: ThresholdBaseline, out: Path | None = None
) -> PatientResult:
    """Segment one simulated patient as the node does and compare with the truth, on the source grid."""
    result, levels, seconds = _through(cascade, patient.image, patient.spacing_mm)
    truth, found = patient.structures, levels.structures
    overlaps = {k: Overlap.of(truth == k, found == k) for k in range(1, len(CLASSES))}
    scores = {k: label_score(patient.levels, truth == k, patient.level_names, levels, k) for k in (BODY, DISC)}
    held = PatientResult(
        seed=patient.seed,
        overlaps=overlaps,
        before_cleaning={k: Overlap.of(truth == k, result.labels == k) for k in overlaps},
        thecal_sac=Overlap.of(np.isin(truth, THECAL_SAC), np.isin(found, THECAL_SAC)),
        baseline=baseline.overlaps(patient.image, truth),
        body_names={n: ok for n, ok in scores[BODY].items() if n not in patient.notes["cut_by_the_field"]},
        disc_names=scores[DISC],
        usual_anatomy=patient.notes["transitional"] == "none",
        level_flags=tuple(flag.code for flag in levels.flags),
        cascade_flags=result.flags,
        pathologies=tuple(patient.notes["pathologies"]),
        slices=len(patient.image),
        seconds=seconds,
    )
    if out is not None:
        pixels = picture(patient.image, truth, found, patient.spacing_mm)
        write_picture(out / f"{held.mean_dice:.3f}-simulated-{patient.seed}.png", pixels)
    return held


def evaluate_volume(
    volume: real_data.RealVolume, cascade: LumbarCascade, out: Path | None = None
) -> real_data.RealResult:
    """Segment one real volume as the node does and compare with the reader's mask."""
    result, levels, seconds = _through(cascade, volume.image, volume.spacing_mm)
    held = real_data.compare(volume, levels, result.flags, seconds)
    if out is not None:
        truth = np.where(volume.mask > 0, volume.structure, 0).astype(np.uint8)
        pixels = picture(volume.image, truth, levels.structures, volume.spacing_mm)
        write_picture(out / f"{held.scored.dice or 0.0:.3f}-{volume.name}-{held.slice_mm}mm.png", pixels)
    return held


def measure_into_cards(report: EvaluationReport, folder: Path) -> None:
    """Write the report's figures into the model cards of a folder of weights."""
    summary = report.summary()
    figures = {report.preset: {k: v for k, v in summary.items() if k != "real"}}
    if report.real:
        figures["real"] = real_summary(summary)
    write_figures(folder, "lumbar", figures)


def _through(
    cascade: LumbarCascade, image: np.ndarray, spacing_mm: tuple[float, float, float]
) -> tuple[CascadeResult, LevelMap, float]:
    """Cascade and levels, with the seconds that both took."""
    started = time.perf_counter()
    result = cascade.segment(image, spacing_mm)
    levels = cascade.name(result, image, spacing_mm)
    return result, levels, time.perf_counter() - started


def _truth(patient: LumbarPatient) -> tuple[np.ndarray, np.ndarray]:
    return patient.image, patient.structures


def _identity(card: ModelCard) -> dict[str, str]:
    return {"name": card.name, "version": card.version, "sha256": card.sha256}


def _tell(progress: EvaluateProgress | None, share: float, message: str) -> None:
    if progress is not None:
        progress(share, message)
