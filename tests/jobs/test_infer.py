"""One job from claim to outcome, with a small real pipeline in this process: every way out, and what it leaves.

The broker is not running in these tests: a job needs it for nothing.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from sqlalchemy import delete, select, update

from node.jobs import infer
from node.jobs.app import Enqueuer
from node.jobs.heartbeat import Heartbeat
from node.jobs.infer import MAX_RETRY_BACKOFF_S, JobRunner, Outcome, retry_pause_s, store_pause_s
from node.jobs.publish import planned_deliveries, publish
from node.registry import job_requests, jobs
from node.registry.database import Registry
from node.registry.jobs import NewResult
from node.registry.models import Delivery, Event, Instance, Job, Result
from node.settings.model import Destination
from node.storage import LocalStorage
from pipelines.contract import ComputeOptions, DeviceError, Pipeline, PipelineInputs, WeightsError
from tests.fixtures.queue import BRIGHT_PIXELS, MadeJob, configuration
from tests.jobs.tiny_pipeline import TinyPipeline

Queue = Callable[..., MadeJob]
Runner = Callable[..., JobRunner]

PACS = Destination(name="pacs", host="127.0.0.1", port=104, ae_title="PACS")
REPORTS = Destination(name="reports", host="127.0.0.1", port=105, ae_title="RIS", send=("sr",), default=False)


@pytest.fixture
def registry(sqlite_registry: Registry) -> Registry:
    return sqlite_registry


@pytest.fixture
def runner(
    tmp_path: Path, registry: Registry, storage: LocalStorage, heartbeat: Heartbeat, deaf_enqueuer: Enqueuer
) -> Runner:
    """A job runner; its pipeline class and worker settings can be chosen."""

    def make(
        pipeline: type[Pipeline] = TinyPipeline, results: dict[str, object] | None = None, **worker: object
    ) -> JobRunner:
        chosen = configuration(tmp_path, (PACS, REPORTS), worker=worker, results=results or {})
        return JobRunner(
            chosen, registry, storage, heartbeat, deaf_enqueuer, "w@h:1", load_class={"tiny": pipeline}.__getitem__
        )

    return make


def job(registry: Registry, job_id: int) -> Job:
    with registry.reading() as session:
        return session.scalars(select(Job).where(Job.id == job_id)).one()


def results(registry: Registry, job_id: int) -> list[Result]:
    with registry.reading() as session:
        return list(session.scalars(select(Result).where(Result.job_id == job_id).order_by(Result.id)))


def content(storage: LocalStorage, result: Result) -> bytes:
    with storage.local_path(result.storage_key) as path:
        return path.read_bytes()


def try_again(registry: Registry, running: JobRunner, job_id: int) -> Outcome:
    """Run a job whose pause is over."""
    with registry.transaction() as session:
        session.execute(update(Job).values(available_at=datetime.now(UTC)))
    return running.run(job_id).outcome


def test_a_done_job_has_results_in_the_store_and_deliveries_in_one_go(
    registry: Registry, storage: LocalStorage, runner: Runner, queue_job: Queue
) -> None:
    made = queue_job()
    assert runner().run(made.job_id).outcome is Outcome.DONE
    found = results(registry, made.job_id)
    assert [r.kind for r in found] == ["seg", "sr", "sc", "png"]
    for result in found:
        stored = content(storage, result)
        assert (hashlib.sha256(stored).hexdigest(), len(stored)) == (result.sha256, result.byte_count)
    with storage.local_path(found[0].storage_key) as path:
        seg = dcmread(path)
    assert (seg.SOPInstanceUID, int(seg.pixel_array.sum())) == (found[0].sop_uid, BRIGHT_PIXELS)
    with registry.reading() as session:
        pending = session.execute(
            select(Result.kind, Delivery.destination, Delivery.state).join(Delivery, Delivery.result_id == Result.id)
        ).all()
    assert {tuple(row) for row in pending} == {(kind, "pacs", "pending") for kind in ("seg", "sr", "sc")}
    done = job(registry, made.job_id)
    assert (done.state, done.progress, done.attempts, done.lease_owner) == ("done", 1.0, 1, "")
    assert done.summary is not None and done.summary["study_instance_uid"] == made.study_uid


def test_a_repeated_attempt_writes_the_same_bytes_under_the_same_names(
    registry: Registry, storage: LocalStorage, runner: Runner, queue_job: Queue
) -> None:
    made = queue_job()
    running = runner()
    running.run(made.job_id)
    first = {r.storage_key: r.sha256 for r in results(registry, made.job_id)}
    with registry.transaction() as session:  # as if the worker had died between the store and the registry
        session.execute(delete(Delivery))
        session.execute(delete(Result))
        session.execute(update(Job).values(state="queued", available_at=datetime.now(UTC)))
    assert running.run(made.job_id).outcome is Outcome.DONE
    assert {r.storage_key: r.sha256 for r in results(registry, made.job_id)} == first


@pytest.mark.parametrize(("zone", "clock"), [("Asia/Shanghai", "203000"), ("UTC", "123000")])
def test_workers_on_hosts_of_different_zones_write_the_same_times(
    registry: Registry, storage: LocalStorage, runner: Runner, queue_job: Queue, zone: str, clock: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    made = queue_job()
    with registry.transaction() as session:
        session.execute(update(Job).values(created_at=datetime(2026, 3, 2, 12, 30, tzinfo=UTC)))
    running = runner(results={"timezone": zone})
    written = []
    try:
        for host in ("America/New_York", "Asia/Tokyo"):
            monkeypatch.setenv("TZ", host)
            time.tzset()
            assert try_again(registry, running, made.job_id) is Outcome.DONE
            (seg,) = [r for r in results(registry, made.job_id) if r.kind == "seg"]
            written.append(content(storage, seg))
            with registry.transaction() as session:
                session.execute(delete(Delivery))
                session.execute(delete(Result))
                session.execute(update(Job).values(state="queued"))
    finally:
        monkeypatch.undo()
        time.tzset()
    assert written[0] == written[1]
    dataset = dcmread(BytesIO(written[0]))
    assert (dataset.ContentDate, dataset.ContentTime) == ("20260302", clock)
    assert "TimezoneOffsetFromUTC" not in dataset, "it would be said of the source's own times, too"


def test_a_new_revision_makes_new_objects_that_name_what_they_replace(
    registry: Registry, storage: LocalStorage, runner: Runner, queue_job: Queue
) -> None:
    made = queue_job()
    running = runner()
    running.run(made.job_id)
    with registry.transaction() as session:
        again = job_requests.rerun_as_new_revision(session, made.job_id, datetime.now(UTC))
    assert running.run(again).outcome is Outcome.DONE
    old, new = results(registry, made.job_id), results(registry, again)
    assert not {r.sop_uid for r in old if r.kind != "png"} & {r.sop_uid for r in new}
    report = next(r for r in new if r.kind == "sr")
    with storage.local_path(report.storage_key) as path:
        assert next(r for r in old if r.kind == "sr").sop_uid in str(dcmread(path))


def test_refused_content_is_rejected_with_the_pipelines_sentence(
    registry: Registry, runner: Runner, queue_job: Queue
) -> None:
    made = queue_job("refuse")
    assert runner().run(made.job_id).outcome is Outcome.REJECTED
    assert (job(registry, made.job_id).state, job(registry, made.job_id).attempts) == ("rejected", 1)
    assert "send one that does not" in job(registry, made.job_id).reason


def test_an_unexpected_error_is_tried_again_with_a_pause_and_then_fails(
    registry: Registry, runner: Runner, queue_job: Queue
) -> None:
    made = queue_job("fail")
    running = runner(max_attempts=2, retry_backoff_s=30)
    assert running.run(made.job_id).outcome is Outcome.RETRY
    waiting = job(registry, made.job_id)
    assert waiting.state == "queued" and waiting.available_at > datetime.now(UTC) + timedelta(seconds=20)
    assert running.run(made.job_id).outcome is Outcome.NOTHING  # not due
    with registry.transaction() as session:
        session.execute(update(Job).values(available_at=datetime.now(UTC)))
    assert running.run(made.job_id).outcome is Outcome.FAILED
    failed = job(registry, made.job_id)
    assert (failed.state, failed.attempts) == ("failed", 2)
    assert "tiny_pipeline.py" in failed.traceback and "2 attempts" in failed.reason


def test_what_the_content_said_stays_out_of_logs_events_and_reasons(
    registry: Registry, runner: Runner, queue_job: Queue, capsys: pytest.CaptureFixture[str]
) -> None:
    made = queue_job("fail")  # its error quotes the patient's name
    runner().run(made.job_id)
    printed = "".join(capsys.readouterr())
    failed = job(registry, made.job_id)
    with registry.reading() as session:
        messages = list(session.scalars(select(Event.message)))
    assert "SYNTHETIC^WHOLE BODY" in failed.error, "the registry's own page may show it"
    assert "ValueError" in printed
    for text in (printed, failed.reason, *messages):
        assert "SYNTHETIC" not in text


class WithoutWeights(TinyPipeline):
    def load(self, options: ComputeOptions) -> None:
        raise WeightsError("tiny.safetensors does not match its card; run osteon models verify")


class LostGpu(TinyPipeline):
    def check(self, inputs: PipelineInputs) -> None:
        raise DeviceError("the GPU has fallen off the bus")


def test_missing_weights_fail_the_job_at_once(registry: Registry, runner: Runner, queue_job: Queue) -> None:
    made = queue_job()
    assert runner(WithoutWeights).run(made.job_id).outcome is Outcome.FAILED
    assert "osteon models verify" in job(registry, made.job_id).reason


@pytest.mark.parametrize(("pipeline", "description"), [(LostGpu, ""), (TinyPipeline, "cuda fault")])
def test_a_faulty_gpu_keeps_the_job_and_condemns_the_process(
    registry: Registry, runner: Runner, queue_job: Queue, pipeline: type[Pipeline], description: str
) -> None:
    made = queue_job(description)
    ended = runner(pipeline).run(made.job_id)
    assert (ended.outcome, ended.process_is_broken) == (Outcome.RETRY, True)
    assert job(registry, made.job_id).state == "queued"


def test_an_unknown_pipeline_fails_the_job_at_once(registry: Registry, runner: Runner, queue_job: Queue) -> None:
    made = queue_job(pipeline="thorax-2031")
    assert runner().run(made.job_id).outcome is Outcome.FAILED


def test_files_that_were_deleted_fail_the_job_with_the_way_out(
    registry: Registry, runner: Runner, queue_job: Queue
) -> None:
    made = queue_job()
    with registry.transaction() as session:
        session.execute(update(Instance).where(Instance.sop_uid == made.sop_uid).values(current=False))
    assert runner().run(made.job_id).outcome is Outcome.FAILED
    assert "send the series again" in job(registry, made.job_id).reason


def test_a_job_waits_for_a_file_that_is_not_in_the_store_yet_and_spends_no_attempt(
    registry: Registry, storage: LocalStorage, runner: Runner, queue_job: Queue, tmp_path: Path
) -> None:
    made = queue_job()
    away = tmp_path / "away.dcm"
    with storage.local_path(made.storage_key) as path:
        path.rename(away)
    running = runner(max_attempts=3)
    assert [try_again(registry, running, made.job_id) for _ in range(5)] == [Outcome.RETRY] * 5
    waiting = job(registry, made.job_id)
    assert (waiting.state, waiting.attempts) == ("queued", 0)
    assert made.storage_key in waiting.reason and "Tried again in 15 s." in waiting.reason
    assert waiting.wait_until is not None and waiting.available_at > datetime.now(UTC) + timedelta(seconds=10)
    storage.adopt(away, made.storage_key)
    assert try_again(registry, running, made.job_id) is Outcome.DONE
    assert (job(registry, made.job_id).attempts, job(registry, made.job_id).wait_until) == (1, None)


def test_a_job_that_waited_a_day_for_its_file_fails_and_can_be_asked_for_again(
    registry: Registry, storage: LocalStorage, runner: Runner, queue_job: Queue
) -> None:
    made = queue_job()
    storage.delete(made.storage_key)
    running = runner()
    assert try_again(registry, running, made.job_id) is Outcome.RETRY
    with registry.transaction() as session:
        session.execute(update(Job).values(wait_until=datetime.now(UTC)))
    assert try_again(registry, running, made.job_id) is Outcome.FAILED
    assert job(registry, made.job_id).reason.endswith("send the series again; it was waited for 24 h.")
    with registry.transaction() as session:
        job_requests.retry_job(session, made.job_id, datetime.now(UTC))
    assert try_again(registry, running, made.job_id) is Outcome.RETRY, "a new day begins"


def test_results_that_the_store_cannot_take_now_spend_no_attempt(
    registry: Registry, storage: LocalStorage, runner: Runner, queue_job: Queue, tmp_path: Path
) -> None:
    made = queue_job()
    in_the_way = tmp_path / "store" / "results"
    in_the_way.write_bytes(b"")  # a folder cannot be made here: what a full or absent disk looks like, also to root
    running = runner()
    assert try_again(registry, running, made.job_id) is Outcome.RETRY
    assert "the results cannot be stored" in job(registry, made.job_id).reason
    in_the_way.unlink()
    assert try_again(registry, running, made.job_id) is Outcome.DONE


def test_the_pause_for_the_store_grows_with_the_wait_up_to_a_limit() -> None:
    assert [store_pause_s(waited_s) for waited_s in (0, 60, 120, 1200, 80_000)] == [15, 15, 30, 300, 300]


def test_a_pipeline_is_loaded_once_for_many_jobs(runner: Runner, queue_job: Queue) -> None:
    before = TinyPipeline.loads
    running = runner()
    for _ in range(3):
        assert running.run(queue_job().job_id).outcome is Outcome.DONE
    assert TinyPipeline.loads == before + 1


def test_a_worker_whose_lease_was_taken_publishes_nothing(
    registry: Registry, storage: LocalStorage, runner: Runner, queue_job: Queue
) -> None:
    class Overtaken(TinyPipeline):
        """While it computes, another worker takes the job over, as after a long pause of the machine."""

        def check(self, inputs: PipelineInputs) -> None:
            later = datetime.now(UTC) + timedelta(days=1)
            with registry.transaction() as session:
                jobs.expire_leases(session, later, max_attempts=3)
                assert jobs.claim_job(session, made.job_id, "other/1", later, 60)

    made = queue_job()
    assert runner(Overtaken).run(made.job_id).outcome is Outcome.LOST
    assert results(registry, made.job_id) == []
    assert not (storage._root / "results").exists()
    assert job(registry, made.job_id).lease_owner == "other/1"


def test_a_running_job_stops_when_a_person_asks(registry: Registry, runner: Runner, queue_job: Queue) -> None:
    class Cancelling(TinyPipeline):
        def check(self, inputs: PipelineInputs) -> None:
            with registry.transaction() as session:
                job_requests.cancel_job(session, made.job_id, datetime.now(UTC))

    made = queue_job("slow 30")
    assert runner(Cancelling).run(made.job_id).outcome is Outcome.CANCELLED
    assert job(registry, made.job_id).state == "cancelled"


def test_a_job_cancelled_while_its_results_are_written_delivers_nothing(
    registry: Registry, runner: Runner, queue_job: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    def publish_and_cancel(*arguments: Any) -> infer.Publication:
        publication = publish(*arguments)
        with registry.transaction() as session:
            job_requests.cancel_job(session, made.job_id, datetime.now(UTC))
        return publication

    made = queue_job()
    monkeypatch.setattr(infer, "publish", publish_and_cancel)
    assert runner().run(made.job_id).outcome is Outcome.CANCELLED
    assert job(registry, made.job_id).state == "cancelled"
    assert results(registry, made.job_id) == []


def test_a_draining_worker_starts_nothing(
    registry: Registry, runner: Runner, queue_job: Queue, heartbeat: Heartbeat
) -> None:
    made = queue_job()
    heartbeat.drain(3600)
    assert runner().run(made.job_id).outcome is Outcome.NOTHING
    assert job(registry, made.job_id).state == "queued"


def test_the_pause_between_attempts_doubles_up_to_a_limit() -> None:
    assert [retry_pause_s(n, 30) for n in (1, 2, 3)] == [30, 60, 120]
    assert retry_pause_s(40, 30) == retry_pause_s(4000, 30) == MAX_RETRY_BACKOFF_S


def _result(kind: str) -> NewResult:
    return NewResult(kind, f"uid-{kind}", "1.2", "1.3", f"results/{kind}", "0" * 64, 1)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ((), {("seg", "pacs"), ("sr", "pacs")}),
        (("reports",), {("sr", "reports")}),
        (("reports", "pacs", "pacs"), {("sr", "reports"), ("seg", "pacs"), ("sr", "pacs")}),
        (("demolished",), {("seg", "demolished"), ("sr", "demolished")}),
    ],
)
def test_results_go_to_the_jobs_destinations_or_else_to_the_default_ones(
    wanted: tuple[str, ...], expected: set[tuple[str, str]]
) -> None:
    planned = planned_deliveries([_result(k) for k in ("seg", "sr", "png")], wanted, (PACS, REPORTS))
    assert {(p.sop_uid.removeprefix("uid-"), p.destination) for p in planned} == expected
    assert len(planned) == len(expected)
