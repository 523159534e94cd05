"""`bone-scan`: metastases, bladder and tumour burden on planar whole-body bone scans.

files -> `planar.pipeline` (views, checks) -> `analysis` per view on the `engine` -> `findings`.
After Liu et al., doi:10.3760/cma.j.cn321828-20200906-00337; every departure from the paper stands where it is made.

This module stays cheap to import: torch comes with `load`.
"""

from __future__ import annotations

from typing import ClassVar

from pipelines.bone_scan.analysis import View, analyse
from pipelines.bone_scan.engine import Engine
from pipelines.bone_scan.findings import build_findings
from pipelines.contract import ComputeOptions, Findings, PipelineInputs, Progress
from pipelines.contract.provenance import Provenance, Stopwatch
from pipelines.planar.pipeline import PlanarPipeline


class BoneScanPipeline(PlanarPipeline):
    """The contract's `Pipeline` for whole-body bone scans."""

    name: ClassVar[str] = "bone-scan"
    version: ClassVar[str] = "0.1.0"
    title: ClassVar[str] = "Bone metastases and tumour burden on whole-body bone scans"

    def __init__(self) -> None:
        super().__init__()
        self._engine: Engine | None = None

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
            scan, prepared = self.looked_at(inputs)
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
