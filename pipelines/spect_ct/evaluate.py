"""Measures the installed network on held-out simulated patients.

simulate (other seeds and scanner settings than in training) -> common grid -> the network, for each use -> `scores`:
the slices of the lesions' largest sections, as the paper, and the volume -> `EvaluationReport`. The threshold baseline
runs on the same slices.

Whole volumes are analysed for the uses in `whole`, for the others only the slices with the largest sections: a volume
takes as long as all of its slices. What is measured proves that the method works as built; it is no clinical accuracy.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from pipelines.contract import ComputeOptions
from pipelines.spect_ct.baseline import ThresholdBaseline, tune
from pipelines.spect_ct.bone import beside_bone, without_pieces_off_bone
from pipelines.spect_ct.evaluation_report import EvaluationReport, PatientResult
from pipelines.spect_ct.lesions import THRESHOLD
from pipelines.spect_ct.neighbours import with_neighbours
from pipelines.spect_ct.pictures import write_picture
from pipelines.spect_ct.scores import UseScore, largest_slices, score_slice, score_volume
from pipelines.spect_ct.search import worth_a_look
from pipelines.spect_ct.truth import GridPatient, on_grid
from pipelines.spect_ct.uses import CT, FUSED, SPECT, USES, blanked
from pipelines.training.cards import write_figures
from pipelines.training.processes import ahead

if TYPE_CHECKING:
    from pipelines.phantoms.spect_ct.patient import SpectCtPatient

EVALUATION_SEED = 500_000
"""First seed of the usual held-out set; training uses seeds from 0 on."""

TUNING_SEEDS = range(900_000, 900_004)
"""Patients of the training preset, never trained on, on which the threshold baseline is tuned."""

SIMULATING = 2
"""Processes that simulate: a patient takes them longer than its slices take the network."""

EvaluateProgress = Callable[[float, str], None]
Simulate = Callable[[int, str], "SpectCtPatient"]


class Network(Protocol):
    """What is evaluated: `engine.LesionEngine`, or another network in its place."""

    def probabilities(self, inputs: np.ndarray, *, where: np.ndarray | None = None) -> np.ndarray:
        """Return (slice, row, column) for consecutive slices (slice, 2, row, column), or for any with their neighbours
        (slice, 6, row, column); `where` as `search.worth_a_look` has it."""


def evaluate(
    count: int = 30,
    seed: int = EVALUATION_SEED,
    preset: str = "held_out",
    progress: EvaluateProgress | None = None,
    options: ComputeOptions | None = None,
    *,
    whole: Sequence[str] = (FUSED,),
    volumes: int | None = None,
    out: Path | None = None,
    tuning_patients: int = len(TUNING_SEEDS),
    simulate: Simulate | None = None,
) -> EvaluationReport:
    """Evaluate the installed weights on simulated patients with seeds seed, seed + 1, ...

    Parameters
    ----------
    preset : scanner settings of the patients ("held_out", "domain_shift"). options : device, precision and weights.
    whole : uses whose whole volumes are analysed. volumes : of so many patients, see `spread`; None for all.
    out : folder for a picture of each patient's largest lesion.
    tuning_patients : how many of `TUNING_SEEDS` the baseline is tuned on. simulate : (seed, preset) -> patient; runs in
        another process.

    Raises
    ------
    ValueError
        If count is not positive or the preset does not exist.
    WeightsError, DeviceError
        If the network cannot be loaded.
    """
    if count < 1:
        raise ValueError(f"an evaluation needs at least 1 patient, got {count}")
    from pipelines.phantoms.spect_ct.simulate import simulate_spect_ct
    from pipelines.spect_ct.engine import LesionEngine

    engine = LesionEngine.load(options or ComputeOptions())
    _tell(progress, 0.0, "tuning the threshold baseline")
    tuning = [(one, "train") for one in TUNING_SEEDS[:tuning_patients]]
    make = partial(_simulated, simulate or simulate_spect_ct)
    patients = ahead(make, [*tuning, *((seed + number, preset) for number in range(count))], SIMULATING)
    baseline = tune(on_grid(patient) for patient in islice(patients, len(tuning)))
    results, in_full = [], spread(count, volumes)
    for number, patient in enumerate(patients):
        these = whole if number in in_full else ()
        results.append(evaluate_patient(patient, engine, baseline, these, out))
        _tell(progress, (number + 1) / count, f"evaluated {number + 1} of {count}")
    return EvaluationReport(
        preset=preset,
        first_seed=seed,
        patients=tuple(results),
        models=({"name": engine.card.name, "version": engine.card.version, "sha256": engine.card.sha256},),
        baseline={use: list(levels) for use, levels in baseline.levels.items()},
    )


def spread(count: int, volumes: int | None) -> frozenset[int]:
    """Return which of `count` patients are analysed whole: `volumes` of them, evenly spread; all where it is None.

    Each is the middle of as many equal parts: 4, 12, 20, ... of 100 for 12. The first ones by themselves may be unlike
    the rest, and they are those that are looked at most while a network is made.
    """
    if volumes is None or volumes >= count:
        return frozenset(range(count))
    return frozenset((2 * part + 1) * count // (2 * volumes) for part in range(volumes))


def evaluate_patient(
    patient: SpectCtPatient,
    network: Network,
    baseline: ThresholdBaseline,
    whole: Sequence[str] = (FUSED,),
    out: Path | None = None,
) -> PatientResult:
    """Analyse one simulated patient by each use and compare with the truth of that use.

    SPECT is analysed as where no CT came, on a grid of its own.
    """
    placed, alone = on_grid(patient), on_grid(patient, ct=False)
    started, scores = time.perf_counter(), {}
    for use in USES:
        picture = out and out / f"{patient.seed}-{use}.png"
        scores[use] = score_use(alone if use == SPECT else placed, use, network, baseline, use in whole, picture)
    return PatientResult(
        seed=patient.seed,
        uses=scores,
        kinds={lesion.label: lesion.kind for lesion in patient.lesions},
        malignant={lesion.label: lesion.malignant for lesion in patient.lesions},
        diameters_mm={lesion.label: lesion.diameter_mm for lesion in patient.lesions},
        slices=placed.prepared.lattice.shape[0],
        seconds=time.perf_counter() - started,
    )


def score_use(
    placed: GridPatient,
    use: str,
    network: Network,
    baseline: ThresholdBaseline,
    whole: bool,
    picture: Path | None = None,
) -> UseScore:
    """Score one use of one patient; writes a picture of the slice of the largest lesion where a path is given."""
    labels, places = placed.labels[use], largest_slices(placed.labels[use])
    inputs, where = blanked(placed.prepared.inputs, use), worth_a_look(placed.prepared, use)
    probabilities = np.zeros(labels.shape, np.float16)
    if whole:
        probabilities[:] = network.probabilities(inputs, where=where)
    elif places:
        wanted = np.array(sorted(set(places.values())), int)
        probabilities[wanted] = network.probabilities(with_neighbours(inputs, wanted), where=where[wanted])
    # Where no SPECT came nothing but the CT tells where the body is.
    seen = replace(placed.prepared, counts=None) if use == CT else placed.prepared
    beside = None if use == SPECT else beside_bone(seen)
    volume, found, false = score_volume(placed, use, probabilities, beside) if whole else (None, {}, None)
    if beside is not None:
        probabilities = without_pieces_off_bone(probabilities, beside, THRESHOLD)
    lesions = [
        score_slice(
            label,
            labels[number],
            probabilities[number],
            baseline.mask(use, inputs[number]),
            found.get(label),
        )
        for label, number in places.items()
    ]
    if picture is not None and lesions:
        number = places[max(lesions, key=lambda lesion: lesion.pixels).label]
        write_picture(picture, placed.prepared.inputs[number], labels[number] > 0, probabilities[number])
    return UseScore(tuple(lesions), volume, None if false is None else tuple(false))


def measure_into_cards(report: EvaluationReport, folder: Path) -> None:
    """Write the report's figures into the model card of a folder of weights."""
    write_figures(folder, "spect-ct", {report.preset: report.summary()})


def _simulated(simulate: Simulate, job: tuple[int, str]) -> SpectCtPatient:
    return simulate(*job)


def _tell(progress: EvaluateProgress | None, share: float, message: str) -> None:
    if progress is not None:
        progress(share, message)
