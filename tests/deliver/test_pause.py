"""A paused destination gets nothing and loses nothing; resumed, it gets what waited. Real archive on loopback."""

from __future__ import annotations

from collections.abc import Callable

from node.deliver.backoff import ASK_FOR_S
from node.loopback import free_port
from node.registry import destinations
from node.registry.audit import Actor
from node.registry.confirmations import due_questions
from node.registry.database import Registry
from node.registry.deliveries import count_due_deliveries
from node.registry.models import Delivery
from tests.deliver.archive import Archive
from tests.deliver.sending import FinishJob, Sender, destination, now

OPERATOR = Actor("otto", "operator")


def pause(registry: Registry, name: str) -> bool:
    with registry.transaction() as session:
        return destinations.pause(session, OPERATOR, name, now())


def resume(registry: Registry, name: str) -> bool:
    with registry.transaction() as session:
        return destinations.resume(session, OPERATOR, name, now())


def test_results_for_a_paused_destination_wait_and_go_when_it_is_resumed(
    archive: Archive, finish_job: FinishJob, sender: Callable[..., Sender], registry: Registry
) -> None:
    pacs, other = destination(archive.port), destination(archive.port, "other")
    assert pause(registry, "pacs") and not pause(registry, "pacs")
    finish_job(pacs, other)
    sending = sender(pacs, other)
    with registry.reading() as session:
        assert count_due_deliveries(session, sending.clock()) == 3, "the sweep counts what can be sent only"
        waiting = [row for row in sending.rows().values() if row.destination == "pacs"]
    sending.send_due()
    # A wake-up that was on its way when the pause came is not followed either.
    assert [sending.runner.run(row.id) for row in waiting] == [0, 0, 0]
    sending.later_s = 30 * 86400
    sending.send_due()
    found = sending.rows()
    assert {key[1]: row.state for key, row in found.items()} == {"pacs": "pending", "other": "sent"}
    assert all(row.attempts == 0 and not row.last_error for row in found.values() if row.destination == "pacs")
    assert resume(registry, "pacs") and not resume(registry, "pacs")
    sending.send_due()
    assert set(sending.states().values()) == {"sent"}
    assert len(archive.received) == 6


def test_a_paused_destination_is_not_asked_what_it_has_until_it_is_resumed(
    archive: Archive, finish_job: FinishJob, sender: Callable[..., Sender], registry: Registry
) -> None:
    pacs = destination(archive.port, verify="find")
    finish_job(pacs)
    sending = sender(pacs)
    with registry.transaction() as session:
        for row in session.query(Delivery):
            row.state, row.sent_at, row.next_attempt_at = "sent", now(), now()
        pending = [row.id for row in session.query(Delivery)]
    pause(registry, "pacs")
    sending.later_s = 2 * ASK_FOR_S
    with registry.reading() as session:
        assert due_questions(session, sending.clock(), 10) == []
    assert not sending.runner.confirm(pending[0])
    assert archive.questions == 0
    resume(registry, "pacs")
    with registry.reading() as session:
        assert sorted(due_questions(session, sending.clock(), 10)) == sorted(pending)


def test_the_newest_error_of_a_destination_is_told_with_its_time(
    finish_job: FinishJob, sender: Callable[..., Sender], registry: Registry
) -> None:
    pacs = destination(free_port())
    made = finish_job(pacs)
    sending = sender(pacs)
    with registry.reading() as session:
        assert destinations.last_problem(session, "pacs") is None
    sending.send_due()
    with registry.reading() as session:
        problem = destinations.last_problem(session, "pacs")
        assert destinations.last_problem(session, "other") is None
    assert problem is not None
    assert (problem.state, problem.job_id) == ("pending", made.job_id)
    assert "cannot be reached" in problem.sentence
    assert problem.at is not None and abs((problem.at - now()).total_seconds()) < 600
