"""Real files from the inbox to queued jobs, through intake, completion and the shipped rules, as upkeep runs them."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path

from sqlalchemy import select

from node.assemble import Assembler, Ingest
from node.assemble.completion import ASSOCIATION_RELEASED
from node.registry.database import Registry
from node.registry.models import Job, JobInput, Series
from node.registry.queries import study_view
from node.storage import LocalStorage
from node.storage.spool import AssociationEnd
from tests.assemble.objects import NOW, Inbox, configure, data_set

FOLDERS = ("nm", "ct_lung_lidc", "mr_sagittal_brain", "mr_lspine_axial", "ct_liver_with_seg", "geometry_traps")


def test_of_all_real_series_that_arrive_exactly_the_bone_scans_become_jobs(
    shared_data: Path, tmp_path: Path, registry: Registry
) -> None:
    configuration = configure(tmp_path)
    storage = LocalStorage(configuration.data_dir)
    inbox = Inbox.of(configuration)
    sources = [path for folder in FOLDERS for path in sorted((shared_data / folder).rglob("*")) if path.is_file()]
    for number, source in enumerate(sources):
        shutil.copyfile(source, inbox.put(b"", f"a{number % 3}", f"1.2.{number + 1}"))
    for token in ("a0", "a1", "a2"):
        inbox.end(token)
    ingest = Ingest(configuration, registry, storage)
    report = ingest.step(NOW)
    while report.backlog:
        report += ingest.step(NOW)
    # Two of the bone scan's files have the same UID and other bytes (one is compressed with loss): a real new version.
    assert (report.new, report.new_versions) == (len(sources) - 1, 1)
    assert inbox.left() == []

    woken: list[int] = []
    assembler = Assembler(configuration, registry, storage, lambda job_id, _: woken.append(job_id),
                          installed={"bone-scan"})  # fmt: skip
    early = assembler.step(NOW + timedelta(seconds=1))
    assert early.completed == 0
    done = assembler.step(NOW + timedelta(seconds=6))
    # The lumbar series promises 16 images, 12 came: the short quiet period is not enough for it.
    assembled = done + assembler.step(NOW + timedelta(seconds=61))

    with registry.reading() as session:
        series = session.scalars(select(Series)).all()
        assert {one.state for one in series} == {"complete"}
        assert assembled.completed == len(series)
        reasons = {one.headers.get("Modality"): one.completed_by for one in series if one.expected_count == 16}
        assert reasons == {"MR": "quiet"}
        jobs = session.scalars(select(Job).order_by(Job.id)).all()
        inputs = session.execute(
            select(Series.description, Series.instance_count, Series.headers)
            .join(JobInput, JobInput.series_id == Series.id)
            .order_by(Series.instance_count)
        ).all()
    assert [(job.state, job.pipeline) for job in jobs] == [("queued", "bone-scan")] * 2
    assert sorted(woken) == [job.id for job in jobs]
    assert [(count, headers["RowColumnRatio"]) for _, count, headers in inputs] == [(1, 4.0), (6, 4.0)]
    with registry.reading() as session:
        view = study_view(session, "1.3.6.1.4.1.5962.1.2.8.20040826185059.5457")
    assert view is not None
    assert [event.kind for event in view.events] == [
        "series.opened", "instance.new_version", "series.complete", "job.queued",
    ]  # fmt: skip


def test_half_a_volume_whose_sender_was_cut_off_is_not_analysed_before_the_rest_had_time_to_come(
    tmp_path: Path, registry: Registry
) -> None:
    configuration = configure(tmp_path)
    storage = LocalStorage(configuration.data_dir)
    inbox = Inbox.of(configuration)
    ingest = Ingest(configuration, registry, storage)
    assembler = Assembler(configuration, registry, storage, lambda job_id, _: None, installed=set())
    for series in (1, 2):
        for sop in range(1, 4):
            inbox.put(data_set(sop, series), f"a{series}")
    inbox.end("a1", AssociationEnd.LOST)
    inbox.end("a2")
    ingest.step(NOW)
    assert assembler.step(NOW + timedelta(seconds=6)).completed == 1, "only the series that was released"

    # The first sender comes back with everything and hangs up as it should.
    again = NOW + timedelta(seconds=20)
    for sop in range(1, 7):
        inbox.put(data_set(sop, 1), "a3")
    inbox.end("a3")
    ingest.step(again)
    assert assembler.step(again + timedelta(seconds=4)).completed == 0
    assert assembler.step(again + timedelta(seconds=6)).completed == 1
    with registry.reading() as session:
        rows = session.execute(select(Series.instance_count, Series.completed_by).order_by(Series.series_uid)).all()
    assert [tuple(row) for row in rows] == [(6, ASSOCIATION_RELEASED), (3, ASSOCIATION_RELEASED)]


def test_half_a_volume_that_nobody_completes_is_taken_as_it_is_after_the_long_quiet_period(
    tmp_path: Path, registry: Registry
) -> None:
    configuration = configure(tmp_path)
    storage = LocalStorage(configuration.data_dir)
    inbox = Inbox.of(configuration)
    inbox.put(data_set())
    inbox.end("a1", AssociationEnd.KILLED)
    Ingest(configuration, registry, storage).step(NOW)
    assembler = Assembler(configuration, registry, storage, lambda job_id, _: None, installed=set())
    assert assembler.step(NOW + timedelta(seconds=59)).completed == 0
    assert assembler.step(NOW + timedelta(seconds=61)).completed == 1
