"""A series is complete by the first hint that holds, and the wait told is the time until then if nothing more comes."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.assemble.completion import ASSOCIATION_RELEASED, EXPECTED_COUNT, FORCED, QUIET, Completion, judge
from node.registry.series import SeriesSnapshot
from node.settings.model import CompletionSettings
from tests.assemble.objects import NOW

SETTINGS = CompletionSettings(released_quiet_s=5, quiet_s=60)


def series(
    silent_s: float = 0,
    released_s: float | None = None,
    count: int = 1,
    expected: int | None = None,
    open_associations: int = 0,
    forced: bool = False,
) -> SeriesSnapshot:
    """A series that last heard something `silent_s` ago and whose association ended `released_s` ago."""
    released: datetime | None = None if released_s is None else NOW - timedelta(seconds=released_s)
    received = NOW - timedelta(seconds=silent_s)
    return SeriesSnapshot(1, 1, "1.2", count, expected, count, received, released, open_associations, forced)


def waits(seconds: float) -> Completion:
    return Completion(False, wait_s=seconds)


def done(by: str) -> Completion:
    return Completion(True, by)


TABLE = {
    "a person's word, at once": (series(forced=True, open_associations=1), done(FORCED)),
    "one object, association open: only quiet helps": (series(0, None, open_associations=1), waits(60)),
    "one object, just released: a moment more": (series(0, 0), waits(5)),
    "one object, released long enough": (series(5, 5), done(ASSOCIATION_RELEASED)),
    "released long ago, but something came since": (series(1, 30), waits(4)),
    "something came long ago, just released": (series(30, 1), waits(4)),
    "released once, but another association is open": (series(10, 10, open_associations=1), waits(50)),
    "quiet, although the association never ended": (series(60, None, open_associations=1), done(QUIET)),
    "the only association was aborted or lost: as if it were open": (series(10, None), waits(50)),
    "nearly quiet": (series(59, None), waits(1)),
    "promised count reached and released": (series(0, 0, count=16, expected=16), done(EXPECTED_COUNT)),
    "promised count reached, association open": (
        series(0, None, count=16, expected=16, open_associations=1),
        waits(5),
    ),
    "promised count reached, association open for a moment": (
        series(5, None, count=16, expected=16, open_associations=1),
        done(EXPECTED_COUNT),
    ),
    "promised count not reached: the sender broke off": (series(10, 10, count=12, expected=16), waits(50)),
    "promised count not reached for long": (series(60, 60, count=12, expected=16), done(QUIET)),
    "promised count exceeded, so it means nothing": (series(5, 5, count=20, expected=16), done(ASSOCIATION_RELEASED)),
    "a promise of one image is not believed": (series(0, 0, count=1, expected=1), waits(5)),
    "a promise of one image does not delay either": (series(5, 5, count=1, expected=1), done(ASSOCIATION_RELEASED)),
    "a clock that was set back": (series(-100, -100), waits(5)),
}


@pytest.mark.parametrize("case", TABLE)
def test_a_series_is_judged_as_the_table_says(case: str) -> None:
    snapshot, expected = TABLE[case]
    assert judge(snapshot, SETTINGS, NOW) == expected


@given(
    silent_s=st.floats(0, 200),
    released_s=st.none() | st.floats(0, 200),
    count=st.integers(1, 40),
    expected=st.none() | st.integers(1, 40),
    open_associations=st.integers(0, 2),
)
def test_after_the_wait_it_told_every_series_is_complete_and_a_second_earlier_none(
    silent_s: float, released_s: float | None, count: int, expected: int | None, open_associations: int
) -> None:
    snapshot = series(silent_s, released_s, count, expected, open_associations)
    first = judge(snapshot, SETTINGS, NOW)
    if first.complete:
        return
    assert 0 < first.wait_s <= SETTINGS.quiet_s
    then = NOW + timedelta(seconds=first.wait_s)
    assert judge(snapshot, SETTINGS, then + timedelta(milliseconds=1)).complete
    if first.wait_s > 1:
        assert not judge(snapshot, SETTINGS, then - timedelta(seconds=1)).complete


def test_no_series_waits_longer_than_the_quiet_time() -> None:
    for snapshot, _ in TABLE.values():
        assert judge(snapshot, SETTINGS, snapshot.last_received_at + timedelta(seconds=60)).complete
