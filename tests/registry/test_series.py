"""Series are completed once, by whoever is first, and never over something that has just come."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from sqlalchemy import select

from node.errors import PermanentError
from node.registry.database import Registry
from node.registry.intake import register
from node.registry.models import Event, OpenAssociation, Series
from node.registry.series import (
    complete_series,
    end_association,
    force_complete,
    open_series,
    series_facts,
    series_of_study,
)
from node.registry.states import SeriesState
from node.storage.spool import AssociationEnd
from tests.registry.arrivals import NOW, arrival


def put(registry: Registry, *arrivals: object) -> None:
    with registry.transaction() as session:
        register(session, list(arrivals), NOW)  # type: ignore[arg-type]


def test_open_series_come_longest_silent_first_with_what_completion_needs(registry: Registry) -> None:
    with registry.transaction() as session:
        register(session, [arrival(1, 2)], NOW + timedelta(seconds=5))
        register(session, [arrival(1, 1, expected_count=4), arrival(2, 1, association="a2")], NOW)
    with registry.reading() as session:
        first, second = open_series(session, 10)
    assert (first.series_uid, second.series_uid) == ("1.1.1", "1.1.2")
    assert (first.instance_count, first.expected_count, first.open_associations) == (2, 4, 2)
    assert (first.released_at, first.forced, first.last_received_at) == (None, False, NOW)


def test_an_association_that_ends_releases_only_series_that_nobody_else_sends_to(registry: Registry) -> None:
    put(registry, arrival(1, 1), arrival(1, 2), arrival(2, 2, association="a2"))
    with registry.transaction() as session:
        assert end_association(session, "a1", AssociationEnd.RELEASED, NOW) == 2
        assert end_association(session, "a1", AssociationEnd.RELEASED, NOW) == 0
    with registry.reading() as session:
        rows = session.execute(select(Series.series_uid, Series.association_released_at))
        released = {uid: at for uid, at in rows}  # noqa: C416 - rows are no pairs to a type checker
    assert released == {"1.1.1": NOW, "1.1.2": None}


@pytest.mark.parametrize("how", [end for end in AssociationEnd if end is not AssociationEnd.RELEASED])
def test_an_association_that_broke_off_releases_nothing_and_its_series_say_so_once(
    registry: Registry, how: AssociationEnd
) -> None:
    put(registry, arrival(1, 1))
    with registry.transaction() as session:
        assert end_association(session, "a1", how, NOW) == 1
        assert end_association(session, "a1", how, NOW) == 0
    with registry.reading() as session:
        (snapshot,) = open_series(session, 10)
        (event,) = session.scalars(select(Event).where(Event.kind == "series.broken_off"))
    assert (snapshot.released_at, snapshot.open_associations) == (None, 0)
    assert (event.series_id, event.level, event.data) == (snapshot.id, "warning", {"how": how.value})
    assert "images may be missing" in event.message


def test_the_senders_next_attempt_releases_a_series_that_one_before_it_broke_off(registry: Registry) -> None:
    put(registry, arrival(1, 1))
    with registry.transaction() as session:
        end_association(session, "a1", AssociationEnd.LOST, NOW)
    put(registry, arrival(1, 1, association="a2"), arrival(2, 1, association="a2"))
    with registry.transaction() as session:
        end_association(session, "a2", AssociationEnd.RELEASED, NOW)
    with registry.reading() as session:
        assert open_series(session, 10)[0].released_at == NOW


def test_a_series_that_grew_since_the_snapshot_is_not_completed(registry: Registry) -> None:
    put(registry, arrival(1))
    with registry.reading() as session:
        (snapshot,) = open_series(session, 10)
    put(registry, arrival(2))
    with registry.transaction() as session:
        assert complete_series(session, snapshot, "quiet", NOW) is None
    with registry.reading() as session:
        assert series_facts(session, "1.1.1").state is SeriesState.RECEIVING


def test_a_series_is_completed_once_and_forgets_associations_that_never_ended(registry: Registry) -> None:
    put(registry, arrival(1))
    with registry.reading() as session:
        (snapshot,) = open_series(session, 10)
    with registry.transaction() as session:
        facts = complete_series(session, snapshot, "quiet", NOW)
        assert facts is not None
        assert facts.headers["InstanceCount"] == 1
        assert complete_series(session, snapshot, "quiet", NOW) is None
    with registry.reading() as session:
        assert not session.scalars(select(OpenAssociation)).all()
        assert not open_series(session, 10)


def test_forcing_a_series_that_is_not_there_is_refused(registry: Registry) -> None:
    with registry.transaction() as session, pytest.raises(PermanentError, match="there is no series"):
        force_complete(session, "1.2.3", NOW)


def test_forcing_a_series_that_is_complete_is_refused_and_leaves_no_event(registry: Registry) -> None:
    put(registry, arrival(1))
    with registry.transaction() as session:
        force_complete(session, "1.1.1", NOW)
        (snapshot,) = open_series(session, 10)
        assert snapshot.forced
        assert complete_series(session, snapshot, "forced", NOW) is not None
    with registry.transaction() as session, pytest.raises(PermanentError, match="complete already"):
        force_complete(session, "1.1.1", NOW)
    with registry.reading() as session:
        kinds = list(session.scalars(select(Event.kind).order_by(Event.id)))
        assert kinds == ["series.opened", "series.forced", "series.complete"]


def test_series_of_one_study_completed_at_the_same_moment_see_each_other(registry: Registry) -> None:
    """The second waits for the first to commit; otherwise a SPECT and its CT could each miss the other."""
    put(registry, arrival(1, 1), arrival(1, 2))
    with registry.reading() as session:
        first, second = open_series(session, 10)
    holding, finished = threading.Event(), threading.Event()
    seen: list[SeriesState] = []

    def complete_second() -> None:
        assert holding.wait(timeout=30)
        with registry.transaction() as session:
            assert complete_series(session, second, "quiet", NOW) is not None
            seen.extend(s.state for s in series_of_study(session, second.study_id) if s.id == first.id)
        finished.set()

    thread = threading.Thread(target=complete_second)
    thread.start()
    with registry.transaction() as session:
        assert complete_series(session, first, "quiet", NOW) is not None
        holding.set()
        finished.wait(timeout=0.5)  # without the lock the other would be through by now
    thread.join(timeout=60)
    assert finished.is_set()
    assert seen == [SeriesState.COMPLETE]
