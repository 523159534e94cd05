"""`osteon bench infer`: one study through a pipeline, model loaded; stage by stage, in each precision.

    simulated patient (DICOM) -> check -> run -> SEG, SR and capture, repeated

The patient is simulated once. Peers: none does the same work; the paper's own figure is printed beside ours with the
hardware it was taken on. Memory is the process's largest resident size from loading the networks to the last object,
where Linux tells it.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from node.bench.timing import as_text, machine, peak_memory_mib, reset_peak_memory, spread
from node.identity import identity
from node.offline import group_series
from pipelines.contract import ComputeOptions, Pipeline, PipelineInputs, load_pipeline_class

SCHEMA = "osteon.bench.infer/1"
PAPER = {
    "bone-scan": "the paper: 0.48 +- 0.07 s per patient on a GTX 1080 Ti (doi:10.3760/cma.j.cn321828-20200906-00337)",
    "lumbar": "the paper (doi:10.13609/j.cnki.1000-0313.2022.02.016) gives no time; 16 slices of 640 x 640 here",
    "spect-ct": "the paper (doi:10.3760/cma.j.cn321828-20241106-00384) gives no time; 400 CT and 128 SPECT slices here",
    "thorax": "the paper: 2.60 s at T = 3 on two RTX 2080 (doi:10.3389/fmolb.2022.956720)",
}
PRECISIONS = ("fp32", "bf16")
LUMBAR_SLICES, LUMBAR_SIDE = 16, 640
SPECT_CT_SLICES = (400, 128)
"""Of the CT and of the SPECT: 61 cm of the trunk."""


def bench_infer(pipeline: str = "bone-scan", rounds: int = 5, device: str = "auto", seed: int = 1) -> dict[str, Any]:
    """Time a pipeline on one simulated patient.

    Returns
    -------
    dict
        `rows`: per precision the whole analysis (reading the files to finished objects); `stages`: medians per stage
        in s, and of all threads' processor time, which says what a busy machine hides;
        `load_s`: loading the networks, once per process; `peak_mib`: see the module's text, None if unknown.

    Raises
    ------
    click.BadParameter
        If there is no simulated patient for the pipeline.
    """
    if pipeline not in STUDIES:
        raise click.BadParameter(f"there is no simulated patient for '{pipeline}'; there is for {', '.join(STUDIES)}")
    rows: dict[str, dict[str, float]] = {}
    stages: dict[str, dict[str, float]] = {}
    loads: dict[str, float] = {}
    peaks: dict[str, int | None] = {}
    with tempfile.TemporaryDirectory(prefix="osteon-bench-") as folder:
        inputs = PipelineInputs(group_series(STUDIES[pipeline](Path(folder), seed)))
        for precision in _worth_timing(device):
            reset_peak_memory()
            instance: Pipeline = load_pipeline_class(pipeline)()
            start = time.perf_counter()
            instance.load(ComputeOptions(device=device, precision=precision))
            loads[precision] = round(time.perf_counter() - start, 3)
            rows[precision], stages[precision] = _repeat(instance, inputs, rounds)
            peaks[precision] = peak_memory_mib()
    return {
        "schema": SCHEMA,
        "pipeline": pipeline,
        "device": device,
        "rounds": rounds,
        "machine": machine(),
        "rows": rows,
        "stages_s": stages,
        "load_s": loads,
        "peak_mib": peaks,
        "paper": PAPER.get(pipeline, ""),
    }


def _worth_timing(device: str) -> tuple[str, ...]:
    """Leave bf16 out where it is emulated: it would only be slow, ten times in places."""
    from pipelines.contract.compute import fast_precision, prepare_process

    name = prepare_process(ComputeOptions(device=device)).name
    return PRECISIONS if fast_precision(name) == "bf16" else PRECISIONS[:1]


def _bone_scan(folder: Path, seed: int) -> list[Path]:
    from pipelines.phantoms import generate

    return generate(1, seed, folder, lambda _fraction, _text: None)


def _lumbar(folder: Path, seed: int) -> list[Path]:
    """The first simulated patient from this seed on with enough slices, on the matrix that is usual in 2020s scans."""
    from pipelines.phantoms.lumbar import regrid, simulate_lumbar, write_lumbar_study

    while len((patient := simulate_lumbar(seed, "held_out")).image) < LUMBAR_SLICES:
        seed += 1
    return [write_lumbar_study(regrid(patient, LUMBAR_SLICES, LUMBAR_SIDE), folder)]


def _spect_ct(folder: Path, seed: int) -> list[Path]:
    from pipelines.phantoms.spect_ct import simulate_spect_ct, write_study

    patient = simulate_spect_ct(seed, "held_out", metastases=6, stack=SPECT_CT_SLICES)
    return [write_study(patient, folder), folder / "CT"]


STUDIES: dict[str, Callable[[Path, int], list[Path]]] = {
    "bone-scan": _bone_scan,
    "lumbar": _lumbar,
    "spect-ct": _spect_ct,
    "thorax": _bone_scan,
}
"""What simulates one patient of a pipeline: folder and seed -> the files or folders of the series."""


def _repeat(pipeline: Pipeline, inputs: PipelineInputs, rounds: int) -> tuple[dict[str, float], dict[str, float]]:
    from node.results import ResultContext, build_results

    context = ResultContext(job_key="bench", revision=1, created_at=datetime(2026, 1, 1, tzinfo=UTC), node=identity())
    taken: list[float] = []
    processor: list[float] = []
    stages: dict[str, list[float]] = {}
    for number in range(rounds + 1):
        start, busy = time.perf_counter(), time.process_time()
        pipeline.check(inputs)
        checked = time.perf_counter()
        findings = pipeline.run(inputs, lambda _fraction, _text: None)
        found = time.perf_counter()
        for item in build_results(findings, context):
            item.to_bytes()
        end = time.perf_counter()
        if number == 0:
            continue  # the first run pays for allocations that later ones reuse
        taken.append(end - start)
        processor.append(time.process_time() - busy)
        reported = findings.details.get("seconds")
        assert isinstance(reported, dict)
        for stage, seconds in {"check": checked - start, **reported, "objects": end - found}.items():
            stages.setdefault(str(stage), []).append(float(seconds))
    stages["processor"] = processor
    return spread(taken), {stage: round(statistics.median(values), 4) for stage, values in stages.items()}


def text(result: dict[str, Any]) -> str:
    """The result for a terminal."""
    notes = [f"loading the networks, s: {result['load_s']}; largest resident size, MiB: {result['peak_mib']}"]
    for precision, stages in result["stages_s"].items():
        notes.append(f"{precision} stages: " + ", ".join(f"{name} {value:.3f} s" for name, value in stages.items()))
    if len(result["rows"]) < len(PRECISIONS):
        notes.append("bf16 was left out: this processor has no instructions for it")
    return as_text(f"{result['pipeline']} on {result['device']}", result["rows"], [*notes, result["paper"]])
