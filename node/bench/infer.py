"""`osteon bench infer`: one study through a pipeline, model loaded; stage by stage, in each precision.

    simulated patient (DICOM) -> check -> run, repeated

The patient is simulated once. Peers: none does the same work; the paper's own figure is printed beside ours with the
hardware it was taken on.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from node.bench.timing import as_text, machine, spread
from node.offline import group_series
from pipelines.contract import ComputeOptions, Pipeline, PipelineInputs, load_pipeline_class

SCHEMA = "osteon.bench.infer/1"
PAPER = {
    "bone-scan": "the paper: 0.48 +- 0.07 s per patient on a GTX 1080 Ti (doi:10.3760/cma.j.cn321828-20200906-00337)"
}
PRECISIONS = ("fp32", "bf16")


def bench_infer(pipeline: str = "bone-scan", rounds: int = 5, device: str = "auto", seed: int = 1) -> dict[str, Any]:
    """Time a pipeline on one simulated patient.

    Returns
    -------
    dict
        `rows`: per precision the whole analysis (reading the file to findings); `stages`: medians per stage in s;
        `load_s`: loading the networks, once per process.
    """
    from pipelines.phantoms import generate

    rows: dict[str, dict[str, float]] = {}
    stages: dict[str, dict[str, float]] = {}
    loads: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="osteon-bench-") as folder:
        studies = generate(1, seed, Path(folder), lambda _fraction, _text: None)
        inputs = PipelineInputs(group_series(studies))
        for precision in PRECISIONS:
            instance: Pipeline = load_pipeline_class(pipeline)()
            start = time.perf_counter()
            instance.load(ComputeOptions(device=device, precision=precision))
            loads[precision] = round(time.perf_counter() - start, 3)
            rows[precision], stages[precision] = _repeat(instance, inputs, rounds)
    return {
        "schema": SCHEMA,
        "pipeline": pipeline,
        "device": device,
        "rounds": rounds,
        "machine": machine(),
        "rows": rows,
        "stages_s": stages,
        "load_s": loads,
        "paper": PAPER.get(pipeline, ""),
    }


def _repeat(pipeline: Pipeline, inputs: PipelineInputs, rounds: int) -> tuple[dict[str, float], dict[str, float]]:
    taken: list[float] = []
    stages: dict[str, list[float]] = {}
    for number in range(rounds + 1):
        start = time.perf_counter()
        pipeline.check(inputs)
        checked = time.perf_counter()
        findings = pipeline.run(inputs, lambda _fraction, _text: None)
        if number == 0:
            continue  # the first run pays for allocations that later ones reuse
        taken.append(time.perf_counter() - start)
        reported = findings.details.get("seconds")
        assert isinstance(reported, dict)
        for stage, seconds in {"check": checked - start, **reported}.items():
            stages.setdefault(str(stage), []).append(float(seconds))
    return spread(taken), {stage: round(statistics.median(values), 4) for stage, values in stages.items()}


def text(result: dict[str, Any]) -> str:
    """The result for a terminal."""
    notes = [f"loading the networks: {result['load_s']}"]
    for precision, stages in result["stages_s"].items():
        notes.append(f"{precision} stages: " + ", ".join(f"{name} {value:.3f} s" for name, value in stages.items()))
    return as_text(f"{result['pipeline']} on {result['device']}", result["rows"], [*notes, result["paper"]])
