"""Deliveries in the registry, on SQLite and on a real PostgreSQL: claims, leases and a person's wishes.

The race of real processes is run for jobs (tests/jobs/test_claims.py); here two transactions meet on purpose.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, update

from node.errors import PermanentError
from node.registry import deliveries, delivery_requests
from node.registry.confirmations import claim_question, due_questions, mark_verified, note_unverified
from node.registry.database import Registry
from node.registry.deliveries import NEVER, PlannedDelivery, claim_deliveries
from node.registry.jobs import NewResult, claim_job, complete_job
from node.registry.models import Delivery, Event, Job, Study
from tests.fixtures.postgres import postgres_server, postgres_url
from tests.fixtures.registry import registry

__all__ = ["postgres_server", "postgres_url", "registry"]

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
LEASE_S = 60.0


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


@pytest.fixture
def finished(registry: Registry) -> Callable[..., list[int]]:
    """Make a done job with SR and SEG, in the wrong order, for the destinations named; returns the deliveries' ids.

    key and revision make it one of several revisions; `state` is how it ends where that is not well (then no ids).
    """
    made: list[int] = []

    def finish(*destinations: str, key: str = "", revision: int = 1, state: str = "done") -> list[int]:
        number = len(made) + 1
        made.append(number)
        with registry.transaction() as session:
            study = Study(study_uid=f"1.2.{number}", created_at=NOW)
            session.add(study)
            session.flush()
            job = Job(key=key or f"k{number}", revision=revision, study_id=study.id, pipeline="p", state="queued",
                      available_at=NOW, created_at=NOW, destinations=[])  # fmt: skip
            session.add(job)
            session.flush()
            claim = claim_job(session, job.id, "w/1", NOW, LEASE_S)
            assert claim is not None
            if state != "done":
                job.state = state
                return []
            results = [
                NewResult(kind, f"1.3.{number}.{n}", "1.2.840", f"1.4.{number}", f"results/{number}/{n}", "0" * 64, 1)
                for n, kind in enumerate(("sr", "seg"))
            ]
            planned = [PlannedDelivery(r.sop_uid, name) for name in destinations for r in results]
            return complete_job(session, claim, NOW, results, planned, {}) or []

    return finish


def test_a_batch_holds_what_is_due_at_one_destination_in_the_order_of_sending(
    registry: Registry, finished: Callable[..., list[int]]
) -> None:
    first, _, elsewhere, _ = finished("pacs", "elsewhere")
    finished("pacs")
    with registry.transaction() as session:
        batch = claim_deliveries(session, first, "a/1", at(1), LEASE_S, 32)
        assert claim_deliveries(session, first, "b/1", at(1), LEASE_S, 32) == []
        other = claim_deliveries(session, elsewhere, "b/1", at(1), LEASE_S, 1)
    assert [(c.kind, c.study_uid) for c in batch] == [
        ("seg", "1.2.1"), ("sr", "1.2.1"), ("seg", "1.2.2"), ("sr", "1.2.2"),
    ]  # fmt: skip
    assert [(c.id, c.destination) for c in other] == [(elsewhere, "elsewhere")], "no more than asked for"


def test_two_workers_that_claim_at_the_same_moment_share_nothing(
    registry: Registry, finished: Callable[..., list[int]]
) -> None:
    ids = [delivery for _ in range(8) for delivery in finished("pacs")]
    start = threading.Barrier(4)
    claimed: dict[str, list[int]] = {}

    def claim(name: str, wanted: int) -> None:
        mine = Registry(registry.url)
        start.wait(timeout=30)
        with mine.transaction() as session:
            claimed[name] = [c.id for c in claim_deliveries(session, wanted, f"{name}/1", at(1), LEASE_S, 5)]
        mine.dispose()

    threads = [threading.Thread(target=claim, args=(f"w{n}", ids[4 * n])) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    won = [delivery for batch in claimed.values() for delivery in batch]
    assert won and len(won) == len(set(won))
    with registry.reading() as session:
        for name, batch in claimed.items():
            owners = set(session.scalars(select(Delivery.lease_owner).where(Delivery.id.in_(batch))))
            assert owners <= {f"{name}/1"}


def test_a_lease_is_renewed_as_long_as_any_of_the_batch_is_held(
    registry: Registry, finished: Callable[..., list[int]]
) -> None:
    first, second = finished("pacs")
    with registry.transaction() as session:
        batch = claim_deliveries(session, first, "a/1", at(1), LEASE_S, 32)
        assert deliveries.renew_deliveries(session, batch, at(50), LEASE_S)
        assert deliveries.expire_deliveries(session, at(70), lambda _n: at(80)) == ([], [])
        session.execute(update(Delivery).where(Delivery.id == second).values(lease_owner="b/1"))
        assert deliveries.renew_deliveries(session, batch, at(60), LEASE_S)
        session.execute(update(Delivery).values(lease_owner="b/1"))
        assert not deliveries.renew_deliveries(session, batch, at(60), LEASE_S)


def test_a_worker_that_is_lost_too_often_fails_the_delivery(
    registry: Registry, finished: Callable[..., list[int]]
) -> None:
    first, second = finished("pacs")
    with registry.transaction() as session:
        claim_deliveries(session, first, "a/1", at(1), LEASE_S, 32)
        back, failed = deliveries.expire_deliveries(session, at(100), lambda _n: None)
    assert (back, sorted(failed)) == ([], sorted([first, second]))


def test_a_peer_whose_comment_is_no_text_does_not_keep_the_outcome_from_being_written(
    registry: Registry, finished: Callable[..., list[int]]
) -> None:
    first, second = finished("pacs")
    comment = "refused: no\0space"
    with registry.transaction() as session:
        again, never = claim_deliveries(session, first, "a/1", at(1), LEASE_S, 32)
        assert deliveries.try_again(session, again, at(2), at(60), comment)
        assert deliveries.fail_delivery(session, never, at(2), comment)
    with registry.reading() as session:
        rows = session.scalars(select(Delivery).where(Delivery.id.in_([first, second])))
        assert {row.last_error.partition("no")[0] for row in rows} == {"refused: "}


def test_what_is_given_back_is_due_at_once_with_all_its_attempts(
    registry: Registry, finished: Callable[..., list[int]]
) -> None:
    first, _ = finished("pacs")
    with registry.transaction() as session:
        batch = claim_deliveries(session, first, "a/1", at(1), LEASE_S, 32)
        deliveries.give_back_deliveries(session, batch, at(2))
    with registry.transaction() as session:
        assert {c.attempt for c in claim_deliveries(session, first, "b/1", at(2), LEASE_S, 32)} == {1}


def test_a_question_is_asked_by_one_and_ends_with_the_answer(
    registry: Registry, finished: Callable[..., list[int]]
) -> None:
    first, _ = finished("pacs")
    with registry.transaction() as session:
        for sent in claim_deliveries(session, first, "a/1", at(1), LEASE_S, 32):
            assert deliveries.mark_sent(session, sent, at(2), at(10))
    with registry.transaction() as session:
        assert due_questions(session, at(9), 10) == []
        asked = due_questions(session, at(10), 10)
        assert len(asked) == 2
        claim = claim_question(session, asked[0], at(10), at(70))
        assert claim is not None and claim.sent_at == at(2)
        assert claim_question(session, asked[0], at(11), at(70)) is None
        assert mark_verified(session, claim, at(12))
        other = claim_question(session, asked[1], at(10), at(70))
        assert other is not None
        note_unverified(session, other, at(12), NEVER, "never listed")
    with registry.transaction() as session:
        assert due_questions(session, at(10**6), 10) == []
        states = {row.id: row.state for row in session.scalars(select(Delivery))}
    assert states == {asked[0]: "verified", asked[1]: "sent"}


def states(registry: Registry) -> dict[int, str]:
    with registry.reading() as session:
        return {row.id: row.state for row in session.scalars(select(Delivery))}


def test_what_waits_when_a_newer_revision_is_done_is_never_sent_and_says_so(
    registry: Registry, finished: Callable[..., list[int]]
) -> None:
    old = finished("pacs", key="k")
    with registry.transaction() as session:
        for claim in claim_deliveries(session, old[0], "a/1", at(1), LEASE_S, 32):
            assert deliveries.try_again(session, claim, at(2), at(3600), "the PACS is away")
    new = finished("pacs", key="k", revision=2)
    assert states(registry) == dict.fromkeys(old, "superseded") | dict.fromkeys(new, "pending")
    with registry.transaction() as session:
        assert claim_deliveries(session, old[0], "a/2", at(3601), LEASE_S, 32) == []
        assert {c.id for c in claim_deliveries(session, new[0], "a/3", at(3601), LEASE_S, 32)} == set(new)
    with registry.reading() as session:
        rows = session.scalars(select(Delivery).where(Delivery.id.in_(old))).all()
        told = session.scalars(select(Event).where(Event.kind == "delivery.superseded").order_by(Event.delivery_id))
        assert [(event.delivery_id, event.level) for event in told] == [(one, "info") for one in old]
    assert {(row.last_error, row.next_attempt_at, row.sent_at) for row in rows} == {
        ("Superseded by revision 2, so it is not sent.", NEVER, None)
    }


def test_what_was_on_its_way_then_and_came_back_is_ended_when_it_would_be_claimed_again(
    registry: Registry, finished: Callable[..., list[int]]
) -> None:
    old = finished("pacs", key="k")
    other = finished("pacs")
    with registry.transaction() as session:
        batch = claim_deliveries(session, old[0], "a/1", at(1), LEASE_S, 2)
        assert {claim.id for claim in batch} == set(old)
    finished("elsewhere", key="k", revision=2)
    assert {states(registry)[one] for one in old} == {"sending"}
    with registry.transaction() as session:
        assert deliveries.mark_sent(session, batch[0], at(2)), "what the archive has by now, it has"
        assert deliveries.try_again(session, batch[1], at(2), at(10), "the PACS went away")
    with registry.transaction() as session:
        claimed = claim_deliveries(session, other[0], "b/1", at(20), LEASE_S, 32)
        assert [claim.id for claim in claimed] == sorted(other, reverse=True), "segmentation first, and no other"
    assert {states(registry)[one] for one in old} == {"sent", "superseded"}


@pytest.mark.parametrize("state", ["failed", "rejected", "cancelled", "running"])
def test_a_revision_that_is_not_done_supersedes_no_delivery(
    registry: Registry, finished: Callable[..., list[int]], state: str
) -> None:
    old = finished("pacs", key="k")
    finished("pacs", key="k", revision=2, state=state)
    with registry.transaction() as session:
        assert len(claim_deliveries(session, old[0], "a/1", at(1), LEASE_S, 32)) == 2


def test_a_person_cannot_send_what_was_superseded_and_failures_of_it_wait_for_nobody(
    registry: Registry, finished: Callable[..., list[int]]
) -> None:
    old, other = finished("pacs", key="k"), finished("pacs")
    with registry.transaction() as session:
        batch = claim_deliveries(session, old[0], "a/1", at(1), LEASE_S, 32)
    finished("pacs", key="k", revision=2)
    with registry.transaction() as session:
        for claim in batch:
            assert deliveries.fail_delivery(session, claim, at(2), "refused")
    with pytest.raises(PermanentError, match="superseded by revision 2"), registry.transaction() as session:
        delivery_requests.resend(session, old[0], at(3))
    with registry.transaction() as session:
        assert delivery_requests.resend_failed(session, "pacs", at(3)) == sorted(other)
    assert {states(registry)[one] for one in old} == {"superseded"}
    assert {states(registry)[one] for one in other} == {"pending"}
