"""A pipeline on files, without network, queue or database: what `osteon run` does.

paths -> series (grouped by header) -> pipeline -> Findings -> SEG, SR, secondary capture, PNG, summary.json
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from node.errors import OsteonError
from node.registry.planning import job_key
from node.results.context import NodeIdentity
from node.storage.walk import walk
from pipelines.contract import ComputeOptions, Findings, InputSeries, Pipeline, PipelineInputs, Progress


class NothingToRead(OsteonError):
    """No DICOM file was found under the given paths."""


@dataclass(frozen=True)
class Outcome:
    """What was found and the files that were written."""

    findings: Findings
    files: tuple[Path, ...]
    summary: dict[str, Any]


def group_series(paths: Sequence[Path]) -> tuple[InputSeries, ...]:
    """Group DICOM files into series, in order of first appearance; DICOMDIRs and other files are passed over.

    Raises
    ------
    NothingToRead
        If there is not one DICOM file.
    """
    groups: dict[str, list[Path]] = defaultdict(list)
    for file in walk(paths):
        if file.path.name.upper() == "DICOMDIR":
            continue
        try:
            header = dcmread(file.path, stop_before_pixels=True, specific_tags=["SeriesInstanceUID"])
        except (InvalidDicomError, OSError, EOFError):
            continue
        groups[str(header.get("SeriesInstanceUID", ""))].append(file.path)
    if not groups:
        raise NothingToRead(f"no DICOM file under {', '.join(str(p) for p in paths)}")
    return tuple(InputSeries(uid, tuple(files)) for uid, files in groups.items())


def analyse(
    pipeline: Pipeline,
    options: ComputeOptions,
    paths: Sequence[Path],
    out_dir: Path,
    node: NodeIdentity,
    now: datetime,
    progress: Progress,
) -> Outcome:
    """Run a pipeline on files and write its results to `out_dir` (created where missing).

    Raises
    ------
    NothingToRead, ContentRefused, WeightsError, DeviceError
    """
    from node.results import ResultContext, build_results, summary, write_pictures, write_results, write_summary

    inputs = PipelineInputs(group_series(paths))
    progress(0.0, "checking the content")
    pipeline.check(inputs)
    progress(0.05, "loading the networks")
    pipeline.load(options)
    findings = pipeline.run(inputs, lambda fraction, text: progress(0.1 + 0.8 * fraction, text))
    progress(0.9, "writing results")
    # As in the node, so that the same analysis makes the same result UIDs here and there.
    key = job_key(pipeline.name, [series.series_instance_uid for series in inputs.series])
    context = ResultContext(job_key=key, revision=1, created_at=now, node=node)
    objects = build_results(findings, context)
    stem = f"{pipeline.name}-{key[:12]}"
    files = write_results(objects, out_dir, stem) + write_pictures(findings, context, out_dir, stem)
    described = summary(findings, objects)
    write_summary(described, out_dir / "summary.json")
    progress(1.0, "done")
    return Outcome(findings, (*files, out_dir / "summary.json"), described)
