"""Which series of the study goes beside a job's primary one (the CT of a SPECT/CT), as a pure function."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from node.assemble.conditions import check
from node.assemble.rules import Companion
from node.registry.series import SeriesFacts
from node.registry.states import SeriesState


@dataclass(frozen=True)
class CompanionSearch:
    """The best series found. `arriving`: a fitting one is still being received; there is no best one before it is."""

    series: SeriesFacts | None
    arriving: bool


def find_companion(
    wanted: Companion, primary: SeriesFacts, study: Sequence[SeriesFacts], used_id: int | None = None
) -> CompanionSearch:
    """Look for the companion of `primary` among the series of its study.

    Of several that fit, one in the same frame of reference comes first (it needs no registration), then the one with
    the most instances, then the earliest. But `used_id`, the companion that an earlier revision had, is kept as long
    as it fits: a CT is often sent in several reconstructions, and each must not make a revision of its own. Results
    that osteon made are never companions.
    """
    fitting = [
        series
        for series in study
        if series.id != primary.id
        and not series.headers.get("MadeByOsteon")
        and check(wanted.match, series.headers).matched
    ]
    fitting = [series for series in fitting if series.id == used_id] or fitting
    if any(series.state is SeriesState.RECEIVING for series in fitting):
        return CompanionSearch(None, arriving=True)
    frame = primary.headers.get("FrameOfReferenceUID")

    def rank(series: SeriesFacts) -> tuple[bool, int, float, int]:
        other_frame = frame is None or series.headers.get("FrameOfReferenceUID") != frame
        return other_frame, -series.instance_count, series.first_received_at.timestamp(), series.id

    return CompanionSearch(min(fitting, key=rank, default=None), arriving=False)
