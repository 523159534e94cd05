"""A result that an archive acknowledged is asked for: listed at once, later, never, or not to be asked."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from sqlalchemy import select, update

from node.registry.confirmations import due_questions
from node.registry.database import Registry
from node.registry.models import Delivery, Event, Result
from tests.deliver.archive import Archive, running_archive
from tests.deliver.sending import FinishJob, Sender, destination, now


def test_an_archive_that_lists_the_results_makes_them_verified(
    archive: Archive, finish_job: FinishJob, sender: Callable[..., Sender]
) -> None:
    pacs = destination(archive.port, verify="find")
    finish_job(pacs)
    sending = sender(pacs)
    sending.send_due()
    assert set(sending.states().values()) == {"verified"}
    assert archive.questions == 3


def test_an_archive_that_does_not_list_a_result_yet_is_asked_again(
    archive: Archive, finish_job: FinishJob, sender: Callable[..., Sender], registry: Registry
) -> None:
    pacs = destination(archive.port, verify="find")
    finish_job(pacs)
    with registry.reading() as session:
        seg = session.scalars(select(Result.sop_uid).where(Result.kind == "seg")).one()
    archive.hidden.add(seg)
    sending = sender(pacs, first_retry_s=600, max_backoff_s=3600)
    sending.send_due()
    waiting = sending.rows()[("seg", "pacs")]
    assert waiting.state == "sent" and "does not list it" in waiting.last_error
    with registry.reading() as session:
        assert due_questions(session, now(), 10) == []
        assert due_questions(session, now() + timedelta(seconds=1200), 10) == [waiting.id]
    archive.hidden.clear()
    assert not sending.runner.confirm(waiting.id), "not before its time"
    sending.later_s = 1200
    assert sending.runner.confirm(waiting.id)
    assert set(sending.states().values()) == {"verified"}


def test_an_archive_that_never_lists_a_result_leaves_it_sent_and_says_so(
    archive: Archive, finish_job: FinishJob, sender: Callable[..., Sender], registry: Registry
) -> None:
    pacs = destination(archive.port, verify="find")
    finish_job(pacs)
    with registry.reading() as session:
        archive.hidden.update(session.scalars(select(Result.sop_uid)))
    sending = sender(pacs)
    sending.send_due()
    sending.later_s = 2 * 86400
    for row in sending.rows().values():
        sending.runner.confirm(row.id)
    with registry.reading() as session:
        assert due_questions(session, now() + timedelta(days=30), 10) == []
        kinds = list(session.scalars(select(Event.kind)))
    assert set(sending.states().values()) == {"sent"}
    assert kinds.count("delivery.unverified") == 3


def test_an_archive_without_c_find_leaves_results_sent_with_the_way_out(
    finish_job: FinishJob, sender: Callable[..., Sender]
) -> None:
    with running_archive(Archive(), find=False) as archive:
        pacs = destination(archive.port, verify="find")
        finish_job(pacs)
        sending = sender(pacs)
        sending.send_due()
    assert set(sending.states().values()) == {"sent"}
    assert "set its verify to none" in sending.rows()[("seg", "pacs")].last_error


def test_a_host_that_cannot_be_asked_leaves_what_was_sent_as_it_is_and_is_asked_again(
    archive: Archive, finish_job: FinishJob, sender: Callable[..., Sender]
) -> None:
    there = destination(archive.port)
    finish_job(there)
    sending = sender(there)
    assert sending.send_due() == 3
    unknown = sender(destination(archive.port, host="not..known", verify="find"))
    with unknown.registry.transaction() as session:
        session.execute(update(Delivery).values(next_attempt_at=now()))
        asked = due_questions(session, now(), 10)
    assert len(asked) == 3
    assert not any(unknown.runner.confirm(delivery_id) for delivery_id in asked)
    assert {row.state for row in unknown.rows().values()} == {"sent"}
    assert all("could not be asked" in row.last_error for row in unknown.rows().values())
