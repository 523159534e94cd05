"""Measures the installed networks on held-out simulated patients, in the form of the paper's tables 1 and 2.

simulate (other anatomy seeds and other physics than in training) -> the node's own analysis (`analysis.analyse`
on the `engine`) -> decisions, scores and masks against the truth -> `EvaluationReport`. The tuned threshold baseline
runs on the same patients.

Patient rule as in the paper: positive if any tile of any image reaches 0.5. What is measured here is how well the
networks do on simulated patients: it is no clinical accuracy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from pipelines.bone_scan.analysis import Network, View, ViewAnalysis, analyse
from pipelines.bone_scan.baseline import ThresholdBaseline, score, tune
from pipelines.bone_scan.bstbi import burden, uptake_sums
from pipelines.bone_scan.evaluation_report import EvaluationReport, PatientResult, TileResult
from pipelines.bone_scan.tiles import CLASSIFIER_THRESHOLD, split
from pipelines.contract import ComputeOptions
from pipelines.contract.provenance import Stopwatch
from pipelines.contract.weights import ModelCard
from pipelines.phantoms.bone_scan import VIEWS, SimulatedBoneScan, simulate_bone_scan
from pipelines.phantoms.presets import PRESETS
from pipelines.planar.detections import Detections, free_response
from pipelines.planar.levels import to_grey, window
from pipelines.planar.prepare import PreparedView, prepare_view
from pipelines.training.cards import write_figures
from pipelines.training.metrics import Overlap
from pipelines.training.processes import ahead

METASTASIS, BLADDER = 1, 2
EVALUATION_SEED = 500_000
"""First seed of the usual held-out set; training uses seeds from 0 on."""

TUNING_SEEDS = range(900_000, 900_024)
"""Patients of the training preset, never trained on, on which the threshold baseline is tuned."""

MIN_TILE_PIXELS = 6
"""Pixels from which a tile counts as holding a label, as in training."""

EvaluateProgress = Callable[[float, str], None]


def evaluate(
    count: int = 100,
    seed: int = EVALUATION_SEED,
    preset: str = "held_out",
    progress: EvaluateProgress | None = None,
    options: ComputeOptions | None = None,
    tuning_patients: int = len(TUNING_SEEDS),
    out: Path | None = None,
) -> EvaluationReport:
    """Evaluate the installed weights on simulated patients with seeds seed, seed + 1, ...

    Parameters
    ----------
    count : number of patients. preset : their acquisition settings ("held_out", "domain_shift").
    options : device, precision and weights; None for the defaults of the node.
    tuning_patients : how many of `TUNING_SEEDS` the threshold baseline is tuned on.
    out : folder for pictures (`evaluation_pictures`), None for none.

    Raises
    ------
    ValueError
        If count is not positive or the preset does not exist.
    WeightsError, DeviceError
        If the network cannot be loaded.
    """
    from pipelines.bone_scan.engine import Engine

    if count < 1:
        raise ValueError(f"an evaluation needs at least 1 patient, got {count}")
    if preset not in PRESETS:
        raise ValueError(f"there is no acquisition preset '{preset}'; known: {', '.join(PRESETS)}")
    engine = Engine.load(options or ComputeOptions())
    _tell(progress, 0.0, "tuning the threshold baseline")
    tuning = ahead(partial(simulate_bone_scan, preset="train"), TUNING_SEEDS[:tuning_patients])
    baseline = tune([prepared_truth(scan) for scan in tuning])
    watch = Stopwatch()
    results = []
    for number, scan in enumerate(ahead(partial(simulate_bone_scan, preset=preset), range(seed, seed + count))):
        results.append(evaluate_patient(scan, engine, baseline, watch))
        _tell(progress, (number + 1) / count, f"evaluated {number + 1} of {count} patients")
    report = EvaluationReport(
        preset=preset,
        first_seed=seed,
        patients=tuple(results),
        models=(_identity(engine.card),),
        baseline={
            "metastasis_level": baseline.metastasis_level,
            "bladder_level": baseline.bladder_level,
            "patient_pixels": baseline.patient_pixels,
        },
        seconds_per_patient=sum(watch.seconds.values()) / count,
    )
    if out is not None:
        from pipelines.bone_scan.evaluation_failures import draw_failures, worst
        from pipelines.bone_scan.evaluation_pictures import draw

        draw(report, out)
        draw_failures(worst(report.patients), preset, engine, out)
    return report


def evaluate_patient(
    scan: SimulatedBoneScan, network: Network, baseline: ThresholdBaseline, watch: Stopwatch
) -> PatientResult:
    """Analyse one simulated patient as the node does and compare with the truth; masks on the source grid."""
    analyses = analyse_scan(scan, network, watch)
    overlaps = {
        label: sum(
            (
                Overlap.of(truth == label, a.found.classes == label)
                for truth, a in zip(scan.labels, analyses, strict=True)
            ),
            Overlap(),
        )
        for label in (METASTASIS, BLADDER)
    }
    simple = [baseline.segment(a.prepared) for a in analyses]
    working = [a.prepared.grid.labels_to_working(t) for t, a in zip(scan.labels, analyses, strict=True)]
    tiles = [tile for truth, a in zip(working, analyses, strict=True) for tile in _tiles(truth, a)]
    hottest = max(tile.metastasis for tile in tiles)
    found = burden([sums for a in analyses for sums in a.window_sums]).index
    return PatientResult(
        seed=scan.seed,
        age_years=scan.patient.age_years,
        has_metastases=scan.has_metastases,
        score=hottest,
        positive=hottest >= CLASSIFIER_THRESHOLD,
        metastasis=overlaps[METASTASIS],
        bladder=overlaps[BLADDER],
        tiles=tuple(tiles),
        baseline_score=score(simple),
        baseline_positive=baseline.is_positive(simple),
        baseline_metastasis=_overlap(working, simple, METASTASIS),
        baseline_bladder=_overlap(working, simple, BLADDER),
        detections=sum(
            (
                Detections.of(t == METASTASIS, a.found.classes == METASTASIS)
                for t, a in zip(scan.labels, analyses, strict=True)
            ),
            Detections(),
        ),
        free_response=_free_response(working, analyses),
        bstbi=found,
        bstbi_truth=true_burden(scan, analyses),
        benign=tuple(sorted(set(scan.benign))),
    )


def analyse_scan(scan: SimulatedBoneScan, network: Network, watch: Stopwatch) -> list[ViewAnalysis]:
    """Analyse both views of one simulated patient as the node does; stages are timed on the watch."""
    spacing = (scan.scanner.pixel_mm, scan.scanner.pixel_mm)
    views = [View(counts, spacing, name) for counts, name in zip(scan.counts, VIEWS, strict=True)]
    return analyse(views, network, watch)


def prepared_truth(scan: SimulatedBoneScan) -> list[tuple[PreparedView, np.ndarray]]:
    """Return the scan's views, prepared, each with its truth on the working grid."""
    spacing = (scan.scanner.pixel_mm, scan.scanner.pixel_mm)
    views = [prepare_view(counts, spacing) for counts in scan.counts]
    return [(v, v.grid.labels_to_working(labels)) for v, labels in zip(views, scan.labels, strict=True)]


