"""What the registry knows of files that may belong to nobody: results that an attempt stored but never registered.

Whether such a file goes is `node.assemble.orphans`'s decision.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from node.registry.models import Job, Result
from node.registry.states import JobState


@dataclass(frozen=True)
class Revision:
    """One revision of a job, and the storage keys of the results that are registered for it."""

    job_id: int
    study_id: int
    state: JobState
    keys: frozenset[str]


def revision(session: Session, key: str, number: int, *, lock: bool = False) -> Revision | None:
    """A job by its key and revision; None if the registry does not know it.

    lock: keep it from being claimed until the end of the transaction.
    """
    statement = select(Job.id, Job.study_id, Job.state).where(Job.key == key, Job.revision == number)
    row = session.execute(statement.with_for_update() if lock else statement).one_or_none()
    if row is None:
        return None
    job_id, study_id, state = row
    keys = session.scalars(select(Result.storage_key).where(Result.job_id == job_id))
    return Revision(job_id, study_id, JobState(state), frozenset(keys))
