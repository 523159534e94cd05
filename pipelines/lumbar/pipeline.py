"""`lumbar`: vertebral bodies, discs, canal, foramina, cord and cauda equina on sagittal T2 of the lumbar spine.

files -> `checks` (which series, and is it one) -> `imaging.volume` -> `cascade` (networks) -> `levels` (names) ->
`measurements` -> `findings`. After doi:10.13609/j.cnki.1000-0313.2022.02.016; every departure from the paper stands
where it is made.

This module stays cheap to import: torch comes with `load`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from pipelines.contract import ComputeOptions, ContentRefused, Findings, Pipeline, PipelineInputs, Progress
from pipelines.contract.provenance import Provenance, Stopwatch
from pipelines.imaging.volume import Volume, read_volume
from pipelines.lumbar.checks import choose_series
from pipelines.lumbar.classes import BODY
from pipelines.lumbar.findings import build_findings
from pipelines.lumbar.instances import LevelMap
from pipelines.lumbar.measurements import measure
from pipelines.lumbar.wording import UNSURE

if TYPE_CHECKING:
    from pipelines.lumbar.cascade import CascadeResult, LumbarCascade

FEWEST_VERTEBRAE = 3
"""With fewer marked the picture is not that of a lumbar spine, whatever its header says."""

FEWEST_DISCS = 2
"""Nor without discs between them: the networks see a column of bodies in a bottle of water, and no disc (simulated and
real spines show about one disc a body)."""

LEAST_SURE, USUALLY_SURE = 0.70, 0.80
"""Mean probability of the voxels called body below which there is no spine, and below which the result says so.
Real and simulated spines have 0.94 to 0.96, noise 0.69, a bottle of water 0.86: these networks see some spine in
everything."""


class LumbarPipeline(Pipeline):
    """The contract's `Pipeline` for sagittal T2 of the lumbar spine."""

    name: ClassVar[str] = "lumbar"
    version: ClassVar[str] = "0.1.0"
    title: ClassVar[str] = "Structures and levels of the lumbar spine on sagittal T2 MRI"

    def __init__(self) -> None:
        self._cascade: LumbarCascade | None = None

    def check(self, inputs: PipelineInputs) -> None:
        """Refuse what is no sagittal T2 of the lumbar spine without fat suppression, by the headers; see `checks`.

        Raises
        ------
        ContentRefused
            With the reason in a sentence.
        """
        choose_series(inputs.series)

    def load(self, options: ComputeOptions) -> None:
        """Load all networks.

        Raises
        ------
        WeightsError, DeviceError
        """
        from pipelines.lumbar.cascade import LumbarCascade

        self._cascade = LumbarCascade.load(options)

    def run(self, inputs: PipelineInputs, progress: Progress) -> Findings:
        """Analyse one series.

        Raises
        ------
        ContentRefused
            If pixels cannot be decoded, are blank, or show no lumbar spine to the networks.
        RuntimeError
            If `load` was not called.
        """
        if self._cascade is None:
            raise RuntimeError("load() has to be called before run()")
        watch = Stopwatch()
        progress(0.0, "reading the series")
        with watch.stage("read"):
            stack, remarks = choose_series(inputs.series)
            volume = read_volume(stack)
            _refuse_blank(volume)
        with watch.stage("segment"):
            found = self._cascade.segment(
                volume.values, volume.spacing_mm, lambda done, text: progress(0.1 + 0.7 * done, text)
            )
        progress(0.8, "naming the levels")
        with watch.stage("name levels"):
            levels = self._cascade.name(found, volume.values, volume.spacing_mm)
            sure = _sure(found, levels)
            _refuse_no_spine(volume, levels, sure)
            flags = (*found.flags, UNSURE) if sure < USUALLY_SURE else found.flags
        progress(0.85, "measuring")
        with watch.stage("measure"):
            measured = measure(levels)
        progress(0.9, "composing the findings")
        provenance = Provenance(
            self.name,
            self.version,
            self._cascade.cards,
            self._cascade.device.title,
            self._cascade.precision,
            watch.seconds,
        )
        findings = build_findings(volume, levels, measured, provenance, flags, (*stack.remarks, *remarks))
        progress(1.0, "done")
        return findings


def _refuse_blank(volume: Volume) -> None:
    if float(volume.values.max()) <= float(volume.values.min()):
        raise ContentRefused(f"{volume.name} is blank: every pixel has the same value.")


def _sure(found: CascadeResult, levels: LevelMap) -> float:
    """Mean probability of the voxels that end up in vertebral bodies; 0 without any."""
    bodies = levels.structures == BODY
    return float(found.confidence[bodies].mean(dtype=np.float64)) if bodies.any() else 0.0


def _refuse_no_spine(volume: Volume, levels: LevelMap, sure: float) -> None:
    if len(levels.vertebrae) < FEWEST_VERTEBRAE:
        raise ContentRefused(
            f"{volume.name} shows no lumbar spine that the networks recognise: they marked {len(levels.vertebrae)} "
            f"vertebral bodies, at least {FEWEST_VERTEBRAE} are needed."
        )
    if len(levels.discs) < FEWEST_DISCS:
        raise ContentRefused(
            f"{volume.name} shows no lumbar spine that the networks recognise: they marked {len(levels.vertebrae)} "
            f"vertebral bodies and {len(levels.discs)} discs, at least {FEWEST_DISCS} discs are needed."
        )
    if sure < LEAST_SURE:
        raise ContentRefused(
            f"{volume.name} shows no lumbar spine that the networks recognise: they are {100 * sure:.0f} % sure of the "
            f"vertebral bodies they marked, at least {100 * LEAST_SURE:.0f} % is asked for."
        )
