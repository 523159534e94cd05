"""What `check` and `run` of every pipeline of whole-body scans share: reading, refusing, handing over.

files -> `imaging.planar` (views) -> `header_checks`, `checks` -> prepared views, read and prepared once for `check` and
`run` together. The method itself is the subclass's.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.contract import ContentRefused, Pipeline, PipelineInputs
from pipelines.imaging.planar import PlanarScan, read_planar_scan
from pipelines.planar.checks import content_refusal, field_refusal
from pipelines.planar.header_checks import header_refusal
from pipelines.planar.prepare import PreparedView, prepare_view


class PlanarPipeline(Pipeline):
    """A `Pipeline` of whole-body bone scans without its method."""

    def __init__(self) -> None:
        self._checked: tuple[PipelineInputs, PlanarScan, list[PreparedView]] | None = None

    def check(self, inputs: PipelineInputs) -> None:
        """Refuse what is no delayed whole-body bone scan; see `header_checks` and `checks`.

        Raises
        ------
        ContentRefused
            With the reason in a sentence.
        """
        self._checked = None
        scan = read_scan(inputs)
        views = []
        for view in scan.views:
            reason = field_refusal(view.counts, view.spacing_mm)
            if not reason:
                views.append(prepare_view(view.counts, view.spacing_mm))
                reason = content_refusal(views[-1], view.name)
            if reason:
                raise ContentRefused(reason)
        reason = self.refusal(views)
        if reason:
            raise ContentRefused(reason)
        self._checked = inputs, scan, views

    def refusal(self, views: Sequence[PreparedView]) -> str | None:
        """Say what the pipeline itself has against a whole-body scan, or None; the anterior view comes first."""
        return None

    def looked_at(self, inputs: PipelineInputs) -> tuple[PlanarScan, list[PreparedView]]:
        """Return what `check` read and prepared of the same inputs, once; else read and prepare them now."""
        checked, self._checked = self._checked, None
        if checked is not None and checked[0] == inputs:
            return checked[1], checked[2]
        scan = read_scan(inputs)
        return scan, [prepare_view(view.counts, view.spacing_mm) for view in scan.views]


def read_scan(inputs: PipelineInputs) -> PlanarScan:
    """Read a scan whose two views may come as two series: a rule then names the second a companion.

    Raises
    ------
    ContentRefused
        If the files cannot be read as one.
    """
    return read_planar_scan([path for series in inputs.series for path in series.paths], header_refusal)