def measure_into_cards(report: EvaluationReport, folder: Path) -> None:
    """Write the report's figures into the model cards of a folder of weights."""
    write_figures(folder, "bone-scan", {report.preset: report.summary()})


def _tiles(truth: np.ndarray, analysis: ViewAnalysis) -> list[TileResult]:
    """Truth and probabilities of each tile of a view."""
    results = []
    for labels, answer in zip(split(truth, analysis.starts), analysis.tile_probabilities, strict=True):
        results.append(
            TileResult(
                has_metastasis=bool((labels == METASTASIS).sum() >= MIN_TILE_PIXELS),
                has_bladder=bool((labels == BLADDER).sum() >= MIN_TILE_PIXELS),
                metastasis=float(answer[0]),
                bladder=float(answer[1]),
            )
        )
    return results


def true_burden(scan: SimulatedBoneScan, analyses: Sequence[ViewAnalysis]) -> float | None:
    """The index on the truth's masks, with the same windows."""
    sums = []
    for counts, labels, analysis in zip(scan.counts, scan.labels, analyses, strict=True):
        for upper in analysis.prepared.upper_levels:
            grey = to_grey(window(counts, upper))
            sums.append(uptake_sums(grey, labels == METASTASIS, labels == BLADDER))
    return burden(sums).index


def _free_response(working: Sequence[np.ndarray], analyses: Sequence[ViewAnalysis]) -> tuple[Detections, ...]:
    views = (
        free_response(truth == METASTASIS, a.probabilities[METASTASIS])
        for truth, a in zip(working, analyses, strict=True)
    )
    return tuple(sum(at_one_cut, Detections()) for at_one_cut in zip(*views, strict=True))


def _overlap(truth: Sequence[np.ndarray], found: Sequence[np.ndarray], label: int) -> Overlap:
    return sum((Overlap.of(t == label, f == label) for t, f in zip(truth, found, strict=True)), Overlap())


def _identity(card: ModelCard) -> dict[str, str]:
    return {"name": card.name, "version": card.version, "sha256": card.sha256}


def _tell(progress: EvaluateProgress | None, share: float, message: str) -> None:
    if progress is not None:
        progress(share, message)
