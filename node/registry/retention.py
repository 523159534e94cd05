"""What retention reads and writes: studies with files, how far each has come, and that its files are gone.

Whether a study may go is `node.assemble.retention`'s decision. Rows are never deleted: a study stays known, with
`files_deleted_at` on its series and results.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, and_, func, or_, select, update
from sqlalchemy.orm import Session

from node.registry.events import add_event
from node.registry.models import Delivery, Instance, Job, Result, Series, Study
from node.registry.queries import PICTURE_KIND
from node.registry.series import lock_study
from node.registry.states import JobState, SeriesState

Cursor = tuple[datetime, int]
"""Where a listing of studies with files stopped: (last_received_at, series id)."""


@dataclass(frozen=True)
class JobSnapshot:
    """A job as retention sees it. results: objects to deliver (no pictures). deliveries: the state of each."""

    id: int
    key: str
    revision: int
    state: JobState
    results: int
    deliveries: tuple[str, ...]


@dataclass(frozen=True)
class StudySnapshot:
    """A study as retention sees it. last_activity_at: when something last came, ended or was delivered."""

    study_id: int
    study_uid: str
    receiving: int
    last_activity_at: datetime
    jobs: tuple[JobSnapshot, ...]


def series_with_files(before: datetime | None, after: Cursor | None, limit: int) -> Select[int, datetime, int]:
    """Statement for (series id, last_received_at, study id) of series whose files are there, oldest first."""
    statement = select(Series.id, Series.last_received_at, Series.study_id).where(Series.files_deleted_at.is_(None))
    if before is not None:
        statement = statement.where(Series.last_received_at < before)
    if after is not None:
        at, series_id = after
        later = and_(Series.last_received_at == at, Series.id > series_id)
        statement = statement.where(Series.last_received_at >= at).where(or_(Series.last_received_at > at, later))
    return statement.order_by(Series.last_received_at, Series.id).limit(limit)


def study_snapshot(session: Session, study_id: int) -> StudySnapshot:
    """One study, its series locked until the end of the transaction, so that nothing comes while it is deleted."""
    lock_study(session, study_id)
    series = session.execute(
        select(Series.state, Series.last_received_at).where(Series.study_id == study_id).with_for_update()
    ).all()
    times = [received for _, received in series]
    jobs = []
    for job_id, key, revision, state, finished_at in session.execute(
        select(Job.id, Job.key, Job.revision, Job.state, Job.finished_at).where(Job.study_id == study_id)
    ):
        results = session.scalar(
            select(func.count()).select_from(Result).where(Result.job_id == job_id, Result.kind != PICTURE_KIND)
        )
        deliveries = session.execute(
            select(Delivery.state, Delivery.sent_at, Delivery.verified_at)
            .join(Result, Result.id == Delivery.result_id)
            .where(Result.job_id == job_id)
        ).all()
        times += [at for at in (finished_at, *(t for d in deliveries for t in (d[1], d[2]))) if at is not None]
        jobs.append(JobSnapshot(job_id, key, revision, JobState(state), results or 0, tuple(d[0] for d in deliveries)))
    study_uid = session.scalars(select(Study.study_uid).where(Study.id == study_id)).one()
    return StudySnapshot(
        study_id=study_id,
        study_uid=study_uid,
        receiving=sum(state == SeriesState.RECEIVING for state, _ in series),
        last_activity_at=max(times),
        jobs=tuple(jobs),
    )


def stored_files(session: Session, study_id: int) -> list[tuple[str, int]]:
    """(storage key, size in bytes) of every file of a study: all versions of its instances, and its results."""
    received = session.execute(
        select(Instance.storage_key, Instance.byte_count)
        .join(Series, Series.id == Instance.series_id)
        .where(Series.study_id == study_id, Series.files_deleted_at.is_(None))
    )
    made = session.execute(
        select(Result.storage_key, Result.byte_count)
        .join(Job, Job.id == Result.job_id)
        .where(Job.study_id == study_id, Result.files_deleted_at.is_(None))
    )
    return [(key, size) for rows in (received, made) for key, size in rows]


def mark_deleted(session: Session, study_id: int, files: int, byte_count: int, why: str, now: datetime) -> None:
    """Say that the files of a study are gone."""
    session.execute(
        update(Series)
        .where(Series.study_id == study_id, Series.files_deleted_at.is_(None))
        .values(files_deleted_at=now)
        .execution_options(synchronize_session=False)
    )
    jobs = select(Job.id).where(Job.study_id == study_id)
    session.execute(
        update(Result)
        .where(Result.job_id.in_(jobs), Result.files_deleted_at.is_(None))
        .values(files_deleted_at=now)
        .execution_options(synchronize_session=False)
    )
    add_event(session, now, "study.files_deleted", f"{files} files were deleted: {why}.", study_id=study_id,
              data={"files": files, "bytes": byte_count})  # fmt: skip
