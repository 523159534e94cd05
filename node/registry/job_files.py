"""The files around a job: what it reads, and what an earlier revision of it wrote."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from node.errors import PermanentError
from node.registry.jobs import ClaimedJob
from node.registry.models import Instance, Job, JobInput, Result, Series

PRIMARY_ROLE = "primary"


@dataclass(frozen=True)
class SeriesFiles:
    """Storage keys of the current versions of a series' instances, in the order of their arrival."""

    series_uid: str
    role: str
    storage_keys: tuple[str, ...]


@dataclass(frozen=True)
class EarlierResult:
    """A DICOM object that an earlier revision wrote."""

    kind: str
    sop_uid: str
    sop_class_uid: str
    series_uid: str


@dataclass(frozen=True)
class EarlierRevision:
    """The latest earlier revision that has results."""

    revision: int
    results: tuple[EarlierResult, ...]


def input_files(session: Session, claim: ClaimedJob) -> list[SeriesFiles]:
    """The series of a job as they are now, the primary one first, then its companions by role.

    Raises
    ------
    PermanentError
        If the job has no series, or the files of one were deleted by retention.
    """
    rows = session.execute(
        select(Series.id, Series.series_uid, Series.files_deleted_at, JobInput.role)
        .join(JobInput, JobInput.series_id == Series.id)
        .where(JobInput.job_id == claim.id)
    ).all()
    if not rows:
        raise PermanentError(f"job {claim.id} has no series to read")
    found = []
    for series_id, series_uid, deleted_at, role in sorted(rows, key=lambda row: (row[3] != PRIMARY_ROLE, row[3])):
        keys = session.scalars(
            select(Instance.storage_key)
            .where(Instance.series_id == series_id, Instance.current.is_(True))
            .order_by(Instance.id)
        ).all()
        if deleted_at is not None or not keys:
            raise PermanentError(f"the files of series {series_uid} are no longer kept; send the series again")
        found.append(SeriesFiles(series_uid, role, tuple(keys)))
    return found


def earlier_revision(session: Session, claim: ClaimedJob) -> EarlierRevision | None:
    """The latest revision before this job's that wrote DICOM objects; None for a first one."""
    if claim.supersedes_id is None:
        return None
    rows = session.execute(
        select(Job.revision, Result.kind, Result.sop_uid, Result.sop_class_uid, Result.series_uid)
        .join(Result, Result.job_id == Job.id)
        .where(Job.key == claim.key, Job.revision < claim.revision, Result.sop_class_uid != "")
        .order_by(Job.revision.desc(), Result.id)
    ).all()
    if not rows:
        return None
    latest = rows[0][0]
    return EarlierRevision(latest, tuple(EarlierResult(*row[1:]) for row in rows if row[0] == latest))
