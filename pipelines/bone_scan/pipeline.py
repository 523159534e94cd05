"""`bone-scan`: metastases, bladder and tumour burden on planar whole-body bone scans.

files -> `imaging.planar` (views) -> `header_checks`, `checks` -> `analysis` per view on the `engine` -> `findings`.
After Liu et al., doi:10.3760/cma.j.cn321828-20200906-00337; every departure from the paper stands where it is made.

This module stays cheap to import: torch comes with `load`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pipelines.bone_scan.analysis import View, analyse
from pipelines.bone_scan.checks import content_refusal, field_refusal
from pipelines.bone_scan.engine import Engine
from pipelines.bone_scan.findings import build_findings
from pipelines.bone_scan.header_checks import header_refusal
from pipelines.bone_scan.prepare import PreparedView, prepare_view
from pipelines.contract import ComputeOptions, ContentRefused, Findings, Pipeline, PipelineInputs, Progress
from pipelines.contract.provenance import Provenance, Stopwatch
from pipelines.imaging.planar import PlanarScan, read_planar_scan


class BoneScanPipeline(Pipeline):
    """The contract's `Pipeline` for whole-body bone scans."""

    name: ClassVar[str] = "bone-scan"
    version: ClassVar[str] = "0.1.0"
    title: ClassVar[str] = "Bone metastases and tumour burden on whole-body bone scans"

    def __init__(self) -> None:
        self._engine: Engine | None = None
        self._checked: tuple[PipelineInputs, PlanarScan, list[PreparedView]] | None = None

    def check(self, inputs: PipelineInputs) -> None:
        """Refuse what is no delayed whole-body bone scan; see `header_checks` and `checks`.

        Raises
        ------
        ContentRefused
            With the reason in a sentence.
        """
        self._checked = None
        scan = _read(inputs)
        views = []
        for view in scan.views:
            reason = field_refusal(view.counts, view.spacing_mm)
            if not reason:
                views.append(prepare_view(view.counts, view.spacing_mm))
                reason = content_refusal(views[-1], view.name)
            if reason:
                raise ContentRefused(reason)
        self._checked = inputs, scan, views

    def load(self, options: ComputeOptions) -> None:
        """Load the network.

        Raises
        ------
        WeightsError, DeviceError
        """
        self._engine = Engine.load(options)

    def run(self, inputs: PipelineInputs, progress: Progress) -> Findings:
        """Analyse one scan.

        Raises
        ------
        ContentRefused
            If the files cannot be read as a scan after all.
        RuntimeError
            If `load` was not called.
        """
        if self._engine is None:
            raise RuntimeError("load() has to be called before run()")
        watch = Stopwatch()
        progress(0.0, "reading the scan")
        with watch.stage("read"):
            scan, prepared = self._looked_at(inputs)
        views = [
            View(view.counts, view.spacing_mm, view.name, ready)
            for view, ready in zip(scan.views, prepared, strict=True)
        ]
        told = iter(range(len(views)))
        analyses = analyse(
            views,
            self._engine,
            watch,
            tell=lambda name: progress(0.1 + 0.8 * next(told) / len(views), f"analysing the {name} view"),
        )
        progress(0.9, "composing the findings")
        engine = self._engine
        provenance = Provenance(
            self.name, self.version, (engine.card,), engine.device.title, engine.precision, watch.seconds
        )
        findings = build_findings(scan, analyses, provenance)
        progress(1.0, "done")
        return findings

    def _looked_at(self, inputs: PipelineInputs) -> tuple[PlanarScan, Sequence[PreparedView | None]]:
        """Return what `check` read and prepared of the same inputs, once; else read them now."""
        checked, self._checked = self._checked, None
        if checked is not None and checked[0] == inputs:
            return checked[1], checked[2]
        scan = _read(inputs)
        return scan, [None] * len(scan.views)


def _read(inputs: PipelineInputs) -> PlanarScan:
    # The two views may come as two series: a rule then names the second a companion, and both are one scan.
    return read_planar_scan([path for series in inputs.series for path in series.paths], header_refusal)
