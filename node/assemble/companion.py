"""Which series of the study goes beside a job's primary one, as pure functions.

Two ways: a series of another kind (the CT of a SPECT/CT), or one of the same kind that belongs to it (the other view of
a bone scan); then one job reads both, and the one that came later is joined to the one that came first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from node.assemble.conditions import check
from node.assemble.rules import Companion
from node.registry.series import SeriesFacts
from node.registry.states import SeriesState

ACQUIRED_AT = "AcquiredAt"


@dataclass(frozen=True)
class CompanionSearch:
    """The best series found.

    arriving: a fitting one is still being received; there is no best one before it is.
    joined_to: the series whose job reads this one, too, so that it wants none of its own.
    """

    series: SeriesFacts | None = None
    arriving: bool = False
    joined_to: SeriesFacts | None = None

    @property
    def partner(self) -> SeriesFacts | None:
        """The other series of the job, whichever of the two is its primary one."""
        return self.series or self.joined_to


def wants_companion(wanted: Companion, primary: SeriesFacts) -> bool:
    """Whether a companion is asked for beside this series."""
    return wanted.when is None or check(wanted.when, primary.headers).matched


def find_companion(
    wanted: Companion, primary: SeriesFacts, study: Sequence[SeriesFacts], used_id: int | None = None
) -> CompanionSearch:
    """Look for the companion of `primary` among the series of its study, which come in the order of their arrival.

    Of several that fit, one in the same frame of reference comes first (it needs no registration), then one that meets
    the first of the rule's preferences, the second and so on, then the one with the most instances, then the earliest.
    But `used_id`, the companion that an earlier revision had, is kept as long as it fits: a CT is often sent in several
    reconstructions, and each must not make a revision of its own. Results that osteon made are never companions, nor is
    what retention has deleted.
    """
    if wanted.joins:
        return _find_joined(wanted, primary, study)
    fitting = [
        series
        for series in study
        if series.id != primary.id and _fits(wanted, series) and _belong_together(wanted, primary, series)
    ]
    fitting = [series for series in fitting if series.id == used_id] or fitting
    if any(series.state is SeriesState.RECEIVING for series in fitting):
        return CompanionSearch(arriving=True)
    frame = primary.headers.get("FrameOfReferenceUID")

    def rank(series: SeriesFacts) -> tuple[bool, tuple[bool, ...], int, float, int]:
        other_frame = frame is None or series.headers.get("FrameOfReferenceUID") != frame
        missed = tuple(not check(one, series.headers).matched for one in wanted.prefer)
        return other_frame, missed, -series.instance_count, series.first_received_at.timestamp(), series.id

    return CompanionSearch(min(fitting, key=rank, default=None))


def _find_joined(wanted: Companion, primary: SeriesFacts, study: Sequence[SeriesFacts]) -> CompanionSearch:
    for first, second in _pairs(wanted, study):
        if second.id == primary.id:
            return CompanionSearch(joined_to=first)
        if first.id == primary.id:
            arriving = second.state is SeriesState.RECEIVING
            return CompanionSearch(None if arriving else second, arriving)
    return CompanionSearch()


def _pairs(wanted: Companion, study: Sequence[SeriesFacts]) -> Iterator[tuple[SeriesFacts, SeriesFacts]]:
    """Pairs of series that belong together: each with the earliest that fits, so that later ones change no pair."""
    left = [series for series in study if _fits(wanted, series) and wants_companion(wanted, series)]
    while left:
        first = left.pop(0)
        second = next((series for series in left if _belong_together(wanted, first, series)), None)
        if second is not None:
            left.remove(second)
            yield first, second


def _fits(wanted: Companion, series: SeriesFacts) -> bool:
    own = bool(series.headers.get("MadeByOsteon"))
    return series.has_files and not own and check(wanted.match, series.headers).matched


def _belong_together(wanted: Companion, one: SeriesFacts, other: SeriesFacts) -> bool:
    """Whether two series are alike, and unlike, where they have to be; what one of them lacks speaks against."""
    for names, alike in ((wanted.same, True), (wanted.differ, False)):
        for name in names:
            values = one.headers.get(name), other.headers.get(name)
            if None in values or (values[0] == values[1]) is not alike:
                return False
    if wanted.within_s is None:
        return True
    times = one.headers.get(ACQUIRED_AT), other.headers.get(ACQUIRED_AT)
    if None in times:
        return False
    apart = datetime.fromisoformat(str(times[0])) - datetime.fromisoformat(str(times[1]))
    return abs(apart.total_seconds()) <= wanted.within_s
