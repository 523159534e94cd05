"""Deliveries against real archives on loopback: down and up again, refusing, gone from the configuration.

Covered here: states and sentences of each result at each destination. Not here: the wire (test_scu), what an archive
says it has (test_confirmation) and the queue (tests/jobs).
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from pydicom import dcmread
from sqlalchemy import select, update

from node.deliver.backoff import next_attempt_at
from node.deliver.scu import RESULT_CLASSES
from node.errors import PermanentError
from node.jobs.heartbeat import Heartbeat
from node.loopback import free_port
from node.registry import deliveries, delivery_requests
from node.registry.database import Registry
from node.registry.deliveries import claim_deliveries, expire_deliveries
from node.registry.models import Delivery, Event, Result
from node.settings.model import DeliverySettings
from node.storage import LocalStorage
from tests.deliver.archive import Archive, running_archive
from tests.deliver.sending import KINDS, FinishJob, Sender, destination, now
from tests.fixtures.programs import need_program
from tests.fixtures.running_node import wait_for


def test_results_go_over_one_association_with_the_segmentation_first(
    archive: Archive, finish_job: FinishJob, sender: Callable[..., Sender]
) -> None:
    pacs = destination(archive.port)
    finish_job(pacs)
    finish_job(pacs)
    sending = sender(pacs)
    sending.send_due()
    assert archive.kinds() == KINDS * 2
    assert archive.associations == 1
    assert set(sending.states().values()) == {"sent"}
    assert sending.send_due() == 0


def test_an_archive_that_is_down_is_tried_until_it_is_back(
    finish_job: FinishJob, sender: Callable[..., Sender]
) -> None:
    port = free_port()
    pacs = destination(port)
    finish_job(pacs)
    sending = sender(pacs, first_retry_s=10, max_backoff_s=3600)
    for attempt in range(1, 13):  # a night and more
        assert sending.send_due() == 3
        waiting = sending.rows()[("seg", "pacs")]
        assert (waiting.state, waiting.attempts) == ("pending", attempt)
        assert "cannot be reached" in waiting.last_error
        pause_s = (waiting.next_attempt_at - sending.clock()).total_seconds()
        assert pause_s > 0.9 * min(10 * 2 ** (attempt - 1), 3600)
        assert sending.send_due() == 0, "not before its time"
        sending.later_s += 1.25 * pause_s + 1
    assert sending.later_s > 4 * 3600
    with running_archive(Archive(), port) as archive:
        sending.send_due()
    assert len(archive.received) == 3
    assert set(sending.states().values()) == {"sent"}
    assert all(row.last_error == "" for row in sending.rows().values())


def test_what_is_refused_for_good_fails_alone(
    archive: Archive, finish_job: FinishJob, sender: Callable[..., Sender]
) -> None:
    archive.statuses.update({RESULT_CLASSES["sr"]: 0xA900})
    pacs = destination(archive.port)
    finish_job(pacs)
    sending = sender(pacs)
    sending.send_due()
    assert sending.states() == {("seg", "pacs"): "sent", ("sr", "pacs"): "failed", ("sc", "pacs"): "sent"}
    failed = sending.rows()[("sr", "pacs")]
    assert "0xA900" in failed.last_error and failed.attempts == 1
    sending.later_s = 10 * 86400
    assert sending.send_due() == 0


def test_an_archive_out_of_resources_is_tried_again(
    archive: Archive, finish_job: FinishJob, sender: Callable[..., Sender]
) -> None:
    archive.statuses.update({RESULT_CLASSES["seg"]: 0xA700})
    pacs = destination(archive.port)
    finish_job(pacs)
    sending = sender(pacs)
    sending.send_due()
    assert sending.states()[("seg", "pacs")] == "pending"
    archive.statuses.clear()
    sending.later_s = 60
    sending.send_due()
    assert set(sending.states().values()) == {"sent"}


def test_of_two_destinations_the_one_that_is_down_is_not_shown_as_done(
    archive: Archive, finish_job: FinishJob, sender: Callable[..., Sender]
) -> None:
    up, down = destination(archive.port, "up"), destination(free_port(), "down")
    finish_job(up, down)
    sending = sender(up, down)
    sending.send_due()
    assert {name: {s for (_, n), s in sending.states().items() if n == name} for name in ("up", "down")} == {
        "up": {"sent"},
        "down": {"pending"},
    }


def test_it_gives_up_when_the_configured_time_is_spent(finish_job: FinishJob, sender: Callable[..., Sender]) -> None:
    pacs = destination(free_port())
    finish_job(pacs)
    sending = sender(pacs, first_retry_s=1, max_backoff_s=1, give_up_after_s=2)
    attempts = 0
    while sending.send_due():
        attempts += 1
        sending.later_s += 2
    assert attempts == 3  # at once, and after each of two pauses of a second
    failed = sending.rows()[("seg", "pacs")]
    assert failed.state == "failed" and "3 attempts; none will follow" in failed.last_error


def test_a_person_can_send_again_what_failed_and_what_was_sent(
    archive: Archive, finish_job: FinishJob, sender: Callable[..., Sender], registry: Registry
) -> None:
    archive.statuses.update({RESULT_CLASSES["sr"]: 0xC000})
    pacs = destination(archive.port)
    finish_job(pacs)
    sending = sender(pacs)
    sending.send_due()
    archive.statuses.clear()
    with registry.transaction() as session:
        again = delivery_requests.resend_failed(session, "pacs", now())
        delivery_requests.resend(session, sending.rows()[("seg", "pacs")].id, now())
    assert again == [sending.rows()[("sr", "pacs")].id]
    assert sending.send_due() == 2
    assert set(sending.states().values()) == {"sent"}
    assert len(set(archive.uids())) == 3 and len(archive.uids()) == 4, "the same objects, not twins"


def test_an_archive_that_comes_back_gets_the_newest_revision_and_no_older_one_after_it(
    finish_job: FinishJob, sender: Callable[..., Sender], registry: Registry
) -> None:
    port = free_port()
    pacs = destination(port)
    first = finish_job(pacs)
    sending = sender(pacs, first_retry_s=3600, max_backoff_s=3600)
    assert sending.send_due() == 3
    second = finish_job(pacs, revises=first)
    with running_archive(Archive(), port) as archive:
        sending.send_due()
        sending.later_s = 2 * 3600
        sending.send_due()
    with registry.reading() as session:
        made = set(session.scalars(select(Result.sop_uid).where(Result.job_id == second.job_id, Result.kind != "png")))
    assert set(archive.uids()) == made and len(archive.uids()) == 3


def test_what_is_being_sent_cannot_be_sent_again_at_the_same_time(
    finish_job: FinishJob, sender: Callable[..., Sender], registry: Registry
) -> None:
    pacs = destination(free_port())
    finish_job(pacs)
    first = sender(pacs).rows()[("seg", "pacs")].id
    with registry.transaction() as session:
        assert claim_deliveries(session, first, "d/1", now(), 60, 1)
    with pytest.raises(PermanentError, match="being sent"), registry.transaction() as session:
        delivery_requests.resend(session, first, now())


def test_a_destination_that_left_the_configuration_fails_with_a_sentence(
    finish_job: FinishJob, sender: Callable[..., Sender]
) -> None:
    finish_job(destination(free_port(), "old"))
    sending = sender(destination(free_port(), "new"))
    assert sending.send_due() == 3
    assert {row.state for row in sending.rows().values()} == {"failed"}
    assert "no destination 'old'" in sending.rows()[("seg", "old")].last_error


def test_a_result_that_the_store_cannot_give_now_is_sent_later_and_the_others_at_once(
    archive: Archive, finish_job: FinishJob, sender: Callable[..., Sender], registry: Registry, storage: LocalStorage,
    tmp_path: Path,
) -> None:  # fmt: skip
    pacs = destination(archive.port)
    finish_job(pacs)
    with registry.reading() as session:
        key = session.scalars(select(Result.storage_key).where(Result.kind == "seg")).one()
    away = tmp_path / "away"
    with storage.local_path(key) as path:
        path.rename(away)
    sending = sender(pacs)
    sending.send_due()
    assert sending.states() == {("seg", "pacs"): "pending", ("sr", "pacs"): "sent", ("sc", "pacs"): "sent"}
    assert f"no '{key}'; if it stays so, run the job again" in sending.rows()[("seg", "pacs")].last_error
    storage.adopt(away, key)
    sending.later_s = 60
    sending.send_due()
    assert set(sending.states().values()) == {"sent"}


def test_a_result_that_retention_deleted_cannot_be_sent_again(
    archive: Archive, finish_job: FinishJob, sender: Callable[..., Sender], registry: Registry, storage: LocalStorage
) -> None:
    pacs = destination(archive.port)
    finish_job(pacs)
    with registry.transaction() as session:
        seg = session.scalars(select(Result).where(Result.kind == "seg")).one()
        seg.files_deleted_at = now()
        storage.delete(seg.storage_key)
    sending = sender(pacs)
    sending.send_due()
    assert sending.states() == {("seg", "pacs"): "failed", ("sr", "pacs"): "sent", ("sc", "pacs"): "sent"}
    assert "retention deleted it; run the job again" in sending.rows()[("seg", "pacs")].last_error


def test_the_deliveries_of_a_killed_worker_are_resumed(
    archive: Archive, finish_job: FinishJob, sender: Callable[..., Sender], registry: Registry
) -> None:
    pacs = destination(archive.port)
    finish_job(pacs)
    sending = sender(pacs)
    first = sending.rows()[("seg", "pacs")].id
    with registry.transaction() as session:
        assert len(claim_deliveries(session, first, "killed/1", now(), 60, 32)) == 3
    assert sending.send_due() == 0
    after_lease = now() + timedelta(seconds=61)
    with registry.transaction() as session:
        back, failed = expire_deliveries(
            session, after_lease, partial(next_attempt_at, after_lease, DeliverySettings())
        )
    assert (len(back), failed) == (3, [])
    sending.later_s = 120
    sending.send_due()
    assert set(sending.states().values()) == {"sent"}
    with registry.reading() as session:
        assert "delivery.worker_lost" in set(session.scalars(select(Event.kind)))


def test_a_destination_with_an_impossible_host_fails_with_a_sentence(
    finish_job: FinishJob, sender: Callable[..., Sender]
) -> None:
    there = destination(104, host="not..known")
    finish_job(there)
    sending = sender(there)
    sending.send_due()
    assert {row.state for row in sending.rows().values()} == {"failed"}
    assert all("is no name of a host" in row.last_error for row in sending.rows().values())


def test_a_draining_worker_sends_nothing(
    finish_job: FinishJob, sender: Callable[..., Sender], heartbeat: Heartbeat
) -> None:
    pacs = destination(free_port())
    finish_job(pacs)
    sending = sender(pacs)
    heartbeat.drain(3600)
    assert sending.send_due() == 0


def test_a_delivery_is_claimed_once_among_many_wake_ups(
    finish_job: FinishJob, registry: Registry, sender: Callable[..., Sender]
) -> None:
    pacs = destination(free_port())
    finish_job(pacs)
    ids = [row.id for row in sender(pacs).rows().values()]
    with registry.transaction() as session:
        claimed = [claim_deliveries(session, n, f"d{n}/1", now(), 60, 32) for n in ids]
    assert [len(batch) for batch in claimed] == [3, 0, 0]
    with registry.transaction() as session:
        session.execute(update(Delivery).values(lease_owner="somebody else"))
    with registry.transaction() as session:
        assert not deliveries.mark_sent(session, claimed[0][0], now()), "the lease is lost"


@pytest.mark.peer
def test_dcmtk_storescp_that_starts_late_gets_every_result(
    finish_job: FinishJob, sender: Callable[..., Sender], tmp_path: Path
) -> None:
    program = need_program("storescp")
    port = free_port()
    pacs = destination(port, ae_title="STORESCP")
    finish_job(pacs)
    sending = sender(pacs)
    sending.send_due()
    assert set(sending.states().values()) == {"pending"}
    folder = tmp_path / "dcmtk"
    folder.mkdir()
    process = subprocess.Popen(
        [program, "--output-directory", str(folder), "--promiscuous", str(port)], env={"TCP_NODELAY": "1"}
    )
    try:

        def arrived() -> bool:
            sending.later_s += 5
            sending.send_due()
            return set(sending.states().values()) == {"sent"}

        wait_for("all results at storescp", arrived, 30)
    finally:
        process.terminate()
        process.wait(timeout=10)
    assert sorted(dcmread(path).Modality for path in folder.iterdir())[:2] in (["OT", "SEG"], ["SEG", "SR"])
    assert len(list(folder.iterdir())) == 3
