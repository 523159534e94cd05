"""`thorax`: metastases in the thorax of planar whole-body bone scans.

files -> `planar.pipeline` (views, checks) -> `crop` -> `analysis` on the `engine` -> `findings`.
After Lin et al., doi:10.3389/fmolb.2022.956720; every departure from the paper stands where it is made.

This module stays cheap to import: torch comes with `load`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pipelines.contract import ComputeOptions, ContentRefused, Findings, PipelineInputs, Progress
from pipelines.contract.provenance import Provenance, Stopwatch
from pipelines.planar.pipeline import PlanarPipeline
from pipelines.planar.prepare import PreparedView
from pipelines.thorax.analysis import View, analyse
from pipelines.thorax.crop import crop_refusal, shared_crop
from pipelines.thorax.engine import Engine
from pipelines.thorax.findings import build_findings


class ThoraxPipeline(PlanarPipeline):
    """The contract's `Pipeline` for the thorax of whole-body bone scans."""

    name: ClassVar[str] = "thorax"
    version: ClassVar[str] = "0.1.0"
    title: ClassVar[str] = "Bone metastases in the thorax of whole-body bone scans"

    def __init__(self) -> None:
        super().__init__()
        self._engine: Engine | None = None

    def refusal(self, views: Sequence[PreparedView]) -> str | None:
        """Refuse scans without a thorax."""
        return crop_refusal(views, shared_crop(views))

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
            If the files cannot be read as a scan after all, or show no thorax.
        RuntimeError
            If `load` was not called.
        """
        if self._engine is None:
            raise RuntimeError("load() has to be called before run()")
        engine, watch = self._engine, Stopwatch()
        progress(0.0, "reading the scan")
        with watch.stage("read"):
            scan, prepared = self.looked_at(inputs)
        reason = self.refusal(prepared)
        if reason:
            raise ContentRefused(reason)
        progress(0.2, "looking for foci in the thorax")
        views = [View(v.name, v.counts, ready) for v, ready in zip(scan.views, prepared, strict=True)]
        analyses = analyse(views, engine, watch)
        progress(0.9, "composing the findings")
        provenance = Provenance(
            self.name, self.version, (engine.card,), engine.device.title, engine.precision, watch.seconds
        )
        findings = build_findings(scan, analyses, provenance)
        progress(1.0, "done")
        return findings
