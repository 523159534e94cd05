"""When a series is complete: a heuristic in layers, as one pure function.

DICOM has no "that was all". Four hints are used, the most certain first:

    forced                  a person said so
    expected count          the header promised a number of images, and exactly so many are there
    association released    whoever sent it has hung up in good order, and nothing came for a moment
    quiet                   nothing came for long, whatever else is true

A wrong guess is repaired, not prevented: a late instance reopens the series and makes a new revision.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from node.registry.series import SeriesSnapshot
from node.settings.model import CompletionSettings

FORCED = "forced"
EXPECTED_COUNT = "expected count"
ASSOCIATION_RELEASED = "association released"
QUIET = "quiet"

LEAST_TRUSTED_COUNT = 2
"""A promise of one image is not believed: ImagesInAcquisition is 1 in nuclear-medicine objects whose series goes on."""


@dataclass(frozen=True)
class Completion:
    """The judgement: complete, by which hint; or else in how many seconds it would be, if nothing more comes."""

    complete: bool
    by: str = ""
    wait_s: float = 0.0


def judge(series: SeriesSnapshot, settings: CompletionSettings, now: datetime) -> Completion:
    """Whether a series is complete at `now`.

    A promised count (ImagesInAcquisition, NumberOfSeriesRelatedInstances) is a hint on both sides. Reached, it ends the
    wait as soon as no association is open, or after `released_quiet_s` if one stays open. Not reached, it rules the
    short quiet period out, because the sender probably broke off and will come back; only `quiet_s` helps then.
    Exceeded, it was wrong (several acquisitions in one series) and counts for nothing. An association that was aborted
    or lost releases nothing, so what it sent waits for `quiet_s` as if it were still open.
    """
    if series.forced:
        return Completion(True, FORCED)
    silent_s = max(0.0, (now - series.last_received_at).total_seconds())
    released = series.released_at is not None and series.open_associations == 0
    hints = [(QUIET, settings.quiet_s - silent_s)]
    promised = series.expected_count or 0
    trusted = promised >= LEAST_TRUSTED_COUNT and series.instance_count <= promised
    if trusted and series.instance_count == promised:
        hints.append((EXPECTED_COUNT, 0.0 if released else settings.released_quiet_s - silent_s))
    elif not trusted and released and series.released_at is not None:
        since_released_s = max(0.0, (now - series.released_at).total_seconds())
        hints.append((ASSOCIATION_RELEASED, settings.released_quiet_s - min(silent_s, since_released_s)))
    by, wait_s = min(hints, key=lambda hint: hint[1])
    return Completion(True, by) if wait_s <= 0 else Completion(False, wait_s=wait_s)
